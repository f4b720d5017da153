"""From measured rows to the figures of one system: identity, use, quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.evaluation import identity as who
from models.evaluation.detection import REFERENCE_SIZE_PX
from models.evaluation.embedders import EMBEDDERS, Floats
from models.evaluation.material import Material
from models.evaluation.measuring import Measured
from models.evaluation.movement import movement_figures
from models.evaluation.quality import frechet_distance, kernel_distance
from models.evaluation.statistics import Crowd, Figure, PairCurves

FPR = 1e-3
"""False-positive rate at which the true-positive rate is told."""

RANKS = (1, 5)
_CURVE_POINTS = 160
_HISTOGRAM_BINS = 48


@dataclass(frozen=True)
class Calibration:
    """What a recogniser does with the sharp faces of this set: thresholds do not carry over.

    Args:
        verification: Same and different pairs of sharp faces.
        swap_floor: Mean distance to somebody else: what a random swap would score.
    """

    verification: who.Verification
    swap_floor: float


@dataclass(frozen=True, eq=False)
class Judged:
    """The figures of one system.

    Args:
        name: Its name.
        detail: Its strength, in words.
        references: In how many styles it paints.
        figures: Name to figure, as ``identity.dlib.rank1``.
        curves: Recogniser to ROC and histogram, for drawing.
    """

    name: str
    detail: str
    references: int
    figures: dict[str, Figure]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bench:
    """What all systems of a run are judged against.

    Args:
        material: The set.
        clean: Rows of the sharp faces.
        crowd: Its people.
        calibrations: By recogniser.
    """

    material: Material
    clean: Measured
    crowd: Crowd
    calibrations: Mapping[str, Calibration]

    @property
    def scale(self) -> float:
        """Pixels at 256 of one pixel of the set."""
        return REFERENCE_SIZE_PX / self.material.samples[0].picture.shape[0]

    def embedding(self, name: str) -> Floats:
        """Return ``(samples, d)`` vectors of the sharp faces."""
        return np.asarray(self.clean.rows[f"identity.{name}"][0])

    def gallery(self) -> Floats:
        """Return one sample per person: the one that looks straight at the camera most."""
        chosen = []
        for person in self.crowd.names:
            rows = np.flatnonzero(self.crowd.people == person)
            turns = [self._turn(int(row)) for row in rows]
            chosen.append(rows[int(np.argmin(turns))])
        return np.array(chosen)

    def _turn(self, row: int) -> float:
        pose = self.material.samples[row].truth.yaw_pitch_roll
        return 0.0 if pose is None else float(np.hypot(pose[0], pose[1]))


def make_bench(material: Material, clean: Measured, *, seed: int = 0) -> Bench:
    """Return the bench of a set: thresholds are found on its own sharp faces.

    Args:
        material: The set.
        clean: Rows of the sharp faces.
        seed: Decides the draws of intervals.
    """
    crowd = Crowd(material.people, material.groups(), seed)
    found = {}
    for name in EMBEDDERS:
        if (key := f"identity.{name}") in clean.rows:
            rows = clean.rows[key][0]
            same, different = who.pairs(rows, material.people)
            found[name] = Calibration(
                who.verification(same, different, (FPR,)), who.swap_floor(rows, material.people)
            )
    return Bench(material, clean, crowd, found)


def judge(bench: Bench, name: str, detail: str, measured: Measured) -> Judged:
    """Return all figures of a system that its rows allow.

    Args:
        bench: What it is judged against.
        name: Its name.
        detail: Its strength, in words.
        measured: Its rows.
    """
    figures: dict[str, Figure] = {}
    curves = {}
    for recogniser in bench.calibrations:
        outputs = measured.rows[f"identity.{recogniser}"]
        found, curve = _identity(bench, recogniser, outputs)
        figures.update({f"identity.{recogniser}.{key}": value for key, value in found.items()})
        curves[recogniser] = curve
    figures.update(_detection(bench, measured))
    figures.update(movement_figures(bench.material, bench.crowd, bench.clean.rows, measured.rows))
    figures.update(_readings(bench, measured))
    figures.update(_quality(bench, measured))
    references = max(len(rows) for rows in measured.rows.values())
    return Judged(name, detail, references, figures, curves)


def _identity(
    bench: Bench, name: str, outputs: Floats
) -> tuple[dict[str, Figure], dict[str, list[float]]]:
    crowd, clean, threshold = bench.crowd, bench.embedding(name), bench.calibrations[name]
    own = np.linalg.norm(outputs - clean[None], axis=-1)
    same, different = _pair_distances(crowd, clean, outputs)
    pairs = PairCurves.of(same, different, len(crowd.names))
    limit = threshold.verification.eer_threshold
    found = {
        "dis": crowd.mean(own),
        "protected": crowd.mean(own > limit),
        "tpr": crowd.figure(pairs.tpr_at(FPR), pairs.pairs),
        "accuracy": crowd.figure(pairs.accuracy, pairs.pairs),
        "auc": crowd.figure(pairs.auc, pairs.pairs),
        "eer": crowd.figure(pairs.eer, pairs.pairs),
        **_ranks(bench, clean, outputs),
    }
    if len(outputs) > 1:
        first, second = np.triu_indices(len(outputs), 1)
        apart = np.linalg.norm(outputs[first] - outputs[second], axis=-1)
        found["diversity"] = crowd.mean(apart)
    return found, _curve(bench, name, pairs, own)


def _pair_distances(
    crowd: Crowd, clean: Floats, outputs: Floats
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Distances of every output to every sharp face but its own, with the output's person."""
    alike = crowd.index[:, None] == crowd.index[None, :]
    itself = np.eye(len(clean), dtype=bool)
    parts: dict[bool, list[tuple[Floats, Floats]]] = {True: [], False: []}
    for rows in outputs:
        table = who.distances(rows, clean)
        for wanted in (True, False):
            mask = (alike == wanted) & ~itself
            parts[wanted].append((table[mask], np.nonzero(mask)[0]))
    same, different = (
        (
            np.concatenate([d for d, _ in parts[wanted]]),
            crowd.index[np.concatenate([row for _, row in parts[wanted]])],
        )
        for wanted in (True, False)
    )
    return same, different


def _ranks(bench: Bench, clean: Floats, outputs: Floats) -> dict[str, Figure]:
    """Probes are all outputs but those of the gallery's own moments."""
    crowd, gallery = bench.crowd, bench.gallery()
    probes = np.setdiff1d(np.arange(len(clean)), gallery)
    if not len(probes):
        return {}
    found = {}
    for rank in RANKS:
        hits = np.full(outputs.shape[:2], np.nan)
        for number, rows in enumerate(outputs):
            hits[number, probes] = who.rank_hits(
                clean[gallery], crowd.people[gallery], rows[probes], crowd.people[probes], rank
            )
        found[f"rank{rank}"] = crowd.mean(hits)
    return found


def _curve(bench: Bench, name: str, pairs: PairCurves, own: Floats) -> dict[str, list[float]]:
    """ROC thinned for drawing, and histograms of distances as the paper shows them."""
    fpr, tpr = (rates[0] for rates in pairs.rates(np.ones((1, len(bench.crowd.names)))))
    wanted = np.concatenate([[0.0], np.logspace(-4, 0, _CURVE_POINTS)])
    at = np.searchsorted(fpr, wanted, side="right") - 1
    same, different = who.pairs(bench.embedding(name), bench.crowd.people)
    edges = np.linspace(0.0, max(float(different.max()), float(own.max())), _HISTOGRAM_BINS + 1)
    shares = {
        key: (np.histogram(values, edges)[0] / max(np.size(values), 1)).tolist()
        for key, values in (("same", same), ("different", different), ("own", own))
    }
    return {
        "fpr": np.round(fpr[at], 6).tolist(),
        "tpr": np.round(tpr[at], 6).tolist(),
        "edges": np.round(edges, 5).tolist(),
        **{key: np.round(values, 6).tolist() for key, values in shares.items()},
    }


def _detection(bench: Bench, measured: Measured) -> dict[str, Figure]:
    found = {}
    for name in ("hog", "centerface"):
        key = f"face.{name}"
        if key not in measured.rows:
            continue
        rows, clean = measured.rows[key], bench.clean.rows[key]
        found[f"use.{name}.found"] = bench.crowd.mean(np.isfinite(rows[..., 4]))
        boxes = np.abs(rows[..., :4] - clean[..., :4]).mean(-1) * bench.scale
        found[f"use.{name}.box_l1_px"] = bench.crowd.mean(boxes)
        if np.isfinite(clean[..., 5:]).any():
            five = np.abs(rows[..., 5:] - clean[..., 5:]).mean(-1) * bench.scale
            found[f"use.{name}.landmark_l1_px"] = bench.crowd.mean(five)
    return found


def _readings(bench: Bench, measured: Measured) -> dict[str, Figure]:
    found = {}
    crowd, material = bench.crowd, bench.material
    if "pose" in measured.rows:
        rows, clean = measured.rows["pose"], bench.clean.rows["pose"]
        found["use.pose_deg"] = crowd.mean(np.abs(rows - clean).mean(-1))
        if material.exact:
            truth = np.array([s.truth.yaw_pitch_roll for s in material.samples], float)
            offset = np.median(clean[0] - truth, axis=0)
            found["use.pose_truth_deg"] = crowd.mean(np.abs(rows - truth - offset).mean(-1))
    if "expression" in measured.rows:
        rows, clean = measured.rows["expression"][:1], bench.clean.rows["expression"]
        found["use.expression_l1"] = crowd.mean(np.abs(rows - clean).mean(-1))
        alike = (rows.argmax(-1) == clean.argmax(-1)).astype(float)
        found["use.expression_same"] = crowd.mean(alike)
    return found


def _quality(bench: Bench, measured: Measured) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    rows: Mapping[str, Any] = measured.rows
    if "fidelity" in rows:
        found["quality.psnr_db"] = bench.crowd.mean(rows["fidelity"][:1, :, 0])
        found["quality.ssim"] = bench.crowd.mean(rows["fidelity"][:1, :, 1])
    if "perceptual" in rows:
        found["quality.st_lpips"] = bench.crowd.mean(rows["perceptual"][:1, :, 0])
    if "features" in rows:
        outputs, clean = rows["features"][0], bench.clean.rows["features"][0]
        count = len(outputs)
        found["quality.frechet"] = Figure(frechet_distance(clean, outputs), count=count)
        found["quality.kernel"] = Figure(kernel_distance(clean, outputs), count=count)
    return found

"""Pictures for a report: an overview, and the worst cases; only where faces may be shown."""

from __future__ import annotations

import numpy as np

from models.evaluation.embedders import Floats, Picture
from models.evaluation.meanings import RECOGNISERS
from models.evaluation.page import Case, Pictures
from models.evaluation.run import Raw
from models.evaluation.systems import BUNDLE, Painted, System

_PEOPLE, _CASES, _SHOWN_PX = 5, 3, 144


def pictures_of(raw: Raw) -> Pictures:
    """Return what a report may show of a run: nothing where faces must not be seen.

    Args:
        raw: The rows behind it.
    """
    material = raw.bench.material
    if not material.may_show:
        return Pictures()
    firsts = [int(np.flatnonzero(material.people == p)[0]) for p in raw.bench.crowd.names]
    chosen = firsts[:: max(len(firsts) // _PEOPLE, 1)][:_PEOPLE]
    samples = [material.samples[i] for i in chosen]
    columns = [[_small(p) for p in system.show(samples, 0)] for system in raw.systems]
    rows = tuple(tuple(column[i] for column in columns) for i in range(len(samples)))
    names = tuple(system.name for system in raw.systems)
    return Pictures(names, rows, tuple(_cases(raw)))


def _cases(raw: Raw) -> list[Case]:
    painted = next((s for s in raw.systems if s.name == BUNDLE), None)
    if not isinstance(painted, Painted):
        return []
    found = []
    for name, calibration in raw.bench.calibrations.items():
        outputs = raw.measured[BUNDLE].rows[f"identity.{name}"]
        own = np.linalg.norm(outputs - raw.bench.embedding(name)[None], axis=-1)
        limit = calibration.verification.eer_threshold
        for reference, row in _worst(-own, _CASES):
            distance = float(own[reference, row])
            side = "within" if distance <= limit else "beyond"
            told = f"Nearest to its own face for {RECOGNISERS[name]}: {distance:.2f}, {side} the "
            found.append(_case(raw, painted, reference, row, f"{told}threshold {limit:.2f}"))
    rows = raw.measured[BUNDLE].rows
    if "points" in rows:
        away = np.abs(rows["points"] - raw.bench.clean.rows["points"]).mean(-1) * raw.bench.scale
        for reference, row in _worst(away, _CASES):
            told = f"Landmarks farthest off: {away[reference, row]:.1f} px at 256"
            found.append(_case(raw, painted, reference, row, told))
    if "face.hog" in rows:
        lost = np.isnan(rows["face.hog"][..., 4]).astype(float)
        for reference, row in _worst(np.where(lost > 0, 1.0, np.nan), _CASES):
            found.append(_case(raw, painted, reference, row, "No face found by dlib HOG"))
    return found


def _worst(values: Floats, count: int) -> list[tuple[int, int]]:
    """Return (style, sample) of the largest values, one per sample, NaN left out."""
    found: list[tuple[int, int]] = []
    for flat in np.argsort(
        -np.where(np.isfinite(values), values, -np.inf), axis=None, kind="stable"
    ):
        reference, row = (int(v) for v in np.unravel_index(flat, values.shape))
        if len(found) == count or not np.isfinite(values[reference, row]):
            break
        if row not in {r for _, r in found}:
            found.append((reference, row))
    return found


def _case(raw: Raw, painted: Painted, reference: int, row: int, told: str) -> Case:
    sample = raw.bench.material.samples[row]
    optic: System = painted.optic
    frames = (sample.picture, optic.show([sample], 0)[0], painted.show([sample], reference)[0])
    return Case(f"{told} ({sample.name}).", tuple(_small(p) for p in frames))


def _small(picture: Picture) -> Picture:
    import cv2

    size = min(_SHOWN_PX, picture.shape[0])
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))

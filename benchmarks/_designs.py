"""Designs of the optics side by side: what U still reads, what an attacker gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _small_heads import (
    JUDGED_ON,
    LEARNED_FROM,
    NETWORKS,
    OPTICS,
    SIZE_PX,
    Judged,
    bytes_of,
    judged_heads,
    training_folder,
)
from torch import Tensor

from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceContext
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.mirror.modal import ModalMirror
from camera_rig.optics import Coefficients
from camera_rig.twin.devices import TwinMirror
from camera_rig.twin.world import World as Twin
from camera_rig.twin.world import WorldOptions
from models.camera import LearnedCamera, LowResolutionCamera, OpticsSpec, PrivacyCamera
from models.evaluation.attacks.wiener import WIDE_STRENGTHS, best_wiener, psnr_db
from models.heatmaps import layout_named, read_landmarks
from models.training.config import RunConfig
from models.training.limits import MirrorLimits, Pace
from models.training.sources import Trained, frozen_heat, open_trained
from models.training.start import train
from models.training.task import stacked, tiles
from models.training.world import World

SHAPES = 8
ADVERSARY = 0.3
OPTICS_RATE = 0.015
"""Micrometres RMS per update and mode: fast, because the runs are short."""
TEACHER_STEPS, DESIGN_STEPS, READING_STEPS, BATCH = 600, 100, 120, 8
AVERAGED = 10
"""Frames of one unmoved face that an attacker may average."""
PAPER = "lopez2024"


@dataclass(frozen=True)
class Row:
    """One line of the table: what is changed in Stage I, or a camera that is given."""

    name: str
    design: dict[str, Any]
    learned: bool = True


ROWS = (
    Row("published coefficients", {"fixed": [PAPER]}, learned=False),
    Row("paper's objective (eq. 6)", {}),
    Row("(a) adversary", {"adversary": ADVERSARY}),
    Row(f"(b) {SHAPES} shapes", {"shapes": SHAPES, "jitter_waves": 0.2}),
    Row("(a) and (b)", {"adversary": ADVERSARY, "shapes": SHAPES, "jitter_waves": 0.2}),
    Row("16 x 16 pixels", {"low_res": 16}, learned=False),
)


def table(work: Path, share: float, sheet: Path | None) -> dict[str, Any]:
    """Train and judge every row."""
    limits, judged = mirror_limits(), judged_heads()
    clean = judged.vectors(judged.pictures)
    trainer = Trainer(work, share, limits)
    done = work / f"rows-{share:g}.json"
    rows = json.loads(done.read_text()) if done.exists() else []
    shown = []
    for number, row in enumerate(ROWS):
        folder, told = trainer.row(number, row)
        if number >= len(rows) or sheet is not None:
            figures, pictures = _judge(open_trained(folder), row, judged, clean)
            shown.append(pictures)
            rows[number:] = [{"name": row.name, **told, **figures}, *rows[number + 1 :]]
            done.write_text(json.dumps(rows, indent=1))
            print(json.dumps(rows[number]), flush=True)
    if sheet is not None:
        _save_sheet(sheet / "designs.png", judged, shown)
    return {
        "learned_from": f"{LEARNED_FROM[0]} heads x {LEARNED_FROM[1]} frames, {SIZE_PX} px",
        "judged_on": f"{JUDGED_ON[0]} other heads x {JUDGED_ON[1]} frames",
        "steps": {"teacher": TEACHER_STEPS, "design": DESIGN_STEPS, "reading": READING_STEPS},
        "batch": BATCH,
        "noise": OPTICS["noise"],
        "adversary": ADVERSARY,
        "sharp_landmarks_px_at_256": _reading(open_trained(trainer.teacher), None, judged),
        "sharp_rank1": judged.rank1(clean, clean),
        "chance": round(1.0 / JUDGED_ON[0], 3),
        "rows": rows,
    }


def dither(work: Path, share: float, sheet: Path | None) -> dict[str, Any]:
    """How many shapes an exposure holds; steps are those of random shapes of one wave RMS."""
    limits = mirror_limits()
    rng = np.random.default_rng(0)
    spec = OpticsSpec(**OPTICS)
    rows = rng.normal(0.0, 1.0 / np.sqrt(12), (SHAPES, 12)) * spec.reference_nm / 1000.0
    camera = LearnedCamera(spec, shapes=SHAPES)
    camera.load_state_dict({"coefficients_um": torch.from_numpy(rows).float()})
    step_v = float(np.median(limits.steps_v(camera.coefficients)))
    found = []
    for settle_ms, slew in ((20, 3000), (10, 3000), (10, 15_000), (5, 30_000)):
        pace = Pace(settle_ms / 1000.0, slew)
        held = {name: pace.shapes_within(s, step_v) for name, s in EXPOSURES.items()}
        move_ms = round(pace.move_s(step_v) * 1e3, 1)
        found.append({"settle_ms": settle_ms, "slew_v_per_s": slew, "move_ms": move_ms, **held})
    return {"step_v": round(step_v, 1), "standing_share": 0.5, "rows": found}


EXPOSURES = {"1/30 s": 1 / 30, "1/10 s": 1 / 10, "1 s": 1.0}


def mirror_limits() -> MirrorLimits:
    """Return what the simulated DMH40 can do, by the plate model."""
    clock, bench = ManualClock(), Bench()
    twin = Twin(WorldOptions(), bench, clock)
    mirror = TwinMirror(TwinMirror.Options(), DeviceContext("mirror", clock, twin))
    mirror.open()
    matrix = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix()
    return MirrorLimits(ModalMirror(mirror, matrix))


class Trainer:
    """Stage I of a row, then U alone, from the same U*, for the camera that came out."""

    def __init__(self, work: Path, share: float, limits: MirrorLimits) -> None:
        self.work, self.limits = work, limits
        self.share = share
        self.data = {"folder": str(training_folder()), "held_out": 0.15}
        steps = self._steps(TEACHER_STEPS)
        own = {"heatmap": {"rate": 4e-3}, "engine": self._engine(steps, ema=0.99)}
        self.teacher = train(self._config("heatmap", own), work / "teacher", World()).folder

    def row(self, number: int, row: Row) -> tuple[Path, dict[str, Any]]:
        """Return the run whose U belongs to the row's camera, and how Stage I went."""
        told: dict[str, Any] = {}
        camera = row.design
        if row.learned:
            folder = self.work / f"design-{number}"
            steps = self._steps(DESIGN_STEPS)
            self._train(folder, row.design, steps, {"alpha2": 2.0, "optics_rate": OPTICS_RATE})
            shapes = open_trained(folder).coefficients
            camera = {"fixed": self._saved(folder, shapes)}
            told = self._told(folder, shapes)
        return self.reading(f"reading-{number}", camera), told

    def reading(self, name: str, camera: dict[str, Any]) -> Path:
        """Return the run in which U learned a camera that stays as it is."""
        folder = self.work / name
        self._train(folder, camera, self._steps(READING_STEPS), {})
        return folder

    def _train(self, folder: Path, own: dict[str, Any], steps: int, more: dict[str, Any]) -> None:
        design = {"teacher": str(self.teacher), "heatmap_rate": 1e-3, **own, **more}
        parts = {"design": design, "engine": self._engine(steps, ema=0.98)}
        why_not = self.limits.why_not
        train(self._config("design", parts), folder, World(), why_not=why_not)

    def _told(self, folder: Path, shapes: tuple[Coefficients, ...]) -> dict[str, Any]:
        lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
        scores = [x["held-out/objective"] for x in lines if "held-out/objective" in x]
        rms = [round(shape.rms, 2) for shape in shapes]
        feasible = not any(self.limits.why_not(shape) for shape in shapes)
        told = {"eq6_first": round(scores[0], 4), "eq6_best": round(min(scores), 4)}
        return {**told, "waves_rms": rms, "feasible": feasible}

    def _saved(self, folder: Path, shapes: tuple[Coefficients, ...]) -> list[str]:
        files = [folder / f"coefficients-{i}.yaml" for i in range(len(shapes))]
        for shape, file in zip(shapes, files, strict=True):
            shape.save(file, overwrite=True)
        return [str(file) for file in files]

    def _steps(self, count: int) -> int:
        return max(int(count * self.share), 4)

    def _engine(self, steps: int, ema: float) -> dict[str, Any]:
        every = max(steps // 4, 1)
        intervals = {"checkpoint_every": steps, "validate_every": every, "log_every": every}
        return {"steps": steps, "batch": BATCH, "ema": ema, **intervals}

    def _config(self, stage: str, parts: dict[str, Any]) -> RunConfig:
        tree = {"stage": stage, "data": self.data, "sizes": NETWORKS, "optics": OPTICS, **parts}
        return RunConfig.model_validate(tree)


def _judge(
    trained: Trained, row: Row, judged: Judged, clean: Any
) -> tuple[dict[str, Any], tuple[Tensor, Tensor]]:
    """What U reads and what an attacker gets, on heads that nothing was learned from."""
    camera = _camera(trained, row)
    scenes = stacked(judged.pictures)
    noise = torch.randn(scenes.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        frames = camera(scenes, noise)
        few = camera(scenes, noise / AVERAGED**0.5)
        attacked, attack_db = _attack(camera, scenes, frames, OPTICS["noise"])
        _, averaged_db = _attack(camera, scenes, few, OPTICS["noise"] / AVERAGED**0.5)
    restored = judged.vectors(bytes_of(attacked))
    seen = judged.vectors(bytes_of(frames))
    figures = {
        "landmarks_px_at_256": _reading(trained, camera, judged),
        "frame_db": _mean(psnr_db((frames - scenes).square().mean((1, 2, 3)))),
        "attack_db": attack_db,
        "attack_db_of_ten_averaged": averaged_db,
        "rank1_frame": judged.rank1(clean, seen),
        "rank1_frame_gallery_too": judged.rank1(seen, seen),
        "rank1_attacked": judged.rank1(clean, restored),
        "rank1_attacked_gallery_too": judged.rank1(restored, restored),
    }
    return figures, (frames, attacked)


def _camera(trained: Trained, row: Row) -> PrivacyCamera:
    if "low_res" in row.design:
        return LowResolutionCamera(trained.optics, row.design["low_res"])
    shapes = trained.coefficients
    return LearnedCamera(trained.optics, shapes, shapes=len(shapes))


def _attack(
    camera: PrivacyCamera, scenes: Tensor, frames: Tensor, noise: float
) -> tuple[Tensor, float]:
    """The best Wiener filter with the PSF known; a camera of few pixels has only its frame."""
    if isinstance(camera, LowResolutionCamera):
        return frames, _mean(psnr_db((frames - scenes).square().mean((1, 2, 3))))
    room = {"border_px": OPTICS["psf_px"], "strengths": WIDE_STRENGTHS}
    found, each_db = best_wiener(scenes, frames, camera.whole_psf(), noise, **room)
    return found, _mean(each_db)


def _reading(trained: Trained, camera: PrivacyCamera | None, judged: Judged) -> float:
    """Mean error of the inner landmarks, in pixels of a picture of 256."""
    layout, heat = layout_named(trained.layout), frozen_heat(trained, "heat")
    scenes = stacked(judged.pictures)
    with torch.no_grad():
        found = read_landmarks(heat(scenes if camera is None else camera(scenes)), layout)
    truth = torch.from_numpy(np.stack(judged.landmarks_px))
    inner = list(layout.inner)
    away = (found.float() - truth)[:, inner].norm(dim=-1).mean()
    return round(float(away) * 256 / SIZE_PX, 2)


def _mean(values: Tensor) -> float:
    return round(float(values.mean()), 2)


def _save_sheet(file: Path, judged: Judged, shown: list[tuple[Tensor, Tensor]]) -> None:
    """Sharp heads, then for each row its frame and what the attack makes of it."""
    some = np.flatnonzero(judged.in_gallery)[:5]
    scenes = stacked(judged.pictures)[some]
    blank = torch.ones_like(scenes)
    rows = [torch.cat([scenes, blank])] + [torch.cat([a[some], b[some]]) for a, b in shown]
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), tiles(rows)[..., ::-1])

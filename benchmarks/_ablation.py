"""Rows H, L and E of the paper's table 1, in kind: small runs of Stage II on rendered heads.

H: the masks from U's heatmaps guide G. L: eq. 11 (here on fixed random features, not
LPIPS). E: the expression terms, eq. 12 as motion and the heatmaps of the output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _designs import BATCH, PAPER, Trainer, mirror_limits
from _small_heads import NETWORKS, OPTICS, SIZE_PX, Judged, bytes_of, judged_heads
from torch import Tensor

from models.evaluation.detection import landmark_l1_px
from models.evaluation.identity import identity_distance
from models.evaluation.quality import frechet_distance
from models.heatmaps import read_landmarks
from models.perception import RandomFeatures
from models.training.config import RunConfig
from models.training.generator import FacesTask
from models.training.start import build_task, train
from models.training.task import stacked, tiles
from models.training.world import World

STEPS = 400
ROWS = ("", "H", "HL", "HE", "HLE")


def table(work: Path, share: float, sheet: Path | None) -> dict[str, Any]:
    """Train and judge every row behind the published coefficients."""
    trainer, judged = Trainer(work, share, mirror_limits()), judged_heads()
    design = trainer.reading("reading-0", {"fixed": [PAPER]})
    truth = judged.vectors(judged.pictures)
    steps = max(int(STEPS * share), 2)
    rows, shown = [], []
    for row in ROWS:
        config = _config(row, trainer.data, design, steps)
        folder = train(config, work / f"ablation-{row or 'none'}", World()).folder
        painted = _painted(config, folder, judged)
        rows.append({"row": row or "none", **_figures(config, painted, judged, truth)})
        shown.append(painted)
        print(json.dumps(rows[-1]), flush=True)
    if sheet is not None:
        _save_sheet(sheet / "ablation.png", judged, shown)
    return {"steps": steps, "batch": BATCH, "size_px": SIZE_PX, "rows": rows}


def _config(row: str, data: dict[str, Any], design: Path, steps: int) -> RunConfig:
    weights = {
        "perceptual": 1.0 if "L" in row else 0.0,
        "expression": 1.0 if "E" in row else 0.0,
        "heatmap": 100.0 if "E" in row else 0.0,
    }
    faces = {
        "design": str(design),
        "rate": 1e-3,
        "diversity_steps": steps,
        "use_heatmap": "H" in row,
        "weights": weights,
    }
    engine = {"steps": steps, "batch": BATCH, "ema": 0.98, "checkpoint_every": steps}
    tree = {"stage": "faces", "data": data, "sizes": NETWORKS, "optics": OPTICS}
    return RunConfig.model_validate({**tree, "faces": faces, "engine": engine})


@torch.no_grad()
def _painted(config: RunConfig, folder: Path, judged: Judged) -> Tensor:
    """Every judged head in the style of a training head."""
    from models.training.loop import Trainer as Engine

    task = build_task(config, World())
    assert isinstance(task, FacesTask)
    networks = Engine(task, folder).shown
    for network in networks.values():
        network.eval()
    outputs = []
    for number, picture in enumerate(judged.pictures):
        reference = task.shown_reference(number)
        style = task.placed([reference.picture])
        outputs.append(task.painted(networks, stacked([picture]), style, reference.domain))
    return torch.cat(outputs)


@torch.no_grad()
def _figures(config: RunConfig, painted: Tensor, judged: Judged, truth: Any) -> dict[str, float]:
    """Distance to the source, landmarks by U*, and distance to the set of sharp heads."""
    frozen = build_task(config, World()).frozen  # type: ignore[attr-defined]
    scenes = stacked(judged.pictures)
    found, wanted = (
        read_landmarks(frozen.teacher(p), frozen.layout).numpy() for p in (painted, scenes)
    )
    inner = list(frozen.layout.inner)
    away = landmark_l1_px(found[:, inner], wanted[:, inner], SIZE_PX)
    sets = [_pooled(p) for p in (scenes, painted)]
    return {
        "identity_distance_dlib": round(
            identity_distance(truth, judged.vectors(bytes_of(painted))), 3
        ),
        "landmarks_l1_px_at_256": round(away, 2),
        "frechet_random_features": round(frechet_distance(*sets), 3),
    }


def _pooled(pictures: Tensor) -> np.ndarray:
    """Mean and spread of the two coarsest levels of the random features, per picture."""
    levels = RandomFeatures(channels=8, seed=99)(pictures * 2.0 - 1.0)[-2:]
    parts = [part for x in levels for part in (x.mean((2, 3)), x.std((2, 3)))]
    return torch.cat(parts, 1).numpy()


def _save_sheet(file: Path, judged: Judged, shown: list[Tensor]) -> None:
    some = np.flatnonzero(judged.in_gallery)[:8]
    rows = [stacked(judged.pictures)[some], *(p[some] for p in shown)]
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), tiles(rows)[..., ::-1])

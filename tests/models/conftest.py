from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.training.config import RunConfig

SIZE = 32
# A face of 68 points in the unit square: jaw, brows, nose, eyes, mouth.
_T = np.linspace(0, np.pi, 17)
_EYE = np.stack([np.cos(np.arange(6) * np.pi / 3), 0.5 * np.sin(np.arange(6) * np.pi / 3)], 1)
_MOUTH = np.stack([np.cos(np.arange(20) * np.pi / 10), 0.4 * np.sin(np.arange(20) * np.pi / 10)], 1)
TEMPLATE = np.concatenate(
    [
        np.stack([0.5 - 0.33 * np.cos(_T), 0.45 + 0.4 * np.sin(_T)], 1),
        np.stack([np.linspace(0.25, 0.42, 5), np.full(5, 0.3)], 1),
        np.stack([np.linspace(0.58, 0.75, 5), np.full(5, 0.3)], 1),
        np.stack([np.full(4, 0.5), np.linspace(0.36, 0.52, 4)], 1),
        np.stack([np.linspace(0.44, 0.56, 5), np.full(5, 0.56)], 1),
        _EYE * 0.07 + [0.34, 0.38],
        _EYE * 0.07 + [0.66, 0.38],
        _MOUTH * 0.12 + [0.5, 0.7],
    ]
)


def draw_face(identity: int, frame: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face: colours by identity, place by frame."""
    who, when = np.random.default_rng(identity), np.random.default_rng([identity, frame])
    points = (TEMPLATE + when.uniform(-0.06, 0.06, 2)) * size - 0.5
    skin, wall = (tuple(int(c) for c in who.integers(60, 240, 3)) for _ in range(2))
    picture = np.full((size, size, 3), wall, np.uint8)
    outline = np.concatenate([points[:17], points[26:16:-1] - [0, 0.12 * size]])
    cv2.fillPoly(picture, [np.rint(outline).astype(np.int32)], skin)
    for part in (points[36:42], points[42:48]):
        cv2.fillPoly(picture, [np.rint(part).astype(np.int32)], (250, 250, 250))
    cv2.fillPoly(picture, [np.rint(points[48:60]).astype(np.int32)], (200, 40, 60))
    return picture, points


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    frames = []
    for identity in range(8):
        for frame in range(3):
            picture, points = draw_face(identity, frame)
            name = f"id{identity}_{frame}"
            cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
            told = {"name": name, "identity": identity, "landmarks68": points.tolist()}
            frames.append(told)
    (folder / "labels.json").write_text(json.dumps({"size": SIZE, "frames": frames}))
    return folder


@pytest.fixture
def tiny_config(faces_folder):
    """Build a tiny run: ``tiny_config("design", engine={...})``."""

    def make(stage: str, **parts) -> RunConfig:
        tree = {
            "stage": stage,
            "data": {"folder": str(faces_folder), "held_out": 0.25},
            "seed": 7,
            "sizes": "tiny",
            "optics": {"psf_px": 15, "pixel_um": 6.0, "max_waves_rms": 0.3},
            "engine": {"steps": 4, "batch": 4, "checkpoint_every": 2, "log_every": 1},
        }
        for key, value in parts.items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
        return RunConfig.model_validate(tree)

    return make


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""A live view step by step on a rig whose time only moves when it is moved."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from camera_rig.clock import ManualClock
from camera_rig.config import StorageConfig, coefficient_file, load_config
from camera_rig.optics import Coefficients
from camera_rig.rig import Rig
from camera_rig.twin.cameras import CameraOptions
from camera_rig.twin.faults import FaultOptions
from camera_rig.twin.sensor import SensorOptions
from camera_rig.twin.staging import FlatOptions
from models.camera import LearnedCamera, OpticsSpec
from models.heatmaps import IBUG68, draw_targets
from models.networks import build_face_networks, build_heatmap_network, preset
from models.runtime import bundle as bundles
from models.runtime.core import LiveCore
from models.runtime.live_data import LiveSettings
from models.runtime.reader import FrameReader
from models.runtime.watch import MirrorWatch
from models.training.sources import Trained

SIZES = preset("tiny")
OPTICS = OpticsSpec(psf_px=15, max_waves_rms=0.9)
TEXT = bundles.CardText(name="test", data="nothing", created="2026-01-01T00:00:00Z")
PAINT = (0.9, 0.2, 0.6)
"""Colour that every painted face of a test engine has, and no camera."""

_T = np.linspace(0, np.pi, 17)
_EYE = np.stack([np.cos(np.arange(6) * np.pi / 3), 0.5 * np.sin(np.arange(6) * np.pi / 3)], 1)
_MOUTH = np.stack([np.cos(np.arange(20) * np.pi / 10), 0.4 * np.sin(np.arange(20) * np.pi / 10)], 1)
FACE = np.concatenate(
    [
        np.stack([-0.27 * np.cos(_T), -0.05 + 0.36 * np.sin(_T)], 1),
        np.stack([np.linspace(-0.2, -0.07, 5), np.full(5, -0.16)], 1),
        np.stack([np.linspace(0.07, 0.2, 5), np.full(5, -0.16)], 1),
        np.stack([np.zeros(4), np.linspace(-0.1, 0.06, 4)], 1),
        np.stack([np.linspace(-0.05, 0.05, 5), np.full(5, 0.1)], 1),
        _EYE * 0.05 + [-0.13, -0.08],
        _EYE * 0.05 + [0.13, -0.08],
        _MOUTH * 0.1 + [0, 0.2],
    ]
)
"""68 landmarks of a frontal face, shares of its window from the window's middle."""


def make_bundle(folder: Path, shape: str = "lopez2024") -> bundles.Bundle:
    """A bundle of untrained tiny networks behind a shipped shape."""
    nets = build_face_networks(SIZES, 1, seed=0)
    camera = LearnedCamera(OPTICS, Coefficients.load(coefficient_file(shape)))
    modules = {**nets.named(), "heat": build_heatmap_network(SIZES, 68, seed=0), "camera": camera}
    parts = {name: dict(net.state_dict()) for name, net in modules.items()}
    trained = Trained(folder, SIZES, "ibug68", 1, OPTICS, parts, tuple(camera.coefficients))
    bundles.write_bundle(trained, folder, TEXT)
    return bundles.open_bundle(folder)


def painted(size: int) -> np.ndarray:
    """What the test engines paint: their colour, with a gradient so that it is not empty."""
    ramp = np.linspace(0.8, 1.0, size, dtype=np.float32)
    return np.stack([np.tile(ramp * c, (size, 1)) for c in PAINT])


class AlwaysAFace:
    """The most careless U there can be: it sees a perfect face in everything."""

    name = "always a face"

    def __init__(self, points: np.ndarray = FACE) -> None:
        places = torch.from_numpy((points + 0.5) * SIZES.size_px - 0.5).float()[None]
        self.maps = draw_targets(places, IBUG68, SIZES.size_px, sigma_map=1.0).numpy()
        self.faces = painted(SIZES.size_px)[None]
        self.calls = 0

    def __call__(self, frames: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        return self.faces.copy(), self.maps.copy()


class PlaceReader:
    """A U that reads where it looks off the colours of a frame of :func:`place_frame`.

    Args:
        head: Middle and size of the head's window, px of the frame; None for nobody.
        frame: Width and height of the frame, px.
    """

    name = "place reader"

    def __init__(self, head: tuple[float, float, float] | None, frame: tuple[int, int]) -> None:
        self.head, self.frame = head, frame

    def __call__(self, frames: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = SIZES.size_px
        x_px = frames[0, 0].mean(0) * self.frame[0]  # of every column
        y_px = frames[0, 1].mean(1) * self.frame[1]
        maps = np.zeros((1, 69, size // 4, size // 4), np.float32)
        if self.head is not None:
            points = FACE * self.head[2] + self.head[:2]
            inner = slice(2, -2)  # edges may be repeated pixels
            at = np.arange(size)
            fx = np.polyfit(x_px[inner], at[inner], 1) if np.ptp(x_px) > 1 else (0.0, -99.0)
            fy = np.polyfit(y_px[inner], at[inner], 1) if np.ptp(y_px) > 1 else (0.0, -99.0)
            places = np.stack([np.polyval(fx, points[:, 0]), np.polyval(fy, points[:, 1])], 1)
            maps = draw_targets(
                torch.from_numpy(places).float()[None], IBUG68, size, sigma_map=1.0
            ).numpy()
        return painted(size)[None], maps


def place_frame(width: int, height: int) -> np.ndarray:
    """A frame whose red tells the column and whose green tells the row."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    return np.rint(np.stack([x, y, 0 * x], -1) * 255).astype(np.uint8)


class Steps:
    """Reader, watch and core of one rig, driven by hand."""

    def __init__(self, rig: Rig, bundle: bundles.Bundle, settings: LiveSettings, checks=()):
        self.rig, self.bundle = rig, bundle
        self.core = LiveCore(bundle, rig.config.bench, rig.clock, settings)
        self.watch = MirrorWatch(rig, settings.recover_s, checks)
        self.reader = FrameReader(rig, settings.recover_s)
        self.watch.look()

    def step(self, engine):
        """Take one frame through; None when the camera gave none."""
        frame = self.reader.next(0.1)
        if frame is None:
            self.watch.look()
            return None, None
        painting = self.core.paint(frame, engine)
        self.watch.look()
        shown, view = self.core.show(painting, self.watch.confirm(frame, 0.0), None)
        return shown, view


@contextmanager
def stepped(tmp_path: Path, bundle, settings=LiveSettings(height_px=64), faults=(), checks=()):
    """Open the simulated rig before an even wall, on a clock moved by hand."""
    config = load_config("simulated")
    small = CameraOptions(sensor=SensorOptions(size=(240, 160), exposure_s=1 / 600))
    twin = config.twin.model_copy(
        update={
            "scene": FlatOptions(kind="flat"),
            "faults": FaultOptions(script=tuple(faults)),
            "privacy": small,
        }
    )
    storage = StorageConfig(root=tmp_path / "data", keys=tmp_path / "keys")
    config = config.model_copy(update={"storage": storage, "twin": twin})
    with Rig.open(config, clock=ManualClock(), only={"privacy", "mirror"}) as rig:
        steps = Steps(rig, bundle, settings, checks)
        try:
            yield steps
        finally:
            steps.watch.stop()

"""Privacy frames that an int8 network is made with, and others that it is judged by.

Noise would do for arithmetic, but int8 is judged by what it does to landmarks and faces,
and those are there in real frames only. A bundle of synthetic heads carries the frames it
was judged by, so that every machine judges by the same ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from camera_rig.errors import ConfigError, StorageError
from models.data import open_folder, planar
from models.runtime.bundle import Bundle
from models.runtime.engine import fixed_inputs

__all__ = ["GATE_FRAMES", "FrameSet", "frames_of_folder", "frames_of_heads", "gate_inputs"]

GATE_FRAMES = "gate_frames.png"
"""File of a bundle: frames one below the other."""

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
_RANGES, _JUDGING, _CARRIED = 36, 12, 6
_HEADS, _JUDGES, _FRAMES = 24, 4, 3


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Square privacy frames of the networks' size, RGB.

    Args:
        ranges: Show the ranges of the activations.
        judging: Kept out of that; the finished networks are judged by them.
    """

    ranges: tuple[Picture, ...]
    judging: tuple[Picture, ...]

    def carried(self) -> Picture:
        """Return the frames that a bundle carries, one below the other."""
        return np.concatenate(_spread(self.judging, _CARRIED))


def frames_of_folder(folder: Path, size_px: int) -> FrameSet:
    """Take a folder's frames; the last quarter, by name, judges.

    Raises:
        ConfigError: Fewer than eight pictures.
    """
    faces = open_folder(folder, size_px)
    if len(faces) < 8:
        raise ConfigError(
            f"{folder} holds {len(faces)} pictures", hint="give eight privacy frames or more"
        )
    cut = 3 * len(faces) // 4
    numbers = _spread(range(cut), _RANGES), _spread(range(cut, len(faces)), _JUDGING)
    ranges, judging = (tuple(faces[i].picture for i in some) for some in numbers)
    return FrameSet(ranges, judging)


def frames_of_heads(bundle: Bundle, report: Callable[[int, int], None] | None = None) -> FrameSet:
    """Render synthetic heads through the bundle's optics: some it may know, some it cannot.

    Args:
        bundle: Gives optics and size.
        report: Called with heads done and heads in all.
    """
    from models.heads import TEST_SEEDS, TRAINING_SEEDS

    total = _HEADS + _JUDGES

    def after(before: int) -> Callable[[int, int], None] | None:
        return None if report is None else lambda done, _: report(before + done, total)

    return FrameSet(
        _rendered(bundle, TRAINING_SEEDS[:_HEADS], after(0)),
        _rendered(bundle, TEST_SEEDS[:_JUDGES], after(_HEADS)),
    )


def gate_inputs(bundle: Bundle) -> tuple[Floats, Floats]:
    """Return what engines are compared on: the frames a bundle carries, or smooth noise.

    Raises:
        StorageError: The bundle's frames cannot be read.
    """
    sizes = bundle.card.sizes
    if GATE_FRAMES not in bundle.card.files:
        return fixed_inputs(sizes.size_px, sizes.style_dim)
    strip = cv2.imread(str(bundle.folder / GATE_FRAMES), cv2.IMREAD_COLOR_RGB)
    if strip is None or strip.shape[1] != sizes.size_px or strip.shape[0] % sizes.size_px:
        raise StorageError(
            f"{bundle.folder / GATE_FRAMES} cannot be read", hint="get the bundle again"
        )
    pictures = np.split(np.asarray(strip, np.uint8), len(strip) // sizes.size_px)
    return inputs_of(bundle, pictures)


def inputs_of(bundle: Bundle, pictures: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return frames and, in turn, the bundle's own styles, as an engine takes them."""
    frames = np.stack([planar(picture) for picture in np.asarray(pictures)])
    codes = [reference.style for reference in bundle.references().values()]
    return frames, np.stack([codes[(5 * i) % len(codes)] for i in range(len(frames))])


def _rendered(
    bundle: Bundle, seeds: range, report: Callable[[int, int], None] | None
) -> tuple[Picture, ...]:
    import torch

    from models.heads import HeadSetSettings, render_heads
    from models.training.config import FaceConfig
    from models.training.sources import front_end

    camera = front_end(FaceConfig(), bundle.trained, bundle.card.optics)
    noise = torch.Generator().manual_seed(seeds.start)
    size_px = bundle.card.sizes.size_px
    with tempfile.TemporaryDirectory() as aside, torch.inference_mode():
        settings = HeadSetSettings(tuple(seeds), _FRAMES, size_px)
        faces = open_folder(render_heads(Path(aside) / "heads", settings, report), size_px)
        found = []
        for number in range(len(faces)):
            scene = torch.from_numpy(planar(faces[number].picture))[None]
            frame = camera(scene, torch.randn(scene.shape, generator=noise))[0].clamp(0.0, 1.0)
            found.append(np.rint(255.0 * frame.permute(1, 2, 0).numpy()).astype(np.uint8))
    return tuple(found)


def _spread(things: range | tuple[Picture, ...], count: int) -> list:
    """Return at most ``count`` of some things, evenly spread."""
    count = min(count, len(things))
    return [things[i * len(things) // count] for i in range(count)]

"""Is there still a face, and is it where it was: detection, boxes, landmarks, pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float64]]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""

REFERENCE_SIZE_PX = 256
"""Size at which boxes and landmarks are compared, as the published tables do."""


@dataclass(frozen=True)
class DetectionFigures:
    """How well a detector finds outputs where the originals were.

    Args:
        rate: Share of outputs in which it finds a face.
        box_l1_px: Mean absolute difference of the four box sides at 256 pixels, over
            pictures where both boxes were found; None where there is none.
        overlap: Mean intersection over union of these boxes.
        both: Pictures with both boxes.
        total: All pictures.
    """

    rate: float
    box_l1_px: float | None
    overlap: float | None
    both: int
    total: int


def detection_figures(
    originals: Sequence[Box | None], outputs: Sequence[Box | None], size_px: int
) -> DetectionFigures:
    """Return the figures of one detector.

    Args:
        originals: Box found in each original, or None.
        outputs: Box found in each output, or None.
        size_px: Width of the pictures that the boxes belong to.
    """
    if len(originals) != len(outputs) or not outputs:
        raise ConfigError(
            f"{len(originals)} originals and {len(outputs)} outputs",
            hint="one box, or None, for every picture of both",
        )
    scale = REFERENCE_SIZE_PX / size_px
    both = [
        (np.array(a) * scale, np.array(b) * scale)
        for a, b in zip(originals, outputs, strict=True)
        if a is not None and b is not None
    ]
    return DetectionFigures(
        rate=sum(b is not None for b in outputs) / len(outputs),
        box_l1_px=float(np.mean([np.abs(a - b).mean() for a, b in both])) if both else None,
        overlap=float(np.mean([overlap(tuple(a), tuple(b)) for a, b in both])) if both else None,
        both=len(both),
        total=len(outputs),
    )


def overlap(first: Box, second: Box) -> float:
    """Return intersection over union of two boxes, 0 … 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return float(shared / (areas - shared)) if areas > shared else 0.0


def landmark_l1_px(first: Floats, second: Floats, size_px: int) -> float:
    """Return the mean absolute coordinate difference at 256 pixels (the paper's LM).

    Args:
        first: ``(n, points, 2)``, pixels.
        second: The same shape.
        size_px: Width of the pictures they belong to.
    """
    a, b = _points(first, second)
    return float(np.abs(a - b).mean() * REFERENCE_SIZE_PX / size_px)


def landmark_distance_px(first: Floats, second: Floats, size_px: int) -> float:
    """Return the mean distance of landmarks at 256 pixels."""
    a, b = _points(first, second)
    return float(np.linalg.norm(a - b, axis=-1).mean() * REFERENCE_SIZE_PX / size_px)


def normalised_mean_error(found: Floats, truth: Floats, corners: tuple[int, int]) -> float:
    """Return the mean landmark distance over the distance of the outer eye corners.

    Args:
        found: ``(n, points, 2)``, pixels.
        truth: The same shape.
        corners: Numbers of the two outer eye corners.
    """
    a, b = _points(found, truth)
    eyes = np.linalg.norm(b[:, corners[0]] - b[:, corners[1]], axis=-1)
    return float((np.linalg.norm(a - b, axis=-1).mean(1) / eyes).mean())


def pose_error_deg(first: Floats, second: Floats, *, offset: bool = False) -> Floats:
    """Return the mean absolute error of yaw, pitch and roll, degrees.

    Args:
        first: ``(n, 3)`` degrees.
        second: ``(n, 3)`` degrees.
        offset: Take out a constant difference first, which estimators have.
    """
    away = np.asarray(first, float) - np.asarray(second, float)
    away = (away + 180.0) % 360.0 - 180.0
    if offset:
        away = away - np.median(away, axis=0)
    return np.abs(away).mean(0)


def openness(landmarks: Floats, upper: Sequence[int], lower: Sequence[int],
             corners: tuple[int, int]) -> Floats:  # fmt: skip
    """Return how open an eye or a mouth is: height over width, one value per picture.

    Args:
        landmarks: ``(n, points, 2)``, pixels.
        upper: Points of the upper rim.
        lower: Points of the lower rim, in the same order.
        corners: Its two corners.
    """
    points = np.asarray(landmarks, float)
    height = np.linalg.norm(points[:, list(upper)] - points[:, list(lower)], axis=-1).mean(1)
    width = np.linalg.norm(points[:, corners[0]] - points[:, corners[1]], axis=-1)
    return height / np.maximum(width, 1e-9)


def jitter_px(landmarks: Floats) -> float:
    """Return the mean second difference of landmarks over time, pixels: 0 for even motion."""
    points = np.asarray(landmarks, float)
    if len(points) < 3:
        raise ConfigError("jitter needs three frames", hint="give a longer video")
    bend = points[2:] - 2.0 * points[1:-1] + points[:-2]
    return float(np.linalg.norm(bend, axis=-1).mean())


def _points(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or a.ndim != 3 or a.shape[-1] != 2:
        raise ConfigError(
            f"landmarks of shapes {a.shape} and {b.shape}", hint="give (pictures, points, 2) twice"
        )
    return a, b

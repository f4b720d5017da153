"""Do face, eyes and mouth cover the same area in the output as they should: masks from points.

No network that parses faces is at hand, so the area of a feature is the polygon through its
landmarks: the face from the jaw to the brows, both eyes, the mouth with its lips. Hair, neck
and forehead have no landmarks and are not judged. On rendered heads the polygons of the
exact landmarks are the truth; the renderer's own part masks check these polygons in a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.evaluation.embedders import Floats

__all__ = ["AREAS", "Mask", "area_overlaps", "masks_of"]

Mask = np.ndarray[Any, np.dtype[np.bool_]]

AREAS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "face": ((*range(17), *range(26, 16, -1)),),
    "eyes": (tuple(range(36, 42)), tuple(range(42, 48))),
    "mouth": (tuple(range(48, 60)),),
}
"""Feature to its polygons, each a round of iBUG landmarks (from 0)."""

_CANVAS_PX = 512
_SHIFT = 6  # bits behind the point in OpenCV's coordinates


def masks_of(points_px: Floats, size_px: int, canvas_px: int = _CANVAS_PX) -> dict[str, Mask]:
    """Return feature to mask ``(canvas, canvas)`` of one face.

    Args:
        points_px: ``(68, 2)`` x, y; pixel centres are whole numbers.
        size_px: Width of the picture that they belong to.
        canvas_px: Width of the masks: finer than the picture, so that small areas count.
    """
    import cv2

    scale = canvas_px / size_px
    places = (np.asarray(points_px, dtype=np.float64) + 0.5) * scale - 0.5
    fixed = np.round(places * 2**_SHIFT).astype(np.int32)
    found = {}
    for name, rounds in AREAS.items():
        canvas = np.zeros((canvas_px, canvas_px), np.uint8)
        for corners in rounds:  # one by one: where two cross, both count
            cv2.fillPoly(canvas, [fixed[list(corners)]], 1, shift=_SHIFT)
        found[name] = canvas.astype(bool)
    return found


def area_overlaps(found: Floats, wanted: Floats, size_px: int) -> dict[str, Floats]:
    """Return feature to intersection over union, ``(references, samples)``; NaN without a face.

    Args:
        found: ``(references, samples, 68, 2)`` points read in the outputs; NaN where none were.
        wanted: ``(samples, 68, 2)`` or ``(references, samples, 68, 2)`` points as they should be.
        size_px: Width of the pictures.
    """
    truth = np.broadcast_to(wanted, found.shape)
    tables = {name: np.full(found.shape[:2], np.nan) for name in AREAS}
    for column in range(found.shape[1]):
        known: dict[bytes, dict[str, Mask]] = {}
        for row in range(found.shape[0]):
            here, there = found[row, column], truth[row, column]
            if not (np.isfinite(here).all() and np.isfinite(there).all()):
                continue
            should = known.setdefault(there.tobytes(), masks_of(there, size_px))
            for name, mask in masks_of(here, size_px).items():
                either = np.count_nonzero(mask | should[name])
                both = np.count_nonzero(mask & should[name])
                tables[name][row, column] = both / either if either else np.nan
    return tables

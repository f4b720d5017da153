"""Finding the one face of a side frame, and following it from frame to frame."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from camera_rig.contracts import Pixels
from camera_rig.errors import ConnectError
from camera_rig.recording.registration import CropBox
from camera_rig.recording.truth import FrameTruth

__all__ = ["BoxTrack", "DlibFaces", "Face", "FaceFinder", "TruthFaces"]

MARGIN = 1.9
"""Side of the crop over the width of the face: hair and chin are in it."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face on the side frame.

    Args:
        x_px: Centre, px.
        y_px: Centre, px.
        width_px: Width from ear to ear, px.
        score: Sureness of the detector; 1 is certain.
        eyes_closed: 0 open to 1 closed; None where the detector cannot tell.
        yaw_deg: Turn of the head, degrees; None where the detector cannot tell.
    """

    x_px: float
    y_px: float
    width_px: float
    score: float = 1.0
    eyes_closed: float | None = None
    yaw_deg: float | None = None


class FaceFinder(Protocol):
    """Finds all faces of a side frame."""

    def find(self, pixels: Pixels, truth: FrameTruth | None) -> list[Face]:
        """Return the faces, the surest first."""
        ...


class TruthFaces:
    """Takes the face of a simulated take from its truth: needs no detector, never misses."""

    def find(self, pixels: Pixels, truth: FrameTruth | None) -> list[Face]:
        """Return the one true face, or none."""
        if truth is None or not len(truth.landmarks_px):
            return []
        low, high = truth.landmarks_px.min(axis=0), truth.landmarks_px.max(axis=0)
        centre = (low + high) / 2
        # Landmarks end at the brows; the forehead is a quarter of their height above.
        height = (high[1] - low[1]) * 1.25
        return [
            Face(
                x_px=float(centre[0]),
                y_px=float(high[1] - height / 2),
                width_px=float(max(high[0] - low[0], height * 0.8)),
                eyes_closed=truth.eyes_closed,
                yaw_deg=truth.yaw_deg,
            )
        ]


class DlibFaces:
    """dlib's frontal face detector (extra ``evaluate``); runs on the processor, needs no file.

    Args:
        max_side_px: Larger frames are halved until they fit, for speed.
    """

    def __init__(self, max_side_px: int = 800) -> None:
        try:
            dlib = importlib.import_module("dlib")
        except ImportError as error:
            raise ConnectError(
                "the face detector needs the package dlib", hint="pip install camera-rig[evaluate]"
            ) from error
        self._make: Callable[[], Any] = dlib.get_frontal_face_detector
        self._own = threading.local()  # a detector keeps buffers, so each thread has its own
        self._max_side_px = max_side_px

    def _detector(self) -> Any:
        if not hasattr(self._own, "detector"):
            self._own.detector = self._make()
        return self._own.detector

    def find(self, pixels: Pixels, truth: FrameTruth | None) -> list[Face]:
        """Return the faces, the surest first; uses no truth."""
        import cv2

        grey = _grey8(pixels)
        step = 1
        while max(grey.shape) > self._max_side_px * step:
            step *= 2
        if step > 1:
            size = (grey.shape[1] // step, grey.shape[0] // step)
            grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        boxes, scores, _ = self._detector().run(grey, 0, -0.2)
        found = [
            Face(
                x_px=(box.left() + box.right()) / 2 * step,
                y_px=(box.top() + box.bottom()) / 2 * step,
                width_px=(box.right() - box.left()) * step,
                score=float(score),
            )
            for box, score in zip(boxes, scores, strict=True)
        ]
        return sorted(found, key=lambda face: -face.score)


class BoxTrack:
    """Follows one face: smooth in place and size, bridges short misses, tells jumps.

    Args:
        smooth: Weight of the newest face, 0 to 1.
        patience: Frames that a face may be missed before the track ends.
    """

    def __init__(self, smooth: float = 0.3, patience: int = 5) -> None:
        self._smooth, self._patience = smooth, patience
        self._box: CropBox | None = None
        self._missed = 0

    def follow(self, face: Face | None) -> CropBox | None:
        """Return the crop for this frame, or None when the face is lost."""
        if face is None:
            self._missed += 1
            if self._missed > self._patience:
                self._box = None
            return self._box
        self._missed = 0
        fresh = CropBox(face.x_px, face.y_px, face.width_px * MARGIN)
        old = self._box
        if old is None or np.hypot(fresh.x_px - old.x_px, fresh.y_px - old.y_px) > old.size_px / 2:
            self._box = fresh
        else:
            self._box = CropBox(
                *(
                    getattr(old, name) + self._smooth * (getattr(fresh, name) - getattr(old, name))
                    for name in ("x_px", "y_px", "size_px")
                )
            )
        return self._box


def _grey8(pixels: Pixels) -> npt.NDArray[np.uint8]:
    import cv2

    eight = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    grey = eight if eight.ndim == 2 else cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(grey, dtype=np.uint8)

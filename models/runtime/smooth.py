"""Temporal smoothing that leaves no ghosts: what stands still is averaged, what moves is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Smoother"]

_NOISE = 6.0
_MOTION = 18.0


class Smoother:
    """Blends each painted face with the one before, where the two agree.

    The weight of the past falls from ``strength`` to 0 as the difference, itself smoothed
    over a few pixels, grows from noise to motion. Only painted faces go in and out.

    Args:
        strength: Largest weight of the past, 0 to 0.9.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._past: npt.NDArray[np.float32] | None = None
        self._track: int | None = None

    def reset(self) -> None:
        """Forget the past, as after a card."""
        self._past = None

    def __call__(self, face: npt.NDArray[np.float32], track: int) -> npt.NDArray[np.float32]:
        """Return the smoothed face.

        Args:
            face: ``(size, size, 3)``, grey values 0 … 255.
            track: Number of the track; another one starts anew.
        """
        import cv2

        past, same = self._past, track == self._track
        self._track = track
        if self._strength <= 0.0 or past is None or not same or past.shape != face.shape:
            self._past = face
            return face
        away = cv2.blur(np.abs(face - past).max(axis=2), (7, 7))
        # A moving edge changes what is around it a moment later: look a little farther.
        away = cv2.dilate(away, np.ones((7, 7), np.uint8))
        still = np.clip((_MOTION - away) / (_MOTION - _NOISE), 0.0, 1.0)
        weight = (self._strength * still)[..., None]
        self._past = np.asarray(face + weight * (past - face), dtype=np.float32)
        return self._past

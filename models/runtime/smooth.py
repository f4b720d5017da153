"""Temporal smoothing that leaves no ghosts: what stands still is averaged, what moves is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Smoother"]

_NOISE = 6.0
_MOTION = 18.0
_NEAR = np.ones((7, 7), np.uint8)
_WEIGHTS = np.clip((_MOTION - np.arange(256)) / (_MOTION - _NOISE), 0.0, 1.0).astype(np.float32)
"""Share of the past for every difference, 0 to 255."""


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
        # In eight bits, channel by channel: a fifth of the time of the same in float.
        apart = cv2.split(cv2.convertScaleAbs(face - past))
        away = cv2.blur(cv2.max(cv2.max(apart[0], apart[1]), apart[2]), (7, 7))
        # A moving edge changes what is around it a moment later: look a little farther.
        away = cv2.dilate(away, _NEAR)
        weight = _WEIGHTS[away] * np.float32(self._strength)
        self._past = np.asarray(face + cv2.merge([weight] * 3) * (past - face), dtype=np.float32)
        return self._past

"""Where the head is, without a detector: the window follows U's own landmarks.

While a head is followed, its window for the next frame comes from the landmarks of this
one. Before that, and after it was lost, windows of a coarse grid are tried, a few per
frame, from the likeliest place outwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.runtime.gate import FaceRules, Finding
from models.runtime.live_data import FaceBox, Picture

__all__ = ["Tracker", "Window", "cut"]

SEARCH_SCALES = (1.0, 0.8, 1.25)
_STRIDE = 0.5
_PATIENCE = 6
_STILL = 0.02
_FAST = 0.10


class Window:
    """A square cut out of a privacy frame and brought to the networks' size.

    Args:
        picture: ``(size, size, 3)`` RGB.
        left_px: Place of its left edge on the frame, px.
        top_px: Place of its upper edge, px.
        side_px: Its side on the frame, px.
    """

    __slots__ = ("left_px", "picture", "side_px", "top_px")

    def __init__(self, picture: Picture, left_px: int, top_px: int, side_px: int) -> None:
        self.picture, self.left_px, self.top_px, self.side_px = picture, left_px, top_px, side_px

    def to_frame(self, shares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return pixels of the frame for shares of the window."""
        corner = np.array([self.left_px, self.top_px], dtype=np.float32)
        return np.asarray(shares * self.side_px - 0.5 + corner, dtype=np.float32)


def cut(pixels: Picture, box: FaceBox, size_px: int) -> Window:
    """Cut a box out of a frame; beyond the frame its edge is repeated, as in training."""
    import cv2

    height, width = pixels.shape[:2]
    side = max(8, 2 * round(box.size_px / 2))
    left, top = round(box.x_px + 0.5 - side / 2), round(box.y_px + 0.5 - side / 2)
    inner = pixels[
        min(max(top, 0), height - 1) : min(max(top + side, 1), height),
        min(max(left, 0), width - 1) : min(max(left + side, 1), width),
    ]
    beyond = (
        max(0, min(-top, side - inner.shape[0])),
        0,
        max(0, min(-left, side - inner.shape[1])),
        0,
    )
    if inner.shape[:2] != (side, side):
        below, right = side - inner.shape[0] - beyond[0], side - inner.shape[1] - beyond[2]
        inner = cv2.copyMakeBorder(
            inner, beyond[0], below, beyond[2], right, borderType=cv2.BORDER_REPLICATE
        )
    if side >= 2 * size_px and side % 2 == 0:
        # Halving has a fast way of its own, and leaves a quarter of the pixels to the rest.
        inner = cv2.resize(inner, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    picture = cv2.resize(inner, (size_px, size_px), interpolation=how)
    return Window(np.asarray(picture, dtype=np.uint8), left, top, side)


class Tracker:
    """Follows one head.

    Args:
        nominal_px: Side of the window at the bench's distance, px of the frame.
        rules: Where the landmarks of a face lie in its window.
        per_frame: Windows tried per frame while searching.
    """

    def __init__(self, nominal_px: float, rules: FaceRules, per_frame: int = 2) -> None:
        self._nominal_px, self._rules, self._per_frame = nominal_px, rules, per_frame
        self.box: FaceBox | None = None
        self.track = 0
        """Number of heads followed so far; a new number is a new track."""
        self._last: FaceBox | None = None
        self._missed = self._place = 0
        self._grid: list[FaceBox] = []
        self._grid_of: tuple[int, int, FaceBox | None] | None = None

    def windows(self, width_px: int, height_px: int) -> list[FaceBox]:
        """Return the boxes to look at in this frame: the head's, or the next of the search."""
        if self.box is not None:
            return [self.box]
        key = (width_px, height_px, self._last)
        if self._grid_of != key:
            self._grid_of, self._place = key, 0
            self._grid = self._search_grid(width_px, height_px)
        count = min(self._per_frame, len(self._grid))
        chosen = [self._grid[(self._place + i) % len(self._grid)] for i in range(count)]
        self._place = (self._place + count) % len(self._grid)
        return chosen

    def found(self, window: Window, found: Finding) -> FaceBox:
        """Take over a head seen in a window; return its new box."""
        rules = self._rules
        low, high = 0.5 * self._nominal_px, 2.0 * self._nominal_px
        size = min(max(window.side_px * found.spread / rules.spread, low), high)
        middle = window.to_frame(
            np.array([[0.5 + found.middle[0], 0.5 + found.middle[1]]], dtype=np.float32)
        )[0]
        fresh = FaceBox(
            float(middle[0]) - rules.middle_x * size, float(middle[1]) - rules.middle_y * size, size
        )
        self.track += self.box is None
        self.box = fresh if self.box is None else _eased(self.box, fresh)
        self._missed, self._last = 0, self.box
        return self.box

    def missed(self) -> None:
        """Tell that no face was found; after a few frames the head counts as lost."""
        self._missed += 1
        if self._missed >= _PATIENCE:
            self.lose()

    def lose(self) -> None:
        """Forget the head, but not where it was."""
        self.box = None

    def _search_grid(self, width_px: int, height_px: int) -> list[FaceBox]:
        first = self._last or FaceBox((width_px - 1) / 2, (height_px - 1) / 2, self._nominal_px)
        boxes = [first]
        for scale in SEARCH_SCALES:
            size = min(scale * self._nominal_px, 1.2 * min(width_px, height_px))
            around = [
                FaceBox(x, y, size)
                for y in _line(first.y_px, height_px, size)
                for x in _line(first.x_px, width_px, size)
            ]
            around.sort(key=lambda b: np.hypot(b.x_px - first.x_px, b.y_px - first.y_px))
            boxes += around
        return boxes


def _line(anchor_px: float, length_px: int, size_px: float) -> list[float]:
    """Places along one side: the anchor and steps of half a window to both ends."""
    step, low, high = _STRIDE * size_px, 0.3 * size_px, length_px - 0.3 * size_px
    back = np.arange(anchor_px, low, -step)
    return [float(x) for x in (*back[::-1], *np.arange(anchor_px + step, high, step))]


def _eased(old: FaceBox, fresh: FaceBox) -> FaceBox:
    """Stand still for what is noise, follow at once what is motion."""
    dx, dy = fresh.x_px - old.x_px, fresh.y_px - old.y_px
    moved = float(np.hypot(dx, dy)) / old.size_px
    swift = min(0.9, 0.2 + 0.7 * (moved - _STILL) / (_FAST - _STILL))
    gain = 0.05 if moved < _STILL else swift
    grown = abs(fresh.size_px / old.size_px - 1.0)
    size_gain = 0.02 if grown < 0.05 else 0.15
    return FaceBox(
        old.x_px + gain * dx,
        old.y_px + gain * dy,
        old.size_px + size_gain * (fresh.size_px - old.size_px),
    )

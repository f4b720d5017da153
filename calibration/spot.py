"""Where a spot is, how wide, and how much light stands around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Spot", "background", "bin_pixels", "clear_light"]

Floats = npt.NDArray[np.floating[Any]]

RIM = 4
COARSE = 8


@dataclass(frozen=True)
class Spot:
    """First and second moments of the light that stands clear of the noise.

    Args:
        x_px: Centre from the axis (``size // 2``), px.
        y_px: The same along the rows, px.
        rms_px: RMS distance from the centre along one axis, px.
        background: Mean level of the window's rim, in the unit of the picture.
        light: Sum of what stands clear of the noise above that level (a weak halo is not in it).
    """

    x_px: float
    y_px: float
    rms_px: float
    background: float
    light: float

    @classmethod
    def of(cls, image: Floats) -> Spot:
        """Measure a square picture with an axis at ``size // 2``."""
        size = image.shape[0]
        level, noise = background(image)
        step = COARSE if size % COARSE == 0 and size >= 8 * COARSE else 2
        coarse = bin_pixels(np.asarray(image - level, dtype=np.float64), step)
        peak = coarse.max()
        clear = np.where(coarse > max(0.02 * peak, 4.0 * noise * step), coarse, 0.0)
        total = float(clear.sum())
        if total <= 0.0:
            return cls(0.0, 0.0, size / 4.0, level, 0.0)
        axis = (np.arange(size // step) + 0.5) * step - 0.5 - size // 2
        along_x, along_y = clear.sum(0) / total, clear.sum(1) / total
        x, y = float(along_x @ axis), float(along_y @ axis)
        spread = float(along_x @ (axis - x) ** 2 + along_y @ (axis - y) ** 2) / 2.0
        rms = math.sqrt(max(spread - step**2 / 12.0, 0.25))
        return cls(x, y, rms, level, total)


def background(image: Floats) -> tuple[float, float]:
    """Return (mean, standard deviation) of the rim, without its brightest tenth.

    A mean, not a median: counts are whole numbers, and a median of them is off by up
    to half a count at every pixel of the window.
    """
    rim = np.concatenate(
        [
            image[:RIM].ravel(),
            image[-RIM:].ravel(),
            image[RIM:-RIM, :RIM].ravel(),
            image[RIM:-RIM, -RIM:].ravel(),
        ]
    ).astype(np.float64)
    middle, spread = float(rim.mean()), float(rim.std())
    for _ in range(3):
        kept = rim[np.abs(rim - middle) <= 3.0 * spread + 1e-12]
        middle, spread = float(kept.mean()), float(kept.std())
    return middle, spread


def clear_light(image: Floats) -> Floats:
    """Return the picture above its background."""
    result: Floats = image - np.float32(background(image)[0])
    return result


def bin_pixels(pictures: Floats, size: int) -> Floats:
    """Return pictures ``(..., h, w)`` summed over squares of ``size`` px."""
    if size == 1:
        return pictures
    *lead, height, width = pictures.shape
    rows = pictures.reshape(*lead, height // size, size, width).sum(-2)
    out: Floats = rows.reshape(*lead, height // size, width // size, size).sum(-1)
    return out

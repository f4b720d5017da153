"""A pinhole behind the optics: its disc spread by the PSF, straight onto the sensor.

A point is what PSF work measures, down to a ten-thousandth of its peak. So nothing is
approximated here: no coarse grid, a wide window, and light that falls beyond it is lost,
not shared out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.scene import Field
from camera_rig.twin.targets import disc_coverage

__all__ = ["draw_spot"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


def draw_spot(
    kernel: Floats32, place_px: Floats, radius_px: float, level: float, out: Floats32
) -> None:
    """Fill a picture with one spread disc.

    Args:
        kernel: (3, n, n) energy shares on sensor pixels, axis at ``n // 2``.
        place_px: (x, y) of the disc's middle on the sensor, px.
        radius_px: Radius of the disc, px.
        level: Relative light of the disc.
        out: (3, H, W), overwritten.
    """
    import cv2

    out[:] = 0.0
    half = math.ceil(radius_px) + 1
    left, top = (round(float(place)) - half for place in place_px)
    stamp = level * disc_coverage(
        Field(height_px=2 * half + 1, width_px=2 * half + 1),
        (float(place_px[0]) - left, float(place_px[1]) - top),
        radius_px,
    )
    middle = kernel.shape[-1] // 2
    first = np.array([top - middle, left - middle])  # where the spread stamp begins
    turned = np.ascontiguousarray(stamp[::-1, ::-1], dtype=np.float32)
    begin = np.maximum(first, 0)
    for plane, target in zip(kernel, out, strict=True):
        padded = cv2.copyMakeBorder(plane, half, half, half, half, cv2.BORDER_CONSTANT)
        spread = cv2.filter2D(padded, -1, turned, borderType=cv2.BORDER_CONSTANT)
        end = np.minimum(first + spread.shape, target.shape)
        if (end > begin).all():
            rows, columns = (slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))
            there = spread[tuple(slice(int(a - f), int(b - f)) for a, b, f in zip(
                begin, end, first, strict=True))]  # fmt: skip
            target[rows, columns] = there

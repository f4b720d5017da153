"""Linear pictures of one colour: what calibration may measure with, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.contracts import Camera, CameraMode, CameraSettings, Frame
from camera_rig.errors import UnsupportedError

__all__ = ["LinearPicture", "lowest_iso", "mean_picture", "set_still", "take"]

Floats = npt.NDArray[np.floating[Any]]
GREEN = 1


@dataclass(frozen=True, eq=False)
class LinearPicture:
    """One colour of a linear still.

    Args:
        counts: ``(height, width)``, raw steps above the black level the camera states.
        valid: False where another colour's pixel stands (Bayer), else None.
        top: Raw steps above black at which the converter ends.
        exposure_s: Exposure time, s.
        iso: ISO speed, 0 if the camera does not tell.
    """

    counts: Floats
    valid: npt.NDArray[np.bool_] | None
    top: float
    exposure_s: float
    iso: int


def set_still(camera: Camera, exposure_s: float, iso: int | None) -> CameraSettings:
    """Set linear stills; refuse a camera that has none.

    Raises:
        UnsupportedError: The camera has no linear stills: gamma-coded pictures have lost
            what a PSF fit needs.
    """
    able = camera.capabilities
    if CameraMode.STILL not in able.linear_modes:
        raise UnsupportedError(
            f"{camera.name} gives no linear stills, only gamma-coded pictures",
            hint="use a camera with raw stills for calibration, or set its driver to raw",
        )
    settings = CameraSettings(exposure_s=exposure_s, iso=iso, mode=CameraMode.STILL, linear=True)
    return camera.configure(settings)


def lowest_iso(camera: Camera) -> int | None:
    """Return the lowest ISO offered: the most electrons per step; None where there is none."""
    offered = camera.capabilities.iso
    return min(offered) if offered else None


def take(camera: Camera, channel: int = GREEN) -> LinearPicture:
    """Take one linear still and return one colour of it."""
    return read(camera.snap(), channel)


def read(frame: Frame, channel: int = GREEN) -> LinearPicture:
    """Return one colour of a frame.

    Raises:
        UnsupportedError: The frame is gamma-coded.
    """
    if not frame.linear:
        raise UnsupportedError(
            f"camera {frame.camera} sent a gamma-coded picture",
            hint="switch it to linear (raw) stills; live view cannot be used here",
        )
    black = float(frame.meta.get("black_level", 0))
    bits = int(frame.meta.get("bits", 8 * frame.pixels.dtype.itemsize))
    top = 2.0**bits - 1.0 - black
    valid: npt.NDArray[np.bool_] | None = None
    pixels = frame.pixels
    if pixels.ndim == 3:
        pixels = pixels[..., channel]
    elif mosaic := str(frame.meta.get("mosaic", "")):
        letters = np.array(list(mosaic)).reshape(2, 2) == "RGB"[channel]
        rows, columns = pixels.shape
        valid = np.tile(letters, (rows // 2 + 1, columns // 2 + 1))[:rows, :columns]
    counts = pixels.astype(np.float32) - np.float32(black)
    return LinearPicture(counts, valid, top, frame.exposure_s, int(frame.meta.get("iso", 0)))


def mean_picture(camera: Camera, count: int, channel: int = GREEN) -> LinearPicture:
    """Return the mean of several stills."""
    first = take(camera, channel)
    total = first.counts.astype(np.float64)
    for _ in range(count - 1):
        total += take(camera, channel).counts
    mean = (total / count).astype(np.float32)
    return LinearPicture(mean, first.valid, first.top, first.exposure_s, first.iso)

"""What the PSF at rest does to the places of things in the privacy picture.

A lopsided PSF moves an edge by a pixel or more, and a fine pattern not as a coarse one. So
a registration by pictures is that of the chief ray only after the PSF is allowed for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.point_camera import pupil_of
from calibration.procedure import Context
from camera_rig.optics import Coefficients, Pupil, Unit, compute_psf

__all__ = ["as_seen", "resting_kernel"]

_LUMA = (0.299, 0.587, 0.114)
_REACH_PX = 48


def resting_kernel(context: Context) -> npt.NDArray[np.float64] | None:
    """Return the white PSF at rest from the calibration in use, axis in the middle, row 0 on top.

    None when there is no PSF calibration that still holds.
    """
    psf = context.optional("psf")
    if psf is None:
        return None
    um = {int(j): float(v) for j, v in psf.payload["shape_um"].items()}
    shape = Coefficients.numbered(um, Unit.UM_RMS, "noll")
    green = pupil_of(context)
    pupil = Pupil(
        diameter_mm=green.diameter_mm,
        focal_length_mm=green.focal_length_mm,
        pixel_um=green.pixel_um,
        wavelengths_nm=context.rig.config.bench.wavelengths_nm,
    )
    planes = compute_psf(shape, pupil, 2 * _REACH_PX).pixels
    white = np.tensordot(_LUMA, planes / planes.sum(axis=(1, 2), keepdims=True), axes=1)
    # Rows of a PSF grow with y; those of a picture go down. The axis lies at size // 2.
    return np.asarray(white[:0:-1, 1:])


def as_seen(picture: Any, kernel: npt.NDArray[np.float64]) -> Any:
    """Return an 8-bit sRGB-coded picture blurred in linear light by a kernel, float32."""
    from scipy.signal import fftconvolve

    reach = kernel.shape[0] // 2
    light = (np.pad(picture, reach, mode="edge").astype(np.float64) / 255.0) ** 2.2
    blurred = fftconvolve(light, kernel, mode="valid")
    return (255.0 * np.clip(blurred, 0.0, 1.0) ** (1 / 2.2)).astype(np.float32)

"""Point spread functions as small pictures: predicted from a shape, measured on the bench."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from camera_rig.bench import Bench
    from camera_rig.config import RigConfig
    from camera_rig.optics import Mode

__all__ = ["measured", "predicted"]

_SHOWN = 48
"""Side of the predicted thumbnail, wavelengths times f-number."""

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def predicted(shape_um: dict[Mode, float], bench: Bench) -> dict[str, Any]:
    """Return the PSF of a wavefront (µm RMS per mode) as a picture in three colours."""
    from cli._mirror_view import thumbnail

    pixels = thumbnail(shape_um, bench)
    # In the bench's order of wavelengths: red, green, blue. Row 0 of an array is at the bottom.
    middle = _middle(np.moveaxis(pixels, 0, -1)[::-1], _SHOWN)
    optics = bench.privacy
    pitch_um = bench.wavelengths_nm[1] * 1e-3 * optics.focal_length_mm / optics.pupil_diameter_mm
    return {"png": _png(middle), "width_um": len(middle) * pitch_um}


def measured(config: RigConfig) -> dict[str, Any] | None:
    """Return the newest PSF calibration in use as a picture, or None before one.

    It shows the bench with its mirror at rest: what the learned shape is added to.
    """
    from calibration.artifact import CalibrationStore

    store = CalibrationStore(config.calibration.root)
    artifact = store.active("psf")
    if artifact is None:
        return None
    plane = store.arrays(artifact)["image_e"][0][::-1]
    return {
        "png": _png(np.clip(plane, 0.0, None)),
        "width_px": len(plane),
        "made_at": artifact.made_at,
        "strehl": artifact.figures.get("strehl"),
        "status": artifact.status,
    }


def _middle(picture: Floats, side: int) -> Floats:
    edge = (len(picture) - side) // 2
    return picture[edge : edge + side, edge : edge + side]


def _png(light: Floats) -> str:
    """Return a PNG in base64: square root of the light, so that faint arms can be seen."""
    import cv2

    bright = np.sqrt(light / max(float(light.max()), 1e-30))
    grey = np.rint(bright * 255.0).astype(np.uint8)
    shown = grey[..., ::-1] if grey.ndim == 3 else grey
    _, coded = cv2.imencode(".png", np.ascontiguousarray(shown))
    return base64.b64encode(bytes(coded)).decode("ascii")

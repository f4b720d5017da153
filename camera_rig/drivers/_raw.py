"""RAW files decoded to linear light."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from camera_rig.errors import ConnectError

__all__ = ["decode_raw"]


def decode_raw(data: bytes) -> npt.NDArray[np.uint16]:
    """Return linear camera RGB, H×W×3 uint16, black at 0 and white at 65535.

    No white balance, no colour matrix, no brightening: a linear map of the sensor.
    """
    try:
        import rawpy
    except ImportError as error:
        raise ConnectError(
            "RAW pictures need the Python package rawpy",
            hint="`pip install 'camera-rig[canon]'`",
        ) from error
    with rawpy.imread(io.BytesIO(data)) as raw:
        pixels = raw.postprocess(
            gamma=(1, 1),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            output_bps=16,
            output_color=rawpy.ColorSpace.raw,
            user_wb=[1.0, 1.0, 1.0, 1.0],
            demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR,
            user_flip=0,
        )
    return np.asarray(pixels, np.uint16)

"""JPEG facts and decoding, one way for drivers, twin and recordings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from camera_rig.contracts import CodedPicture
from camera_rig.errors import StorageError

__all__ = ["coded_rgb", "decode_rgb", "jpeg_size"]

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return width and height (px) from the header; nothing is decoded.

    Raises:
        StorageError: The bytes are no JPEG or end before the frame header.
    """
    at = 2
    if bytes(data[:2]) == b"\xff\xd8":
        while at + 9 <= len(data) and data[at] == 0xFF:
            marker = data[at + 1]
            if marker in _START_OF_FRAME:
                return (data[at + 7] << 8) + data[at + 8], (data[at + 5] << 8) + data[at + 6]
            at += 2 if marker in _STANDALONE else 2 + (data[at + 2] << 8) + data[at + 3]
    raise StorageError(
        "the camera sent bytes that are no whole JPEG",
        hint="check the cable; if it stays, restart the camera",
    )


def coded_rgb(data: bytes) -> CodedPicture:
    """Return the JPEG as a picture that is decoded when somebody looks at it.

    Raises:
        StorageError: The bytes do not begin like a JPEG.
    """
    return CodedPicture(data, jpeg_size(data), decode_rgb)


def decode_rgb(encoded: bytes, shrink: int = 1) -> npt.NDArray[np.uint8]:
    """Return the picture as H×W×3 RGB, uint8, as the sensor has it: never turned.

    Args:
        encoded: The JPEG, or another picture that OpenCV reads.
        shrink: 1, 2, 4 or 8: decode at this fraction of the size, which is much cheaper.

    Raises:
        StorageError: The bytes do not decode.
    """
    import cv2

    # OpenCV has no name for "reduced, in RGB order": the bit of the reduction stands in "grey".
    reduced = {
        1: 0,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }
    flags = reduced[shrink] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    if pixels is None:
        raise StorageError(
            f"{len(encoded)} bytes from the camera do not decode as a picture",
            hint="check the cable; if it stays, restart the camera",
        )
    return np.asarray(pixels, np.uint8)

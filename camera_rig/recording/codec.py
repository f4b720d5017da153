"""Lossless forms for pictures that come uncompressed, chosen by measuring both speeds.

Bytes that a camera has encoded itself are stored as they came and never pass here.
``rdz`` is the difference of each row to the one ``lag`` rows above it, packed by
zstd level 1: with lag 2 the rows of a Bayer mosaic meet their own colour.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camera_rig.contracts import Frame, Pixels
from camera_rig.errors import StorageError, UnsupportedError

__all__ = ["CodecChoice", "choose_codec", "decode_picture", "encode_pixels", "native_extension"]

_HEAD = struct.Struct(">4sBBBBII")
"""magic, bytes per value, channels (0: two axes), lag, compressed?, rows, columns."""
_MAGIC = b"RDZ1"
RAW, DELTA1, DELTA2 = "raw", "rdz-lag1", "rdz-lag2"
CANDIDATES = (RAW, DELTA1, DELTA2)
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"\x89PNG", "png"),
    (4, b"ftypcrx", "cr3"),
    (0, b"II*\x00", "tif"),
)


@dataclass(frozen=True, slots=True)
class CodecChoice:
    """Which form a camera's uncompressed frames get, and the measurement behind it.

    Args:
        name: ``raw``, ``rdz-lag1`` or ``rdz-lag2``.
        encode_ms: Candidate to time for one frame on one core, ms.
        stored_bytes: Candidate to size of one frame, bytes.
    """

    name: str
    encode_ms: dict[str, float]
    stored_bytes: dict[str, int]


def native_extension(encoded: bytes) -> str:
    """Return the file extension of bytes as a camera sent them; ``bin`` if unknown."""
    for offset, magic, extension in _SIGNATURES:
        if encoded[offset : offset + len(magic)] == magic:
            return extension
    return "bin"


def choose_codec(
    frame: Frame,
    budget_ms: float,
    timer: Callable[[], float] = time.thread_time,
) -> CodecChoice:
    """Measure every candidate on ``frame`` and take the smallest within ``budget_ms`` (ms).

    ``timer`` gives CPU seconds of this thread. ``raw`` is taken when none fits.
    """
    times, sizes = {}, {}
    for name in CANDIDATES:
        runs = []
        for _ in range(3):
            start = timer()
            data = encode_pixels(frame.pixels, name)
            runs.append((timer() - start) * 1e3)
        times[name], sizes[name] = min(runs), len(data)
    fits = [name for name in CANDIDATES if times[name] <= budget_ms] or [RAW]
    best = min(fits, key=lambda name: sizes[name])
    return CodecChoice(best, {k: round(v, 3) for k, v in times.items()}, sizes)


def encode_pixels(pixels: Pixels, codec: str) -> bytes:
    """Return the stored form of a picture."""
    if codec not in CANDIDATES:
        raise UnsupportedError(f"no codec {codec!r}", hint=f"use one of {', '.join(CANDIDATES)}")
    px = np.ascontiguousarray(pixels)
    lag = {RAW: 0, DELTA1: 1, DELTA2: 2}[codec]
    head = _HEAD.pack(
        _MAGIC, px.itemsize, 0 if px.ndim == 2 else px.shape[2], lag, codec != RAW, *px.shape[:2]
    )
    if not lag:
        return head + px.tobytes()
    delta = np.empty_like(px)
    delta[:lag] = px[:lag]
    np.subtract(px[lag:], px[:-lag], out=delta[lag:])  # wraps, and unwraps on the way back
    return head + _compress(delta)


def decode_picture(extension: str, data: bytes) -> Pixels:
    """Return the pixels of stored bytes: H×W or H×W×3 in RGB order.

    Raises:
        StorageError: The bytes are damaged.
        UnsupportedError: There is no decoder for this form here.
    """
    if extension in {"rdz", "raw"}:
        return _decode_own(data)
    if extension in {"jpg", "png", "tif"}:
        return _decode_image(data, extension)
    raise UnsupportedError(
        f"pictures of kind {extension!r} cannot be decoded here",
        hint="export the take as a folder and use the camera maker's tool",
    )


def _decode_image(data: bytes, extension: str) -> Pixels:
    import cv2

    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if found is None:
        raise StorageError(f"a {extension} picture is damaged", hint="`rig take verify` the take")
    picture: Pixels = found if found.ndim == 2 else cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    return picture


def _decode_own(data: bytes) -> Pixels:
    try:
        magic, width, channels, lag, packed, rows, columns = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError("no such header")
        body = _decompress(data[_HEAD.size :]) if packed else data[_HEAD.size :]
        shape = (rows, columns) if channels == 0 else (rows, columns, channels)
        px: Pixels = np.frombuffer(body, np.dtype(f"u{width}")).reshape(shape)
    except (struct.error, TypeError, ValueError) as error:
        raise StorageError(
            f"an uncompressed picture is damaged: {error}", hint="`rig take verify` the take"
        ) from error
    if not lag:
        return px
    whole = np.empty_like(px)
    for phase in range(lag):
        np.cumsum(px[phase::lag], axis=0, dtype=px.dtype, out=whole[phase::lag])
    return whole


def _compress(array: Pixels) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(array.data)


def _decompress(data: bytes) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error

"""Pictures of the emulated body: a moving chart that obeys exposure, ISO and f-number."""

from __future__ import annotations

import functools
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["jpeg", "raw_dng", "with_comment"]

_PHASES = 32
_RAW_WHITE = 16383
_RAW_BLACK = 512


def _scene(size: tuple[int, int], phase: int) -> npt.NDArray[np.float32]:
    """Return linear reflectance, H×W×3: grey steps, colour patches and a moving bar."""
    width, height = size
    x = np.linspace(0, 1, width, endpoint=False, dtype=np.float32)
    y = np.linspace(0, 1, height, endpoint=False, dtype=np.float32)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = (0.02 + 0.16 * np.floor(x * 6))[None, :, None]
    lower = y > 0.6
    patches = np.array(
        [[0.8, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.15, 0.8], [0.7, 0.6, 0.1], [0.6, 0.1, 0.6]],
        np.float32,
    )
    picture[lower] = patches[np.minimum((x * 5).astype(int), 4)][None]
    bar = np.abs(x - (phase % _PHASES) / _PHASES) < 0.012
    picture[:, bar] = 0.9
    grain = np.random.default_rng(phase % _PHASES).standard_normal((height, width, 1), np.float32)
    return np.clip(picture * (1 + 0.08 * grain), 0, None)


@functools.lru_cache(maxsize=128)
def jpeg(size: tuple[int, int], phase: int, gain: float, quality: int = 90) -> bytes:
    """Return a gamma-coded JPEG of the chart.

    Args:
        size: Width and height, px.
        phase: Place of the moving bar, a frame number.
        gain: Scale of the light; 1 is well exposed.
        quality: JPEG quality, 1 to 100.
    """
    import cv2

    coded = np.clip(_scene(size, phase) * gain, 0, 1) ** (1 / 2.2)
    ok, data = cv2.imencode(
        ".jpg", (coded[..., ::-1] * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise ValueError("OpenCV could not encode the picture")
    return bytes(data)


def with_comment(jpeg_bytes: bytes, comment: str) -> bytes:
    """Return the JPEG with a comment segment, so that no two frames are the same bytes."""
    text = comment.encode()
    return jpeg_bytes[:2] + struct.pack(">HH", 0xFFFE, len(text) + 2) + text + jpeg_bytes[2:]


@functools.lru_cache(maxsize=8)
def raw_dng(size: tuple[int, int], phase: int, gain: float) -> bytes:
    """Return a 14-bit linear Bayer picture (RGGB) in a DNG container.

    The true body writes CR3, which nobody outside Canon writes. LibRaw looks at the
    content, not at the name, so the same decoding path runs.

    Args:
        size: Width and height, px.
        phase: Place of the moving bar, a frame number.
        gain: Scale of the light; 1 is well exposed.
    """
    width, height = (size[0] & ~1, size[1] & ~1)
    linear = np.clip(_scene((width, height), phase) * gain, 0, 1)
    bayer = np.empty((height, width), np.float32)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        bayer[row::2, column::2] = linear[row::2, column::2, channel]
    counts = (_RAW_BLACK + bayer * (_RAW_WHITE - _RAW_BLACK)).round().astype("<u2")
    return _tiff(width, height, counts.tobytes())


def _tiff(width: int, height: int, data: bytes) -> bytes:
    short, long, rational, byte, text, signed = 3, 4, 5, 1, 2, 10
    identity = struct.pack("<18i", *(v for k in range(9) for v in (int(k % 4 == 0), 1)))
    tags = [
        (254, long, 1, struct.pack("<I", 0)),
        (256, long, 1, struct.pack("<I", width)),
        (257, long, 1, struct.pack("<I", height)),
        (258, short, 1, struct.pack("<H", 16)),
        (259, short, 1, struct.pack("<H", 1)),
        (262, short, 1, struct.pack("<H", 32803)),  # colour filter array
        (271, text, 6, b"Canon\0"),
        (272, text, 14, b"Canon EOS M50\0"),
        (273, long, 1, b"DATA"),
        (274, short, 1, struct.pack("<H", 1)),
        (277, short, 1, struct.pack("<H", 1)),
        (278, long, 1, struct.pack("<I", height)),
        (279, long, 1, struct.pack("<I", len(data))),
        (284, short, 1, struct.pack("<H", 1)),
        (33421, short, 2, struct.pack("<HH", 2, 2)),
        (33422, byte, 4, bytes((0, 1, 1, 2))),
        (50706, byte, 4, bytes((1, 4, 0, 0))),
        (50708, text, 14, b"Canon EOS M50\0"),
        (50714, short, 1, struct.pack("<H", _RAW_BLACK)),
        (50717, short, 1, struct.pack("<H", _RAW_WHITE)),
        (50721, signed, 9, identity),
        (50728, rational, 3, struct.pack("<6I", 1, 1, 1, 1, 1, 1)),
        (50778, short, 1, struct.pack("<H", 21)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    entries = b""
    extras_size = sum(len(v) + len(v) % 2 for *_, v in tags if len(v) > 4)
    for tag, kind, count, value in tags:
        if value == b"DATA":
            value = struct.pack("<I", start + extras_size)
        if len(value) > 4:
            field = struct.pack("<I", start + len(extra))
            extra += value + b"\0" * (len(value) % 2)
        else:
            field = value.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, count) + field
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + b"\0\0\0\0" + extra + data

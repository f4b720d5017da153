"""Uncompressed pictures come back bit by bit, and the choice follows the measurement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.contracts import Frame
from camera_rig.errors import StorageError, UnsupportedError
from camera_rig.recording.codec import (
    CANDIDATES,
    choose_codec,
    decode_picture,
    encode_pixels,
    native_extension,
)
from tests.recording import support


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    channels=st.sampled_from([0, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    codec=st.sampled_from(CANDIDATES),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(rows, columns, channels, dtype, codec, seed) -> None:
    shape = (rows, columns, 3) if channels else (rows, columns)
    px = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    data = encode_pixels(px, codec)
    back = decode_picture("raw" if codec == "raw" else "rdz", data)
    assert back.dtype == px.dtype
    assert np.array_equal(back, px)


def test_smooth_pictures_get_smaller_and_damage_is_told() -> None:
    px = np.add.outer(np.arange(200), np.arange(300)).astype(np.uint8)
    data = encode_pixels(px, "rdz-lag2")
    assert len(data) < px.size / 10
    with pytest.raises(StorageError, match="damaged"):
        decode_picture("rdz", data[:-5])
    with pytest.raises(StorageError, match="damaged"):
        decode_picture("rdz", b"junk" + data)
    with pytest.raises(UnsupportedError):
        decode_picture("cr3", b"")


def test_the_smallest_that_fits_the_budget_is_taken() -> None:
    # A Bayer mosaic: rows of one parity are twice as bright as the others.
    px = np.full((64, 64), 60, np.uint8)
    px[::2] = 120
    px += np.random.default_rng(0).integers(0, 3, px.shape, dtype=np.uint8)
    mosaic = Frame(px, "P-1", 0, 0, 0, 0.01)
    ticks = iter(range(1000))
    # Six readings a candidate, one apart: each run lasts 1 ms by this timer.
    slow = choose_codec(mosaic, 0.5, timer=lambda: next(ticks) * 1e-3)
    assert slow.name == "raw"
    assert choose_codec(mosaic, 1e9).name == "rdz-lag2"


def test_encoded_bytes_are_named_by_what_they_are() -> None:
    assert native_extension(support.jpeg(support.picture(1))) == "jpg"
    assert native_extension(b"\x89PNG....") == "png"
    assert native_extension(b"\0\0\0\x18ftypcrx ") == "cr3"
    assert native_extension(b"what") == "bin"
    px = decode_picture("jpg", support.jpeg(support.picture(1), 100))
    assert np.abs(px.astype(int) - support.picture(1)).mean() < 4

"""The inner loops of the twin, compiled: look up, blur a little, expose to 8 bit.

They release the interpreter lock and use one thread each: two cameras in two threads
run side by side, and nothing spins while waiting.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats32 = NDArray[np.float32]

NOISE_LENGTH = 1 << 16
"""Entries of the noise table that rows start in (a power of two)."""


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def resample(  # type: ignore[no-untyped-def]  # numba reads types at call time
    picture, corner, fraction_x, fraction_y, out
):
    """Bilinear look-up of an (H, W, 3) picture into planes (3, h, w).

    ``corner`` holds the flat index of the upper left neighbour of each output pixel.
    """
    rows, columns = corner.shape
    width = picture.shape[1]
    flat = picture.reshape(-1)
    for i in range(rows):
        for j in range(columns):
            at = 3 * corner[i, j]
            below = at + 3 * width
            fx, fy = fraction_x[i, j], fraction_y[i, j]
            w11 = fx * fy
            w10 = fy - w11
            w01 = fx - w11
            w00 = np.float32(1.0) - fx - w10
            for c in range(3):
                out[c, i, j] = (
                    w00 * flat[at + c]
                    + w01 * flat[at + 3 + c]
                    + w10 * flat[below + c]
                    + w11 * flat[below + 3 + c]
                )


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def correlate(samples, kernels, out):  # type: ignore[no-untyped-def]
    """Correlate planes (3, h + k - 1, w + k - 1) with (3, k, k) kernels into (3, h, w)."""
    size = kernels.shape[1]
    for c in range(out.shape[0]):
        for i in range(out.shape[1]):
            row = out[c, i]
            row[:] = np.float32(0.0)
            for a in range(size):
                line = samples[c, i + a]
                for b in range(size):
                    weight = kernels[c, a, b]
                    for j in range(row.shape[0]):
                        row[j] += weight * line[j + b]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def widen(half, out):  # type: ignore[no-untyped-def]
    """Turn half-precision bits (uint16, not negative) into float32 ``out``, both flat.

    A half's exponent and fraction, moved into place, are a float32 that is 2^112 too
    small; the product is exact, for subnormal halves too.
    """
    bits = out.view(np.int32)
    for i in range(half.size):
        bits[i] = np.int32(half[i]) << np.int32(13)
    for i in range(half.size):
        out[i] *= np.float32(5.192296858534828e33)


@numba.njit(nogil=True, cache=True)
def _mixed(state):  # type: ignore[no-untyped-def]
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def develop(  # type: ignore[no-untyped-def]
    first, second, row_weight, flat, electrons, levels, noise, tone, state, out
):
    """Mix two pictures row by row, add shot and read noise, tone-map to 8-bit BGR.

    Args of shape: ``first``/``second`` (3, H, W) relative light; ``row_weight`` (2, H)
    of each; ``flat`` (H, W); ``electrons`` (3,) electrons of light 1 in each colour;
    ``levels`` (3, 3): per colour scale from electrons to table entries, read variance,
    saturation in electrons; ``tone`` uint8 table.
    """
    rows, columns = flat.shape
    top = np.float32(tone.shape[0] - 1)
    line = np.empty(columns, np.float32)
    for i in range(rows):
        wa, wb = row_weight[0, i], row_weight[1, i]
        for c in range(3):
            gain = electrons[c]
            scale, variance, full = levels[c, 0], levels[c, 1], levels[c, 2]
            start = np.int64(_mixed(state + np.uint64(3 * i + c)) & np.uint64(NOISE_LENGTH - 1))
            draw = noise[start : start + columns]
            a = first[c, i]
            if wb == np.float32(0.0):
                for j in range(columns):
                    line[j] = wa * a[j]
            else:
                b = second[c, i]
                for j in range(columns):
                    line[j] = wa * a[j] + wb * b[j]
            for j in range(columns):
                e = max(line[j] * gain * flat[i, j], np.float32(0.0))
                e = e + draw[j] * np.sqrt(e + variance)
                e = min(e, full) * scale
                line[j] = min(max(e, np.float32(0.0)), top)
            for j in range(columns):
                out[i, j, 2 - c] = tone[np.int32(line[j])]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def accumulate(total, picture, row_weight):  # type: ignore[no-untyped-def]
    """Add ``picture`` (3, H, W) to ``total``, each row by its weight (H,)."""
    for c in range(picture.shape[0]):
        for i in range(picture.shape[1]):
            w = row_weight[i]
            for j in range(picture.shape[2]):
                total[c, i, j] += w * picture[c, i, j]


def warm() -> None:
    """Compile (or load) all kernels now rather than in the first frame."""
    picture = np.zeros((4, 4, 3), np.float32)
    plane = np.zeros((3, 2, 2), np.float32)
    ones = np.ones((2, 2), np.float32)
    resample(picture, np.zeros((2, 2), np.int32), ones, ones, plane)
    weights = np.zeros((2, 2), np.float32)
    noise = np.zeros(NOISE_LENGTH + 2, np.float32)
    table: NDArray[Any] = np.zeros(4, np.uint8)
    out = np.zeros((2, 2, 3), np.uint8)
    levels = np.ones((3, 3), np.float32)
    develop(
        plane, plane, weights, ones, np.ones(3, np.float32), levels, noise, table, np.uint64(1), out
    )
    accumulate(plane, plane.copy(), weights[0])
    correlate(np.zeros((3, 4, 4), np.float32), np.zeros((3, 3, 3), np.float32), plane)
    widen(np.zeros(2, np.uint16), np.zeros(2, np.float32))

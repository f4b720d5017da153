"""The inner loops of the optics for numpy arrays, compiled.

One pass over the data where numpy needs three or more; numpy's float64 sine and
cosine alone cost more than the transform of the same pupil. No interpreter lock,
one thread each. Complex arrays come as reals, twice as wide: only so does the
compiler use vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])

_PER_QUARTER_TURN = 2.0 / np.pi
_QUARTER_HIGH = 1.5707963267341256  # pi / 2 cut to 33 bits: exact times any turn below 2^20
_QUARTER_LOW = 6.077100506506192e-11  # the rest of it


def _compiled(function: _F) -> _F:
    """Compile, keep on disk beside the package, release the interpreter lock."""
    options = {"cache": True, "nogil": True, "error_model": "numpy"}
    # Infinities and NaNs keep their meaning; only a multiply-add may be fused.
    result: _F = numba.njit(fastmath={"contract", "nsz"}, **options)(function)
    return result


@_compiled
def phasor(phase: Any, amplitude: Any, out: Any) -> None:
    """Write ``amplitude * exp(i phase)`` to ``out`` (pictures, rows, 2 columns or more).

    The phase (radians, below 10^6) is folded into an eighth of a turn, where the
    polynomials of fdlibm are right to the last bit of float64.
    """
    pictures, rows, columns = phase.shape
    for p in range(pictures):
        for i in range(rows):
            for j in range(columns):
                turn = np.rint(phase[p, i, j] * _PER_QUARTER_TURN)
                x = (phase[p, i, j] - turn * _QUARTER_HIGH) - turn * _QUARTER_LOW
                s = x * x
                tail = -2.50507602534068634e-8 + s * 1.58969099521155010e-10
                tail = -1.98412698298579493e-4 + s * (2.75573137070700676e-6 + s * tail)
                tail = -1.66666666666666324e-1 + s * (8.33333333332248946e-3 + s * tail)
                sine = x + x * s * tail
                tail = 2.08757232129817483e-9 - s * 1.13596475577881948e-11
                tail = 2.48015872894767294e-5 + s * (-2.75573143513906633e-7 + s * tail)
                tail = 4.16666666666666019e-2 + s * (-1.38888888888741096e-3 + s * tail)
                cosine = 1.0 - 0.5 * s + s * s * tail
                quarter = np.int64(turn)
                real = sine if quarter & 1 else cosine
                imaginary = cosine if quarter & 1 else sine
                real = -real if (quarter + 1) & 2 else real
                imaginary = -imaginary if quarter & 2 else imaginary
                out[p, i, 2 * j] = real * amplitude[i, j]
                out[p, i, 2 * j + 1] = imaginary * amplitude[i, j]


@_compiled
def intensity(field: Any, out: Any) -> None:
    """Write the squared modulus of ``field`` (pictures, rows, 2 columns or more) to ``out``."""
    pictures, rows, columns = out.shape
    for p in range(pictures):
        for i in range(rows):
            for j in range(columns):
                real, imaginary = field[p, i, 2 * j], field[p, i, 2 * j + 1]
                out[p, i, j] = real * real + imaginary * imaginary


@_compiled
def halve(planes: Any, out: Any) -> None:
    """Write the mean of every two by two pixels of ``planes`` to ``out`` (half the size)."""
    quarter = out.dtype.type(0.25)
    pictures, rows, columns = out.shape
    for p in range(pictures):
        for i in range(rows):
            for j in range(columns):
                upper = planes[p, 2 * i, 2 * j] + planes[p, 2 * i, 2 * j + 1]
                lower = planes[p, 2 * i + 1, 2 * j] + planes[p, 2 * i + 1, 2 * j + 1]
                out[p, i, j] = (upper + lower) * quarter

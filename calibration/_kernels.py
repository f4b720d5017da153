"""Inner loops of the retrieval, compiled: one pass where numpy needs three or more.

One thread each, no interpreter lock. Complex arrays come as reals, twice as wide: only
so does the compiler use vector instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

__all__ = ["histogram", "histogram_slopes", "slope", "spread"]

_F = TypeVar("_F", bound=Callable[..., Any])

_FOUR_PI = np.float32(4.0 * math.pi)


def _compiled(function: _F) -> _F:
    """Compile, keep on disk beside the package, release the interpreter lock."""
    options = {"cache": True, "nogil": True, "error_model": "numpy"}
    result: _F = numba.njit(fastmath={"contract", "nsz"}, **options)(function)
    return result


@_compiled
def spread(maps: Any, field: Any, out: Any) -> None:
    """Write ``maps * field`` (maps, rows, columns as pairs) to ``out``, zeros beyond."""
    pictures, rows, columns = maps.shape
    for p in range(pictures):
        for i in range(rows):
            for j in range(columns):
                out[p, i, 2 * j] = maps[p, i, j] * field[i, 2 * j]
                out[p, i, 2 * j + 1] = maps[p, i, j] * field[i, 2 * j + 1]
            out[p, i, 2 * columns :] = 0.0


@_compiled
def slope(field: Any, moved: Any, out: Any) -> None:
    """Write ``2 Re(U* i 2 pi V)`` of a field U and fields V (columns as pairs)."""
    pictures, rows, columns = out.shape
    for p in range(pictures):
        for i in range(rows):
            for j in range(columns):
                out[p, i, j] = _FOUR_PI * (
                    field[i, 2 * j + 1] * moved[p, i, 2 * j]
                    - field[i, 2 * j] * moved[p, i, 2 * j + 1]
                )


@_compiled
def histogram(x: Any, y: Any, out: Any) -> None:
    """Add points (in bins from the first bin's middle) to ``out``, each over 3 x 3 bins."""
    across, down = np.empty(3, np.float64), np.empty(3, np.float64)
    bins = out.shape[0]
    for r in range(x.size):
        left, top = _shares(x[r], across), _shares(y[r], down)
        for b in range(3):
            row = top + b
            if 0 <= row < bins:
                for a in range(3):
                    column = left + a
                    if 0 <= column < bins:
                        out[row, column] += down[b] * across[a]


@_compiled
def histogram_slopes(x: Any, y: Any, to_x: Any, to_y: Any, out: Any) -> None:
    """Add the derivatives of :func:`histogram` to ``out`` (rows, columns, directions).

    ``to_x`` and ``to_y`` (points, directions) tell how far each direction moves a point.
    """
    across, down = np.empty(3, np.float64), np.empty(3, np.float64)
    along_x, along_y = np.empty(3, np.float64), np.empty(3, np.float64)
    bins, count = out.shape[0], to_x.shape[1]
    for r in range(x.size):
        left, top = _shares(x[r], across), _shares(y[r], down)
        _share_slopes(x[r], along_x)
        _share_slopes(y[r], along_y)
        for b in range(3):
            row = top + b
            if 0 <= row < bins:
                for a in range(3):
                    column = left + a
                    if 0 <= column < bins:
                        by_x, by_y = down[b] * along_x[a], along_y[b] * across[a]
                        for j in range(count):
                            out[row, column, j] += by_x * to_x[r, j] + by_y * to_y[r, j]


@_compiled
def _shares(at: Any, out: Any) -> Any:
    """Write a point's share in three neighbouring bins (quadratic spline); return the first."""
    middle = math.floor(at + 0.5)
    f = at - middle
    out[0], out[1], out[2] = 0.5 * (0.5 - f) ** 2, 0.75 - f * f, 0.5 * (0.5 + f) ** 2
    return int(middle) - 1


@_compiled
def _share_slopes(at: Any, out: Any) -> None:
    """Write the derivatives of :func:`_shares` by the place."""
    f = at - math.floor(at + 0.5)
    out[0], out[1], out[2] = f - 0.5, -2.0 * f, 0.5 + f

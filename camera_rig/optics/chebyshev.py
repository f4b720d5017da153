"""Zernike sums on Cartesian grids as a product of three small matrices.

A Zernike mode is a polynomial in x and y, so a whole sum of modes is
``T (c . C) T'`` with Chebyshev matrices T. Ten kilobytes replace a basis stack
of up to gigabytes, and a map of 210 modes costs about as much as one of 15.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from camera_rig.optics import zernike
from camera_rig.optics._xp import Array, Backend, Matrix
from camera_rig.optics.zernike import Mode

SINGLE_PRECISION_MODES = 36
"""Beyond so many modes the product cancels: float64 inside, whatever comes in."""

MAX_SEPARABLE_ORDER = 23
"""The product loses 1e-7 of a unit at n = 21 and 5e-7 at n = 23 (300 modes) even in
float64; beyond that the slower disc recurrence takes over."""


@lru_cache(maxsize=32)
def tensor(modes: tuple[Mode, ...]) -> Matrix:
    """Return C with mode_j(x, y) = sum_ab C[j, a, b] T_a(y) T_b(x), read-only.

    Found by exact Chebyshev interpolation of the float64 recurrence.
    Dimensionless.
    """
    size = zernike.max_radial_order(modes) + 1
    angle = np.pi * (np.arange(size) + 0.5) / size
    nodes = np.cos(angle)
    rho = np.hypot(nodes[None, :], nodes[:, None])
    theta = np.arctan2(nodes[:, None], nodes[None, :])
    # Discrete cosine transform at the Gauss points, row a: weight of T_a.
    analysis = 2.0 / size * np.cos(np.outer(np.arange(size), angle))
    analysis[0] /= 2.0
    values = zernike.basis(modes, rho, theta)
    result: Matrix = analysis @ values @ analysis.T
    # What is left of true zeros would only add rounding noise.
    result[np.abs(result) < 1e-13 * np.abs(result).max(axis=(1, 2), keepdims=True)] = 0.0
    result.flags.writeable = False
    return result


def matrix(points: Matrix, degree: int) -> Matrix:
    """Return T_k(points), shape ``(len(points), degree + 1)``, dimensionless."""
    return np.polynomial.chebyshev.chebvander(points, degree)


def slope_matrix(points: Matrix, degree: int) -> Matrix:
    """Return T_k'(points), shape ``(len(points), degree + 1)``, per pupil radius."""
    result = np.zeros((len(points), degree + 1))
    for k in range(1, degree + 1):
        unit = np.zeros(k + 1)
        unit[k] = 1.0
        slope = np.polynomial.chebyshev.chebder(unit)
        result[:, k] = np.polynomial.chebyshev.chebval(points, slope)
    return result


def needs_double(modes: tuple[Mode, ...]) -> bool:
    """Return True where single precision would cost accuracy (dimensionless)."""
    return len(modes) > SINGLE_PRECISION_MODES or zernike.max_radial_order(modes) > 8


def stack(modes: tuple[Mode, ...], samples: int, back: Backend, out: Array | None = None) -> Array:
    """Return all modes on a square grid of ``samples``, one plane each (unit RMS).

    Args:
        modes: ``(n, m)`` pairs, at most n = 21 for full accuracy.
        samples: Points across the diameter.
        back: Library and precision of the result.
        out: Numpy array of shape ``(len(modes), samples, samples)`` to fill; a
            fresh one costs more than the arithmetic.
    """
    degree = zernike.max_radial_order(modes)
    wide = back.double or needs_double(modes)
    line = back.real(matrix(zernike.axis(samples), degree), double=wide)
    half = back.real(tensor(modes), double=wide) @ line.T
    if back.torch or wide != back.double:
        return back.cast(line @ half)
    return np.matmul(line, half, out=out)


class SeparableMap:
    """Sums of Zernike modes on one Cartesian grid, from coefficients.

    Constants are kept one per array library, precision and device. Instances
    are safe to share between threads once used.

    Args:
        modes: ``(n, m)`` of the coefficients, in their order.
        x: Grid columns in pupil radii.
        y: Grid rows in pupil radii; ``None`` takes ``x``.
    """

    def __init__(self, modes: tuple[Mode, ...], x: Matrix, y: Matrix | None = None) -> None:
        self.modes = tuple(zernike.check_mode(mode) for mode in modes)
        self._x = np.asarray(x, dtype=np.float64)
        self._y = self._x if y is None else np.asarray(y, dtype=np.float64)
        self._kept: dict[tuple[Backend, bool], tuple[Array, Array, Array]] = {}

    def __call__(self, coefficients: Array, back: Backend) -> Array:
        """Return the map, ``(..., rows, columns)``, unit of the coefficients.

        Args:
            coefficients: ``(..., len(modes))``.
            back: Backend of ``coefficients``.
        """
        if zernike.max_radial_order(self.modes) > MAX_SEPARABLE_ORDER:
            return self._by_recurrence(coefficients, back)
        wide = back.double or needs_double(self.modes)
        flat, left, right = self._constants(back, wide)
        return back.cast(self._product(back.cast(coefficients, double=wide), flat, left, right))

    def pull(self, slope: Array, back: Backend) -> Array:
        """Return the slope on coefficients of a slope on the map (adjoint).

        Args:
            slope: ``(..., rows, columns)``.
            back: Backend of ``slope``.
        """
        if zernike.max_radial_order(self.modes) > MAX_SEPARABLE_ORDER:
            return self._pull_by_recurrence(slope, back)
        wide = back.double or needs_double(self.modes)
        flat, left, right = self._constants(back, wide)
        # Reduce to a few rows first: only those are worth widening.
        narrow = back.cast(left, double=back.double), back.cast(right, double=back.double)
        middle = narrow[0].T @ slope @ narrow[1].T
        c = back.cast(middle, double=wide).reshape((*slope.shape[:-2], -1)) @ flat.T
        return back.cast(c)

    @staticmethod
    def _product(c: Array, flat: Array, left: Array, right: Array) -> Array:
        size = left.shape[-1]
        middle = (c @ flat).reshape((*c.shape[:-1], size, size))
        return (left @ middle) @ right

    def _constants(self, back: Backend, wide: bool) -> tuple[Array, Array, Array]:
        key = (back, wide)
        if key not in self._kept:
            degree = zernike.max_radial_order(self.modes)
            flat = tensor(self.modes).reshape(len(self.modes), -1)
            self._kept[key] = (
                back.real(flat, double=wide),
                back.real(matrix(self._y, degree), double=wide),
                back.real(matrix(self._x, degree).T, double=wide),
            )
        return self._kept[key]

    def _by_recurrence(self, coefficients: Array, back: Backend) -> Array:
        """High orders: one mode at a time, never a stack, always float64."""
        c = back.cast(coefficients, double=True)
        shape = (*c.shape[:-1], len(self._y), len(self._x))
        total: Any = 0.0
        for places, flat in self._families(back):
            total = total + (c[..., places] @ flat).reshape(shape)
        return back.cast(total)

    def _pull_by_recurrence(self, slope: Array, back: Backend) -> Array:
        wide = back.cast(slope, double=True).reshape((*slope.shape[:-2], -1))
        parts, order = [], []
        for places, flat in self._families(back):
            parts.append(wide @ flat.T)
            order += places
        back_to_place = sorted(range(len(order)), key=order.__getitem__)
        return back.cast(back.xp.concatenate(parts, -1)[..., back_to_place])

    def _families(self, back: Backend) -> Iterator[tuple[list[int], Array]]:
        """Yield modes of one azimuthal order at a time: places, and flat planes."""
        rho = back.real(np.hypot(self._x[None, :], self._y[:, None]), double=True)
        theta = back.real(np.arctan2(self._y[:, None], self._x[None, :]), double=True)
        # The corners outside the disc would overflow float32 later and are
        # never seen through the aperture.
        rho = rho.clip(max=1.0 + 2.0 / len(self._x))
        for azimuthal in sorted({abs(m) for _, m in self.modes}):
            places = [i for i, (_, m) in enumerate(self.modes) if abs(m) == azimuthal]
            planes = zernike.basis([self.modes[i] for i in places], rho, theta)
            yield places, planes.reshape(len(places), -1)


def slope_points(modes: tuple[Mode, ...], angles: int = 0) -> tuple[Matrix, Matrix]:
    """Return (d/dx, d/dy) of each mode at points of four rings, per pupil radius.

    Rows are points, columns modes. The steepest slope of a sum of Zernike modes
    lies at or near the rim, so rings at 1, 0.85, 0.6 and 0.3 are enough to say
    whether a grid can carry it.
    """
    degree = zernike.max_radial_order(modes)
    count = angles or max(48, 8 * degree)
    turn = 2.0 * np.pi * np.arange(count) / count
    x = np.concatenate([r * np.cos(turn) for r in (1.0, 0.85, 0.6, 0.3)])
    y = np.concatenate([r * np.sin(turn) for r in (1.0, 0.85, 0.6, 0.3)])
    parts = tensor(modes)
    tx, ty = matrix(x, degree), matrix(y, degree)
    dx, dy = slope_matrix(x, degree), slope_matrix(y, degree)
    along_x: Matrix = np.einsum("pa,jab,pb->pj", ty, parts, dx, optimize=True)
    along_y: Matrix = np.einsum("pa,jab,pb->pj", dy, parts, tx, optimize=True)
    return along_x, along_y

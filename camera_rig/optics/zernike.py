"""Zernike polynomials: indices, norms and bases on explicit grids.

Inside the toolkit a mode is always ``(n, m)``: ``m > 0`` is the cosine term,
``m < 0`` the sine term, and theta runs counter-clockwise from +x. Single-index
orders (Noll, OSA/ANSI, Fringe, Thorlabs) exist at the edges only, because the
same number means different shapes in each of them.

Modes are orthonormal over the unit disc: a coefficient is the root mean square
of its mode, in whatever unit the coefficient has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics._xp import Array, Matrix, backend_of

Mode: TypeAlias = tuple[int, int]
"""Radial order n and azimuthal order m of one Zernike mode (dimensionless)."""

MAX_RADIAL_ORDER = 60


class Order(StrEnum):
    """The single-index orders that files and vendors use (dimensionless).

    Noll, Fringe and Thorlabs count from 1, OSA/ANSI from 0. Thorlabs is
    OSA/ANSI plus one.
    """

    NOLL = "noll"
    OSA = "osa"
    FRINGE = "fringe"
    THORLABS = "thorlabs"

    @property
    def first(self) -> int:
        """The number of piston in this order (dimensionless)."""
        return 0 if self is Order.OSA else 1


def order_named(name: str) -> Order:
    """Return the order of that name (dimensionless).

    Raises:
        ConfigError: No such order; the hint lists the known ones.
    """
    try:
        return Order(name)
    except ValueError:
        known = ", ".join(order.value for order in Order)
        raise ConfigError(f"unknown Zernike order {name!r}", hint=f"use one of: {known}") from None


def check_mode(mode: Mode) -> Mode:
    """Return ``mode`` when it is a Zernike mode: -n <= m <= n, n - m even (dimensionless).

    Raises:
        ConfigError: It is not, or n is above 60.
    """
    n, m = int(mode[0]), int(mode[1])
    if n < 0 or abs(m) > n or (n - abs(m)) % 2:
        raise ConfigError(
            f"(n, m) = ({n}, {m}) is no Zernike mode",
            hint="n must not be negative, |m| at most n, and n - |m| even",
        )
    if n > MAX_RADIAL_ORDER:
        raise ConfigError(
            f"radial order {n} is above {MAX_RADIAL_ORDER}",
            hint="use fewer modes; 500 modes end at radial order 31",
        )
    return n, m


@lru_cache(maxsize=4096)
def to_mode(order: Order, number: int) -> Mode:
    """Return ``(n, m)`` of a single index (dimensionless).

    Raises:
        ConfigError: The number is below the first index of this order.
    """
    order = order_named(order)
    if number < order.first:
        raise ConfigError(
            f"{order.value} index {number} does not exist",
            hint=f"{order.value} indices start at {order.first}",
        )
    position = number - order.first
    if order is Order.NOLL:
        mode = _noll_mode(number)
    elif order is Order.FRINGE:
        mode = _fringe_mode(position)
    else:
        n = (math.isqrt(8 * position + 1) - 1) // 2
        mode = (n, 2 * position - n * (n + 2))
    return check_mode(mode)


@lru_cache(maxsize=4096)
def from_mode(order: Order, mode: Mode) -> int:
    """Return the single index of ``(n, m)`` in an order (dimensionless).

    Raises:
        ConfigError: ``mode`` is no Zernike mode.
    """
    n, m = check_mode(mode)
    order = order_named(order)
    if order is Order.NOLL:
        return _noll_number(n, m)
    if order is Order.FRINGE:
        group = (n + abs(m)) // 2
        return group * group + 2 * (group - abs(m)) + (1 if m >= 0 else 2)
    return (n * (n + 2) + m) // 2 + order.first


def modes(order: Order, first: int, last: int) -> tuple[Mode, ...]:
    """Return the modes with indices ``first`` to ``last`` inclusive (dimensionless)."""
    return tuple(to_mode(order, number) for number in range(first, last + 1))


def _noll_number(n: int, m: int) -> int:
    base = n * (n + 1) // 2 + abs(m)
    # Noll gives cosine terms even numbers, so the place of the sine partner
    # depends on the parity of the row.
    cosine_is_next = n % 4 in (2, 3)
    if (m > 0 and not cosine_is_next) or (m < 0 and cosine_is_next):
        return base
    return base + 1


def _noll_mode(number: int) -> Mode:
    n = (math.isqrt(8 * number - 7) - 1) // 2
    place = number - n * (n + 1) // 2
    m = 2 * ((place + 1) // 2) - 1 if n % 2 else 2 * (place // 2)
    return (n, m if number % 2 == 0 else -m)


def _fringe_mode(position: int) -> Mode:
    group = math.isqrt(position)
    place = position - group * group
    m = group - place // 2
    return (2 * group - m, m if place % 2 == 0 else -m)


def norm(mode: Mode) -> float:
    """Return N = sqrt(n+1) or sqrt(2(n+1)): the rim value of an orthonormal mode.

    A coefficient whose mode has unit value at the rim (Fringe convention) is
    N times the orthonormal coefficient. Dimensionless.
    """
    n, m = check_mode(mode)
    return math.sqrt(n + 1.0) if m == 0 else math.sqrt(2.0 * (n + 1.0))


def basis(modes: Sequence[Mode], rho: Array, theta: Array) -> Array:
    """Return the modes on explicit polar grids, by stable recurrence.

    Works for any order up to n = 60 and any grid shape; values beyond the disc
    (rho > 1) are the polynomial's own, not zero.

    Args:
        modes: ``(n, m)`` pairs.
        rho: Radius in units of the pupil radius, float32 or float64.
        theta: Angle in radians from +x, counter-clockwise, shape of ``rho``.

    Returns:
        Array of shape ``(len(modes), *rho.shape)``, dimensionless, unit RMS.
    """
    back = backend_of(rho)
    wanted = [check_mode(mode) for mode in modes]
    xp = back.xp
    planes: list[Any] = [None] * len(wanted)
    for azimuthal in sorted({abs(m) for _, m in wanted}):
        here = [(i, n, m) for i, (n, m) in enumerate(wanted) if abs(m) == azimuthal]
        radial = _radial_family(azimuthal, max(n for _, n, _ in here), rho)
        cosine, sine = xp.cos(azimuthal * theta), xp.sin(azimuthal * theta)
        for place, n, m in here:
            shape = radial[(n - azimuthal) // 2] * norm((n, m))
            if m != 0:
                shape = shape * (cosine if m > 0 else sine)
            planes[place] = shape
    return xp.stack(planes)


def radial(mode: Mode, rho: Array) -> Array:
    """Return R of one mode at ``rho`` (pupil radii), rim value 1, dimensionless."""
    n, m = check_mode(mode)
    return _radial_family(abs(m), n, rho)[-1]


def _radial_family(m: int, n_max: int, rho: Array) -> list[Array]:
    """R of (m, m), (m+2, m), … (n_max, m): Jacobi recurrence upward in n."""
    start = rho**m
    family = [start]
    x = 2.0 * rho * rho - 1.0
    for k in range((n_max - m) // 2):
        if k == 0:
            family.append(start * (0.5 * ((m + 2.0) * x - m)))
            continue
        twice = 2.0 * k + m
        scale = 2.0 * (k + 1.0) * (k + m + 1.0) * twice
        slope = (twice + 1.0) * (twice + 2.0) * twice / scale
        offset = -(twice + 1.0) * m * m / scale
        back = 2.0 * k * (k + m) * (twice + 2.0) / scale
        family.append((slope * x + offset) * family[k] - back * family[k - 1])
    return family


@lru_cache(maxsize=16)
def axis(samples: int) -> Matrix:
    """Return sample centres across a diameter, in pupil radii, read-only."""
    line = (2.0 * np.arange(samples) + 1.0 - samples) / samples
    line.flags.writeable = False
    return line


@lru_cache(maxsize=16)
def polar_grid(samples: int) -> tuple[Matrix, Matrix]:
    """Return cached (rho in pupil radii, theta in radians) of a square grid.

    Row i has y = axis(samples)[i]: y grows with the row number.
    """
    line = axis(samples)
    rho = np.hypot(line[None, :], line[:, None])
    theta = np.arctan2(line[:, None], line[None, :])
    rho.flags.writeable = theta.flags.writeable = False
    return rho, theta


@lru_cache(maxsize=8)
def grid_basis(modes: tuple[Mode, ...], samples: int) -> Matrix:
    """Return a cached, read-only float64 stack on :func:`polar_grid` (unit RMS)."""
    stack: Matrix = basis(modes, *polar_grid(samples))
    stack.flags.writeable = False
    return stack


def max_radial_order(modes: Iterable[Mode]) -> int:
    """Return the largest n among the modes (dimensionless), 0 for none."""
    return max((n for n, _ in modes), default=0)

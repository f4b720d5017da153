"""Bending of a thin free disc by a curvature source: closed form per azimuthal order.

An electrode of a bimorph wants to curve its own patch of the disc evenly. Thin-plate
theory (biharmonic equation, no moment and no effective shear at the rim) then gives
the height in closed form for every term cos(m t) of the patch's angular profile.

Lengths here are in units of the disc radius, so the rim is at 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

_TINY = 1e-12


def sector_harmonic(order: int, segments: int) -> float:
    """Return the cos(order t) amplitude of a sector 2 pi / segments wide (dimensionless)."""
    if order == 0:
        return 1.0 / segments
    return 2.0 / (order * np.pi) * float(np.sin(order * np.pi / segments))


def radial_height(order: int, radius: Array, ring: tuple[float, float], poisson: float) -> Array:
    """Return the height profile f(r) of f(r) cos(order t), in disc radii squared.

    The source is a Laplacian of 1 between the two radii of ``ring``. Rigid motion is
    fixed by holding the rim: its mean height and its tilt stay zero.

    Args:
        order: Azimuthal order, >= 0.
        radius: Where to evaluate, disc radii, 0 … 1.
        ring: Inner and outer radius of the source, disc radii, at most 1.
        poisson: Poisson's ratio of the disc.
    """
    stiffness = (1.0 - poisson) / (3.0 + poisson)
    if order == 0:
        return _axisymmetric(radius, ring, poisson)
    inner, outer = ring
    n = float(order)
    # Outside the source the free-space answer is decay * r^-n. The rim answers with
    # r^n and r^(n+2); solving "no moment, no effective shear" gives just these two.
    decay = -(outer ** (n + 2) - inner ** (n + 2)) / (2.0 * n * (n + 2.0))
    rim_n, rim_n2 = (n + 1.0) * stiffness * decay, -n * stiffness * decay
    if order == 1:
        rim_n = -decay - rim_n2
    height: Array = _free_space(n, radius, ring) + rim_n * radius**n + rim_n2 * radius ** (n + 2)
    return height


def _free_space(n: float, radius: Array, ring: tuple[float, float]) -> Array:
    """Solution of the Poisson equation without a rim, by Green's function in r."""
    inner, outer = ring
    middle = np.maximum(np.clip(radius, inner, outer), _TINY)
    start = np.maximum(np.maximum(radius, inner), _TINY)
    below = ((middle / start) ** n * middle**2 - (inner / start) ** n * inner**2) / (n + 2.0)
    if n == 2.0:
        above = radius**2 * np.log(outer / middle)
    else:
        above = ((radius / outer) ** n * outer**2 - (radius / middle) ** n * middle**2) / (2.0 - n)
        above = np.where(radius >= outer, 0.0, above)
    above = np.where(radius >= outer, 0.0, above)
    height: Array = -(below + above) / (2.0 * n)
    return height


def _axisymmetric(radius: Array, ring: tuple[float, float], poisson: float) -> Array:
    inner, outer = ring
    flux = (outer**2 - inner**2) / 2.0
    bowl = flux * (1.0 - poisson) / (2.0 * (1.0 + poisson))
    inside = np.maximum(np.clip(radius, inner, outer), _TINY)
    start = max(inner, _TINY)
    rise = (inside**2 - inner**2) / 4.0 - inner**2 / 2.0 * np.log(inside / start)
    rise = rise + flux * np.log(np.maximum(radius, outer) / outer)
    at_rim = (outer**2 - inner**2) / 4.0 - inner**2 / 2.0 * np.log(outer / start)
    at_rim -= flux * np.log(outer)
    height: Array = rise - at_rim + bowl * (radius**2 - 1.0)
    return height

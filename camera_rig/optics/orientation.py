"""Changes of axes (rotation, flip, mirror, scale) as maps of Zernike coefficients.

Every optical bench turns and mirrors the pupil on its way to the sensor. The
shape stays a sum of Zernike modes, so the change is a small exact matrix on the
coefficients instead of a resampled picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import zernike
from camera_rig.optics._xp import Matrix
from camera_rig.optics.zernike import Mode


@dataclass(frozen=True)
class Orientation:
    """First an optional mirror image (x to -x), then a turn counter-clockwise.

    Args:
        rotation_deg: Turn of the shape, degrees, counter-clockwise seen with x
            to the right and y up.
        mirrored: Mirror the shape left to right before turning it.
    """

    rotation_deg: float = 0.0
    mirrored: bool = False

    @classmethod
    def rows_down(cls) -> Orientation:
        """Return the change for pictures whose row 0 is at the top (y to -y)."""
        return cls(rotation_deg=180.0, mirrored=True)

    def then(self, later: Orientation) -> Orientation:
        """Return this change followed by ``later`` (degrees add or subtract)."""
        first = -self.rotation_deg if later.mirrored else self.rotation_deg
        return Orientation(
            rotation_deg=math.remainder(first + later.rotation_deg, 360.0),
            mirrored=self.mirrored != later.mirrored,
        )

    def inverse(self) -> Orientation:
        """Return the change that undoes this one (degrees)."""
        turn = self.rotation_deg if self.mirrored else -self.rotation_deg
        return Orientation(rotation_deg=turn, mirrored=self.mirrored)

    def apply(self, values: Mapping[Mode, float]) -> dict[Mode, float]:
        """Return the coefficients of the changed shape, in their own unit.

        Terms that come out exactly zero without having been given are left out.
        """
        result: dict[Mode, float] = {}
        for (n, m), value in values.items():
            for target, gain in self._images(zernike.check_mode((n, m))):
                result[target] = result.get(target, 0.0) + gain * value
        return {mode: value for mode, value in result.items() if value != 0.0 or mode in values}

    def matrix(self, modes: Sequence[Mode]) -> Matrix:
        """Return M with ``changed = M @ coefficients`` (dimensionless).

        Raises:
            ConfigError: The turn mixes a mode with a partner that is not listed.
        """
        place = {zernike.check_mode(mode): i for i, mode in enumerate(modes)}
        result = np.zeros((len(place), len(place)))
        for mode, column in place.items():
            for target, gain in self._images(mode):
                if target not in place:
                    raise ConfigError(
                        f"a turn by {self.rotation_deg:g} degrees mixes {mode} into {target}, "
                        "which is not among the modes",
                        hint="list both modes (n, m) and (n, -m)",
                    )
                result[place[target], column] += gain
        return result

    def _images(self, mode: Mode) -> list[tuple[Mode, float]]:
        """Where one mode goes: itself and its sine or cosine partner."""
        n, m = mode
        sign = 1.0
        if self.mirrored:
            # theta to pi - theta.
            sign = float((-1) ** abs(m)) if m >= 0 else float((-1) ** (abs(m) + 1))
        if m == 0:
            return [(mode, sign)]
        cosine, sine = _exact_turn(abs(m) * self.rotation_deg)
        partner = (n, -m)
        # cos(m(t - a)) = cos ma cos mt + sin ma sin mt, and its sine sister.
        pairs = [(mode, sign * cosine), (partner, sign * (sine if m > 0 else -sine))]
        return [(target, gain) for target, gain in pairs if gain != 0.0]


def stretch_matrix(modes: Sequence[Mode], scale_x: float, scale_y: float) -> Matrix:
    """Return M for a pupil that sees W'(x, y) = W(``scale_x`` x, ``scale_y`` y).

    A beam that fills half of a mirror has both scales 0.5; a mirror at incidence
    angle a stretches the footprint by 1 / cos(a) along the plane of incidence.
    Zernike modes up to a radial order are closed under this map, so the result
    is exact. Dimensionless.

    Raises:
        ConfigError: The modes are not all modes up to their largest order, or the
            beam would leave the shape's disc.
    """
    listed = [zernike.check_mode(mode) for mode in modes]
    degree = zernike.max_radial_order(listed)
    full = zernike.modes(zernike.Order.OSA, 0, (degree + 1) * (degree + 2) // 2 - 1)
    if set(full) != set(listed):
        raise ConfigError(
            "a scaled pupil mixes all modes up to the largest radial order",
            hint=f"list all {len(full)} modes up to n = {degree} (missing ones may be zero)",
        )
    if not (0.0 < scale_x <= 1.0 and 0.0 < scale_y <= 1.0):
        raise ConfigError(
            f"pupil scales {scale_x:g} and {scale_y:g} leave the disc of the shape",
            hint="the footprint must lie within the mirror: scales above 0 and at most 1",
        )
    x, y, weight = _disc_quadrature(degree)
    plain = zernike.basis(listed, np.hypot(x, y), np.arctan2(y, x))
    seen_x, seen_y = scale_x * x, scale_y * y
    scaled = zernike.basis(listed, np.hypot(seen_x, seen_y), np.arctan2(seen_y, seen_x))
    result: Matrix = (plain * weight) @ scaled.T
    result[np.abs(result) < 1e-14] = 0.0
    return result


def _disc_quadrature(degree: int) -> tuple[Matrix, Matrix, Matrix]:
    """Points and weights, exact for products of two polynomials of ``degree``."""
    nodes, gauss = np.polynomial.legendre.leggauss(degree + 2)
    rho = np.sqrt((nodes + 1.0) / 2.0)
    turns = 2 * degree + 2
    theta = 2.0 * np.pi * np.arange(turns) / turns
    x = np.outer(rho, np.cos(theta)).ravel()
    y = np.outer(rho, np.sin(theta)).ravel()
    return x, y, np.repeat(gauss / (2.0 * turns), turns)


def _exact_turn(angle_deg: float) -> tuple[float, float]:
    """Cosine and sine of an angle, exact at multiples of 90 degrees."""
    turn = angle_deg % 360.0
    exact = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    if turn in exact:
        return exact[turn]
    return math.cos(math.radians(turn)), math.sin(math.radians(turn))

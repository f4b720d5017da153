"""What each electrode does to the wavefront: from a plate model, or measured.

Both come as one type, :class:`InfluenceMatrix`, so everything above (modal control,
twin, calibration) takes either without knowing which it has.

Normalised voltage: -1 at the lowest, 0 in the middle, +1 at the highest voltage of
an actuator. Wavefront is twice the surface.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.bench import MirrorGeometry
from camera_rig.errors import ConfigError
from camera_rig.mirror._plate import radial_height, sector_harmonic
from camera_rig.mirror._store import read_json, write_json
from camera_rig.optics import zernike
from camera_rig.optics.zernike import Mode, Order

Array = np.ndarray[Any, np.dtype[np.float64]]

DEFAULT_MODES = zernike.modes(Order.NOLL, 1, 66)
"""All modes up to radial order 10: enough to carry what 40 electrodes do (dimensionless)."""

_HARMONICS = 48
_QUADRATURE = 48


@dataclass(frozen=True)
class Provenance:
    """Where a matrix comes from.

    Args:
        kind: ``model`` or ``measured``.
        serial: Serial number of the mirror it was measured on, empty for a model.
        made_at: Date and time, ISO 8601, empty for a model.
        note: How it was made, for a reader.
    """

    kind: str
    serial: str = ""
    made_at: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class InfluenceMatrix:
    """Wavefront per actuator in Zernike modes, with its origin. Immutable.

    Args:
        modes: ``(n, m)`` of each row, orthonormal over the beam.
        um_per_unit: µm RMS of wavefront per unit of normalised voltage, shape
            (modes, actuators).
        beam_diameter_mm: Beam on the mirror that the modes live on, mm.
        provenance: Where the numbers come from.
        rest_um: Wavefront with every actuator in mid-range, µm RMS per mode.
        range_v: Voltages of -1 and +1, V; None for "the range of the mirror it is
            used with".
        sigma_um: One standard deviation of ``um_per_unit``, same shape, or None.

    Raises:
        ConfigError: Shapes do not agree, or a number is not finite.
    """

    modes: tuple[Mode, ...]
    um_per_unit: Array
    beam_diameter_mm: float
    provenance: Provenance
    rest_um: Array = field(default_factory=lambda: np.zeros(0))
    range_v: tuple[float, float] | None = None
    sigma_um: Array | None = None

    def __post_init__(self) -> None:
        """Check shapes once and lock the arrays."""
        listed = tuple(zernike.check_mode(mode) for mode in self.modes)
        object.__setattr__(self, "modes", listed)
        rest = self.rest_um if np.size(self.rest_um) else np.zeros(len(listed))
        shape = (len(listed), self.actuators)
        self._lock("um_per_unit", self.um_per_unit, shape)
        self._lock("rest_um", rest, (len(listed),))
        if self.sigma_um is not None:
            self._lock("sigma_um", self.sigma_um, shape)
        if len(set(listed)) != len(listed):
            raise ConfigError("a mode is listed twice", hint="give one row for each mode")
        if self.range_v is not None and not self.range_v[0] < self.range_v[1]:
            raise ConfigError(
                f"range {self.range_v} V is empty", hint="give the lowest voltage first"
            )

    @property
    def actuators(self) -> int:
        """Number of actuators."""
        return int(np.shape(self.um_per_unit)[-1])

    def wavefront_um(self, normalised: Array) -> Array:
        """Return µm RMS per mode for normalised voltages (-1 … 1, one per actuator)."""
        result: Array = self.um_per_unit @ np.asarray(normalised, dtype=float) + self.rest_um
        return result

    def rows(self, modes: Sequence[Mode]) -> Array:
        """Return the rows of ``modes``, µm RMS per unit, in that order.

        Raises:
            ConfigError: A mode is not in this matrix.
        """
        return self.um_per_unit[self.places(modes)]

    def places(self, modes: Sequence[Mode]) -> list[int]:
        """Return the row number of each mode; ConfigError names those that are absent."""
        place = {mode: row for row, mode in enumerate(self.modes)}
        missing = [mode for mode in modes if mode not in place]
        if missing:
            raise ConfigError(
                f"the influence matrix does not know modes {missing}",
                hint="ask for fewer modes, or calibrate with more",
            )
        return [place[mode] for mode in modes]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, JSON-able; units as in the class."""
        return {
            "modes": [list(mode) for mode in self.modes],
            "um_per_unit": self.um_per_unit.tolist(),
            "beam_diameter_mm": self.beam_diameter_mm,
            "provenance": dict(vars(self.provenance)),
            "rest_um": self.rest_um.tolist(),
            "range_v": list(self.range_v) if self.range_v else None,
            "sigma_um": None if self.sigma_um is None else self.sigma_um.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InfluenceMatrix:
        """Build from :meth:`to_dict`.

        Raises:
            ConfigError: A key is missing, unknown or of the wrong shape.
        """
        try:
            rest = dict(data)
            sigma, span = rest.pop("sigma_um", None), rest.pop("range_v", None)
            return cls(
                modes=tuple((int(n), int(m)) for n, m in rest.pop("modes")),
                um_per_unit=np.asarray(rest.pop("um_per_unit"), dtype=float),
                provenance=Provenance(**rest.pop("provenance")),
                rest_um=np.asarray(rest.pop("rest_um"), dtype=float),
                sigma_um=None if sigma is None else np.asarray(sigma, dtype=float),
                range_v=None if span is None else (float(span[0]), float(span[1])),
                **rest,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"this is no influence matrix: {error!r}",
                hint="make one with `rig calibrate run influence`",
            ) from error

    def save(self, path: str | Path) -> None:
        """Write a JSON file, aside and renamed."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> InfluenceMatrix:
        """Read a JSON file written by :meth:`save`."""
        return cls.from_dict(read_json(Path(path)))

    def _lock(self, name: str, values: Array, shape: tuple[int, ...]) -> None:
        array = np.array(values, dtype=np.float64)
        if array.shape != shape:
            raise ConfigError(
                f"{name} has shape {array.shape}, not {shape}",
                hint="rows are modes, columns are actuators",
            )
        if not np.isfinite(array).all():
            raise ConfigError(f"{name} holds values that are not finite", hint="measure again")
        array.flags.writeable = False
        object.__setattr__(self, name, array)


class InfluenceModel:
    """A free-edge thin disc with electrodes as even curvature sources.

    Scaled so that all electrodes together, from mid-range to one end, bend the beam by
    ``stroke_um`` peak to valley of wavefront: the stroke that makers state is of the
    surface and over the whole range, and the wavefront takes twice the surface.

    Piston, tip and tilt of each electrode over the beam are taken out: they depend on
    how the disc is held, which no plate model knows; a real mirror's come from its
    calibration.

    Not offered: hysteresis (:mod:`camera_rig.mirror.hysteresis`), or the incidence
    angle: scale the points given to :meth:`at` for that.

    Args:
        geometry: Electrode layout.
        beam_diameter_mm: Beam on the mirror, mm.
        poisson: Poisson's ratio of the disc; glass and piezo ceramic together about 0.3.

    Raises:
        ConfigError: The beam is wider than the disc, or the rings do not grow.
    """

    def __init__(
        self, geometry: MirrorGeometry, beam_diameter_mm: float, *, poisson: float = 0.3
    ) -> None:
        _check_geometry(geometry, beam_diameter_mm)
        self.geometry = geometry
        self.beam_diameter_mm = float(beam_diameter_mm)
        self.poisson = float(poisson)
        radius_mm = geometry.disc_diameter_mm / 2.0
        edges = [0.0, *(r / radius_mm for r in geometry.ring_radii_mm)]
        self._rings = list(itertools.pairwise(edges))
        self._beam = self.beam_diameter_mm / geometry.disc_diameter_mm

    @property
    def actuators(self) -> int:
        """Number of electrodes."""
        return sum(self.geometry.ring_segments)

    @cached_property
    def sectors(self) -> tuple[tuple[int, float], ...]:
        """Ring number and middle direction (rad, from +x, counter-clockwise) of each electrode."""
        sense = 1.0 if self.geometry.counter_clockwise else -1.0
        start = math.radians(self.geometry.segment0_angle_deg)
        return tuple(
            (ring, start + sense * 2.0 * math.pi * k / count)
            for ring, count in enumerate(self.geometry.ring_segments)
            for k in range(count)
        )

    def matrix(self, modes: Sequence[Mode] = DEFAULT_MODES) -> InfluenceMatrix:
        """Return µm RMS of wavefront per unit of normalised voltage, rows in ``modes``."""
        raw = self._project(tuple(modes)) * self._um_per_raw
        for row, (n, _) in enumerate(modes):
            if n < 2:
                raw[row] = 0.0
        return InfluenceMatrix(
            modes=tuple(modes),
            um_per_unit=raw,
            beam_diameter_mm=self.beam_diameter_mm,
            provenance=Provenance("model", note=f"free-edge plate, {self.geometry}"),
        )

    def on_grid(self, samples: int) -> Array:
        """Return µm of wavefront per unit on a square grid, (actuators, samples, samples).

        The grid is :func:`camera_rig.optics.zernike.polar_grid` over the beam: y grows
        with the row number. Outside the beam the surface goes on; beyond the disc it
        is the value at the rim.
        """
        line_mm = zernike.axis(samples) * (self.beam_diameter_mm / 2.0)
        return self.at(line_mm[None, :], line_mm[:, None])

    def at(self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike) -> Array:
        """Return µm of wavefront per unit at points on the mirror (mm), actuators first."""
        x_mm, y_mm = np.broadcast_arrays(np.asarray(x_mm, float), np.asarray(y_mm, float))
        radius_mm = self.geometry.disc_diameter_mm / 2.0
        radius, inverse = np.unique(np.hypot(x_mm, y_mm) / radius_mm, return_inverse=True)
        angle = np.arctan2(y_mm, x_mm)
        result = np.zeros((self.actuators, *x_mm.shape))
        for order in range(_HARMONICS + 1):
            profiles = self._profiles(order, np.minimum(radius, 1.0))
            on_points = [profile[inverse].reshape(x_mm.shape) for profile in profiles]
            for place, (ring, middle) in enumerate(self.sectors):
                result[place] += on_points[ring] * np.cos(order * (angle - middle))
        rigid = ((0, 0), (1, -1), (1, 1))
        beam_mm = self.beam_diameter_mm / 2.0
        shapes = zernike.basis(rigid, np.hypot(x_mm, y_mm) / beam_mm, angle)
        result -= np.tensordot(self._project(rigid).T, shapes, axes=1)
        result *= self._um_per_raw
        return result

    @cached_property
    def _um_per_raw(self) -> float:
        """µm of wavefront per unit of raw height, from the stroke of all electrodes."""
        defocus = self._project(((2, 0),)).sum()
        peak_to_valley = 2.0 * math.sqrt(3.0) * defocus
        return float(self.geometry.stroke_um / peak_to_valley)

    def _profiles(self, order: int, radius: Array) -> list[Array]:
        """Height of order ``order`` at ``radius`` (disc radii) for each ring, as cos series."""
        return [
            radial_height(order, radius, ring, self.poisson) * sector_harmonic(order, count)
            for ring, count in zip(self._rings, self.geometry.ring_segments, strict=True)
        ]

    def _project(self, modes: tuple[Mode, ...]) -> Array:
        """Zernike coefficients of the raw heights: exact, one radial integral each."""
        radius, weight = self._radial_quadrature()
        result = np.zeros((len(modes), self.actuators))
        profiles = {m: self._profiles(m, radius) for m in {abs(m) for _, m in modes}}
        for row, mode in enumerate(modes):
            m = mode[1]
            share = (2.0 if m == 0 else 1.0) * weight * zernike.norm(mode)
            kernel = share * zernike.radial(mode, radius / self._beam)
            inner = [float(kernel @ profile) for profile in profiles[abs(m)]]
            for place, (ring, middle) in enumerate(self.sectors):
                turn = math.cos(m * middle) if m >= 0 else math.sin(-m * middle)
                result[row, place] = inner[ring] * turn
        return result

    def _radial_quadrature(self) -> tuple[Array, Array]:
        """Gauss points over the beam, cut where a ring ends (the height has a kink there)."""
        nodes, gauss = np.polynomial.legendre.leggauss(_QUADRATURE)
        ends = [end for _, end in self._rings if end < self._beam]
        cuts = [0.0, *ends, self._beam]
        radius, weight = [], []
        for low, high in itertools.pairwise(cuts):
            radius.append((high - low) / 2.0 * nodes + (high + low) / 2.0)
            weight.append((high - low) / 2.0 * gauss)
        points = np.concatenate(radius)
        return points, np.concatenate(weight) * points / self._beam**2


def _check_geometry(geometry: MirrorGeometry, beam_diameter_mm: float) -> None:
    radii = (0.0, *geometry.ring_radii_mm)
    if len(geometry.ring_segments) != len(geometry.ring_radii_mm):
        raise ConfigError(
            "ring_segments and ring_radii_mm have different lengths",
            hint="give one outer radius for each ring",
        )
    if any(b <= a for a, b in itertools.pairwise(radii)):
        raise ConfigError("ring radii do not grow outward", hint="give the inner ring first")
    if 2.0 * radii[-1] > geometry.disc_diameter_mm:
        raise ConfigError(
            f"the outer ring ({radii[-1]:g} mm) is beyond the disc",
            hint="ring radii are radii, disc_diameter_mm is a diameter",
        )
    if not 0.0 < beam_diameter_mm <= geometry.disc_diameter_mm:
        raise ConfigError(
            f"a beam of {beam_diameter_mm:g} mm does not fit on a disc of "
            f"{geometry.disc_diameter_mm:g} mm",
            hint="set bench.mirror_pupil_mm to the beam diameter on the mirror",
        )

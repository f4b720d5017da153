"""Zernike coefficients that carry their unit, order and wavelength with them.

The same bare number means a recognisable face in one unit and a hidden one in
another, so coefficients never travel as bare floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import zernike
from camera_rig.optics.orientation import Orientation
from camera_rig.optics.zernike import Mode, Order


class Unit(StrEnum):
    """What one unit of a coefficient is. Wavefront always, twice the surface.

    ``waves_rms``: wavelengths, root mean square. ``um_rms``: micrometres of
    optical path, root mean square. ``rad_rms``: radians of phase, root mean
    square. ``stroke_fraction``: share, -1 to 1, of what a certain mirror can do
    in that mode; it has no optical meaning without that mirror's stroke table.
    """

    WAVES_RMS = "waves_rms"
    UM_RMS = "um_rms"
    RAD_RMS = "rad_rms"
    STROKE_FRACTION = "stroke_fraction"


BASIS = "zernike"
"""The one basis known: orthonormal Zernike modes over the unit disc."""


@dataclass(frozen=True)
class Coefficients:
    """One aberration: modes and values with everything needed to read them.

    Immutable, hashable and picklable, so safe to share between threads. Not
    offered: arithmetic on mixed units, or a default unit, because a silent
    guess of the unit is the very mistake this type exists to stop.

    Args:
        values: ``(n, m)`` to value, in ``unit``. Modes that are absent are 0.
        unit: Unit of the values.
        wavelength_nm: Wavelength that ``waves_rms`` and ``rad_rms`` refer to, in
            nanometres; may be None for ``um_rms`` and ``stroke_fraction``.
        order: Single-index order in which files and reports number the modes.
        source: Where the numbers come from.
        notes: What a reader must know about them.
        basis: Always ``zernike`` (orthonormal).

    Raises:
        ConfigError: A mode, value, unit or wavelength is not valid.
    """

    values: Mapping[Mode, float]
    unit: Unit
    wavelength_nm: float | None = None
    order: Order = Order.NOLL
    source: str = field(default="", compare=False)
    notes: str = field(default="", compare=False)
    basis: str = BASIS

    def __post_init__(self) -> None:
        """Check everything once, and freeze the values."""
        object.__setattr__(self, "unit", unit_named(self.unit))
        object.__setattr__(self, "order", zernike.order_named(self.order))
        if self.basis != BASIS:
            raise ConfigError(
                f"unknown basis {self.basis!r}",
                hint=f"only {BASIS!r} (orthonormal Zernike modes) is known",
            )
        _check_wavelength(self.wavelength_nm, self.unit)
        checked = {zernike.check_mode(k): _finite(k, v) for k, v in self.values.items()}
        if self.unit is Unit.STROKE_FRACTION:
            checked = {mode: _share(mode, value) for mode, value in checked.items()}
        by_osa = sorted(checked, key=lambda mode: zernike.from_mode(Order.OSA, mode))
        frozen = MappingProxyType({mode: checked[mode] for mode in by_osa})
        object.__setattr__(self, "values", frozen)

    @classmethod
    def numbered(
        cls,
        values: Mapping[int, float],
        unit: Unit | str,
        order: Order | str,
        wavelength_nm: float | None = None,
    ) -> Coefficients:
        """Build from single-index numbers, for example ``{4: 0.2}`` in Noll order.

        Args:
            values: Index in ``order`` to value in ``unit``.
            unit: Unit of the values.
            order: What the indices mean.
            wavelength_nm: See the class.
        """
        named = zernike.order_named(order)
        modes = {zernike.to_mode(named, int(j)): v for j, v in values.items()}
        return cls(modes, unit_named(unit), wavelength_nm, named)

    @classmethod
    def load(cls, path: str | Path) -> Coefficients:
        """Read a YAML or JSON file; unknown keys are refused with file and line."""
        from camera_rig.optics import coefficient_files

        return coefficient_files.load(path)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a YAML or JSON file (by its suffix), aside and renamed."""
        from camera_rig.optics import coefficient_files

        coefficient_files.save(self, path, overwrite=overwrite)

    def __hash__(self) -> int:
        """Hash what equality compares."""
        return hash((tuple(self.values.items()), self.unit, self.wavelength_nm, self.order))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value: a read-only mapping does not pickle by itself."""
        rest = (self.unit, self.wavelength_nm, self.order, self.source, self.notes)
        return (Coefficients, (dict(self.values), *rest))

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that have a value, in OSA order."""
        return tuple(self.values)

    @property
    def numbers(self) -> dict[int, float]:
        """Index in ``order`` to value in ``unit``, sorted by index."""
        pairs = ((zernike.from_mode(self.order, mode), v) for mode, v in self.values.items())
        return dict(sorted(pairs))

    @property
    def rms(self) -> float:
        """Root mean square of the whole shape without piston, in ``unit``.

        Raises:
            ConfigError: The unit is ``stroke_fraction``, which does not add up.
        """
        if self.unit is Unit.STROKE_FRACTION:
            raise ConfigError(
                "stroke fractions have no common root mean square",
                hint="convert first: .to(unit='um_rms', strokes_um=TABLE)",
            )
        return math.sqrt(sum(v * v for mode, v in self.values.items() if mode != (0, 0)))

    def array(self, modes: Iterable[Mode]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the values of ``modes`` as float64, 0 where absent, in ``unit``.

        Raises:
            ConfigError: A non-zero mode of this set is not among ``modes``.
        """
        listed = tuple(modes)
        lost = [mode for mode, v in self.values.items() if v != 0.0 and mode not in listed]
        if lost:
            raise ConfigError(
                f"modes {lost} of the coefficients would be dropped",
                hint="list them too, or set them to 0 on purpose",
            )
        return np.array([self.values.get(mode, 0.0) for mode in listed])

    def oriented(self, orientation: Orientation) -> Coefficients:
        """Return the set as seen after a change of axes, same unit.

        Raises:
            ConfigError: Turning a ``stroke_fraction`` set by an angle that mixes
                modes: two modes of unlike stroke do not mix.
        """
        if self.unit is Unit.STROKE_FRACTION and orientation.rotation_deg % 180.0:
            raise ConfigError(
                "stroke fractions cannot be turned: the modes that mix have their own strokes",
                hint="convert first: .to(unit='um_rms', strokes_um=TABLE)",
            )
        return replace(self, values=orientation.apply(self.values))

    def to(
        self,
        *,
        unit: Unit | str | None = None,
        order: Order | str | None = None,
        wavelength_nm: float | None = None,
        strokes_um: Mapping[Mode, float] | None = None,
    ) -> Coefficients:
        """Return the same shape in another unit, order or reference wavelength.

        Args:
            unit: Unit wanted; None keeps it.
            order: Numbering wanted; None keeps it. Never changes the shape.
            wavelength_nm: Reference wavelength wanted; None keeps it.
            strokes_um: ``(n, m)`` to micrometres RMS of wavefront at fraction 1, needed
                to enter or leave ``stroke_fraction``.

        Raises:
            ConfigError: Something the conversion needs is missing; it is named.
        """
        target = self.unit if unit is None else unit_named(unit)
        named = self.order if order is None else zernike.order_named(order)
        wave = self.wavelength_nm if wavelength_nm is None else wavelength_nm
        if target is self.unit and wave == self.wavelength_nm:
            return replace(self, order=named)
        _check_wavelength(wave, target)
        if Unit.STROKE_FRACTION in (self.unit, target) and target is not self.unit:
            _check_strokes(self.values, strokes_um)
        strokes = strokes_um or {}
        values = {
            mode: value
            * _um_per_unit(self.unit, self.wavelength_nm, strokes.get(mode))
            / _um_per_unit(target, wave, strokes.get(mode))
            for mode, value in self.values.items()
        }
        return replace(self, values=values, unit=target, order=named, wavelength_nm=wave)


def unit_named(name: str) -> Unit:
    """Return the unit of that name.

    Raises:
        ConfigError: No such unit; the hint lists the known ones.
    """
    try:
        return Unit(name)
    except ValueError:
        known = ", ".join(unit.value for unit in Unit)
        raise ConfigError(
            f"unknown coefficient unit {name!r}", hint=f"use one of: {known}"
        ) from None


def _um_per_unit(unit: Unit, wavelength_nm: float | None, stroke_um: float | None) -> float:
    if unit is Unit.STROKE_FRACTION:
        return 1.0 if stroke_um is None else stroke_um
    if unit is Unit.UM_RMS:
        return 1.0
    wave_um = (wavelength_nm or math.nan) / 1000.0
    return wave_um if unit is Unit.WAVES_RMS else wave_um / (2.0 * math.pi)


def _check_strokes(values: Mapping[Mode, float], strokes: Mapping[Mode, float] | None) -> None:
    table = strokes or {}
    missing = [mode for mode, v in values.items() if v != 0.0 and mode not in table]
    if missing:
        listed = ", ".join(str(mode) for mode in missing)
        raise ConfigError(
            f"converting stroke_fraction needs the stroke of modes {listed}",
            hint="pass strokes_um={(n, m): micrometres RMS of wavefront at fraction 1}, "
            "from the mirror's calibration",
        )
    bad = [mode for mode, v in table.items() if not (math.isfinite(v) and v > 0.0)]
    if bad:
        raise ConfigError(
            f"strokes of modes {bad} are not positive", hint="give micrometres RMS above 0"
        )


def _check_wavelength(wavelength_nm: float | None, unit: Unit) -> None:
    if wavelength_nm is None:
        if unit in (Unit.WAVES_RMS, Unit.RAD_RMS):
            raise ConfigError(
                f"unit {unit.value} needs a wavelength_nm",
                hint="say which wavelength the numbers refer to, for example 550",
            )
    elif not (math.isfinite(wavelength_nm) and 100.0 <= wavelength_nm <= 20000.0):
        raise ConfigError(
            f"wavelength_nm {wavelength_nm!r} is outside 100 … 20000 nanometres",
            hint="give nanometres, for example 550",
        )


def _finite(mode: Mode, value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ConfigError(f"coefficient of mode {mode} is {value!r}", hint="give a finite number")
    return number


def _share(mode: Mode, value: float) -> float:
    """Return a stroke fraction within -1 … 1, forgiving a conversion's last digit."""
    if abs(value) > 1.0 + 1e-12:
        raise ConfigError(
            f"stroke fraction {value:g} of mode {mode} is outside -1 … 1",
            hint="a share of the stroke cannot exceed 1; is the unit waves_rms?",
        )
    return min(max(value, -1.0), 1.0)

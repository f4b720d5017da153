"""Between volts and normalised voltage (-1 … 1), in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDING_V = 1e-6


@dataclass(frozen=True, eq=False)
class VoltageScale:
    """Volts of -1 and +1 per actuator, and the limits that a command must keep.

    Args:
        middle_v: Volts of 0, one per actuator.
        half_v: Volts from 0 to +1, one per actuator.
        limits_v: Lowest and highest volts, shape (actuators, 2).
    """

    middle_v: Array
    half_v: Array
    limits_v: Array

    @classmethod
    def of(cls, limits_v: Array, range_v: tuple[float, float] | None = None) -> VoltageScale:
        """Return the scale over the limits themselves, or over ``range_v`` where given (V)."""
        ends = limits_v if range_v is None else np.tile(np.asarray(range_v), (len(limits_v), 1))
        return cls(ends.mean(axis=1), np.ptp(ends, axis=1) / 2.0, np.asarray(limits_v))

    @property
    def low(self) -> Array:
        """Lowest normalised voltage that the limits allow."""
        return self.to_unit(self.limits_v[:, 0])

    @property
    def high(self) -> Array:
        """Highest normalised voltage that the limits allow."""
        return self.to_unit(self.limits_v[:, 1])

    def to_unit(self, command_v: Array) -> Array:
        """Return the normalised voltage of a command (V)."""
        result: Array = (np.asarray(command_v, dtype=float) - self.middle_v) / self.half_v
        return result

    def to_volts(self, unit: Array) -> Array:
        """Return volts; only rounding errors (below 1 µV) at a limit are taken off."""
        volts: Array = self.middle_v + np.asarray(unit, dtype=float) * self.half_v
        for limit in self.limits_v.T:
            volts = np.where(np.abs(volts - limit) < _ROUNDING_V, limit, volts)
        return volts

"""What a planned shape is made of: a report that can be read, kept and compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from camera_rig.contracts import Volts
from camera_rig.errors import SafetyError
from camera_rig.mirror.names import mode_label, mode_name, mode_numbers
from camera_rig.optics.zernike import Mode


class Fit(StrEnum):
    """What to do when the wanted shape is out of reach.

    ``exact`` refuses. ``nearest`` takes the reachable shape of least wavefront error.
    ``scale`` shrinks all modes by one factor until they fit.
    """

    EXACT = "exact"
    NEAREST = "nearest"
    SCALE = "scale"


class Method(StrEnum):
    """How the voltages were found."""

    MAKER = "maker's patterns"
    SOLVED = "influence matrix within limits"


class Hysteresis(StrEnum):
    """Who takes care of hysteresis. Never two."""

    MAKER = "maker's compensation"
    MODEL = "play-operator model"
    NONE = "nobody"


@dataclass(frozen=True)
class ModeLine:
    """One mode of a shape.

    Args:
        mode: ``(n, m)``.
        wanted_um: µm RMS of wavefront wanted; NaN when only a stroke fraction is known.
        reachable_um: µm RMS that the plan gives; NaN as above.
        wanted_fraction: Share of the mode's stroke, for the maker's patterns.
        excess_um: By how much the wanted value is too large, µm RMS, signed like the
            value; 0 when it fits. The smallest change of the whole set that fits.
    """

    mode: Mode
    wanted_um: float
    reachable_um: float
    wanted_fraction: float | None = None
    excess_um: float = 0.0

    @property
    def residual_um(self) -> float:
        """Reachable minus wanted, µm RMS."""
        return self.reachable_um - self.wanted_um

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with the mode's number in every order."""
        return {
            "name": mode_name(self.mode),
            "n": self.mode[0],
            "m": self.mode[1],
            **mode_numbers(self.mode),
            "wanted_um_rms": _number(self.wanted_um),
            "reachable_um_rms": _number(self.reachable_um),
            "residual_um_rms": _number(self.residual_um),
            "excess_um_rms": self.excess_um,
            "wanted_fraction": self.wanted_fraction,
        }


@dataclass(frozen=True, eq=False)
class ShapePlan:
    """A command and everything worth knowing before it is sent. Immutable.

    Args:
        lines: One for each mode asked for or controlled.
        command_v: Voltages to send, V.
        method: How they were found.
        hysteresis: Who takes care of it.
        fit: What was allowed should it not fit.
        feasible: Whether what was asked fits within the tolerances as it is.
        scale: Factor applied to what was asked; 1 unless scaling was allowed.
        scale_that_fits: Largest factor at which it would fit; 1 when it does.
        tolerance_um: Error allowed in each mode, µm RMS.
        beyond_um: Wavefront in modes not asked for, µm RMS, NaN when not known.
        stroke_used: Largest share of the half-range that an actuator is driven to, 0 … 1.
        worst_actuator: Which actuator that is, from 0.
        move_s: Time the slew limit needs to get there, s.
        notes: What a reader must know, worst first.
        shape_um: Whole predicted wavefront, ``(n, m)`` to µm RMS; empty when not known.
    """

    lines: tuple[ModeLine, ...]
    command_v: Volts
    method: Method
    hysteresis: Hysteresis
    fit: Fit
    feasible: bool
    scale: float
    scale_that_fits: float
    tolerance_um: float
    beyond_um: float
    stroke_used: float
    worst_actuator: int
    move_s: float
    notes: tuple[str, ...] = ()
    shape_um: dict[Mode, float] = field(default_factory=dict)

    @property
    def residual_um(self) -> float:
        """Whole wavefront error, asked and not asked for, µm RMS; NaN when not known."""
        asked = [line.residual_um for line in self.lines]
        return float(np.sqrt(np.sum(np.square(asked)) + self.beyond_um**2))

    def require_reachable(self) -> None:
        """Raise SafetyError, naming each mode that asks too much and by how much."""
        if self.feasible or self.fit is not Fit.EXACT:
            return
        parts = [
            f"{mode_label(line.mode)} {line.wanted_um:+.3f} µm RMS is "
            f"{abs(line.excess_um):.3f} too much"
            for line in self.lines
            if line.excess_um
        ]
        raise SafetyError(
            "the shape is out of the mirror's reach: " + "; ".join(parts),
            hint=f"use --nearest for the closest shape, or --scale "
            f"(everything times {self.scale_that_fits:.3f} fits)",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, JSON-able; units in the key names."""
        return {
            "fit": self.fit.value,
            "feasible": self.feasible,
            "method": self.method.value,
            "hysteresis": self.hysteresis.value,
            "scale": self.scale,
            "scale_that_fits": self.scale_that_fits,
            "tolerance_um_rms": self.tolerance_um,
            "residual_um_rms": _number(self.residual_um),
            "beyond_um_rms": _number(self.beyond_um),
            "stroke_used": self.stroke_used,
            "worst_actuator": self.worst_actuator,
            "move_s": self.move_s,
            "notes": list(self.notes),
            "modes": [line.to_dict() for line in self.lines],
            "command_v": self.command_v.tolist(),
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

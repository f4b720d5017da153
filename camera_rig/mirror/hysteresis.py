"""Hysteresis of piezo electrodes: play operators, their exact inverse, their memory.

Model (Prandtl-Ishlinskii): the response of an electrode is a memoryless rising curve
of its voltage plus a weighted sum of play operators. A play operator is a pin in a slot
of half-width r: it stays where it is until the slot pushes it. All weights are
non-negative, so the response always rises with the voltage and can be inverted exactly.

Voltages and responses are normalised: -1 … 1 over the range of the actuator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class PlayModel:
    """Parameters of the response, shared radii, own weights per actuator. Immutable.

    Args:
        radii: Half-widths of the play operators, normalised volts, ascending, > 0.
        weights: Response per unit of each operator, shape (actuators, radii), >= 0.
        knots: Ends of the pieces of the memoryless curve, normalised volts, ascending.
        slopes: Slope of each piece, shape (actuators, knots - 1), >= 0, the first and
            the last > 0: they go on beyond the outer knots.
        offset: Response of the memoryless curve at the first knot, shape (actuators,).

    Raises:
        ConfigError: A shape is wrong, or the response would not rise everywhere.
    """

    radii: Array
    weights: Array
    knots: Array
    slopes: Array
    offset: Array

    def __post_init__(self) -> None:
        """Check once and lock the arrays."""
        for name in ("radii", "weights", "knots", "slopes", "offset"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                raise ConfigError(f"{name} holds values that are not finite", hint="fit again")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        count = self.offset.size
        shapes = {
            "weights": (count, self.radii.size),
            "slopes": (count, self.knots.size - 1),
            "offset": (count,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ConfigError(
                    f"{name} has shape {getattr(self, name).shape}, not {shape}",
                    hint="one row for each actuator",
                )
        if (np.diff(self.radii, prepend=0.0) <= 0).any() or (np.diff(self.knots) <= 0).any():
            raise ConfigError("radii and knots must ascend", hint="sort them, leave out twins")
        if (
            (self.weights < 0).any()
            or (self.slopes < 0).any()
            or (self.slopes[:, [0, -1]] == 0).any()
        ):
            raise ConfigError(
                "the response would not rise with the voltage", hint="weights and slopes are >= 0"
            )

    @property
    def actuators(self) -> int:
        """Number of actuators."""
        return int(self.offset.size)

    @classmethod
    def symmetric(cls, actuators: int, radii: Array, weights: Array, linear: float) -> PlayModel:
        """Return equal actuators, scaled so that a full swing responds with -1 … 1.

        Args:
            actuators: Number of actuators.
            radii: Half-widths, normalised volts, below 1.
            weights: One per radius, any common scale.
            linear: Slope without memory, same scale.
        """
        radii, weights = np.atleast_1d(radii), np.atleast_1d(weights)
        reach = linear + float(np.sum(weights * np.maximum(0.0, 1.0 - radii)))
        if not reach > 0:
            raise ConfigError("the response is zero everywhere", hint="give weights above 0")
        return cls(
            radii=radii,
            weights=np.tile(weights / reach, (actuators, 1)),
            knots=np.array([-1.0, 1.0]),
            slopes=np.full((actuators, 1), linear / reach),
            offset=np.full(actuators, -linear / reach),
        )

    @classmethod
    def nominal(cls, actuators: int) -> PlayModel:
        """Return the 14 % loop that the maker's manual shows for one DMH40.

        Rises through zero at 57 % of the range and falls through it at 43 %
        (171 and 129 V of 300 V).
        """
        return cls.symmetric(actuators, np.array([1 / 3, 2 / 3]), np.array([0.175, 0.175]), 0.65)

    def loop_area(self, low: float, high: float) -> Array:
        """Return the area of the loop from ``low`` to ``high`` (normalised), per actuator."""
        half = (high - low) / 2.0
        each = 4.0 * self.radii * np.maximum(0.0, half - self.radii)
        area: Array = self.weights @ each
        return area

    def opening(self) -> Array:
        """Return the loop's height at mid-range over the full swing's span (dimensionless)."""
        height = self.weights @ (2.0 * np.minimum(self.radii, np.maximum(0.0, 1.0 - self.radii)))
        low, high = _pieces(np.array([-1.0, 1.0]), self.knots)
        span = self.slopes @ (high - low)
        span = span + self.weights @ (2.0 * np.maximum(0.0, 1.0 - self.radii))
        result: Array = height / span
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, JSON-able (normalised units)."""
        return {
            name: getattr(self, name).tolist()
            for name in ("radii", "weights", "knots", "slopes", "offset")
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlayModel:
        """Build from :meth:`to_dict`; ConfigError when it is something else."""
        try:
            return cls(**{key: np.asarray(value, dtype=float) for key, value in data.items()})
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"this is no hysteresis model: {error}", hint="fit it anew from a sweep"
            ) from error


class PlayOperators:
    """A :class:`PlayModel` with its memory: where every pin stands now.

    Not thread-safe: it belongs to the thread that drives the mirror. Not offered: a
    rate. The model knows the order of voltages, not their speed; what goes on after a
    step (creep) is :mod:`camera_rig.mirror.creep`.

    Args:
        model: Parameters.
        pins: Where the pins stand, shape (actuators, radii), normalised volts; None for
            a mirror that was relaxed (all pins at zero).
    """

    def __init__(self, model: PlayModel, pins: Array | None = None) -> None:
        self.model = model
        shape = model.weights.shape
        self._pins = np.zeros(shape) if pins is None else np.array(pins, dtype=np.float64)
        if self._pins.shape != shape or not np.isfinite(self._pins).all():
            raise ConfigError(
                f"pins have shape {self._pins.shape}, not {shape}, or are not finite",
                hint="relax the mirror and start afresh",
            )

    @property
    def pins(self) -> Array:
        """Copy of where every pin stands, normalised volts."""
        return self._pins.copy()

    def copy(self) -> PlayOperators:
        """Return an independent twin, to try commands on."""
        return PlayOperators(self.model, self._pins)

    def forget(self) -> None:
        """Set every pin to zero, as a relax sequence does."""
        self._pins[:] = 0.0

    def advance(self, voltage: Array) -> Array:
        """Move to ``voltage`` (normalised, one per actuator); return the response."""
        self._pins = self._moved(voltage)
        return self._sum(np.asarray(voltage, dtype=float), self._pins)

    def preview(self, voltage: Array) -> Array:
        """Return the response that ``voltage`` would have, without moving."""
        return self._sum(np.asarray(voltage, dtype=float), self._moved(voltage))

    def inverse(self, response: Array) -> Array:
        """Return the voltages that give ``response`` from here, without moving. Exact.

        May lie outside -1 … 1 when the response is out of reach: the caller checks,
        nothing is clipped here.
        """
        wanted = np.asarray(response, dtype=float)
        model = self.model
        # The response is piecewise linear in the voltage; it bends at the outer ends of
        # each slot and at the knots. Find the piece, then solve one straight line.
        bends = np.concatenate(
            [
                self._pins - model.radii,
                self._pins + model.radii,
                np.tile(model.knots, (model.actuators, 1)),
            ],
            axis=1,
        )
        bends = np.sort(bends, axis=1)
        ends = np.concatenate([bends[:, :1] - 1.0, bends, bends[:, -1:] + 1.0], axis=1)
        values = np.stack([self.preview(column) for column in ends.T], axis=1)
        piece = np.sum(values < wanted[:, None], axis=1).clip(1, ends.shape[1] - 1) - 1
        row = np.arange(model.actuators)
        piece = _widen(piece, values)
        x0, x1 = ends[row, piece], ends[row, piece + 1]
        y0, y1 = values[row, piece], values[row, piece + 1]
        result: Array = x0 + (wanted - y0) * (x1 - x0) / (y1 - y0)
        return result

    def _moved(self, voltage: Array) -> Array:
        column = np.asarray(voltage, dtype=float)[:, None]
        radii = self.model.radii
        return np.maximum(column - radii, np.minimum(column + radii, self._pins))

    def _sum(self, voltage: Array, pins: Array) -> Array:
        model = self.model
        curve = np.sum(model.slopes * _pieces(voltage, model.knots), axis=1)
        result: Array = model.offset + curve + np.sum(model.weights * pins, axis=1)
        return result


def _widen(piece: Array, values: Array) -> Any:
    """Step away from pieces of no length (two bends at one voltage)."""
    row = np.arange(piece.size)
    flat = values[row, piece + 1] <= values[row, piece]
    while flat.any():
        # Only bends that coincide are flat, and outer pieces never are.
        piece = np.where(flat, piece - 1, piece)
        flat = values[row, piece + 1] <= values[row, piece]
    return piece


def _pieces(voltage: Array, knots: Array) -> Array:
    """Length of each piece of the curve that lies below ``voltage``; last axis pieces."""
    column = np.asarray(voltage, dtype=float)[..., None]
    low, high = knots[:-1].copy(), knots[1:].copy()
    part: Array = np.clip(column, low, high) - low
    part[..., 0] += np.minimum(column[..., 0] - knots[0], 0.0)
    part[..., -1] += np.maximum(column[..., 0] - knots[-1], 0.0)
    return part


@dataclass(frozen=True)
class FitOptions:
    """How a hysteresis record is turned into a model.

    Args:
        operators: Number of play operators, radii evenly over 0 … 1.
        pieces: Number of pieces of the memoryless curve.
        ridge: Strength that keeps weights even where the data say nothing
            (dimensionless, relative to the record).
        straight: Strength that keeps the memoryless curve straight where the data do not
            bend it (dimensionless, relative to the record). Groups that move against each
            other tell only the mean of its slopes above and below their middle.
    """

    operators: int = 12
    pieces: int = 8
    ridge: float = 1e-4
    straight: float = 0.0


def fit_play(
    voltage: Array, response: Array, options: FitOptions | None = None
) -> tuple[PlayModel, Array]:
    """Fit a model to a record by non-negative least squares.

    Args:
        voltage: Normalised voltages in time order, shape (steps,) or (steps, actuators),
            beginning on a relaxed mirror.
        response: What was measured, shape (steps, actuators), normalised.
        options: Size of the model.

    Returns:
        The model, and the residual per actuator, RMS in units of ``response``.

    Raises:
        ConfigError: Too little data, shapes that differ, or a response that falls.
    """
    options = options or FitOptions()
    measured = np.atleast_2d(np.asarray(response, dtype=float).T).T
    drive = np.asarray(voltage, dtype=float)
    drive = np.broadcast_to(drive[:, None] if drive.ndim == 1 else drive, measured.shape)
    shape = _Columns(drive, options)
    rows, residual = [], []
    for actuator in range(measured.shape[1]):
        found, left = shape.fit(shape.of(actuator), measured[:, actuator])
        rows.append(found)
        residual.append(left)
    return shape.model(np.array(rows)), np.array(residual)


def fit_common_play(
    voltage: Array, share: Array, response: Array, options: FitOptions | None = None
) -> tuple[PlayModel, float]:
    """Fit one model to a record in which several like actuators moved at once.

    Args:
        voltage: Normalised voltages in time order, shape (steps, groups), beginning on a
            relaxed mirror.
        share: How much of a group's response is in the record, shape (groups,); negative
            where it counts the other way.
        response: What was measured, shape (steps,), normalised.
        options: Size of the model.

    Returns:
        The model of one actuator, and the residual, RMS in units of ``response``.

    Raises:
        ConfigError: Too little data.
    """
    drive = np.asarray(voltage, dtype=float)
    shape = _Columns(drive, options or FitOptions())
    columns = sum(part * shape.of(group) for group, part in enumerate(np.asarray(share)))
    found, left = shape.fit(np.asarray(columns), np.asarray(response, dtype=float))
    return shape.model(found[None]), left


class _Columns:
    """What a record is made of: pins, pieces of the memoryless curve, a constant."""

    def __init__(self, drive: Array, options: FitOptions) -> None:
        self.drive, self.options = drive, options
        self.radii = (np.arange(options.operators) + 0.5) / options.operators
        self.knots = np.linspace(drive.min(), drive.max(), options.pieces + 1)
        self.pins = _pin_history(drive, self.radii)
        self.unknowns = options.operators + options.pieces + 1

    def of(self, actuator: int) -> Array:
        """Return the columns of one actuator, shape (steps, unknowns)."""
        pieces = _pieces(self.drive[:, actuator], self.knots)
        return np.hstack([self.pins[:, actuator], pieces, np.ones((len(self.drive), 1))])

    def fit(self, columns: Array, measured: Array) -> tuple[Array, float]:
        """Return (parameters, residual RMS) by least squares with weights and slopes >= 0."""
        from scipy.optimize import lsq_linear

        if len(columns) < self.unknowns or not (
            np.isfinite(columns).all() and np.isfinite(measured).all()
        ):
            raise ConfigError(
                f"a record of {len(columns)} steps cannot fit {self.unknowns} unknowns, or "
                "holds gaps",
                hint="record a sweep with reversals at several heights",
            )
        options = self.options
        low = np.r_[np.zeros(options.operators), np.full(options.pieces, 1e-6), -np.inf]
        size = np.linalg.norm(columns, axis=0).max()
        damp = options.ridge * size * np.eye(self.unknowns)[:-1]
        bends = np.diff(np.eye(self.unknowns)[options.operators : -1], axis=0)
        rows = np.vstack([columns, damp, options.straight * size * bends])
        found = lsq_linear(
            rows,
            np.r_[measured, np.zeros(len(rows) - len(measured))],
            bounds=(low, np.full(self.unknowns, np.inf)),
        ).x
        return found, float(np.sqrt(np.mean((columns @ found - measured) ** 2)))

    def model(self, table: Array) -> PlayModel:
        """Return the model of a table of parameters, one row an actuator."""
        cut = self.options.operators
        return PlayModel(self.radii, table[:, :cut], self.knots, table[:, cut:-1], table[:, -1])


def _pin_history(drive: Array, radii: Array) -> Array:
    """Pins after each step from a relaxed start, shape (steps, actuators, radii)."""
    pins = np.zeros((drive.shape[1], radii.size))
    history = np.empty((len(drive), *pins.shape))
    for step, voltage in enumerate(drive):
        pins = np.maximum(voltage[:, None] - radii, np.minimum(voltage[:, None] + radii, pins))
        history[step] = pins
    return history

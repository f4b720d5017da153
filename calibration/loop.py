"""The hysteresis loop from a sweep: which levels to visit, and the play model behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camera_rig.mirror.creep import CreepModel, without_creep
from camera_rig.mirror.hysteresis import FitOptions, PlayModel, PlayOperators, fit_common_play

__all__ = ["Loop", "Sweep", "fit_loop", "sweep_levels"]

Vector = npt.NDArray[np.float64]

HIGHEST = 0.88
STEP = 0.16
OPTIONS = FitOptions(operators=8, pieces=4, straight=0.01)


@dataclass(frozen=True, eq=False)
class Sweep:
    """A record of all electrodes moved in a pattern, some up while the others go down.

    Args:
        levels: Height of the pattern, normalised volts, the first on a relaxed mirror.
        bias: What all electrodes carry beside it, normalised volts.
        up: Share of the response that comes from electrodes moved up (dimensionless).
        response: What was seen, in volts of small moves.
        at_s: When, s.
    """

    levels: Vector
    bias: float
    up: float
    response: Vector
    at_s: Vector

    @property
    def volts(self) -> Vector:
        """Normalised volts of the electrodes moved up, and of those moved down."""
        return np.stack([self.bias + self.levels, self.bias - self.levels], axis=1)

    @property
    def share(self) -> Vector:
        """How either group counts in the response."""
        return np.array([self.up, self.up - 1.0])


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop measured in units of small-signal volts, and its model.

    Args:
        model: One electrode, scaled so that a full swing is a response of 2, and 0 at rest:
            the shape at rest is where the influence matrix begins.
        scale: Response per small-signal volt: small moves do less than large ones.
        levels: Heights of the sweep, normalised volts.
        response: Measured response without creep, model units.
        modelled: The same by the model.
    """

    model: PlayModel
    scale: float
    levels: Vector
    response: Vector
    modelled: Vector

    @property
    def residual(self) -> float:
        """RMS of measured minus modelled, model units."""
        return float(np.sqrt(np.mean((self.modelled - self.response) ** 2)))

    def tiled(self, actuators: int) -> PlayModel:
        """Return the model for many like electrodes."""
        m = self.model
        return PlayModel(
            m.radii,
            np.repeat(m.weights, actuators, axis=0),
            m.knots,
            np.repeat(m.slopes, actuators, axis=0),
            np.repeat(m.offset, actuators),
        )


def sweep_levels() -> Vector:
    """Return normalised voltages: full swings, then smaller and smaller ones."""
    turns = [HIGHEST, -HIGHEST, HIGHEST, -0.55, 0.55, -0.22, 0.22]
    levels = [0.0]
    for turn in turns:
        count = max(1, round(abs(turn - levels[-1]) / STEP))
        levels.extend(np.linspace(levels[-1], turn, count + 1)[1:].tolist())
    return np.array(levels)


def fit_loop(sweep: Sweep, creep: CreepModel | None) -> Loop:
    """Fit a play model to a sweep, less the creep that is in it."""
    plain = sweep.response
    if creep is not None:
        plain = without_creep(creep, sweep.at_s, plain[:, None])[:, 0]
    raw, _ = fit_common_play(sweep.volts, sweep.share, plain, OPTIONS)
    whole = PlayOperators(raw)
    whole.advance(np.array([-1.0]))
    high = float(whole.advance(np.array([1.0]))[0])
    low = float(whole.advance(np.array([-1.0]))[0])
    scale, rest = 2.0 / (high - low), float(PlayOperators(raw).preview(np.zeros(1))[0])
    model = PlayModel(
        raw.radii,
        raw.weights * scale,
        raw.knots,
        raw.slopes * scale,
        (raw.offset - rest) * scale,
    )
    # Both groups stand for the same electrode: what is common to them is not in the record.
    shift = rest * float(sweep.share.sum())
    return Loop(
        model=model,
        scale=scale,
        levels=sweep.levels,
        response=(plain - shift) * scale,
        modelled=_followed(model, sweep),
    )


def _followed(model: PlayModel, sweep: Sweep) -> Vector:
    """Return what a model says along a sweep, model units."""
    found = np.zeros(len(sweep.levels))
    for volts, share in zip(sweep.volts.T, sweep.share, strict=True):
        play = PlayOperators(model)
        found += share * np.array([float(play.advance(np.array([v]))[0]) for v in volts])
    return found

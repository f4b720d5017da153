"""The hysteresis loop from a sweep: which levels to visit, and the play model behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camera_rig.mirror.hysteresis import FitOptions, PlayModel, PlayOperators, fit_play

__all__ = ["Loop", "fit_loop", "sweep_levels"]

Vector = npt.NDArray[np.float64]

HIGHEST = 0.88
STEP = 0.16


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop measured in units of small-signal volts, and its model.

    Args:
        model: One electrode, scaled so that a full swing responds with -1 … 1.
        scale: Response per small-signal volt: small moves do less than large ones.
        levels: Voltages of the sweep, normalised.
        response: Measured response, model units.
        residual: RMS of measured minus modelled, model units.
    """

    model: PlayModel
    scale: float
    levels: Vector
    response: Vector
    residual: float

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


def fit_loop(record: tuple[Vector, Vector]) -> Loop:
    """Fit a play model to (levels, response), the first level on a relaxed mirror."""
    levels, response = record
    raw, _ = fit_play(levels, response[:, None], FitOptions(operators=8, pieces=4))
    whole = PlayOperators(raw)
    whole.advance(np.array([-1.0]))
    high = float(whole.advance(np.array([1.0]))[0])
    low = float(whole.advance(np.array([-1.0]))[0])
    scale, middle = 2.0 / (high - low), (high + low) / 2.0
    model = PlayModel(
        raw.radii,
        raw.weights * scale,
        raw.knots,
        raw.slopes * scale,
        (raw.offset - middle) * scale,
    )
    play = PlayOperators(model)
    modelled = np.array([float(play.advance(np.array([v]))[0]) for v in levels])
    measured = (response - middle) * scale
    return Loop(
        model=model,
        scale=scale,
        levels=levels,
        response=measured,
        residual=float(np.sqrt(np.mean((modelled - measured) ** 2))),
    )

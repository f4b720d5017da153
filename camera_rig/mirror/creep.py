"""Creep: what electrodes go on doing for hours after the voltage has stopped.

The drift is close to a straight line over the logarithm of time. Here it is a sum of
slow followers of the response, half a decade apart, so that any history of commands
adds up by itself. Responses are normalised: -1 … 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Array = np.ndarray[Any, np.dtype[np.float64]]

_TIMES_S = 0.1 * 10.0 ** (0.5 * np.arange(11))


@dataclass(frozen=True)
class CreepModel:
    """How strongly a mirror creeps.

    Args:
        per_decade: Share of a step that is added in each decade of time
            (dimensionless), for example 0.015.
    """

    per_decade: float

    def __post_init__(self) -> None:
        """Refuse what no piezo does."""
        if not 0.0 <= self.per_decade <= 0.2:
            raise ConfigError(
                f"creep of {self.per_decade!r} a decade is outside 0 … 0.2", hint="fit it again"
            )


class Creep:
    """The creep of every actuator, from the commands it got.

    Args:
        model: How strong.
        response: Response without creep, at rest since long ago (normalised).
        at_s: Now, s, on any clock that runs on.
    """

    def __init__(self, model: CreepModel, response: Array, at_s: float) -> None:
        self.model = model
        self._held = np.array(response, dtype=np.float64)
        self._followers = np.tile(self._held, (_TIMES_S.size, 1))
        self._at_s = at_s

    def offset(self, at_s: float) -> Array:
        """Return what creep adds to the response at ``at_s`` (s), normalised."""
        # Two followers in each decade share its strength.
        total: Array = 0.5 * self.model.per_decade * self._moved(at_s).sum(axis=0)
        return total

    def hold(self, response: Array, at_s: float) -> None:
        """Note that from ``at_s`` (s) on the response without creep is another one."""
        self._followers = self._moved(at_s)
        self._held, self._at_s = np.array(response, dtype=np.float64), at_s

    def _moved(self, at_s: float) -> Array:
        left = np.exp(-max(0.0, at_s - self._at_s) / _TIMES_S)[:, None]
        moved: Array = self._held + (self._followers - self._held) * left
        return moved


def without_creep(model: CreepModel, at_s: Array, record: Array) -> Array:
    """Return a record of responses with the creep taken off, normalised.

    A sweep that takes half a minute holds some of the creep already. A hysteresis model
    must be fitted to what is left, or creep is counted twice.

    Args:
        model: How strong the creep is.
        at_s: When each row was measured, s, ascending.
        record: Responses, shape (times, actuators), beginning at rest.
    """
    creep = Creep(model, record[0], float(at_s[0]))
    plain = np.empty_like(record)
    for row, now_s in enumerate(np.asarray(at_s, dtype=float).tolist()):
        plain[row] = record[row] - creep.offset(now_s)
        creep.hold(plain[row], now_s)
    return plain


def fit_creep(since_s: Array, drift: Array, step: Array) -> tuple[CreepModel | None, float]:
    """Fit the creep after one step, if the record shows any.

    Args:
        since_s: Times since the step, s, spread over at least one decade.
        drift: Response less its first value, shape (times, actuators), normalised.
        step: The step of each actuator, normalised.

    Returns:
        The model, None unless the strength is above three standard deviations, and the
        standard deviation of the strength (share of a step per decade).

    Raises:
        ConfigError: The record is too short to tell.
    """
    since = np.asarray(since_s, dtype=float)
    if since.size < 8 or not since.min() > 0 or since.max() < 10 * since.min():
        raise ConfigError(
            "a creep record needs eight times over a decade at least",
            hint="watch a step from 0.1 s to some minutes after it",
        )
    growth = 0.5 * np.sum(1.0 - np.exp(-since[:, None] / _TIMES_S), axis=1)
    column = ((growth - growth[0])[:, None] * np.asarray(step)).ravel()
    measured = np.asarray(drift, dtype=float).ravel()
    strength = float(column @ measured / (column @ column))
    noise = float(np.sqrt(np.mean((measured - strength * column) ** 2)))
    sigma = noise / float(np.sqrt(column @ column))
    if strength <= 3.0 * sigma:
        return None, sigma
    return CreepModel(strength), sigma

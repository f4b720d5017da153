"""Which picture each row of a rolling shutter saw, for how long, and how bright.

The scene, the lamp, the stage and the mirror may all change while a frame is exposed.
Time is cut where they do; each row then gets an exact share of each piece.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lamp", "Piece", "Rows", "cut", "row_weights"]

Floats = NDArray[np.float64]

_PROBE_S = 0.002
_EDGE_S = 2e-6


@dataclass(frozen=True, slots=True)
class Rows:
    """The exposure windows of all rows.

    Args:
        mid_s: Middle of the exposure of the middle row, world seconds.
        exposure_s: Exposure time, s.
        readout_s: From the first to the last row, s.
        rows: Number of rows.
    """

    mid_s: float
    exposure_s: float
    readout_s: float
    rows: int

    def starts_s(self) -> Floats:
        """Return when each row starts to collect light, world seconds."""
        place = (np.arange(self.rows) + 0.5) / self.rows - 0.5
        return self.mid_s - self.exposure_s / 2 + self.readout_s * place

    @property
    def start_s(self) -> float:
        """When the first row starts, world seconds."""
        return self.mid_s - self.exposure_s / 2 - self.readout_s / 2

    @property
    def stop_s(self) -> float:
        """When the last row ends, world seconds."""
        return self.mid_s + self.exposure_s / 2 + self.readout_s / 2


@dataclass(frozen=True, slots=True)
class Piece:
    """A time during which nothing before the sensor changes (world seconds)."""

    start_s: float
    stop_s: float
    key: Hashable


def cut(key_at: Callable[[float], Hashable], start_s: float, stop_s: float) -> list[Piece]:
    """Return the pieces of a span, found by probing every 2 ms and halving.

    Args:
        key_at: Key of a world time; constant within a piece.
        start_s: Start, world seconds.
        stop_s: End, world seconds.
    """
    probes = max(2, int((stop_s - start_s) / _PROBE_S) + 2)
    times = np.linspace(start_s, stop_s, probes)
    pieces: list[Piece] = []
    began, key = start_s, key_at(start_s)
    for low, high in pairwise(times):
        there = key_at(float(high))
        if there == key:
            continue
        edge = _edge(key_at, float(low), float(high), key)
        pieces.append(Piece(began, edge, key))
        began, key = edge, there
    pieces.append(Piece(began, stop_s, key))
    return pieces


def _edge(key_at: Callable[[float], Hashable], low: float, high: float, key: Hashable) -> float:
    while high - low > _EDGE_S:
        middle = (low + high) / 2
        if key_at(middle) == key:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class Lamp:
    """Brightness of the light over time: ambient plus a lamp that somebody switches.

    Args:
        ambient: Brightness without the lamp (1: white is the scene's brightest white).
        lamp: What the lamp adds at full level.
    """

    def __init__(self, ambient: float, lamp: float) -> None:
        self._times_s = np.zeros(1)
        self._levels = np.array([0.0])
        self._integral = np.zeros(1)
        self.set_mix(ambient, lamp)

    def set_mix(self, ambient: float, lamp: float) -> None:
        """Set how bright ambient light and the lamp are, relative to white."""
        self.ambient, self.lamp = ambient, lamp

    def switch(self, level: float, at_s: float) -> None:
        """Set the lamp's light (0 … 1, shutter included) at ``at_s`` (world seconds)."""
        at_s = max(at_s, float(self._times_s[-1]))
        area = self._integral[-1] + self._levels[-1] * (at_s - self._times_s[-1])
        # Rebound in one step each, so that a reader in another thread sees whole arrays.
        times, levels = np.append(self._times_s, at_s), np.append(self._levels, level)
        integral = np.append(self._integral, area)
        if times.size > 4096:
            times, levels, integral = times[-2048:], levels[-2048:], integral[-2048:]
        self._times_s, self._levels, self._integral = times, levels, integral

    def level(self, at_s: float) -> float:
        """Return the lamp's light at ``at_s``, 0 … 1."""
        place = int(np.searchsorted(self._times_s, at_s, side="right")) - 1
        return float(self._levels[max(place, 0)])

    def brightness_s(self, times_s: Floats) -> Floats:
        """Return the integral of the brightness from world time 0, seconds of white."""
        times, levels, integral = self._times_s, self._levels, self._integral
        place = np.maximum(np.searchsorted(times, times_s, side="right") - 1, 0)
        lit = integral[place] + levels[place] * (times_s - times[place])
        return np.asarray(self.ambient * times_s + self.lamp * lit)


def row_weights(pieces: list[Piece], rows: Rows, lamp: Lamp) -> dict[int, NDArray[np.float32]]:
    """Return for each piece (by index of the first with its key) the weight of each row.

    The weight is the light that the row gets through the piece, over what white gives
    in a whole exposure.
    """
    starts = rows.starts_s()
    stops = starts + rows.exposure_s
    first: dict[Hashable, int] = {}
    weights: dict[int, NDArray[np.float32]] = {}
    for index, piece in enumerate(pieces):
        # The outer pieces go on: rounding must not leave a row a picosecond short.
        low = starts if index == 0 else np.maximum(starts, piece.start_s)
        high = stops if index == len(pieces) - 1 else np.minimum(stops, piece.stop_s)
        high = np.maximum(high, low)
        light = lamp.brightness_s(high) - lamp.brightness_s(low)
        share = (light / rows.exposure_s).astype(np.float32)
        place = first.setdefault(piece.key, index)
        weights[place] = weights[place] + share if place in weights else share
    return weights

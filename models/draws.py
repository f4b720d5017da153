"""Chance without state: every random number is a function of where it is used.

A run that stops and goes on, or that is spread over more processes, must see
the same data, noise and crops. So nothing is drawn from a running generator:
seed, step, place in the batch and purpose name each draw.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np


class Purpose(IntEnum):
    """What a draw is for; draws of unlike purpose never share numbers."""

    ORDER = 0
    SOURCE_CHANGE = 1
    NOISE = 2
    REFERENCE = 3
    SECOND_REFERENCE = 4
    REFERENCE_CHANGE = 5
    LATENT = 6
    SECOND_LATENT = 7
    SIMULATED = 8


def draw(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Return the generator of one place, the same at every call."""
    return np.random.default_rng([seed, int(purpose), *place])


def shuffled_index(count: int, position: int, seed: int) -> int:
    """Return which of ``count`` items stands at ``position`` of an endless shuffle.

    Every pass over the data is a new order that holds each item once.
    """
    turn, place = divmod(position, count)
    return int(_order(count, turn, seed)[place])


@lru_cache(maxsize=8)
def _order(count: int, turn: int, seed: int) -> np.ndarray:
    return draw(seed, Purpose.ORDER, turn).permutation(count)

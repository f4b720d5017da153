"""Randomness by address instead of by order: the same question gets the same answer.

A generator that is drawn from in turn makes every number depend on who asked first.
Here a number depends on the world's seed and on what it is for (camera, exposure,
row), so threads, polling order and skipped frames change nothing.
"""

from __future__ import annotations

import hashlib
from statistics import NormalDist

import numpy as np

_MASK = (1 << 64) - 1
_NORMAL = NormalDist()


def key(seed: int, *names: str | int) -> int:
    """Return 64 bits that belong to ``seed`` and the names, equal on every machine."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(state: int, number: int) -> int:
    """Return 64 well-mixed bits of a key and a counter (splitmix64 finaliser)."""
    z = (int(state) + (int(number) + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(state: int, number: int = 0) -> float:
    """Return a number above 0 and below 1 for a key and a counter."""
    return ((mix(state, number) >> 11) + 0.5) / (1 << 53)


def normal(state: int, number: int = 0) -> float:
    """Return a standard normal number for a key and a counter."""
    return _NORMAL.inv_cdf(uniform(state, number))


def generator(state: int) -> np.random.Generator:
    """Return a numpy generator for whole arrays, seeded by a key."""
    return np.random.Generator(np.random.PCG64(state))

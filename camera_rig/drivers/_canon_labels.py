"""A camera's own words for numbers: "1/125", "0.3", "5.6", and "auto", which is none."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["nearest", "number", "numbers"]


def numbers(labels: tuple[str, ...]) -> dict[str, float]:
    """Return the labels that are numbers, with their values, in the camera's order."""
    return {label: value for label in labels if (value := number(label)) is not None}


def number(label: str) -> float | None:
    """Return the number a label means, in its own unit, or None if it is a word."""
    above, slash, below = label.partition("/")
    try:
        return float(above) / float(below) if slash else float(label)
    except ValueError:
        return None  # "auto", "bulb" and their like


def nearest(offered: Mapping[str, float], value: float, tolerance: float) -> str | None:
    """Return the label nearest to ``value``, or None if it is off by more than a share.

    Args:
        offered: Labels and the numbers they mean, in any unit.
        value: The number wanted, in the same unit.
        tolerance: Largest relative difference, a share of 1.
    """
    near = min(offered, key=lambda label: abs(math.log(offered[label] / value)), default=None)
    if near is None or abs(math.log(offered[near] / value)) > math.log1p(tolerance):
        return None
    return near

"""A figure with its interval, its split over groups of people, and the gap between them.

Every figure is a function of how often each person counts. Counting people with
replacement gives the interval, counting only some gives a group, and giving attributes
to people by lot gives the gap that chance alone would show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float64]]
Statistic = Callable[[Floats], Floats]
"""``(draws, people)`` weights to ``(draws,)`` values; NaN where the weights leave nothing."""

DRAWS = 500
SHUFFLES = 200
LEAST_PEOPLE = 3
"""A group of fewer people is told but takes no part in a gap."""

_BINS = 2048


@dataclass(frozen=True)
class Figure:
    """One number of a table with all that a reader must know beside it.

    Args:
        value: The figure.
        low: Lower end of the 95 % interval over people; None where there is none.
        high: Upper end.
        count: Pictures or pairs behind it.
        groups: Attribute to value to (figure, people).
        gaps: Attribute to the largest difference between groups of enough people.
        chance_gaps: Attribute to the gap that 95 % of random attributes stay below.
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int = 0
    groups: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    chance_gaps: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Crowd:
    """The people of a set and how they are drawn.

    Args:
        people: Number of the person of every sample.
        groups: Attribute to value to which samples have it.
        seed: Decides all draws.
    """

    people: Floats
    groups: Mapping[str, Mapping[str, np.ndarray[Any, Any]]] = field(default_factory=dict)
    seed: int = 0

    @property
    def names(self) -> Floats:
        """Every person once, in order."""
        return np.unique(self.people)

    @property
    def index(self) -> Floats:
        """Place of the person of every sample among :attr:`names`."""
        return np.searchsorted(self.names, self.people)

    def figure(self, statistic: Statistic, count: int) -> Figure:
        """Return a figure with interval, groups and gaps.

        Args:
            statistic: What it is.
            count: Pictures or pairs behind it.
        """
        persons = len(self.names)
        rng = np.random.default_rng(self.seed)
        value = float(statistic(np.ones((1, persons)))[0])
        drawn = statistic(
            rng.multinomial(persons, np.full(persons, 1.0 / persons), DRAWS).astype(float)
        )
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (None, None)
        groups, gaps, chance = {}, {}, {}
        for attribute, values in self.groups.items():
            masks = self._masks(values)
            found = statistic(np.array(list(masks.values())))
            groups[attribute] = {
                name: (float(v), int(mask.sum()))
                for (name, mask), v in zip(masks.items(), found, strict=True)
            }
            large = np.array([m for m in masks.values() if m.sum() >= LEAST_PEOPLE])
            if len(large) > 1:
                gaps[attribute] = float(_gaps(statistic(large)[None])[0])
                lots = np.stack([large[:, rng.permutation(persons)] for _ in range(SHUFFLES)])
                spread = _gaps(statistic(lots.reshape(-1, persons)).reshape(SHUFFLES, -1))
                finite = spread[np.isfinite(spread)]
                chance[attribute] = float(np.quantile(finite, 0.95)) if len(finite) else np.nan
        return Figure(
            value, None if low is None else float(low), None if high is None else float(high),
            count, groups, gaps, chance,
        )  # fmt: skip

    def _masks(self, values: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Floats]:
        masks = {}
        for name, rows in values.items():
            mask = np.zeros(len(self.names))
            mask[self.index[rows]] = 1.0
            masks[name] = mask
        return masks

    def mean(self, values: Floats) -> Figure:
        """Return the mean of per-picture values; NaN counts as not measured.

        Args:
            values: ``(samples,)``, or ``(references, samples)``.
        """
        table = np.atleast_2d(np.asarray(values, float))
        there = np.isfinite(table)
        sums = np.zeros(len(self.names))
        counts = np.zeros(len(self.names))
        np.add.at(sums, self.index, np.where(there, table, 0.0).sum(0))
        np.add.at(counts, self.index, there.sum(0).astype(float))
        return self.figure(weighted_mean(sums, counts), int(there.sum()))


def weighted_mean(sums: Floats, counts: Floats) -> Statistic:
    """Return the statistic of a mean over all pictures of the people who count.

    Args:
        sums: Sum of the values of each person.
        counts: Number of values of each person.
    """

    def statistic(weights: Floats) -> Floats:
        total = weights @ counts
        return np.divide(weights @ sums, total, out=np.full(len(weights), np.nan), where=total > 0)

    return statistic


@dataclass(frozen=True, eq=False)
class PairCurves:
    """Distances of same and different pairs as counts per person and step.

    With at most 2048 distinct distances every step is one of them and nothing is
    rounded; with more, steps are the middles of as many equal shares of all distances.

    Args:
        steps: Ascending distances.
        same: ``(people, steps)`` counts.
        different: The same of pairs with somebody else, by the person of the output.
    """

    steps: Floats
    same: Floats
    different: Floats

    @classmethod
    def of(
        cls, same: tuple[Floats, Floats], different: tuple[Floats, Floats], people: int
    ) -> PairCurves:
        """Count pairs.

        Args:
            same: Distances, and the person (0 … people - 1) of each.
            different: The same of pairs of two people.
            people: How many there are.
        """
        if not len(same[0]) or not len(different[0]):
            raise ConfigError(
                "verification needs same and different pairs",
                hint="give at least two people, one of them with two pictures",
            )
        values = np.unique(np.concatenate([same[0], different[0]]))
        if len(values) > _BINS:
            values = np.unique(np.quantile(values, (np.arange(_BINS) + 0.5) / _BINS))
        tables = []
        for distances, person in (same, different):
            # A distance counts at the first step that is not below it.
            step = np.minimum(np.searchsorted(values, distances, side="left"), len(values) - 1)
            table = np.zeros((people, len(values)))
            np.add.at(table, (person, step), 1.0)
            tables.append(table)
        return cls(values, *tables)

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(self.same.sum() + self.different.sum())

    def rates(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return false- and true-positive rates ``(draws, steps + 1)``; at first nobody passes."""
        rates = []
        for table in (self.different, self.same):
            rows = np.cumsum(weights @ table, axis=1)
            total = rows[:, -1:]
            share = np.divide(rows, total, out=np.full_like(rows, np.nan), where=total > 0)
            rates.append(np.concatenate([np.zeros((len(rows), 1)), share], axis=1))
        return rates[0], rates[1]

    def tpr_at(self, rate: float) -> Statistic:
        """Return the statistic: true-positive rate at a false-positive rate."""

        def statistic(weights: Floats) -> Floats:
            fpr, tpr = self.rates(weights)
            return np.where(fpr <= rate, tpr, 0.0).max(1)

        return statistic

    def auc(self, weights: Floats) -> Floats:
        """Return the area under the ROC curve."""
        fpr, tpr = self.rates(weights)
        return np.asarray(np.trapezoid(tpr, fpr, axis=1))

    def accuracy(self, weights: Floats) -> Floats:
        """Return the balanced accuracy at the best threshold; 0.5 is chance."""
        fpr, tpr = self.rates(weights)
        return np.asarray((0.5 * (tpr + 1.0 - fpr)).max(1))

    def eer(self, weights: Floats) -> Floats:
        """Return the equal error rate; 0.5 is chance."""
        fpr, tpr = self.rates(weights)
        gap = fpr - (1.0 - tpr)
        after = np.argmax(gap >= 0, axis=1)
        before = np.maximum(after - 1, 0)
        rows = np.arange(len(gap))
        span = gap[rows, after] - gap[rows, before]
        share = np.divide(-gap[rows, before], span, out=np.zeros(len(gap)), where=span != 0)
        low, high = fpr[rows, before], fpr[rows, after]
        return np.asarray(low + share * (high - low))


def _gaps(values: Floats) -> Floats:
    """Return the largest difference in each row; NaN where fewer than two values are known."""
    known = np.isfinite(values)
    high = np.where(known, values, -np.inf).max(1)
    low = np.where(known, values, np.inf).min(1)
    return np.asarray(np.where(known.sum(1) > 1, high - low, np.nan))

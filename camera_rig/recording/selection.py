"""Which good pairs go where: split by whole takes or by time, with a gap, never shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.errors import StateError

__all__ = ["Candidate", "SplitRules", "select"]


class SplitRules(BaseModel):
    """How to split.

    Args:
        train: Number of pairs (>= 1, whole), or share of all (below 1).
        test: The same for the test part.
        by: Whole takes, or a block of time at the end of each take.
        gap_s: Time thrown away between the parts of one take, s.
        seed: Decides which takes are for testing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Annotated[float, Field(gt=0)] = 0.8
    test: Annotated[float, Field(gt=0)] = 0.2
    by: Literal["take", "time"] = "take"
    gap_s: Annotated[float, Field(ge=0)] = 2.0
    seed: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether exact numbers are wanted."""
        return self.train >= 1 and self.test >= 1

    @property
    def test_share(self) -> float:
        """Share of the test part."""
        return self.test / (self.train + self.test)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A good pair: its take, key and time (privacy clock, ns)."""

    take: str
    key: str
    at_ns: int


def select(candidates: Sequence[Candidate], rules: SplitRules) -> dict[str, list[Candidate]]:
    """Return ``train`` and ``test``; thinned evenly in time to exact numbers if asked for.

    Raises:
        StateError: There are fewer good pairs than asked for.
    """
    ordered = sorted(candidates, key=lambda c: (c.take, c.at_ns))
    parts = _by_take(ordered, rules) if rules.by == "take" else _by_time(ordered, rules)
    if not rules.is_counted:
        return parts
    wanted = {"train": round(rules.train), "test": round(rules.test)}
    short = [f"{len(parts[n])} of {wanted[n]} for {n}" for n in wanted if len(parts[n]) < wanted[n]]
    if short:
        raise StateError(
            f"there are not enough good pairs: {', '.join(short)}",
            hint="record more, loosen the quality rules, or give shares: --split 0.8/0.2",
        )
    return {name: _thin(parts[name], wanted[name]) for name in wanted}


def _thin(candidates: list[Candidate], count: int) -> list[Candidate]:
    picks = np.linspace(0, len(candidates) - 1, count).round().astype(int)
    return [candidates[i] for i in picks]


def _by_take(ordered: list[Candidate], rules: SplitRules) -> dict[str, list[Candidate]]:
    counts: dict[str, int] = {}
    for candidate in ordered:
        counts[candidate.take] = counts.get(candidate.take, 0) + 1
    if len(counts) < 2:
        raise StateError(
            f"a split by take needs two takes with good pairs, there are {len(counts)}",
            hint="prepare more takes, or split by time: --by time",
        )
    names = sorted(counts)
    shuffled = [names[i] for i in np.random.default_rng(rules.seed).permutation(len(names))]
    need = rules.test if rules.is_counted else rules.test_share * len(ordered)
    test: set[str] = set()
    for name in shuffled[:-1]:  # one take at least is left for training
        if sum(counts[n] for n in test) >= need:
            break
        test.add(name)
    return {
        "train": [c for c in ordered if c.take not in test],
        "test": [c for c in ordered if c.take in test],
    }


def _by_time(ordered: list[Candidate], rules: SplitRules) -> dict[str, list[Candidate]]:
    parts: dict[str, list[Candidate]] = {"train": [], "test": []}
    gap_ns = round(rules.gap_s * 1e9)
    for take in sorted({c.take for c in ordered}):
        mine = [c for c in ordered if c.take == take]
        # The boundary is a place in the list, so that both parts get their share of pairs.
        border_ns = mine[min(len(mine) - 1, round(len(mine) * (1 - rules.test_share)))].at_ns
        parts["train"] += [c for c in mine if c.at_ns < border_ns - gap_ns]
        parts["test"] += [c for c in mine if c.at_ns >= border_ns]
    return parts

"""Limits that a bundle must keep: a release gate as a small file.

    system: bundle
    limits:
      identity.*.rank1: {at_most: 0.10, gap_at_most: 0.20}
      identity.*.protected: {at_least: 0.95, certain: true}
      use.hog.found: {at_least: 0.95}

A name may hold ``*``. What matches nothing, or could not be measured, fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from camera_rig.errors import ConfigError
from models.evaluation.meanings import MEANINGS, label, meaning
from models.evaluation.statistics import Figure

GATE_EXIT_CODE = 20
"""What a command returns when a limit was not kept; no error class uses it."""


class Limit(BaseModel):
    """What one figure must keep.

    Args:
        at_least: Smallest value.
        at_most: Largest value.
        gap_at_most: Largest difference between groups of people, for every attribute.
        certain: Judge the unfavourable end of the 95 % interval, not the value.
        beyond_chance: A gap counts only when it is wider than 95 % of random ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_least: float | None = None
    at_most: float | None = None
    gap_at_most: float | None = None
    certain: bool = False
    beyond_chance: bool = False

    @model_validator(mode="after")
    def _something(self) -> Limit:
        if self.at_least is None and self.at_most is None and self.gap_at_most is None:
            raise ValueError("a limit needs at_least, at_most or gap_at_most")
        return self


class Gates(BaseModel):
    """A gate file.

    Args:
        system: Which system is judged.
        limits: Figure (``*`` allowed) to limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = "bundle"
    limits: dict[str, Limit] = Field(min_length=1)

    @field_validator("limits")
    @classmethod
    def _of_something(cls, limits: dict[str, Limit]) -> dict[str, Limit]:
        """Notice a misspelt figure now, not after an hour of measuring."""
        for pattern in limits:
            last = pattern.rsplit(".", 1)[-1]
            if not any(fnmatchcase(name, last) for name in MEANINGS):
                raise ValueError(f"no figure ends in {last}; there are {', '.join(MEANINGS)}")
        return limits

    @classmethod
    def load(cls, path: str | Path) -> Gates:
        """Read a gate file.

        Raises:
            ConfigError: It cannot be read, or holds a key that means nothing.
        """
        try:
            return cls.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(
                f"{path} is no gate file: {error}",
                hint="write `limits:` and below it `identity.*.rank1: {at_most: 0.1}`",
            ) from error


@dataclass(frozen=True)
class Verdict:
    """How one limit was kept.

    Args:
        figure: Which figure.
        asked: What was asked, in words.
        value: What was judged; None when it could not be measured.
        passed: Whether it was kept.
    """

    figure: str
    asked: str
    value: float | None
    passed: bool


def judge_gates(gates: Gates, figures: Mapping[str, Figure]) -> tuple[Verdict, ...]:
    """Return one verdict for every limit and figure; nothing is passed over.

    Args:
        gates: The limits.
        figures: Figures of the system that is judged.

    Raises:
        ConfigError: A limit matches no figure.
    """
    found: list[Verdict] = []
    for pattern, limit in gates.limits.items():
        names = [name for name in figures if fnmatchcase(name, pattern)]
        if not names:
            raise ConfigError(
                f"limit {pattern} matches no figure of {gates.system}",
                hint=f"figures are: {', '.join(sorted(figures))}",
            )
        for name in names:
            found.extend(_verdicts(name, limit, figures[name]))
    return tuple(found)


def _verdicts(name: str, limit: Limit, figure: Figure) -> Iterator[Verdict]:
    tell, sure = meaning(name), " for certain" if limit.certain else ""
    if limit.at_least is not None:
        value = figure.low if limit.certain else figure.value
        asked = f"at least {tell.text(limit.at_least)}{tell.unit}{sure}"
        yield Verdict(name, asked, _number(value), _known(value) >= limit.at_least)
    if limit.at_most is not None:
        value = figure.high if limit.certain else figure.value
        asked = f"at most {tell.text(limit.at_most)}{tell.unit}{sure}"
        yield Verdict(name, asked, _number(value), _known(value) <= limit.at_most)
    if limit.gap_at_most is not None:
        yield from _gap_verdicts(name, limit.gap_at_most, limit.beyond_chance, figure)


def _gap_verdicts(name: str, most: float, beyond_chance: bool, figure: Figure) -> Iterator[Verdict]:
    tell = meaning(name)
    if not figure.gaps:
        # Nobody told who belongs to which group: fairness is then not shown.
        yield Verdict(name, f"gap at most {tell.text(most)}{tell.unit}", None, False)
    for attribute, gap in figure.gaps.items():
        asked = f"gap by {attribute} at most {tell.text(most)}{tell.unit}"
        chance = figure.chance_gaps.get(attribute, 0.0)
        excused = beyond_chance and math.isfinite(gap) and gap <= chance
        yield Verdict(name, asked, _number(gap), excused or _known(gap) <= most)


def _known(value: float | None) -> float:
    """A missing value keeps no limit: it compares false with everything."""
    return float("nan") if value is None else value


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def told(verdict: Verdict) -> str:
    """Return one line about a verdict."""
    tell = meaning(verdict.figure)
    state = "kept" if verdict.passed else "NOT kept"
    value = "not known" if verdict.value is None else f"{tell.text(verdict.value)}{tell.unit}"
    return f"{label(verdict.figure)}: {value}, {verdict.asked}: {state}"

"""What participants answered, as percentages with intervals.

Answers of one participant hang together. So each percentage has two 95 % intervals, one
as if all answers were independent (Wilson 1927) and one that draws whole participants with
replacement, and the wider of both ends is told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from camera_rig.errors import ConfigError, StorageError
from models.evaluation.study import EXPRESSION, PROTECTION, Scenario, StudyKey

__all__ = ["Answers", "Score", "Share", "read_results", "score", "wilson"]

PUBLISHED = {
    ("protected", "low-resolution", "Highly protected"): 12.76,
    ("protected", "optics", "Highly protected"): 56.00,
    ("source-of-output", "bundle", "failed to find the source"): 91.82,
}
"""What 106 people answered in the published study, percent; of photographs, not of heads."""

_DRAWS = 2000
_Z = 1.959963984540054  # of the normal distribution, 95 %


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(_Stored):
    """One answer.

    Args:
        question: Token of the question.
        option: Token of the answer; empty when it was passed over.
        seconds: Time taken, s.
    """

    question: str
    option: str
    seconds: float = 0.0


class Answers(_Stored):
    """A result file.

    Args:
        study: Token of the study.
        participant: Code of the participant; no name.
        answers: What was answered.
    """

    study: str
    participant: str
    answers: tuple[Answer, ...]


class Share(_Stored):
    """A percentage.

    Args:
        scenario: What was asked.
        about: The system it was about.
        answer: The answer, in words.
        percent: Share of given answers.
        low: Lower end of the 95 % interval, percent.
        high: Upper end.
        given: Answers behind it.
        guessing: What guessing gets, percent; None where there is no right answer.
        published: The published study's figure, percent, where it has one.
    """

    scenario: str
    about: str
    answer: str
    percent: float
    low: float
    high: float
    given: int
    guessing: float | None = None
    published: float | None = None


class Score(_Stored):
    """All percentages of a study.

    Args:
        study: Token of the study.
        people: What kind of faces were shown.
        participants: How many took part.
        passed_over: Questions without an answer.
        shares: The percentages.
    """

    study: str
    people: str
    participants: int
    passed_over: int
    shares: tuple[Share, ...]


def read_results(files: Sequence[Path], key: StudyKey) -> list[Answers]:
    """Read result files.

    Args:
        files: Files that participants sent.
        key: The study they belong to.

    Raises:
        StorageError: A file cannot be read.
        ConfigError: One is of another study, was changed, or came twice.
    """
    found: dict[str, Answers] = {}
    for file in files:
        try:
            content: Any = json.loads(file.read_text(encoding="utf-8"))
            one = Answers.model_validate(content)
        except (OSError, json.JSONDecodeError, ValidationError) as error:
            raise StorageError(
                f"{file} is no result of a study", hint="leave it out; ask for the file again"
            ) from error
        _check(one, key, file)
        if one.participant in found:
            raise ConfigError(
                f"participant {one.participant} is there twice ({file})",
                hint="keep one of the two files",
            )
        found[one.participant] = one
    if not found:
        raise ConfigError("there are no results", hint="give the files that participants saved")
    return list(found.values())


def score(results: Sequence[Answers], key: StudyKey) -> Score:
    """Return the percentages of a study.

    Args:
        results: From :func:`read_results`.
        key: The answers.
    """
    shares: list[Share] = []
    for scenario in Scenario:
        abouts = {t.about for t in key.truths.values() if t.scenario is scenario}
        for about in sorted(abouts):
            if scenario in (Scenario.PROTECTED, Scenario.EXPRESSION):
                words = PROTECTION if scenario is Scenario.PROTECTED else EXPRESSION
                shares.extend(_share(results, key, (scenario, about, word)) for word in words)
            else:
                told = (scenario, about, "failed to find the source")
                shares.append(_share(results, key, told))
    passed = sum(not answer.option for one in results for answer in one.answers)
    return Score(
        study=key.study,
        people=key.people,
        participants=len(results),
        passed_over=passed,
        shares=tuple(shares),
    )


def wilson(hits: float, given: int) -> tuple[float, float]:
    """Return the 95 % interval of the share ``hits`` (answers) of ``given`` answers, 0 … 1."""
    if given == 0:
        return 0.0, 1.0
    p, z2 = hits / given, _Z * _Z
    middle = (p + z2 / (2 * given)) / (1 + z2 / given)
    half = _Z / (1 + z2 / given) * np.sqrt(p * (1 - p) / given + z2 / (4 * given * given))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def _share(results: Sequence[Answers], key: StudyKey, what: tuple[Scenario, str, str]) -> Share:
    scenario, about, answer = what
    hits, given = [], []
    for one in results:
        marks = [
            key.truths[a.question].words.get(a.option) == answer
            if key.truths[a.question].words
            else a.option != key.truths[a.question].right
            for a in one.answers
            if a.option
            and key.truths[a.question].scenario is scenario
            and key.truths[a.question].about == about
        ]
        hits.append(sum(marks))
        given.append(len(marks))
    total = sum(given)
    low, high = _interval(np.array(hits, float), np.array(given, float))
    searched = scenario in (Scenario.SOURCE_OF_OUTPUT, Scenario.SOURCE_OF_FRAME)
    guessing = 100.0 * (1.0 - 1.0 / key.plan.choices) if searched else None
    return Share(
        scenario=str(scenario),
        about=about,
        answer=answer,
        percent=100.0 * sum(hits) / total if total else float("nan"),
        low=100.0 * low,
        high=100.0 * high,
        given=total,
        guessing=guessing,
        published=PUBLISHED.get((str(scenario), about, answer)),
    )


def _interval(hits: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """The wider of Wilson's interval and of one over participants."""
    low, high = wilson(float(hits.sum()), int(given.sum()))
    if len(given) < 2 or not given.sum():
        return low, high
    rows = np.random.default_rng(43).integers(0, len(given), (_DRAWS, len(given)))
    totals = given[rows].sum(1)
    shares = (hits[rows].sum(1) / np.maximum(totals, 1.0))[totals > 0]
    below, above = np.quantile(shares, [0.025, 0.975])
    return min(low, float(below)), max(high, float(above))


def _check(one: Answers, key: StudyKey, file: Path) -> None:
    if one.study != key.study:
        raise ConfigError(
            f"{file} belongs to study {one.study}, not to {key.study}",
            hint="give the key of that study",
        )
    asked = [answer.question for answer in one.answers]
    known = set(asked) <= set(key.truths) and len(set(asked)) == len(asked)
    if not known or any(
        a.option and a.option not in key.truths[a.question].options for a in one.answers
    ):
        raise ConfigError(
            f"{file} has questions or answers that the study does not have, or one twice",
            hint="the file was changed: leave it out",
        )

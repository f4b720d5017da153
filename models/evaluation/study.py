"""A questionnaire for people: is the face protected, and is it still of use?

Scenarios one and two are the published ones: how protected a low-resolution picture and
a privacy frame look, and which of five faces an output was made from. The publication
counts four and describes two; three (which of five faces a privacy frame shows) and four
(does an output keep the expression) are this toolkit's own.

The page that participants get holds no answers: what is right lies in a key file beside
it. Pictures of people get in only when every subject agreed to publication.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.errors import ConfigError, PrivacyError, StorageError
from models.evaluation.embedders import Picture
from models.evaluation.material import Material, Sample
from models.evaluation.systems import System

__all__ = ["Question", "Scenario", "Study", "StudyKey", "StudyPlan", "assemble", "write_study"]

PAGE, KEY = "study.html", "key.json"

PROTECTION = ("Not protected", "Slightly protected", "Moderately protected", "Highly protected")
EXPRESSION = ("Not at all", "Slightly", "Mostly", "Completely")
_JPEG_QUALITY = 92


class Scenario(StrEnum):
    """What participants are asked."""

    PROTECTED = "protected"
    SOURCE_OF_OUTPUT = "source-of-output"
    SOURCE_OF_FRAME = "source-of-frame"
    EXPRESSION = "expression"


ASKED = {
    Scenario.PROTECTED: "How well is the identity of this person protected in picture B?",
    Scenario.SOURCE_OF_OUTPUT: "Picture A was made from one of these faces. Which one?",
    Scenario.SOURCE_OF_FRAME: "Picture A is a distorted picture of one of these people. Which one?",
    Scenario.EXPRESSION: "Does picture B keep the facial expression of picture A?",
}
"""The words of each scenario."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyPlan(_Stored):
    """What is asked, and how often.

    Args:
        title: Heading of the page.
        questions: Faces for each scenario; the published study had five.
        choices: Faces to choose among.
        other_moment: The right face is shown at another moment than the picture was made
            from; else it is the very source picture, as published.
        alike: The other faces share sex, skin and age with the right one as far as the
            set has such people; else they are drawn from all, as published.
        seed: Decides faces, and with a participant's code the order of everything.
        contact: Whom participants can ask; printed on the page.
    """

    title: str = "Faces and privacy"
    questions: int = Field(5, ge=1)
    choices: int = Field(5, ge=2)
    other_moment: bool = False
    alike: bool = False
    seed: int = 0
    contact: str = ""


class Question(_Stored):
    """One question as the page has it: nothing in it tells the answer.

    Args:
        id: Token of the question.
        scenario: What is asked.
        shown: Pictures above the question, by number of picture.
        options: Tokens of the answers.
        pictures: Picture of each answer; empty where answers are words.
        words: Words of each answer; empty where answers are pictures.
    """

    id: str
    scenario: Scenario
    shown: tuple[int, ...]
    options: tuple[str, ...]
    pictures: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


class Truth(_Stored):
    """What only the key tells of a question.

    Args:
        scenario: What is asked.
        about: Which system the picture came from.
        face: Name of the source.
        options: Tokens of all answers.
        right: Token of the right answer; empty where there is no right one.
        words: Token to word, for scales.
    """

    scenario: Scenario
    about: str
    face: str
    options: tuple[str, ...]
    right: str = ""
    words: dict[str, str] = Field(default_factory=dict)


class StudyKey(_Stored):
    """The answers, kept by whoever runs the study.

    Args:
        study: Token of the study, in every result file.
        plan: How it was made.
        people: What kind of faces are shown.
        truths: Question to answer.
    """

    study: str
    plan: StudyPlan
    people: str
    truths: dict[str, Truth]

    @classmethod
    def load(cls, folder: Path) -> StudyKey:
        """Read the key of a study folder.

        Raises:
            StorageError: There is none, or it cannot be read.
        """
        from pydantic import ValidationError

        try:
            return cls.model_validate_json((folder / KEY).read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise StorageError(
                f"{folder / KEY} cannot be read", hint="give the folder of `rig study build`"
            ) from error


@dataclass(frozen=True)
class Study:
    """A study ready to be written.

    Args:
        key: The answers.
        questions: All questions, scenario by scenario.
        pictures: JPEG files as data addresses, by number.
    """

    key: StudyKey
    questions: tuple[Question, ...]
    pictures: tuple[str, ...]


def assemble(material: Material, systems: Sequence[System], plan: StudyPlan) -> Study:
    """Make the questions of a study.

    Args:
        material: Faces that may be shown.
        systems: ``optics``, ``low-resolution`` and ``bundle`` among them.
        plan: What is asked.

    Raises:
        PrivacyError: The faces may not be shown.
        ConfigError: Too few people, or a system is missing.
    """
    if not material.may_show:
        raise PrivacyError(
            f"the faces of {material.name} may not be shown to participants",
            hint="use rendered heads, or a prepared set whose subjects agreed to publication",
        )
    by_name = {system.name: system for system in systems}
    missing = {"optics", "low-resolution", "bundle"} - set(by_name)
    if missing:
        raise ConfigError(f"no system {sorted(missing)[0]}", hint="a study shows all three")
    return _Assembler(material, by_name, plan).study()


def write_study(study: Study, folder: Path) -> tuple[Path, Path]:
    """Write page and key into a new folder; return both paths.

    Raises:
        StorageError: A study is there already.
    """
    from models.evaluation.study_page import render

    if (folder / KEY).exists():
        raise StorageError(f"{folder} holds a study already", hint="choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(render(study), encoding="utf-8")
    (folder / KEY).write_text(study.key.model_dump_json(indent=1), encoding="utf-8")
    return folder / PAGE, folder / KEY


class _Assembler:
    """Draws faces and numbers pictures; everything follows from the plan's seed."""

    def __init__(self, material: Material, systems: dict[str, System], plan: StudyPlan) -> None:
        self.material, self.systems, self.plan = material, systems, plan
        self.chance = np.random.default_rng([plan.seed, 41])
        self.pictures: dict[str, int] = {}
        self.questions: list[Question] = []
        self.truths: dict[str, Truth] = {}
        people = np.unique(material.people)
        if len(people) < max(plan.choices, plan.questions):
            raise ConfigError(
                f"{len(people)} people for {plan.questions} questions of {plan.choices} faces",
                hint="give a larger set, or ask less",
            )
        self.moments = {
            int(who): [s for s in material.samples if s.person == who] for who in people
        }
        self._order = self.chance.permutation(people)

    def study(self) -> Study:
        """Return the whole."""
        for source in self._sources(Scenario.PROTECTED):
            for about in ("low-resolution", "optics"):
                self._scale(Scenario.PROTECTED, about, source)
        for source in self._sources(Scenario.SOURCE_OF_OUTPUT):
            self._search(Scenario.SOURCE_OF_OUTPUT, "bundle", source)
        for source in self._sources(Scenario.SOURCE_OF_FRAME):
            self._search(Scenario.SOURCE_OF_FRAME, "optics", source)
        for source in self._sources(Scenario.EXPRESSION):
            self._scale(Scenario.EXPRESSION, "bundle", source)
        order = list(Scenario)
        told = [question.model_dump(mode="json") for question in self.questions]
        digest = hashlib.sha256(json.dumps([told, list(self.pictures)]).encode()).hexdigest()
        key = StudyKey(
            study=digest[:12], plan=self.plan, people=self.material.kind, truths=self.truths
        )
        questions = sorted(self.questions, key=lambda q: order.index(q.scenario))
        return Study(key, tuple(questions), tuple(self.pictures))

    def _sources(self, scenario: Scenario) -> list[Sample]:
        """Other people for every scenario, as long as there are others."""
        count = self.plan.questions
        first = list(Scenario).index(scenario) * count
        asked = [self._order[(first + i) % len(self._order)] for i in range(count)]
        return [self._drawn(self.moments[int(who)]) for who in asked]

    def _shown(self, about: str, source: Sample) -> int:
        (picture,) = self.systems[about].show([source], 0)
        return self._number(picture)

    def _scale(self, scenario: Scenario, about: str, source: Sample) -> None:
        words = PROTECTION if scenario is Scenario.PROTECTED else EXPRESSION
        tokens = [self._token() for _ in words]
        question = Question(
            id=self._token(),
            scenario=scenario,
            shown=(self._number(source.picture), self._shown(about, source)),
            options=tuple(tokens),
            words=words,
        )
        truth = Truth(
            scenario=scenario,
            about=about,
            face=source.name,
            options=tuple(tokens),
            words=dict(zip(tokens, words, strict=True)),
        )
        self._add(question, truth)

    def _search(self, scenario: Scenario, about: str, source: Sample) -> None:
        others = self._others(source)
        faces = [self._drawn(self.moments[int(w)]) for w in others[: self.plan.choices - 1]]
        right = self._right(source)
        place = int(self.chance.integers(0, self.plan.choices))
        faces.insert(place, right)
        tokens = [self._token() for _ in faces]
        question = Question(
            id=self._token(),
            scenario=scenario,
            shown=(self._shown(about, source),),
            options=tuple(tokens),
            pictures=tuple(self._number(face.picture) for face in faces),
        )
        truth = Truth(
            scenario=scenario,
            about=about,
            face=source.name,
            options=tuple(tokens),
            right=tokens[place],
        )
        self._add(question, truth)

    def _others(self, source: Sample) -> list[int]:
        """Everybody else by chance; people like the source first when that is wanted."""
        drawn = [int(w) for w in self.chance.permutation(list(self.moments)) if w != source.person]
        if not self.plan.alike:
            return drawn

        def shared(who: int) -> int:
            theirs = self.moments[who][0].attributes
            return sum(theirs.get(key) == value for key, value in source.attributes.items())

        return sorted(drawn, key=shared, reverse=True)

    def _right(self, source: Sample) -> Sample:
        others = [s for s in self.moments[source.person] if s is not source]
        if not self.plan.other_moment:
            return source
        if not others:
            raise ConfigError(
                f"{source.name} is the only picture of its person",
                hint="leave out --other-moment, or give a set with more pictures of each",
            )
        return self._drawn(others)

    def _drawn(self, moments: Sequence[Sample]) -> Sample:
        return moments[int(self.chance.integers(0, len(moments)))]

    def _token(self) -> str:
        return self.chance.bytes(5).hex()

    def _add(self, question: Question, truth: Truth) -> None:
        self.questions.append(question)
        self.truths[question.id] = truth

    def _number(self, picture: Picture) -> int:
        return self.pictures.setdefault(_address(picture), len(self.pictures))


def _address(picture: Picture) -> str:
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), settings)
    if not done:
        raise StorageError("a picture cannot be stored as JPEG", hint="look at the set's pictures")
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()

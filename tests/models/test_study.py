from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from camera_rig.errors import ConfigError, PrivacyError, StorageError
from models.evaluation.material import Material, Sample
from models.evaluation.study import (
    KEY,
    PAGE,
    Scenario,
    StudyKey,
    StudyPlan,
    _address,
    assemble,
    write_study,
)
from models.evaluation.study_score import Answers, read_results, score, wilson
from models.evaluation.systems import Pixelation, Unprotected
from tests.models.conftest import draw_face

PLAN = StudyPlan(questions=3, choices=4, seed=7)


def material(people: int = 12, *, may_show: bool = True, frames: int = 2) -> Material:
    samples = []
    for who in range(people):
        for frame in range(frames):
            picture, points = draw_face(who, frame, 48)
            samples.append(Sample(f"id{who}_{frame}", who, picture, points))
    return Material("drawn", tuple(samples), "synthetic heads", may_show=may_show)


SYSTEMS = (
    Pixelation(6, "coarse", name="optics"),
    Pixelation(12, "fine", name="low-resolution"),
    Unprotected(name="bundle"),
)


@pytest.fixture
def study():
    return assemble(material(), SYSTEMS, PLAN)


def answered(study, participant: str, *, right: bool = True, word: int = 3) -> Answers:
    answers = []
    for question in study.questions:
        truth = study.key.truths[question.id]
        if question.words:
            option = question.options[word]
        else:
            option = truth.right if right else next(o for o in truth.options if o != truth.right)
        answers.append({"question": question.id, "option": option, "seconds": 2.5})
    return Answers(study=study.key.study, participant=participant, answers=tuple(answers))


def test_four_scenarios_with_as_many_questions_as_asked(study):
    count = {s: sum(q.scenario is s for q in study.questions) for s in Scenario}
    # Protection is asked of two cameras.
    assert count == {
        Scenario.PROTECTED: 6, Scenario.SOURCE_OF_OUTPUT: 3,
        Scenario.SOURCE_OF_FRAME: 3, Scenario.EXPRESSION: 3,
    }  # fmt: skip
    for question in study.questions:
        truth = study.key.truths[question.id]
        assert set(truth.options) == set(question.options) and len(question.options) == 4
        assert (truth.right in truth.options) == (not question.words)
    # Nobody is asked about twice in searches while there are others.
    faces = [t.face for t in study.key.truths.values()]
    assert len(set(faces)) == 12


def test_the_right_answer_is_the_source_and_no_other_face_is_of_that_person(study):
    by_name = {s.name: s for s in material().samples}
    pictures = {s.name: _address(s.picture) for s in by_name.values()}
    for question in study.questions:
        if question.words:
            continue
        truth = study.key.truths[question.id]
        shown = dict(zip(question.options, question.pictures, strict=True))
        assert study.pictures[shown[truth.right]] == pictures[truth.face]
        person = by_name[truth.face].person
        own = {pictures[n] for n, s in by_name.items() if s.person == person}
        others = [study.pictures[n] for token, n in shown.items() if token != truth.right]
        assert not own & set(others) and len(set(others)) == 3


def test_the_right_face_stands_at_every_place_and_seeds_decide(study):
    assert assemble(material(), SYSTEMS, PLAN) == study
    other = assemble(material(), SYSTEMS, PLAN.model_copy(update={"seed": 8}))
    assert other.key.study != study.key.study
    places = []
    for seed in range(20):
        made = assemble(material(), SYSTEMS, PLAN.model_copy(update={"seed": seed}))
        for q in made.questions:
            if not q.words:
                places.append(q.options.index(made.key.truths[q.id].right))
    counts = np.bincount(places, minlength=4)
    assert counts.min() > 0.5 * len(places) / 4


def test_other_faces_are_like_the_right_one_when_wanted():
    plain = material()
    told = [
        replace(s, attributes={"sex": "female" if s.person % 2 else "male"}) for s in plain.samples
    ]
    alike = replace(plain, samples=tuple(told))
    made = assemble(alike, SYSTEMS, PLAN.model_copy(update={"alike": True}))
    parity = {_address(s.picture): s.person % 2 for s in alike.samples}
    searches = [q for q in made.questions if not q.words]
    for question in searches:
        assert len({parity[made.pictures[n]] for n in question.pictures}) == 1
    mixed = assemble(alike, SYSTEMS, PLAN)
    kinds = [
        len({parity[mixed.pictures[n]] for n in q.pictures}) for q in mixed.questions if q.pictures
    ]
    assert max(kinds) == 2


def test_another_moment_is_another_picture():
    plan = PLAN.model_copy(update={"other_moment": True})
    made = assemble(material(), SYSTEMS, plan)
    for q in made.questions:
        if q.scenario is Scenario.SOURCE_OF_OUTPUT:  # this "bundle" shows the source itself
            truth = made.key.truths[q.id]
            right = q.pictures[q.options.index(truth.right)]
            assert made.pictures[right] != made.pictures[q.shown[0]]
    with pytest.raises(ConfigError, match="only picture"):
        assemble(material(frames=1), SYSTEMS, plan)


def test_faces_that_may_not_be_shown_are_refused():
    with pytest.raises(PrivacyError, match="may not be shown"):
        assemble(material(may_show=False), SYSTEMS, PLAN)
    with pytest.raises(ConfigError, match="people"):
        assemble(material(people=3), SYSTEMS, PLAN)
    with pytest.raises(ConfigError, match="bundle"):
        assemble(material(), SYSTEMS[:2], PLAN)


def test_the_page_stands_alone_and_does_not_know_the_answers(study, tmp_path):
    page, key = write_study(study, tmp_path / "s")
    text = page.read_text()
    assert not re.search(r"(src|href)=[\"']?http", text) and "fetch(" not in text
    data = json.loads(re.search(r'id="study">(.*?)</script>', text, re.S)[1])
    assert len(data["questions"]) == len(study.questions)
    assert "truths" not in text and "right" not in data["questions"][0]
    for truth in study.key.truths.values():
        assert truth.face not in text
    assert StudyKey.load(tmp_path / "s") == study.key and (page.name, key.name) == (PAGE, KEY)
    with pytest.raises(StorageError, match="already"):
        write_study(study, tmp_path / "s")
    with pytest.raises(StorageError, match="key"):
        StudyKey.load(tmp_path)


@pytest.mark.parametrize(("hits", "given"), [(0, 10), (3, 10), (10, 10), (412, 530)])
def test_wilson_is_that_of_scipy(hits, given):
    wanted = binomtest(hits, given).proportion_ci(method="wilson")
    assert wilson(hits, given) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_score_by_hand(study):
    results = [answered(study, "a"), answered(study, "b", right=False, word=0)]
    found = score(results, study.key)
    by_answer = {(s.scenario, s.about, s.answer): s for s in found.shares}
    high = by_answer["protected", "low-resolution", "Highly protected"]
    assert (high.percent, high.given, high.published) == (50.0, 6, 12.76)
    failed = by_answer["source-of-output", "bundle", "failed to find the source"]
    assert (failed.percent, failed.guessing, failed.published) == (50.0, 75.0, 91.82)
    # One participant always right, one always wrong: only people can tell the spread.
    assert (failed.low, failed.high) == (0.0, 100.0)
    assert by_answer["expression", "bundle", "Completely"].percent == 50.0
    assert found.participants == 2 and found.passed_over == 0
    scale = [s.percent for k, s in by_answer.items() if k[:2] == ("protected", "optics")]
    assert sum(scale) == pytest.approx(100.0)


def test_questions_passed_over_count_for_nothing(study):
    one = answered(study, "a")
    blank = tuple(answer.model_copy(update={"option": ""}) for answer in one.answers)
    found = score([one.model_copy(update={"answers": blank})], study.key)
    assert found.passed_over == len(blank)
    assert all(s.given == 0 and math.isnan(s.percent) for s in found.shares)


def test_result_files_are_checked(study, tmp_path):
    good = tmp_path / "a.json"
    good.write_text(answered(study, "a").model_dump_json())
    assert read_results([good], study.key)[0].participant == "a"
    twice = tmp_path / "b.json"
    twice.write_text(good.read_text())
    with pytest.raises(ConfigError, match="twice"):
        read_results([good, twice], study.key)
    for change, error, word in (
        ({"study": "other"}, ConfigError, "belongs"),
        ({"name": "Ada"}, StorageError, "no result"),
        ({"answers": [{"question": "x", "option": "y"}]}, ConfigError, "changed"),
    ):
        twice.write_text(json.dumps({**json.loads(good.read_text()), **change}))
        with pytest.raises(error) as raised:
            read_results([twice], study.key)
        assert word in str(raised.value)
    with pytest.raises(ConfigError, match="no results"):
        read_results([], study.key)

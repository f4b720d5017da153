from __future__ import annotations

import pytest

from camera_rig.errors import ConfigError
from models.evaluation.gates import Gates, Limit, judge_gates, told
from models.evaluation.statistics import Figure

FIGURES = {
    "identity.dlib.rank1": Figure(
        0.08, 0.05, 0.12, 100, gaps={"sex": 0.3}, chance_gaps={"sex": 0.4}
    ),
    "identity.faceplugin.rank1": Figure(0.2, 0.1, 0.3, 100),
    "use.hog.found": Figure(0.97, 0.94, 0.99, 100),
    "use.hog.box_l1_px": Figure(float("nan")),
}


def passed(pattern: str, **limit) -> list[bool]:
    gates = Gates(limits={pattern: Limit(**limit)})
    return [verdict.passed for verdict in judge_gates(gates, FIGURES)]


def test_limits_by_hand():
    assert passed("use.hog.found", at_least=0.95) == [True]
    assert passed("use.hog.found", at_least=0.98) == [False]
    assert passed("identity.*.rank1", at_most=0.1) == [True, False]
    assert passed("use.hog.found", at_least=0.95, at_most=0.96) == [True, False]


def test_certain_looks_at_the_unfavourable_end():
    assert passed("use.hog.found", at_least=0.95, certain=True) == [False]
    assert passed("identity.dlib.rank1", at_most=0.1, certain=True) == [False]
    assert passed("identity.dlib.rank1", at_most=0.13, certain=True) == [True]


def test_gaps():
    assert passed("identity.dlib.rank1", gap_at_most=0.2) == [False]
    assert passed("identity.dlib.rank1", gap_at_most=0.2, beyond_chance=True) == [True]
    # Nobody told the groups: fairness was not shown, so it is not passed.
    assert passed("use.hog.found", gap_at_most=0.5) == [False]


def test_what_was_not_measured_fails():
    assert passed("use.hog.box_l1_px", at_most=100.0) == [False]
    # Without an interval nothing is certain.
    gates = Gates(limits={"x.dlib.rank1": Limit(at_most=0.5, certain=True)})
    assert not judge_gates(gates, {"x.dlib.rank1": Figure(0.1)})[0].passed


def test_a_limit_on_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"identity\.dlb"):
        passed("identity.dlb.rank1", at_most=0.1)


@pytest.mark.parametrize(
    "text",
    [
        "limits: {a.rank1: {at_mots: 1}}",
        "limits: {a.rank1: {}}",
        "limits: {identity.*.rnk1: {at_most: 1}}",
        "limits: {}",
        "system: bundle",
        "limits: [1",
    ],
)
def test_a_typo_in_the_file_is_refused(tmp_path, text):
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="no gate file"):
        Gates.load(file)


def test_file_and_words(tmp_path):
    file = tmp_path / "gates.yaml"
    file.write_text("limits:\n  identity.dlib.rank1: {at_most: 0.05, gap_at_most: 0.5}\n")
    found = judge_gates(Gates.load(file), FIGURES)
    assert [v.passed for v in found] == [False, True]
    assert told(found[0]) == "Rank 1, dlib ResNet: 8.0%, at most 5.0%: NOT kept"
    (unknown,) = judge_gates(Gates(limits={"use.hog.found": Limit(gap_at_most=0.1)}), FIGURES)
    assert told(unknown) == "Found, dlib HOG: not known, gap at most 10.0%: NOT kept"

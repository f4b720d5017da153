from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from models.evaluation import identity
from models.evaluation.statistics import Crowd, PairCurves, weighted_mean

ONE = np.ones((1, 2))


def curves(same, different) -> PairCurves:
    """Two people; all pairs belong to the first."""
    return PairCurves.of(
        (np.array(same, float), np.zeros(len(same), int)),
        (np.array(different, float), np.zeros(len(different), int)),
        2,
    )


def test_pair_figures_by_hand():
    # Same: 1 2 3 4. Different: 3.5 5 6 7. At 3.5 one of four is missed, one of four passes.
    found = curves([1, 2, 3, 4], [3.5, 5, 6, 7])
    assert found.eer(ONE)[0] == pytest.approx(0.25)
    assert found.auc(ONE)[0] == pytest.approx(15 / 16)
    assert found.accuracy(ONE)[0] == pytest.approx(0.875)
    assert found.tpr_at(0.0)(ONE)[0] == 0.75
    assert found.tpr_at(0.25)(ONE)[0] == 1.0
    assert found.pairs == 8


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-2, 3))
def test_pair_figures_are_those_of_the_exact_routine(seed, shift):
    rng = np.random.default_rng(seed)
    same = rng.normal(0, 1, rng.integers(1, 60)).round(1)
    different = rng.normal(shift, 1, rng.integers(1, 60)).round(1)
    wanted = identity.verification(same, different, (1e-3, 0.1))
    found = curves(same, different)
    assert found.eer(ONE)[0] == pytest.approx(wanted.eer)
    assert found.auc(ONE)[0] == pytest.approx(wanted.auc)
    assert found.accuracy(ONE)[0] == pytest.approx(wanted.best_accuracy)
    for rate, tpr in wanted.tpr_at_fpr.items():
        assert found.tpr_at(rate)(ONE)[0] == pytest.approx(tpr)


def test_many_distances_are_rounded_by_less_than_a_step():
    rng = np.random.default_rng(1)
    same, different = rng.normal(0, 1, 30_000), rng.normal(2, 1, 30_000)
    found = curves(same, different)
    assert len(found.steps) <= 2048
    wanted = identity.verification(same, different, (1e-3,))
    assert found.eer(ONE)[0] == pytest.approx(wanted.eer, abs=2e-3)
    assert found.auc(ONE)[0] == pytest.approx(wanted.auc, abs=1e-3)
    assert found.tpr_at(1e-3)(ONE)[0] == pytest.approx(wanted.tpr_at_fpr[1e-3], abs=0.01)


def test_weights_count_people():
    found = PairCurves.of(
        (np.array([1.0, 5.0]), np.array([0, 1])), (np.array([3.0, 3.0]), np.array([0, 1])), 2
    )
    # The first person is told apart perfectly, the second the wrong way round.
    assert found.auc(np.array([[1.0, 0], [0, 1], [1, 1], [3, 1]])).tolist() == [1, 0, 0.5, 0.75]
    with pytest.raises(ConfigError, match="pairs"):
        curves([], [1.0])


def test_mean_leaves_out_what_was_not_measured():
    crowd = Crowd(np.array([7, 7, 9]))
    found = crowd.mean(np.array([[1.0, np.nan, 4.0], [3.0, 4.0, np.nan]]))
    assert found.value == 3.0 and found.count == 4
    nothing = crowd.mean(np.full(3, np.nan))
    assert math.isnan(nothing.value) and nothing.low is None and nothing.count == 0


def test_interval_draws_whole_people_and_repeats():
    values = np.repeat(np.random.default_rng(3).normal(size=16), 5)
    crowd = Crowd(np.repeat(np.arange(16), 5), seed=1)
    found = crowd.mean(values)
    spread = values[::5].std() / math.sqrt(16)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)
    assert crowd.mean(values) == found
    assert Crowd(crowd.people, seed=2).mean(values).low != found.low


def test_groups_gaps_and_what_chance_makes_of_them():
    people = np.repeat(np.arange(12), 2)
    tall = people < 6
    groups = {"size": {"tall": tall, "small": ~tall}}
    # Tall people score 1, small ones 0: a gap that no lot would give.
    found = Crowd(people, groups).mean(tall.astype(float))
    assert found.groups["size"] == {"tall": (1.0, 6), "small": (0.0, 6)}
    assert found.gaps["size"] == 1.0
    assert 0.1 < found.chance_gaps["size"] < 1.0
    # Scores that have nothing to do with size: chance explains the gap.
    even = Crowd(people, groups).mean((people % 2).astype(float))
    assert even.gaps["size"] <= even.chance_gaps["size"]


def test_a_group_of_two_is_told_but_makes_no_gap():
    people = np.arange(8)
    groups = {"skin": {"a": people < 2, "b": (people >= 2) & (people < 5), "c": people >= 5}}
    found = Crowd(people, groups).mean((people < 2).astype(float))
    assert found.groups["skin"]["a"] == (1.0, 2)
    assert found.gaps["skin"] == 0.0


def test_weighted_mean_without_anything_is_not_a_number():
    statistic = weighted_mean(np.array([3.0, 0.0]), np.array([2.0, 0.0]))
    assert statistic(np.array([[1.0, 1.0]]))[0] == 1.5
    assert math.isnan(statistic(np.array([[0.0, 1.0]]))[0])

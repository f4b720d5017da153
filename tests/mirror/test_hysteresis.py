"""Play operators against what can be said of them on paper."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from camera_rig.errors import ConfigError
from camera_rig.mirror.hysteresis import FitOptions, PlayModel, PlayOperators, fit_play

VOLTS = st.floats(-1.0, 1.0)


def sweep(*turning_points: float, steps: int = 200) -> np.ndarray:
    legs = [np.linspace(a, b, steps, endpoint=False) for a, b in itertools.pairwise(turning_points)]
    return np.concatenate([*legs, [turning_points[-1]]])


def uneven(actuators: int, seed: int = 3) -> PlayModel:
    rng = np.random.default_rng(seed)
    return PlayModel(
        radii=np.array([0.05, 0.2, 0.45, 0.8]),
        weights=rng.uniform(0, 0.2, (actuators, 4)),
        knots=np.array([-1.0, -0.3, 0.2, 1.0]),
        slopes=rng.uniform(0.3, 0.9, (actuators, 3)),
        offset=rng.uniform(-1, 0, actuators),
    )


def test_opening_is_of_the_full_swing_wherever_the_knots_are():
    nominal = PlayModel.nominal(1)
    narrow = replace(
        nominal, knots=np.array([-0.7, 0.6]), offset=nominal.offset + 0.3 * nominal.slopes[:, 0]
    )
    assert narrow.opening() == pytest.approx(nominal.opening())
    ends = np.array([-1.0]), np.array([1.0])
    one, other = PlayOperators(nominal), PlayOperators(narrow)
    assert [one.advance(end)[0] for end in ends] == pytest.approx(
        [other.advance(end)[0] for end in ends]
    )


def test_nominal_loop_is_the_manuals():
    """14 %, flat at about 171 V going up and 129 V going down, full swing -1 … 1."""
    play = PlayOperators(PlayModel.nominal(1))
    assert play.model.opening()[0] == pytest.approx(0.14, abs=0.003)
    play.advance(np.array([1.0]))
    assert play.advance(np.array([-1.0]))[0] == pytest.approx(-1.0)
    assert 150 + 150 * play.inverse(np.zeros(1))[0] == pytest.approx(171, abs=0.5)
    assert play.advance(np.array([1.0]))[0] == pytest.approx(1.0)
    assert 150 + 150 * play.inverse(np.zeros(1))[0] == pytest.approx(129, abs=0.5)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.5, 0.7), (0.1, 0.15)])
def test_loop_area_is_the_analytic_one(low, high):
    model = uneven(5)
    play = PlayOperators(model)
    drive = sweep(high, low, high, steps=4000)
    play.advance(np.full(5, low))
    response = np.array([play.advance(np.full(5, v)) for v in drive])
    middle = (response[1:] + response[:-1]) / 2
    area = np.sum(middle * np.diff(drive)[:, None], axis=0)
    assert -area == pytest.approx(model.loop_area(low, high), abs=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    history=hnp.arrays(float, (12, 6), elements=VOLTS),
    wanted=hnp.arrays(float, 6, elements=st.floats(-1.5, 1.5)),
)
def test_inverse_is_exact_after_any_history(history, wanted):
    play = PlayOperators(uneven(6))
    for voltage in history:
        play.advance(voltage)
    voltage = play.inverse(wanted)
    assert play.preview(voltage) == pytest.approx(wanted, abs=1e-12)
    assert play.advance(voltage) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    history=hnp.arrays(float, (8, 3), elements=VOLTS),
    first=hnp.arrays(float, 3, elements=VOLTS),
    second=hnp.arrays(float, 3, elements=VOLTS),
)
def test_memory_knows_turning_points_only(history, first, second):
    """Walking in steps ends where one step ends: so slew limiting changes nothing."""
    one, many = PlayOperators(uneven(3)), PlayOperators(uneven(3))
    for voltage in history:
        one.advance(voltage)
        many.advance(voltage)
    one.advance(first)
    many.advance(first)
    for share in np.linspace(0, 1, 7)[1:]:
        last = many.advance(first + (second - first) * share)
    assert one.advance(second) == pytest.approx(last, abs=1e-12)
    assert one.pins == pytest.approx(many.pins, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(history=hnp.arrays(float, (10, 2), elements=VOLTS))
def test_full_swing_wipes_the_memory(history):
    play, fresh = PlayOperators(uneven(2)), PlayOperators(uneven(2))
    for voltage in history:
        play.advance(voltage)
    for each in (play, fresh):
        each.advance(np.ones(2))
        each.advance(-np.ones(2))
    assert play.pins == pytest.approx(fresh.pins, abs=1e-12)


def test_response_rises_and_preview_moves_nothing():
    play = PlayOperators(uneven(4))
    before = play.pins
    ladder = np.array([play.preview(np.full(4, v)) for v in np.linspace(-2, 2, 101)])
    assert (np.diff(ladder, axis=0) > 0).all()
    assert np.array_equal(play.pins, before)


def test_fit_finds_a_model_of_its_own_kind():
    truth = uneven(3)
    drive = sweep(0, 1, -1, 1, -0.6, 0.8, -0.4, 0.5, -0.2, 0.3, 0, steps=60)
    play = PlayOperators(truth)
    rng = np.random.default_rng(1)
    record = np.array([play.advance(np.full(3, v)) for v in drive])
    noisy = record + 0.003 * rng.standard_normal(record.shape)
    model, residual = fit_play(drive, noisy, FitOptions(operators=16, pieces=10))
    assert (residual < 0.012).all()
    # The test that counts: other voltages than those it was fitted to.
    mine, real = PlayOperators(model), PlayOperators(truth)
    errors = []
    for wanted in rng.uniform(-0.5, 0.5, (200, 3)):
        voltage = mine.inverse(wanted)
        mine.advance(voltage)
        errors.append(real.advance(voltage) - wanted)
    straight = [PlayOperators(truth).advance(w) - w for w in rng.uniform(-0.5, 0.5, (200, 3))]
    assert np.sqrt(np.mean(np.square(errors))) < 0.02
    assert np.sqrt(np.mean(np.square(errors))) < 0.2 * np.sqrt(np.mean(np.square(straight)))


def test_model_and_memory_round_trip_through_json():
    play = PlayOperators(uneven(2))
    play.advance(np.array([0.7, -0.2]))
    data = json.loads(json.dumps({"model": play.model.to_dict(), "pins": play.pins.tolist()}))
    again = PlayOperators(PlayModel.from_dict(data["model"]), np.array(data["pins"]))
    wanted = np.array([0.1, -0.3])
    assert np.array_equal(again.inverse(wanted), play.inverse(wanted))
    play.forget()
    assert (play.pins == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [[-0.1, 0.1]]},
        {"radii": [0.5, 0.2]},
        {"slopes": [[0.0]]},
        {"offset": [0.0, 0.0]},
        {"offset": [float("nan")]},
    ],
)
def test_models_that_could_not_be_inverted_are_refused(change):
    plain = {
        "radii": [0.2, 0.5],
        "weights": [[0.1, 0.1]],
        "knots": [-1.0, 1.0],
        "slopes": [[0.5]],
        "offset": [0.0],
    }
    PlayModel.from_dict(plain)
    with pytest.raises(ConfigError):
        PlayModel.from_dict({**plain, **change})


def test_bad_records_and_pins_are_refused():
    with pytest.raises(ConfigError, match="record"):
        fit_play(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ConfigError, match="pins"):
        PlayOperators(PlayModel.nominal(2), np.zeros((1, 2)))
    with pytest.raises(ConfigError, match="no hysteresis model"):
        PlayModel.from_dict({"radius": [1.0]})

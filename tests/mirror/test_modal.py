"""Coefficients to voltages: right, honest, within limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from camera_rig.errors import ConfigError, SafetyError, StateError, UnsupportedError
from camera_rig.mirror.memory import HysteresisMemory
from camera_rig.mirror.modal import CONTROLLED, ModalMirror
from camera_rig.mirror.shape import Fit, Hysteresis, Method
from camera_rig.optics import Coefficients
from tests.mirror.forty import MATRIX, PAPER, FortyMirror, PatternMirror, made, waves

HIGHER = [row for row, mode in enumerate(MATRIX.modes) if mode[0] >= 2]


def wavefront_error_um(mirror, coefficients):
    """True wavefront against the wanted one, all modes but piston, tip and tilt."""
    wanted = np.zeros(len(MATRIX.modes))
    for mode, value in coefficients.to(unit="um_rms").values.items():
        wanted[MATRIX.places([mode])[0]] = value
    return float(np.linalg.norm((mirror.true_um - wanted)[HIGHER]))


def test_published_set_loads_and_the_light_sees_it(tmp_path):
    with made() as mirror:
        memory = HysteresisMemory(mirror.truth)
        memory.attach(mirror)
        list(mirror.relax())
        modal = ModalMirror(mirror, MATRIX, memory)
        shape = waves(PAPER)
        loaded = modal.load(shape)
        assert loaded.plan.feasible and loaded.plan.method is Method.SOLVED
        assert loaded.deviation_v == 0.0
        assert wavefront_error_um(mirror, shape) == pytest.approx(loaded.plan.residual_um, abs=1e-9)
        assert loaded.plan.residual_um < 0.05 * shape.to(unit="um_rms").rms
        assert loaded.plan.stroke_used < 0.9
        for line in loaded.plan.lines:
            assert abs(line.residual_um) <= loaded.plan.tolerance_um


def test_compensation_pays():
    rng = np.random.default_rng(5)
    errors = {True: [], False: []}
    for compensate in errors:
        with made() as mirror:
            memory = HysteresisMemory(mirror.truth) if compensate else None
            if memory:
                memory.attach(mirror)
            list(mirror.relax())
            modal = ModalMirror(mirror, MATRIX, memory)
            for _ in range(6):
                mirror.apply(rng.uniform(50, 250, 40), reason="history")
                modal.load(waves(PAPER))
                errors[compensate].append(wavefront_error_um(mirror, waves(PAPER)))
    assert max(errors[True]) < 0.04
    assert np.mean(errors[False]) > 3 * np.mean(errors[True])


@pytest.mark.parametrize("noll", range(4, 16))
def test_a_mode_out_of_reach_is_named_with_its_excess(noll):
    with made() as mirror:
        modal = ModalMirror(mirror, MATRIX)
        down_um, up_um = modal.strokes_um()[CONTROLLED_BY_NOLL[noll]]
        assert down_um == pytest.approx(up_um, rel=0.01)
        plan = modal.plan(waves({noll: 3.0 * up_um / 0.55}))
        assert not plan.feasible
        named = [line for line in plan.lines if line.excess_um]
        assert [line.mode for line in named] == [CONTROLLED_BY_NOLL[noll]]
        assert 0.3 * up_um < named[0].excess_um < 2.2 * up_um
        with pytest.raises(SafetyError, match=rf"noll {noll}\).* too much"):
            modal.load(waves({noll: 3.0 * up_um / 0.55}))
        assert mirror.sent == []


CONTROLLED_BY_NOLL = dict(zip(range(4, 16), CONTROLLED, strict=True))


def test_nearest_says_what_was_lost_and_beats_clipping():
    with made() as mirror:
        modal = ModalMirror(mirror, MATRIX)
        shape = waves({5: 9.0, 7: 1.0})
        plan = modal.plan(shape, Fit.NEAREST)
        assert not plan.feasible and plan.scale_that_fits < 1
        assert sum(abs(line.residual_um) for line in plan.lines) > 0.5
        assert mirror.why_not(plan.command_v) == []
        rows = MATRIX.um_per_unit[HIGHER]
        wanted = np.array([shape.to(unit="um_rms").values.get(m, 0) for m in MATRIX.modes])[HIGHER]
        clipped = np.clip(np.linalg.pinv(rows, rcond=1e-3) @ wanted, -1, 1)
        assert plan.residual_um < np.linalg.norm(rows @ clipped - wanted)


def test_scale_is_the_largest_that_fits():
    with made() as mirror:
        modal = ModalMirror(mirror, MATRIX)
        values = {5: 9.0, 7: -4.0, 11: 1.5}
        plan = modal.plan(waves(values), Fit.SCALE)
        assert not plan.feasible and 0.1 < plan.scale < 1
        smaller = waves({k: v * plan.scale * 0.99 for k, v in values.items()})
        larger = waves({k: v * plan.scale * 1.02 for k, v in values.items()})
        assert modal.plan(smaller).feasible
        assert not modal.plan(larger).feasible


@pytest.mark.parametrize(("noll", "name"), [(1, "piston"), (2, "tilt"), (3, "tip")])
def test_piston_tip_and_tilt_are_refused_by_name(noll, name):
    with made() as mirror:
        for modal in (ModalMirror(mirror), ModalMirror(mirror, MATRIX)):
            with pytest.raises(UnsupportedError, match=rf"{name}.*noll {noll}"):
                modal.plan(waves({noll: 0.1, 4: 0.2}))
        ModalMirror(mirror, MATRIX).plan(waves({noll: 0.0, 4: 0.2}))


def test_what_cannot_be_understood_is_refused():
    with made() as mirror:
        with pytest.raises(StateError, match="not calibrated"):
            ModalMirror(mirror).plan(waves(PAPER))
        with pytest.raises(ConfigError, match="noll 22"):
            ModalMirror(mirror, MATRIX).plan(waves({22: 0.1}))
        with pytest.raises(UnsupportedError, match="no Zernike patterns"):
            ModalMirror(mirror).plan(Coefficients({(2, 0): 0.5}, "stroke_fraction"))
        with pytest.raises(StateError, match="no influence matrix"):
            ModalMirror(mirror).strokes_um()
        few = dataclasses.replace(MATRIX, um_per_unit=MATRIX.um_per_unit[:, :4], sigma_um=None)
        with pytest.raises(ConfigError, match="4 actuators"):
            ModalMirror(mirror, few)


def test_makers_patterns_take_fractions_and_are_never_compensated_twice():
    with made(PatternMirror) as mirror:
        with pytest.raises(StateError, match="never both"):
            HysteresisMemory(mirror.truth).attach(mirror)
        modal = ModalMirror(mirror, None, HysteresisMemory(mirror.truth))
        assert modal.hysteresis is Hysteresis.MAKER and modal.memory is None
        fractions = Coefficients.numbered({5: 0.4, 8: -0.2}, "stroke_fraction", "thorlabs")
        loaded = modal.load(fractions)
        assert loaded.plan.method is Method.MAKER
        assert np.array_equal(mirror.volts, mirror.maker_pattern(dict(fractions.values)))
        too_much = Coefficients.numbered({5: 1.0, 6: 1.0, 8: 1.0}, "stroke_fraction", "thorlabs")
        with pytest.raises(SafetyError, match="out of range"):
            modal.load(too_much)
        plan = modal.plan(too_much, Fit.SCALE)
        assert 0 < plan.scale < 1 and mirror.why_not(plan.command_v) == []
        assert np.abs(modal.flat().command_v - 150.0).max() == 0.0


def test_fractions_mean_the_calibrated_stroke():
    with made() as mirror:
        modal = ModalMirror(mirror, MATRIX)
        stroke_um = min(modal.strokes_um()[(2, 0)])
        plan = modal.plan(Coefficients.numbered({5: 0.5}, "stroke_fraction", "thorlabs"))
        line = next(line for line in plan.lines if line.mode == (2, 0))
        assert line.wanted_um == pytest.approx(0.5 * stroke_um)


def test_rest_shape_is_corrected():
    rest = np.zeros(len(MATRIX.modes))
    rest[MATRIX.places([(2, 2)])[0]] = 0.4
    bent = dataclasses.replace(MATRIX, rest_um=rest)
    with made() as mirror:
        plan = ModalMirror(mirror, bent).flat()
        assert plan.residual_um < 0.02
        assert plan.stroke_used > 0.05
        predicted = ModalMirror(mirror, bent).shape_um(plan.command_v)
        assert abs(predicted[(2, 2)]) < 0.01


def test_a_faint_shape_may_leave_what_even_the_flattest_one_leaves():
    """Glass at rest has finer waves than forty electrodes can make: they stay in every shape."""
    rest = 0.05 * np.random.default_rng(3).standard_normal(len(MATRIX.modes))
    rough = dataclasses.replace(MATRIX, rest_um=rest)
    with made() as mirror:
        modal = ModalMirror(mirror, rough)
        flat = modal.flat()
        assert flat.beyond_um > 4 * modal.options.least_tolerance_um
        plan = modal.plan(waves({5: 0.02, 6: -0.01}))
        assert plan.feasible and plan.beyond_um < 1.5 * flat.beyond_um
        assert max(abs(line.residual_um) for line in plan.lines) <= plan.tolerance_um
        # Too much of a shape is still too much, and a share of it fits.
        much = waves({5: 60.0})
        assert not modal.plan(much, Fit.NEAREST).feasible
        share = modal.plan(much, Fit.SCALE)
        assert 0.0 < share.scale < 1.0
        assert modal.plan(waves({5: 0.99 * 60.0 * share.scale})).feasible
    unbendable = dataclasses.replace(rough, rest_um=100.0 * rest)
    with made() as mirror, pytest.raises(SafetyError, match="no shape within the limits"):
        ModalMirror(mirror, unbendable).plan(waves({5: 0.02}))


def test_loaded_shape_becomes_the_safe_one():
    with made() as mirror:
        modal = ModalMirror(mirror, MATRIX)
        loaded = modal.load(waves(PAPER))
        mirror.apply(np.full(40, 10.0))
        mirror.park()
        assert np.array_equal(mirror.volts, loaded.plan.command_v)


def test_mirror_that_lies_is_caught():
    class Liar(FortyMirror):
        def _do_read_back(self):
            return np.where(np.arange(40) == 7, 12.0, self.volts)

    with made(Liar) as mirror:
        with pytest.raises(StateError, match="actuator 7"):
            ModalMirror(mirror, MATRIX).load(waves({4: 0.1}))
        assert np.array_equal(mirror.safe_command_v, np.full(40, 150.0))


@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(float, 12, elements=st.floats(-6.0, 6.0)),
    fit=st.sampled_from([Fit.NEAREST, Fit.SCALE]),
    start=hnp.arrays(float, 40, elements=st.floats(0.0, 300.0)),
)
def test_no_command_ever_leaves_limits_or_outruns_the_slew(values, fit, start):
    with made() as mirror:
        memory = HysteresisMemory(mirror.truth)
        memory.attach(mirror)
        mirror.apply(start)
        modal = ModalMirror(mirror, MATRIX, memory)
        modal.load(waves(dict(zip(range(4, 16), values, strict=True))), fit)
        wire = np.array([np.full(40, 150.0), *mirror.sent])
        assert wire.min() >= 0.0 and wire.max() <= 300.0
        assert np.abs(np.diff(wire, axis=0)).max() <= mirror.slew_v_per_s * mirror.step_s * (
            1 + 1e-9
        )

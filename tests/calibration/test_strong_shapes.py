"""Shapes far from rest: foretold ones are checked, unforetold ones are still recognised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.closed_loop import DIVERSITY_WAVES, recognised
from calibration.forward import PointSource
from calibration.influence import _small_check, _strong_check
from calibration.influence_checks import (
    STRONG_LIMIT,
    Foretold,
    held_out,
    small_pattern,
    strong_pattern,
)
from calibration.point_camera import pupil_of
from calibration.poke_fits import PokeFits, Pokes
from calibration.retrieval import Verdict
from calibration.simulate import simulate_stack
from camera_rig.errors import StateError
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.optics import Coefficients, Order, Pupil, Unit, modes
from tests.calibration.worlds import opened, small

NOLL = modes(Order.NOLL, 4, 15)
BENCH_PUPIL = Pupil(0.4, 12.58, 9.29, (550.0,))
SHOWN = (0.42, 0.05, -0.29, 0.07, -0.73, 0.02, 0.01, 0.0, -0.7, 0.0, 0.2, 0.0)


def waves(values) -> Coefficients:
    return Coefficients(dict(zip(NOLL, values, strict=True)), Unit.WAVES_RMS, 550.0)


def planes_of(shape: Coefficients, size: int = 240):
    flips = [
        Coefficients({(2, 0): k * DIVERSITY_WAVES}, Unit.WAVES_RMS, 550.0) for k in (-1.0, 1.0, 0.0)
    ]
    return simulate_stack(shape, flips, BENCH_PUPIL, size, np.random.default_rng(3))


def test_a_shape_far_from_what_the_mirror_model_says_is_recognised():
    shown = np.array(SHOWN)
    expected = shown.copy()
    expected[0] -= 1.25  # defocus, waves: what a wrong rest of the loop once made of it
    found = recognised(planes_of(waves(shown)), waves(expected), PointSource())
    assert found.verdict is not Verdict.FAILED
    assert np.linalg.norm(found.shape.array(NOLL) - shown) < 0.01


def test_pictures_of_two_points_are_no_shape():
    stack = planes_of(waves(np.zeros(len(NOLL))), 96)
    stack = replace(stack, images_e=stack.images_e + np.roll(stack.images_e, 30, axis=2))
    with pytest.raises(StateError, match="do not fit any shape"):
        recognised(stack, waves(np.zeros(len(NOLL))), PointSource())


def test_the_check_that_is_nearest_its_limit_decides():
    one, size = np.array([0.3, 0.4]), np.array([0.001, 0.001])
    good = Foretold("small_pattern", one, one * 1.01, one * 1.5, size, 0.04)
    fair = Foretold("strong_shape", one, one * 1.06, one * 1.5, size, 0.1)
    bad = Foretold("small_pattern", one, one * 1.05, one * 1.5, size, 0.04)
    assert held_out([good, fair]).why_rejected == ""
    assert held_out([good, fair]).after == pytest.approx(0.06)
    assert "small pattern" in held_out([bad, fair]).why_rejected
    assert fair.error_in_sigmas == pytest.approx(0.06 * 0.25**0.5 / 2**0.5 / 0.001, rel=1e-6)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A nominal mirror with the nominal loop, and somebody who photographs its shapes."""
    config = small((512, 512))
    nominal = InfluenceModel(config.bench.mirror, config.bench.mirror_pupil_mm).matrix(
        modes(Order.NOLL, 4, 36)
    )
    with opened(config, tmp_path_factory.mktemp("bench"), {"privacy"}) as context:
        fits = PokeFits(context, nominal.modes, 0.0)

        def photographed(shapes_um, size):
            shapes = [
                Coefficients(dict(zip(nominal.modes, um, strict=True)), Unit.UM_RMS)
                for um in shapes_um
            ]
            flat = Coefficients({}, Unit.WAVES_RMS, 550.0)
            rng = np.random.default_rng(8)
            stack = simulate_stack(flat, shapes, pupil_of(context), size, rng)
            return {
                "image_e": stack.images_e,
                "floor_e2": np.full_like(stack.images_e, stack.floor_e2),
                "shot": np.ones_like(stack.images_e),
                "valid": np.ones(stack.images_e.shape, bool),
            }

        yield config.bench, nominal, fits, photographed


@pytest.fixture(scope="module")
def strong(bench):
    """Pictures of a shape near rest and of the strong one."""
    geometry, nominal, _, photographed = bench
    play = PlayOperators(PlayModel.nominal(40))
    volts = np.array([np.full(40, 0.08), strong_pattern(geometry)])
    shown_um = [nominal.um_per_unit @ play.advance(each) for each in volts]
    return {**photographed(shown_um, 320), "volts": volts}, shown_um[0] / 0.55


def strongly_checked(bench, strong, model: PlayModel) -> Foretold:
    _, nominal, fits, _ = bench
    data, near = strong
    return _strong_check(fits, data, near, nominal, model, nominal)


def test_a_right_loop_foretells_the_strong_shape(bench, strong):
    check = strongly_checked(bench, strong, PlayModel.nominal(40))
    assert check.error < 0.1 * STRONG_LIMIT
    assert check.nominal_error > STRONG_LIMIT  # a straight line is not enough
    assert held_out([check]).why_rejected == ""


def test_a_loop_bent_where_the_mirror_is_straight_is_refused(bench, strong):
    # The same mean slope, so a sweep that goes up and down at once looks the same.
    fair = PlayModel.nominal(40)
    slopes = np.repeat(fair.slopes, 2, axis=1) * np.array([0.7, 1.3])
    bent = PlayModel(fair.radii, fair.weights, np.array([-1.0, 0.0, 1.0]), slopes, fair.offset)
    check = strongly_checked(bench, strong, bent)
    assert "strong shape" in held_out([check]).why_rejected


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.01, False), (0.94, True)])
def test_a_matrix_six_per_cent_off_is_refused(bench, factor, refused):
    _, nominal, fits, photographed = bench
    true_um = 0.79 * nominal.um_per_unit
    pattern = small_pattern(40, 0.05)
    change_um, middle = true_um @ pattern, 0.1 * np.eye(len(nominal.modes))[3]
    focus_um = 0.5 * (np.array(nominal.modes) == (2, 0)).all(axis=1)
    shown = [middle * 0.55 + focus_um + sign * change_um for sign in (1.0, -1.0)]
    data = {**photographed(shown, 256), "pattern": pattern}
    found_um = np.vstack([np.zeros((2, 40)), factor * true_um])
    pokes = Pokes(found_um, np.zeros_like(found_um), (), middle, 1.0)
    check = _small_check(fits, data, pokes, 0.5, nominal)
    assert check.error == pytest.approx(abs(1.0 - factor), abs=0.01)
    assert bool(held_out([check]).why_rejected) is refused

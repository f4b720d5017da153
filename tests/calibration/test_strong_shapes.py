"""Shapes far from rest: foretold ones are checked, unforetold ones are still recognised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.closed_loop import DIVERSITY_WAVES, recognised
from calibration.forward import PointSource
from calibration.influence import _strong_check
from calibration.influence_checks import (
    LIMIT,
    Foretold,
    foretold_change,
    held_out,
    strong_pattern,
)
from calibration.point_camera import pupil_of
from calibration.poke_fits import PokeFits
from calibration.retrieval import Verdict
from calibration.simulate import simulate_stack
from camera_rig.errors import StateError
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel, Provenance
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


def test_the_worst_check_decides():
    one, size = np.array([0.3, 0.4]), np.array([0.001, 0.001])
    good = Foretold("small", one, one * 1.01, one * 1.5, size)
    bad = Foretold("strong", one, one * 1.06, one * 1.5, size)
    assert held_out([good]).why_rejected == ""
    assert held_out([good, bad]).after == pytest.approx(0.06)
    assert "strong" in held_out([bad, good]).why_rejected
    assert bad.error_in_sigmas == pytest.approx(0.06 * 0.25**0.5 / 2**0.5 / 0.001, rel=1e-6)


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    """Pictures of rest and of the strong shape of a mirror with the nominal loop."""
    config = small((512, 512))
    bench = config.bench
    nominal = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix(modes(Order.NOLL, 4, 36))
    model = PlayModel.nominal(40)
    volts = np.array([np.full(40, 0.08), strong_pattern(bench)])
    with opened(config, tmp_path_factory.mktemp("strong"), {"privacy"}) as context:
        fits = PokeFits(context, nominal.modes, 0.0)
        play, rng = PlayOperators(model), np.random.default_rng(8)
        shown_um = [nominal.um_per_unit @ play.advance(each) for each in volts]
        shapes = [
            Coefficients(dict(zip(nominal.modes, um, strict=True)), Unit.UM_RMS) for um in shown_um
        ]
        flat = Coefficients({}, Unit.WAVES_RMS, 550.0)
        stack = simulate_stack(flat, shapes, pupil_of(context), 320, rng)
        data = {
            "image_e": stack.images_e,
            "floor_e2": np.full_like(stack.images_e, stack.floor_e2),
            "shot": np.ones_like(stack.images_e),
            "valid": np.ones(stack.images_e.shape, bool),
            "volts": volts,
        }
        yield fits, data, shown_um[0] / 0.55, nominal, model


def checked(strong, factor: float = 1.0, model: PlayModel | None = None) -> Foretold:
    fits, data, near, nominal, own = strong
    matrix = InfluenceMatrix(
        nominal.modes, factor * nominal.um_per_unit, nominal.beam_diameter_mm, Provenance("model")
    )
    return _strong_check(fits, data, near, matrix, model or own, nominal)


def test_a_right_matrix_foretells_the_strong_shape(strong):
    check = checked(strong)
    assert check.error < 0.25 * LIMIT
    assert check.nominal_error > 2.0 * LIMIT  # a straight line is not enough
    assert held_out([check]).why_rejected == ""


@pytest.mark.parametrize("factor", [0.94, 1.06])
def test_a_matrix_six_per_cent_off_is_refused(strong, factor):
    check = checked(strong, factor)
    assert check.error == pytest.approx(0.06, abs=0.01)
    assert "strong_shape" in held_out([check]).why_rejected


def test_a_loop_bent_where_the_mirror_is_straight_is_refused(strong):
    # The same mean slope, so a sweep that goes up and down at once looks the same.
    fair = strong[4]
    slopes = np.repeat(fair.slopes, 2, axis=1) * np.array([0.8, 1.2])
    bent = PlayModel(fair.radii, fair.weights, np.array([-1.0, 0.0, 1.0]), slopes, fair.offset)
    check = checked(strong, model=bent)
    assert check.error > LIMIT
    assert "strong_shape" in held_out([check]).why_rejected
    still = foretold_change(bent, np.zeros(40), np.zeros(40))
    assert still == pytest.approx(np.zeros(40))

"""The retrieval against simulated truths, against other people's optics, and against itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.forward import PlaneModel, PointSource
from calibration.least_squares import Problem, fit_stage
from calibration.retrieval import (
    RetrievalOptions,
    Verdict,
    _full,
    _theta_of,
    cramer_rao,
    retrieve,
)
from calibration.simulate import Detector, simulate_stack
from calibration.stack import PsfStack
from calibration.unknowns import PAPER_MODES, Unknowns, gradient_matrices
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients, Form, Order, PsfModel, Pupil, Unit, choose, modes

WAVE_NM = 550.0
PUPIL = Pupil(diameter_mm=7.0, focal_length_mm=49.7, pixel_um=3.417, wavelengths_nm=(WAVE_NM,))
DATA = Path(__file__).parent / "data"


def waves(values: dict[int, float]) -> Coefficients:
    return Coefficients.numbered(values, Unit.WAVES_RMS, Order.NOLL, WAVE_NM)


THREE = (waves({4: -1.0}), waves({}), waves({4: 1.0}))


def made(seed: int, rms: float = 0.6, shown=THREE, stated=THREE, size: int = 192, **more):
    rng = np.random.default_rng(seed)
    c = rng.standard_normal(12)
    c *= rms / np.linalg.norm(c)
    shape = waves(dict(zip(range(4, 16), c, strict=True)))
    return c, simulate_stack(shape, shown, PUPIL, size, rng, stated=stated, **more)


def test_model_equals_the_optics_of_the_toolkit():
    rng = np.random.default_rng(0)
    c = 0.3 * rng.standard_normal(12)
    model = PlaneModel(PUPIL, 256, PAPER_MODES, PointSource())
    um = c * WAVE_NM / 1000.0
    exact = PsfModel(PUPIL, PAPER_MODES, 256, plan=choose(um, PAPER_MODES, PUPIL, 256, Form.FFT))
    ours, theirs = model.evaluate(c).image, exact(um)[0]
    # Theirs is a share of all light, ours of what the window holds: the fit has a flux.
    gap = ours / ours.sum() - theirs / theirs.sum()
    assert np.abs(gap).max() < 2e-3 * theirs.max()


def test_a_refused_trial_of_another_scale_leaves_the_derivatives_alone():
    model = PlaneModel(PUPIL, 192, PAPER_MODES, PointSource())
    state = model.evaluate(np.full(12, 0.1))
    before = model.along_modes(state, slice(0, 4))
    model.evaluate(np.full(12, 0.1), scale=1.1)  # a larger pupil has more samples
    assert np.array_equal(model.along_modes(state, slice(0, 4)), before)
    model.evaluate(np.full(12, 0.1), scale=0.9)
    assert np.array_equal(model.along(state, np.eye(12)[:2]), before[:2])


def test_a_pupil_that_the_pixels_do_not_sample_is_never_tried():
    _, stack = made(3)
    problem = Problem(stack, RetrievalOptions(fit_scale=True))
    theta = problem.start(np.zeros(12))
    for scale, sane in ((1.14, True), (1.15, False), (0.4, False)):
        theta[problem.unknowns.scale] = scale
        assert problem.sane(theta) is sane


@pytest.mark.parametrize("extra", ["plain", "everything"])
def test_derivatives_equal_differences(extra):
    offsets = (waves({4: 0.7, 7: 0.2}), waves({}), waves({6: 0.5, 12: -0.3}))
    options = RetrievalOptions()
    if extra == "everything":
        options = RetrievalOptions(
            fit_gain=True,
            fit_scale=True,
            fit_decentre=True,
            fit_source=True,
            offset_modes=((2, 0),),
            reference_plane=1,
        )
    _, stack = made(1, 0.3, offsets, offsets, size=128)
    problem = Problem(stack, options)
    theta = problem.start(0.1 * np.random.default_rng(2).standard_normal(12))
    if extra == "everything":
        theta[problem.unknowns.scale] = 1.02
        theta[problem.unknowns.decentre] = (0.03, -0.02)
    states = problem.states(theta)
    for plane in range(3):
        places, columns = problem.columns(theta, states[plane], plane, 2)
        for place, column in zip(places, columns, strict=True):
            step = 2e-3 * max(1.0, abs(theta[place]))
            up, down = theta.copy(), theta.copy()
            up[place] += step
            down[place] -= step
            high = problem.expected(up, problem.states(up), 2)[plane].astype(float)
            low = problem.expected(down, problem.states(down), 2)[plane].astype(float)
            slope = ((high - low) / (2 * step)).ravel()
            size = np.linalg.norm(slope)
            # The scale moves the pupil's rim over the grid: a difference is coarse.
            allowed = 0.05 if place == problem.unknowns.scale else 0.02
            assert np.linalg.norm(slope - column) < allowed * size + 1e-3 * np.linalg.norm(
                columns[-2]
            )


def test_gradient_matrices_are_derivatives():
    from camera_rig.optics.zernike import basis

    listed = (*modes(Order.NOLL, 2, 15),)
    c = np.random.default_rng(3).standard_normal(len(listed))
    x, y, h = np.array([0.2, -0.4]), np.array([0.1, 0.5]), 1e-6

    def value(x, y, c):
        return c @ basis(listed, np.hypot(x, y), np.arctan2(y, x))

    gx, gy = gradient_matrices(listed)
    mean_x = value(x, y, gx @ c) - (value(x + h, y, c) - value(x - h, y, c)) / (2 * h)
    mean_y = value(x, y, gy @ c) - (value(x, y + h, c) - value(x, y - h, c)) / (2 * h)
    # Piston is dropped: the difference may only be a constant.
    assert np.ptp(mean_x) < 1e-6 and np.ptp(mean_y) < 1e-6


@pytest.mark.parametrize(("seed", "rms"), [(11, 0.1), (12, 0.6), (13, 1.0)])
def test_finds_the_shape_within_its_own_error_bars(seed, rms):
    c, stack = made(seed, rms, size=256 if rms == 1.0 else 192)
    found = retrieve(stack)
    error = found.values - c
    bound = np.sqrt(np.trace(cramer_rao(stack, RetrievalOptions(), found)))
    assert found.verdict is Verdict.CONVERGED
    assert np.linalg.norm(error) < 2.0 * bound
    assert error @ np.linalg.solve(found.covariance, error) < 35.0  # chi-squared, 12 degrees


@pytest.mark.parametrize(("name", "turned"), [("hcipy", False), ("poppy", True)])
def test_stacks_of_other_optics(name, turned):
    with np.load(DATA / f"{name}.npz") as data:
        images, truth = data["images_e"].astype(float), data["truth_waves"]
    if turned:  # poppy transforms with the opposite sign: its pictures are turned by 180 degrees
        images = images[:, ::-1, ::-1]
    pupil = Pupil(7.0, 49.0, 0.55 * 7.0 / (8.0 / 7.0), (WAVE_NM,))
    found = retrieve(PsfStack(images, THREE, pupil, floor_e2=2.5**2))
    assert found.verdict is Verdict.CONVERGED
    bound = np.sqrt(np.trace(found.covariance))
    assert np.linalg.norm(found.values - truth) < 2.0 * bound


def test_one_plane_is_reported_as_ambiguous_with_both_answers():
    one = (waves({}),)
    c, stack = made(21, 0.5, one, one)
    found = retrieve(stack)
    assert found.verdict is Verdict.AMBIGUOUS
    both = [found.values, found.twin.array(found.modes)]
    assert min(np.linalg.norm(v - c) for v in both) < 0.02
    even = np.array([n % 2 == 0 for n, _ in found.modes])
    assert np.allclose(both[1], np.where(even, -both[0], both[0]))


def test_a_start_that_is_known_settles_the_sign():
    one = (waves({}),)
    c, stack = made(21, 0.5, one, one)
    near = waves(dict(zip(range(4, 16), c + 0.02, strict=True)))
    found = retrieve(stack, RetrievalOptions(start=near, shape_sigma_waves=0.2))
    assert found.verdict is Verdict.CONVERGED
    assert np.linalg.norm(found.values - c) < 0.01


def test_a_wrong_gain_is_fitted():
    shown = (waves({4: -1.15}), waves({}), waves({4: 1.15}))
    c, stack = made(31, 0.5, shown)
    found = retrieve(stack, RetrievalOptions(fit_gain=True))
    assert abs(found.gain - 1.15) < 5 * found.sigma["gain"]
    assert np.linalg.norm(found.values - c) < 2e-3


def test_a_wrong_gain_that_is_not_fitted_is_noticed():
    shown = (waves({4: -1.15}), waves({}), waves({4: 1.15}))
    _, stack = made(31, 0.5, shown)
    assert retrieve(stack, RetrievalOptions(starts=1)).verdict is Verdict.FAILED


def test_pupil_scale_and_source_size_are_fitted():
    c, stack = made(41, 0.4)
    wrong = replace(stack, pupil=replace(PUPIL, diameter_mm=PUPIL.diameter_mm * 1.05))
    found = retrieve(wrong, RetrievalOptions(fit_scale=True))
    assert abs(found.scale - 1 / 1.05) < 2e-3
    assert np.linalg.norm(found.values - c) < 5e-3
    c, stack = made(42, 0.4, source_px=1.5)
    found = retrieve(stack, RetrievalOptions(fit_source=True))
    assert abs(found.source_px - 1.5) < 0.1


@pytest.mark.parametrize("seed", [96, 111])
def test_a_pupil_scale_found_late_leaves_no_weights_of_elsewhere(seed):
    c, stack = made(seed, 1.4, size=288)
    wrong = replace(stack, pupil=replace(PUPIL, diameter_mm=PUPIL.diameter_mm * 1.05))
    options = RetrievalOptions(fit_scale=True)
    found = retrieve(wrong, options)
    error = found.values - c
    assert error @ np.linalg.solve(found.covariance, error) < 33.0  # one in a thousand is more
    problem = Problem(wrong, options)
    theta = _theta_of(problem, found)
    weights = problem.weights(_full(problem, theta), 1)
    cost, _ = problem.cost(theta, problem.states(theta), weights, 1)
    assert cost - fit_stage(problem, theta, weights, 1, 4).cost < 3.0


def test_an_offset_that_errs_mode_by_mode_is_borne_with_honest_error_bars():
    shown = (waves({4: -1.02, 5: 0.03, 7: -0.02}), waves({}), waves({4: 0.97, 6: 0.03}))
    c, stack = made(51, 0.4, shown)
    options = RetrievalOptions(
        fit_gain=True,
        offset_modes=modes(Order.NOLL, 4, 10),
        offset_sigma_waves=0.03,
        reference_plane=1,
    )
    found = retrieve(stack, options)
    error = found.values - c
    assert np.linalg.norm(error) < 5e-3
    assert error @ np.linalg.solve(found.covariance, error) < 35.0


def test_saturated_pixels_are_left_out_and_binning_keeps_the_answer():
    c, stack = made(61, 0.4)
    burnt = stack.images_e > 6000.0
    clipped = replace(stack, images_e=np.minimum(stack.images_e, 6000.0), valid=~burnt)
    assert np.linalg.norm(retrieve(clipped).values - c) < 4e-3
    wide = Pupil(7.0, 49.7, 3.417 / 2, (WAVE_NM,))
    rng = np.random.default_rng(5)
    shape = waves(dict(zip(range(4, 16), c, strict=True)))
    fine = simulate_stack(shape, THREE, wide, 320, rng)
    found = retrieve(fine.binned(), RetrievalOptions(source=PointSource(summed=2)))
    assert np.linalg.norm(found.values - c) < 4e-3


def test_few_photons():
    c, stack = made(71, 0.3, detector=Detector(peak_e=500.0))
    found = retrieve(stack)
    assert found.verdict is Verdict.CONVERGED
    assert np.linalg.norm(found.values - c) < 3.0 * np.sqrt(np.trace(found.covariance))


def test_what_does_not_fit_together_is_refused():
    _, stack = made(1, 0.1, size=64)
    with pytest.raises(ConfigError, match="known offsets"):
        replace(stack, diversity=THREE[:2])
    with pytest.raises(ConfigError, match="even size"):
        replace(stack, images_e=stack.images_e[:, :63, :63])
    with pytest.raises(ConfigError, match="one wavelength"):
        replace(stack, pupil=replace(PUPIL, wavelengths_nm=(640.0, 550.0)))
    with pytest.raises(ConfigError, match="cannot be fitted"):
        RetrievalOptions(modes=((1, 1), (2, 0)))


def test_known_wavefront_is_added_and_not_fitted():
    _, stack = made(1, 0.1, size=64)
    options = RetrievalOptions(modes=((2, 0),), known=waves({8: 0.3}))
    unknowns = Unknowns(stack, options)
    whole = unknowns.waves(unknowns.blank(), 1)
    assert whole[unknowns.modes.index((3, 1))] == pytest.approx(0.3)

"""Layout, loop, clocks and geometry against closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.layout import _Seen, find_layout, harmonic_signs
from calibration.loop import Sweep, fit_loop, sweep_levels
from calibration.registration import PlaneMap, centroid_shift_px, fit_plane_map
from calibration.switches import edge_times_ns
from calibration.sync import fit_clock
from camera_rig.bench import Bench
from camera_rig.mirror.creep import CreepModel
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.optics import Coefficients, Order, Pupil, compute_psf, modes

NOLL = modes(Order.NOLL, 4, 21)


@pytest.fixture(scope="module")
def seen():
    return _Seen(Bench(), NOLL)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("turn", range(0, 360, 45))
def test_all_sixteen_orientations_are_told_apart(seen, turn, flipped):
    from calibration.layout import _residual

    measured = seen.matrix(float(turn) + 3.0, flipped, (0.2, -0.1), 1.02)
    found = {
        (t, f): _residual(seen.matrix(float(t), f, (0.0, 0.0), 1.0), measured)[1]
        for f in (False, True)
        for t in range(0, 360, 45)
    }
    assert min(found, key=found.get) == (turn, flipped)


def test_layout_dead_electrode_and_strengths(seen):
    rng = np.random.default_rng(1)
    strength = 1.0 + 0.03 * rng.standard_normal(40)
    strength[17] = 0.0
    measured = seen.matrix(48.0, True, (0.3, -0.2), 0.98) * strength
    layout = find_layout(Bench(), measured, NOLL)
    assert layout.flipped
    assert abs(layout.rotation_deg - 48.0) < 0.2
    assert np.allclose(layout.decentre_mm, (0.3, -0.2), atol=0.03)
    assert abs(layout.scale - 0.98) < 0.003
    assert np.flatnonzero(layout.gain < 0.15).tolist() == [17]
    assert np.allclose(layout.gain, strength, atol=0.02)


def test_pattern_of_high_order_moves_every_electrode():
    signs = harmonic_signs(Bench().mirror)
    assert signs.shape == (40,) and set(signs) == {-1.0, 1.0}


def swept(bias: float, up: float, creep: float) -> tuple[PlayModel, Sweep]:
    """A sweep of like electrodes in two groups, with creep straight over log time."""
    truth = PlayModel.nominal(1)
    levels = sweep_levels()
    at_s = 0.5 * np.arange(len(levels))
    small = float(truth.slopes[0, 0])
    record = np.zeros(len(levels))
    for sign, share in ((1.0, up), (-1.0, up - 1.0)):
        play = PlayOperators(truth)
        plain = np.array([float(play.advance(np.array([sign * v + bias]))[0]) for v in levels])
        steps = np.diff(plain, prepend=plain[0])
        age_s = np.maximum(at_s[:, None] - at_s[None, :], 0.0)
        record += share * (plain + creep * (np.log10(1.0 + age_s / 0.1) @ steps))
    return truth, Sweep(levels, bias, up, (record - record[0]) / small, at_s)


@pytest.mark.parametrize(("bias", "up", "creep"), [(0.0, 1.0, 0.0), (0.08, 0.65, 0.015)])
def test_loop_is_recovered(bias, up, creep):
    truth, sweep = swept(bias, up, creep)
    loop = fit_loop(sweep, CreepModel(creep) if creep else None)
    assert loop.scale == pytest.approx(float(truth.slopes[0, 0]), rel=0.01)
    assert loop.residual < 0.01
    assert loop.model.opening()[0] == pytest.approx(truth.opening()[0], abs=0.01)
    assert loop.tiled(40).actuators == 40


@pytest.mark.parametrize("seed", range(4))
def test_a_sweep_that_balances_up_and_down_bends_no_straight_curve(seed):
    # Half of the electrodes go up while half go down: the record tells only the mean of the
    # slopes above and below, and noise must not decide what it does not tell.
    truth, sweep = swept(0.08, 0.497, 0.0)
    noise = 0.004 * np.random.default_rng(seed).standard_normal(len(sweep.levels))
    loop = fit_loop(replace(sweep, response=sweep.response + noise), None)
    assert loop.scale == pytest.approx(float(truth.slopes[0, 0]), rel=0.015)
    assert np.ptp(loop.model.slopes) < 0.15
    play = PlayOperators(loop.model)
    # The influence matrix begins at the shape at rest, so there the response is none.
    assert float(play.preview(np.zeros(1))[0]) == pytest.approx(0.0, abs=1e-9)
    real = PlayOperators(truth)
    for volts in (0.3, -0.3, 0.6, -0.6):
        volt = np.array([volts])
        assert float(play.preview(volt)[0]) == pytest.approx(float(real.preview(volt)[0]), abs=0.02)


def test_creep_left_in_a_sweep_makes_the_loop_too_high():
    truth, sweep = swept(0.08, 0.65, 0.03)
    without = fit_loop(sweep, CreepModel(0.03)).model.opening()[0]
    with_it = fit_loop(sweep, None).model.opening()[0]
    assert with_it > without + 0.01
    assert abs(without - truth.opening()[0]) < abs(with_it - truth.opening()[0])


def test_switch_is_found_within_a_frame():
    period, exposure, readout = 33.3e6, 1 / 34, 0.014
    stamps = np.arange(60) * period
    at = 30.4 * period
    time = np.linspace(-0.5, 0.5, 4001) * (exposure + readout)
    half, short = (exposure + readout) / 2, min(exposure, readout)
    window = np.clip((half - np.abs(time)) / short, 0, 1)
    window /= window.sum()
    levels = np.array([window[(s * 1e-9 + time) >= at * 1e-9].sum() for s in stamps])
    (edge,) = edge_times_ns(stamps, 0.02 + levels, exposure)
    assert abs(edge - at) < 0.1e6
    (off,) = edge_times_ns(stamps, 1.02 - levels, exposure)
    assert abs(-off - at) < 0.1e6
    assert edge_times_ns(stamps, np.ones(60), exposure).size == 0


def test_clock_is_fitted_through_wrong_matches():
    rng = np.random.default_rng(2)
    privacy = np.sort(rng.uniform(0, 600e9, 150))
    side = privacy + 3.2e6 + 25e-6 * privacy + rng.normal(0, 1e6, 150)
    side[::20] += 40e6
    model = fit_clock(privacy, side)
    assert model.drift_ppm == pytest.approx(25.0, abs=2.0)
    left = [model.corrected_ns("side", int(s)) - int(p) for p, s in zip(privacy, side, strict=True)]
    assert abs(np.median(left)) < 0.5e6


def test_plane_map_is_recovered_between_pictures_of_different_size():
    truth = PlaneMap(
        np.array([1.02, 0.01, 0.03, -0.012, 1.03, -0.02, 0.004, -0.003, 0.004, -0.006]),
        (960, 640),
        (1200, 800),
    )
    rng = np.random.default_rng(3)
    side = np.stack([rng.uniform(40, 920, 200), rng.uniform(40, 600, 200)], axis=1)
    privacy = truth(side) + rng.normal(0, 0.1, (200, 2))
    found = fit_plane_map(side, privacy, (960, 640), (1200, 800))
    grid = np.stack(np.meshgrid(np.linspace(0, 959, 9), np.linspace(0, 639, 7)), -1).reshape(-1, 2)
    assert np.sqrt(np.mean(np.sum((found(grid) - truth(grid)) ** 2, axis=1))) < 0.15


@pytest.mark.parametrize("values", [{2: 0.1}, {3: 0.1}, {8: 0.15}, {4: 0.2, 7: 0.1}])
def test_centroid_shift_equals_the_centre_of_the_psf(values):
    pupil = Pupil(7.0, 49.7, 3.417, (550.0,))
    shape = Coefficients.numbered(values, "waves_rms", "noll", 550.0)
    pixels = compute_psf(shape, pupil, 512).pixels[0]
    axis = np.arange(512) - 256
    x, y = (pixels.sum(0) @ axis) / pixels.sum(), (pixels.sum(1) @ axis) / pixels.sum()
    right, down = centroid_shift_px(shape, pupil)
    # The far wings of a hard-edged pupil make the centre of a finite window uncertain.
    assert right == pytest.approx(x, abs=0.05)
    assert -down == pytest.approx(y, abs=0.05)

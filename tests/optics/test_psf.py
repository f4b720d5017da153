from __future__ import annotations

import math

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from camera_rig.optics import (
    Coefficients,
    Form,
    Order,
    Plan,
    PsfModel,
    Pupil,
    choose,
    compute_psf,
    defocus_of_object,
    defocus_of_shift,
    modes,
    to_mode,
)
from camera_rig.optics.fresnel import fresnel_psf, needed_oversample
from camera_rig.optics.geometric import GeometricModel
from camera_rig.optics.plan import check_sampling, steepest_slope_um
from camera_rig.optics.pupil import aperture

FIFTEEN = modes(Order.NOLL, 1, 15)
SMALL = Pupil(diameter_mm=2.0, focal_length_mm=50.0, pixel_um=4.0)


def _centroid(plane: np.ndarray) -> tuple[float, float]:
    places = np.arange(plane.shape[0]) - plane.shape[0] // 2
    total = plane.sum()
    return float((plane.sum(0) @ places) / total), float((plane.sum(1) @ places) / total)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("form", ["fft", "mft"])
def test_psf_equals_hcipy_fraunhofer(seed: int, form: str, pupil: Pupil) -> None:
    """hcipy makes its own modes, aperture and propagation; only the grids are shared."""
    import hcipy

    c = np.random.default_rng(seed).normal(size=15) * 0.06
    size = 96
    plan = choose(c, FIFTEEN, pupil, size, form)
    ours = PsfModel(pupil, FIFTEEN, size, plan=plan)(c)
    diameter, focal = pupil.diameter_mm * 1e-3, pupil.focal_length_mm * 1e-3
    for plane, wavelength in zip(ours, pupil.wavelengths_nm, strict=True):
        across = float(plan.samples)
        if form == "fft":
            across = plan.fft_size * pupil.pixel_um / (wavelength * 1e-3 * pupil.f_number)
        count, step = math.ceil(across), diameter / across
        grid = hcipy.CartesianGrid(
            hcipy.RegularCoords(step, [count] * 2, [-(count - 1) / 2 * step] * 2)
        )
        pitch = pupil.pixel_um * 1e-6
        sensor = hcipy.CartesianGrid(
            hcipy.RegularCoords(pitch, [size] * 2, [-(size // 2) * pitch] * 2)
        )
        # hcipy divides by the radius squared: a hair off the axis keeps it finite.
        near = hcipy.CartesianGrid(
            hcipy.RegularCoords(step, [count] * 2, [-(count - 1) / 2 * step + 1e-9 * step] * 2)
        )
        basis = hcipy.make_zernike_basis(15, diameter, near, 1, radial_cutoff=False)
        opd_m = basis.linear_combination(c) * 1e-6
        clear = hcipy.evaluate_supersampled(hcipy.make_circular_aperture(diameter), grid, 16)
        field = clear * np.exp(2j * np.pi / (wavelength * 1e-9) * opd_m)
        wave = hcipy.Wavefront(hcipy.Field(field, grid), wavelength * 1e-9)
        # Share of the light on the true circle that this grid can hold.
        wave.total_power = float((clear**2).sum() / clear.sum())
        reference = hcipy.FraunhoferPropagator(grid, sensor, focal)(wave).power.shaped
        error = np.abs(plane - np.asarray(reference)).max() / reference.max()
        assert error < 1e-6


def test_eq_1_literally_equals_the_one_transform_form(published: Coefficients) -> None:
    um = published.to(unit="um_rms")
    for system in (SMALL, Pupil(2.0, 50.0, 4.0, (550.0,), 0.3, 0.3)):
        c = um.array(FIFTEEN) * 0.4
        literal = fresnel_psf(c, FIFTEEN, system, 63)
        # The literal form's pupil pitch is the pixel pitch: 500 samples over 2 mm.
        plan = Plan(Form.MFT, 0, 500, 1, "the oracle's own grid")
        direct = PsfModel(system, FIFTEEN, 63, plan=plan)(c)
        np.testing.assert_allclose(literal, direct, rtol=0, atol=1e-12 * direct.max())
        single = fresnel_psf(c.astype(np.float32), FIFTEEN, system, 63)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, direct, rtol=0, atol=1e-6 * direct.max())


def test_eq_1_equals_direct_quadrature_of_the_fresnel_integral() -> None:
    system = Pupil(0.4, 20.0, 4.0, (550.0,), defocus_um=0.2)
    listed, c, size = ((2, 0), (3, 1)), np.array([0.1, -0.08]), 9
    literal = fresnel_psf(c, listed, system, size, oversample=1)[0]
    count, step, wave = 100, 0.4e-3 / 100, 550e-9
    line = (np.arange(count) - (count - 1) / 2) * step
    u, v = np.meshgrid(line, line)
    square = (u * u + v * v) / (0.2e-3) ** 2
    rho2, x = square, u / 0.2e-3
    opd = 1e-6 * (c[0] * math.sqrt(3) * (2 * rho2 - 1) + c[1] * math.sqrt(8) * (3 * rho2 - 2) * x)
    opd = opd + 0.2e-6 * rho2
    fine = (np.arange(16) + 0.5) / 16 - 0.5
    share = np.mean(
        [[(u + a * step) ** 2 + (v + b * step) ** 2 <= (0.2e-3) ** 2 for a in fine] for b in fine],
        axis=(0, 1),
    )
    focal, k = 20e-3, 2 * np.pi / wave
    lensed = share * np.exp(1j * k * opd - 1j * k * (u * u + v * v) / (2 * focal))
    wanted = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            px, py = (column - 4) * 4e-6, (row - 4) * 4e-6
            kernel = np.exp(1j * k / (2 * focal) * ((px - u) ** 2 + (py - v) ** 2))
            amplitude = (lensed * kernel).sum() * step * step / (wave * focal)
            wanted[row, column] = abs(amplitude) ** 2
    # Energy share: over the light that entered, per pixel.
    wanted *= (4e-6) ** 2 / (share.sum() * step * step)
    np.testing.assert_allclose(literal, wanted, rtol=0, atol=1e-12 * wanted.max())


def test_eq_1_refuses_an_under_sampled_grid() -> None:
    wide = Pupil(14.0, 100.0, 3.45)
    need = needed_oversample(np.zeros(1), ((2, 0),), wide, 127)
    assert need > 1
    with pytest.raises(ConfigError, match=r"under-sampled") as caught:
        fresnel_psf(np.zeros(1), ((2, 0),), wide, 127, oversample=1)
    assert f"oversample={need}" in caught.value.hint


def test_energy_is_accounted_for(published: Coefficients, pupil: Pupil) -> None:
    whole = compute_psf(published, pupil, 361, "fft")
    assert whole.plan.fft_size >= 361
    assert min(whole.captured) > 0.995
    model = PsfModel(pupil, FIFTEEN, whole.plan.fft_size, plan=whole.plan)
    everything = model(published.to(unit="um_rms").array(FIFTEEN))
    for total, wavelength in zip(everything.sum((-2, -1)), pupil.wavelengths_nm, strict=True):
        across = whole.plan.fft_size / pupil.pixels_per_airy(wavelength)
        clear = aperture(math.ceil(across), across, 0.0)
        assert total == pytest.approx((clear**2).sum() / clear.sum(), rel=1e-12)
        assert 1.0 > total > 0.995
    small = compute_psf(published, pupil, 63)
    assert max(small.captured) < 0.9
    np.testing.assert_allclose(small.captured, small.pixels.sum((-2, -1)))


def test_coarse_pixels_lose_no_energy_and_refine_to_the_same(pupil: Pupil) -> None:
    coarse = Pupil(8.0, 20.0, 4.0)
    assert coarse.oversample > 1
    c = np.array([0.2])
    plan = choose(c, ((2, 0),), coarse, 40, "fft")
    window = plan.fft_size // plan.oversample - 1
    psf = PsfModel(coarse, ((2, 0),), window, plan=plan)(c)
    assert psf.sum((-2, -1)).min() > 0.98
    finer = PsfModel(coarse, ((2, 0),), 21, plan=Plan(Form.MFT, 0, 400, 12, ""))(c)
    usual = PsfModel(coarse, ((2, 0),), 21, plan=plan)(c)
    # Two fine points per fringe and pixel are few; the energy is there all the same.
    np.testing.assert_allclose(usual, finer, atol=0.1 * finer.max())
    assert usual.sum() == pytest.approx(finer.sum(), rel=0.02)
    assert pupil.oversample == 1


def test_forms_agree_as_the_grid_is_refined(published: Coefficients, pupil: Pupil) -> None:
    c = published.to(unit="um_rms").array(FIFTEEN)

    def error(samples: int) -> float:
        plan = Plan(Form.MFT, 0, samples, 1, "")
        a = PsfModel(pupil, FIFTEEN, 63, plan=plan)(c)
        return float(np.abs(a - exact).max() / exact.max())

    exact = PsfModel(pupil, FIFTEEN, 63, plan=Plan(Form.MFT, 0, 1600, 1, ""))(c)
    assert error(400) < 2e-3
    assert error(800) < error(400)


def test_airy_pattern_has_its_closed_form() -> None:
    from scipy.special import j1

    system = Pupil(4.0, 50.0, 1.5, (550.0,))
    psf = PsfModel(system, ((2, 0),), 41, plan=Plan(Form.MFT, 0, 900, 1, ""))(np.zeros(1))[0]
    places = (np.arange(41) - 20) * 1.5
    r = np.hypot(places[None, :], places[:, None]) * np.pi / (0.55 * system.f_number)
    r[20, 20] = 1e-9
    airy = (2 * j1(r) / r) ** 2 * np.pi / 4 * (1.5 / (0.55 * system.f_number)) ** 2
    np.testing.assert_allclose(psf, airy, rtol=0, atol=2e-5 * airy.max())


def test_a_tilt_moves_the_spot_by_the_ray_law(pupil: Pupil) -> None:
    for mode, along in (((1, 1), 0), ((1, -1), 1)):
        c = np.array([0.4])
        psf = PsfModel(pupil, (mode,), 301, plan=choose(c, (mode,), pupil, 301))(c)[1]
        moved = 0.4 * 2 * pupil.pixels_per_slope_um
        place = np.unravel_index(psf.argmax(), psf.shape)
        assert place[1 - along] - 150 == pytest.approx(moved, abs=0.5)
        assert place[along] == 150


def test_defocus_of_the_system_equals_the_defocus_mode() -> None:
    um = 0.25
    with_mode = Coefficients({(2, 0): um / (2 * math.sqrt(3))}, "um_rms")
    flat = Coefficients({(2, 0): 0.0}, "um_rms")
    plan_form = "mft"
    moved = Pupil(2.0, 50.0, 4.0, defocus_um=um)
    a = compute_psf(with_mode, SMALL, 41, plan_form).pixels
    b = compute_psf(flat, moved, 41, plan_form).pixels
    np.testing.assert_allclose(a, b, atol=1e-12)
    literal = fresnel_psf(np.zeros(1), ((2, 0),), moved, 41)
    np.testing.assert_allclose(literal, b, atol=3e-3 * b.max())


def test_defocus_helpers_follow_the_thin_lens() -> None:
    # Paper: focus 5 m, subject 0.75 m, pupil radius 2 mm: 4.1 waves at 550 nm.
    assert defocus_of_object(4.0, 5000.0, 750.0) / 0.55 == pytest.approx(4.12, abs=0.01)
    assert defocus_of_object(4.0, math.inf, math.inf) == 0.0
    # A sensor moved to where a nearer object is sharp undoes its defocus.
    focal, near = 50.0, 2000.0
    sharp = 1 / (1 / focal - 1 / near) - focal
    total = defocus_of_object(4.0, math.inf, near) + defocus_of_shift(4.0, focal, sharp)
    assert total == pytest.approx(0.0, abs=1e-9)


def test_an_aliased_pupil_is_refused_with_a_size_that_would_do(
    published: Coefficients, pupil: Pupil
) -> None:
    c = published.to(unit="um_rms").array(FIFTEEN)
    model = PsfModel(pupil, FIFTEEN, 63)
    with pytest.raises(ConfigError, match=r"aliased at 640 nm.*a transform of (\d+) would do"):
        model(c)
    reason = model.why_not(c)[-1]
    size = int(reason.split("transform of ")[1].split()[0])
    assert check_sampling(c, FIFTEEN, pupil, Plan(Form.FFT, size, 0, 1, "")) == []
    with pytest.raises(ConfigError, match="not all finite"):
        model(c * math.nan)
    coarse = PsfModel(pupil, FIFTEEN, 63, plan=Plan(Form.MFT, 0, 48, 1, ""))
    with pytest.raises(ConfigError, match=r"aliased .*; (\d+) samples would do"):
        coarse(c)


def test_steepest_slope_is_that_of_a_dense_grid(published: Coefficients) -> None:
    from camera_rig.optics import zernike

    c = published.to(unit="um_rms").array(FIFTEEN)
    rho, _ = zernike.polar_grid(801)
    shape = np.tensordot(c, zernike.grid_basis(FIFTEEN, 801), 1)
    shape = np.where(rho <= 1.0, shape, np.nan)
    dense = max(np.nanmax(np.abs(np.diff(shape, axis=axis))) for axis in (0, 1)) * 801 / 2
    assert steepest_slope_um(c, FIFTEEN) == pytest.approx(dense, rel=0.01)
    # Each mode's slope enters, wherever on the rim it is steepest.
    assert steepest_slope_um(np.array([1.0]), ((1, 1),)) == pytest.approx(2.0)


def test_choice_is_stated_and_turns_geometric_when_no_grid_can_do(
    published: Coefficients, pupil: Pupil
) -> None:
    psf = compute_psf(published, pupil, 127)
    assert psf.plan.form is Form.FFT
    assert "carries rays up to" in psf.plan.reason
    strong = Coefficients({m: 60 * v for m, v in published.values.items()}, "waves_rms", 550)
    heavy = compute_psf(strong, pupil, 127)
    assert heavy.plan.form is Form.GEOMETRIC
    assert "at most 4096" in heavy.plan.reason
    with pytest.raises(ConfigError, match="at most 4096"):
        compute_psf(strong, pupil, 127, "fft")
    wide = Coefficients({(2, 0): 3.0}, "um_rms")
    assert compute_psf(wide, Pupil(1.0, 100.0, 1.0), 9).plan.form is Form.MFT
    with pytest.raises(ConfigError, match="auto, fft, mft, geometric"):
        compute_psf(published, pupil, 127, "fresnel")
    with pytest.raises(ConfigError, match="stroke"):
        compute_psf(Coefficients({(2, 0): 0.1}, "stroke_fraction"), pupil, 31)


def test_ray_density_is_the_smoothed_diffraction_psf(published: Coefficients, pupil: Pupil) -> None:
    """Same place, same way up, same energy: diffraction only adds fringes."""
    from scipy.ndimage import gaussian_filter

    c = published.to(unit="um_rms").array(FIFTEEN)
    rays = GeometricModel(pupil, FIFTEEN, 255)(c)
    waves = compute_psf(published, pupil, 255).pixels
    assert rays.shape == waves.shape
    np.testing.assert_allclose(rays.sum((-2, -1)), waves.sum((-2, -1)), atol=5e-3)
    a, b = (gaussian_filter(plane[1], 6) for plane in (rays, waves))
    same = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    turned = np.corrcoef(a[::-1, ::-1].ravel(), b.ravel())[0, 1]
    assert same > 0.97
    assert turned < 0.9
    for one, other in zip(_centroid(rays[1]), _centroid(waves[1]), strict=True):
        assert one == pytest.approx(other, abs=1.0)


def test_defocused_rays_fill_a_disc_of_the_right_size() -> None:
    c = np.array([1.0])
    plane = GeometricModel(SMALL, ((2, 0),), 301)(c)[0]
    radius = 4 * math.sqrt(3) * SMALL.pixels_per_slope_um
    places = np.arange(301) - 150
    second = (plane.sum(0) @ places**2) / plane.sum()
    assert second == pytest.approx(radius**2 / 4, rel=1e-2)


def test_single_precision_equals_double(published: Coefficients, pupil: Pupil) -> None:
    c = published.to(unit="um_rms").array(FIFTEEN)
    model = PsfModel(pupil, FIFTEEN, 63, plan=choose(c, FIFTEEN, pupil, 63))
    single, double = model(c.astype(np.float32)), model(c)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=0, atol=2e-5 * double.max())


def test_a_batch_is_its_members(pupil: Pupil, random: np.random.Generator) -> None:
    c = random.normal(size=(2, 3, 15)) * 0.02
    model = PsfModel(pupil, FIFTEEN, 31, plan=choose(c, FIFTEEN, pupil, 31))
    together = model(c)
    assert together.shape == (2, 3, 3, 31, 31)
    np.testing.assert_allclose(together[1, 2], model(c[1, 2]), atol=1e-15)


def test_impossible_systems_are_refused() -> None:
    for wrong in (
        {"diameter_mm": 0.0},
        {"pixel_um": math.nan},
        {"wavelengths_nm": ()},
        {"wavelengths_nm": (0.55,)},
        {"obscuration": 1.0},
        {"defocus_um": math.inf},
    ):
        good = {"diameter_mm": 4.0, "focal_length_mm": 50.0, "pixel_um": 3.7}
        with pytest.raises(ConfigError):
            Pupil(**{**good, **wrong})
    with pytest.raises(ConfigError, match="2 coefficients for 1 modes"):
        PsfModel(SMALL, (to_mode(Order.NOLL, 4),), 9)(np.zeros(2))
    with pytest.raises(ConfigError, match="float32 or float64"):
        PsfModel(SMALL, ((2, 0),), 9)(np.zeros(1, dtype=int))

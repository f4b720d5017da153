"""Geometry, energy and diffraction of the simulated light path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.bench import Bench, BranchOptics
from camera_rig.config import coefficient_file
from camera_rig.optics import Coefficients, Orientation, compute_psf
from camera_rig.twin.blur import DirectBlur, FourierBlur, blur_for
from camera_rig.twin.cameras import Shot
from camera_rig.twin.geometry import Geometry, Grid, Resampler
from camera_rig.twin.mirror import MODES
from camera_rig.twin.scene import Field
from camera_rig.twin.targets import FlatField, PointSource
from tests.twin.worlds import Lab, lab

FLAT_PATH = {
    "static_waves_rms": 0.0,
    "focus_drift_um": 0.0,
    "side_defocus_um": 0.0,
}
EVEN = {
    "sensor": {
        "size": (480, 320),
        "vignetting": 0.0,
        "response_spread": 0.0,
        "hot_pixels": 0,
        "dark_e_per_s": 0.0,
    }
}


def optical_lab(**path: object) -> Lab:
    return lab(light_path={**FLAT_PATH, **path}, privacy=EVEN, side=EVEN)


def electrons(made: Lab, role: str) -> np.ndarray:
    """Noise-free electrons (H, W, 3) of a 10 ms exposure."""
    return made.world.cameras[role].expected_e(Shot(0.1, 0.01, 100, 1)).astype(float)


def centroid(picture: np.ndarray) -> np.ndarray:
    y, x = np.indices(picture.shape)
    return np.array([(x * picture).sum(), (y * picture).sum()]) / picture.sum()


class Blob:
    """A smooth spot of light: its centre survives any resampling."""

    def __init__(self, field: Field, xy_mm: tuple[float, float], sigma_mm: float = 9.0) -> None:
        self.field = field
        place = field.to_px(np.array(xy_mm))
        y, x = np.indices((field.height_px, field.width_px))
        square = (x - place[0]) ** 2 + (y - place[1]) ** 2
        spot = np.exp(-square * field.mm_per_px**2 / (2 * sigma_mm**2))
        self._picture = np.repeat(spot[..., None], 3, axis=2).astype(np.float32)

    def radiance(self, t_s: float) -> np.ndarray:
        return self._picture

    def frame_key(self, t_s: float) -> int:
        return 0

    def truth(self, t_s: float) -> object:
        raise NotImplementedError


GEOMETRY = {"magnification": 1.03, "rotation_deg": 2.0, "shift_px": (7.3, -4.2)}


@pytest.mark.parametrize("role", ["side", "privacy"])
def test_a_point_lands_where_the_configured_transform_says(role: str) -> None:
    made = optical_lab(**{role: {**GEOMETRY, "distortion": 0.02}})
    geometry = made.world.truth.geometry(role)
    assert geometry.rotation_deg == 2.0
    for xy_mm in [(0.0, 0.0), (120.0, 60.0), (-150.0, 40.0), (33.3, -70.0)]:
        made.world.set_scene(PointSource(diameter_mm=16.0, x_mm=xy_mm[0], y_mm=xy_mm[1]), ambient=9)
        wanted = geometry.to_px(np.array(xy_mm))
        left, top = np.rint(wanted).astype(int) - 25  # the frame's edge cuts wider rings unevenly
        spot = electrons(made, role)[top : top + 51, left : left + 51, 1]
        np.testing.assert_allclose(centroid(spot), wanted - [left, top], atol=0.01)


@pytest.mark.parametrize("role", ["side", "privacy"])
def test_pictures_follow_the_same_transform(role: str) -> None:
    made = optical_lab(**{role: {**GEOMETRY, "distortion": 0.0}})
    geometry = made.world.truth.geometry(role)
    field = Field(height_px=560, width_px=840, width_mm=850.0)
    for xy_mm in [(0.0, 0.0), (120.0, 60.0), (-130.0, 40.0)]:
        made.world.set_scene(Blob(field, xy_mm))
        seen = centroid(electrons(made, role)[..., 1])
        np.testing.assert_allclose(seen, geometry.to_px(np.array(xy_mm)), atol=0.01)


def test_the_side_frame_is_carried_to_the_privacy_frame() -> None:
    made = lab()
    truth = made.world.truth
    points = np.array([[10.0, 20.0], [100.0, 60.0]])
    there = truth.side_to_privacy(points)
    np.testing.assert_allclose(
        truth.geometry("privacy").to_mm(there), truth.geometry("side").to_mm(points), atol=1e-9
    )


@given(st.floats(-0.1, 0.1), st.floats(-180, 180), st.floats(-20, 20), st.floats(0.5, 3.0))
@settings(max_examples=40, deadline=None)
def test_the_transform_can_be_undone(
    distortion: float, rotation: float, shift: float, scale: float
) -> None:
    geometry = Geometry((640, 480), scale, rotation, (shift, -shift), distortion)
    points = np.random.default_rng(0).random((50, 2)) * [640, 480]
    np.testing.assert_allclose(geometry.to_px(geometry.to_mm(points)), points, atol=1e-6)


def test_light_is_conserved() -> None:
    made = optical_lab()
    world = made.world
    world.set_scene(FlatField(level=0.5), ambient=1.0)
    for role in ("side", "privacy"):
        flux = world.cameras[role].sensor.electrons_per_s
        np.testing.assert_allclose(
            electrons(made, role).mean(axis=(0, 1)), 0.5 * flux * 0.01, rtol=1e-4
        )
    # A point's light is its area times its brightness, however the mirror spreads it.
    world.set_scene(PointSource(diameter_mm=3.0), ambient=1.0)
    flux = world.cameras["privacy"].sensor.electrons_per_s
    area_px = np.pi / 4 * (3.0 * world.truth.geometry("privacy").px_per_mm) ** 2
    for volts in (150.0, 175.0):
        world.command_mirror(np.full(40, volts))
        made.clock.sleep(0.2)
        total = electrons(made, "privacy").sum(axis=(0, 1))
        # Just under one per cent lies in rings beyond the window of a spot.
        np.testing.assert_allclose(total, area_px * flux * 0.01, rtol=1e-2)


def test_the_spot_is_that_of_the_optics_core() -> None:
    made = optical_lab(static_noll={4: 0.3, 7: 0.2, 6: -0.2})
    made.world.set_scene(PointSource(diameter_mm=0.05), ambient=1.0)
    truth = made.world.truth
    seen = electrons(made, "privacy")
    shape = truth.wavefront(made.world.to_ns(0.1)).oriented(Orientation.rows_down())
    psf = compute_psf(shape, truth.pupil("privacy"), 128).pixels
    x, y = np.rint(truth.geometry("privacy").to_px(np.zeros(2))).astype(int)
    window = seen[y - 20 : y + 21, x - 20 : x + 21]
    wanted = np.moveaxis(psf[:, 44:85, 44:85], 0, -1)
    for colour in range(3):
        correlation = np.corrcoef(window[..., colour].ravel(), wanted[..., colour].ravel())[0, 1]
        # The point stands between pixels, so the two are sampled at other places.
        assert correlation > 0.93
    twin = np.moveaxis(psf[:, 84:43:-1, 44:85], 0, -1)
    assert np.corrcoef(window[..., 1].ravel(), twin[..., 1].ravel())[0, 1] < 0.9


def test_a_spot_does_not_end_where_its_rays_do() -> None:
    made = optical_lab(static_noll={4: 0.8})
    made.world.set_scene(PointSource(diameter_mm=0.05), ambient=1.0)
    truth = made.world.truth
    seen = electrons(made, "privacy")[..., 1]
    shape = truth.wavefront(made.world.to_ns(0.1)).oriented(Orientation.rows_down())
    psf = compute_psf(shape, truth.pupil("privacy"), 1024).pixels[1]
    at = np.rint(truth.geometry("privacy").to_px(np.zeros(2))).astype(int)
    scale = seen.sum() / psf.sum()
    edge = int(np.nonzero(psf[512] > 0.05 * psf.max())[0][-1]) - 512  # of the blur's disc
    ring = _ring(psf.shape, (512, 512), edge + 10, edge + 50)
    there = _ring(seen.shape, (at[1], at[0]), edge + 10, edge + 50)
    assert psf[ring].sum() > 5e-3
    assert seen[there].sum() == pytest.approx(scale * psf[ring].sum(), rel=0.08)


def _ring(shape: tuple[int, ...], middle: tuple[int, int], inner: int, outer: int) -> np.ndarray:
    y, x = np.indices(shape[:2])
    from_middle = np.hypot(y - middle[0], x - middle[1])
    return (from_middle >= inner) & (from_middle < outer)


def test_the_spot_grows_with_the_wavelength() -> None:
    # A very small stop, so that the rings are many pixels wide.
    bench = Bench(wavelengths_nm=(660.0, 550.0, 440.0), privacy=BranchOptics(pupil_diameter_mm=0.1))
    made = lab(bench, light_path=FLAT_PATH, privacy={"sensor": {"size": (960, 640)}})
    psf = made.world.truth.psf("privacy")
    line = psf[:, psf.shape[1] // 2, :]
    minima = []
    for colour in range(3):
        right = line[colour, psf.shape[2] // 2 :]
        first = int(np.argmax(np.diff(right) > 0))
        fit = np.polyfit(np.arange(first - 1, first + 2), right[first - 1 : first + 2], 2)
        minima.append(-fit[1] / (2 * fit[0]))
    pupil = made.world.truth.pupil("privacy")
    expected = [1.22 * pupil.pixels_per_airy(nm) for nm in pupil.wavelengths_nm]
    np.testing.assert_allclose(minima, expected, rtol=0.015)
    # The same optical path is more waves of blue than of red.
    made.world.command_mirror(np.full(40, 152.0))
    made.clock.sleep(0.2)
    blurred = made.world.truth.psf("privacy")
    strehl = blurred.max(axis=(1, 2)) / psf.max(axis=(1, 2))
    assert strehl[2] < strehl[1] < strehl[0] < 1


def test_a_grid_of_half_the_size_shows_the_same_picture() -> None:
    made = lab(privacy={"sensor": {"size": (480, 320)}})
    arm = made.world.cameras["privacy"].arm
    paper = Coefficients.load(coefficient_file("lopez2024")).to(unit="um_rms")
    kernel = arm.kernel(paper.array(MODES))
    chosen = blur_for(kernel, (480, 320))
    assert isinstance(chosen, FourierBlur)
    assert chosen.factor > 1
    exact = blur_for(kernel, (480, 320), exact=True)
    random = np.random.default_rng(5)
    field = Field(height_px=280, width_px=420, width_mm=850.0)
    # Power as 1 / f^2, as natural pictures have it.
    spectrum = np.fft.rfft2(random.standard_normal((280, 420)))
    f = np.hypot(np.fft.fftfreq(280)[:, None], np.fft.rfftfreq(420)[None, :])
    picture = np.fft.irfft2(spectrum / np.maximum(f, 1 / 420))
    picture = 0.5 + 0.2 * picture / picture.std()
    rgb = np.repeat(picture[..., None], 3, axis=2).astype(np.float32)
    pictures = []
    for blur in (chosen, exact):
        grid = blur.grid
        samples = np.empty((3, grid.rows, grid.columns), np.float32)
        Resampler(arm.geometry, grid, field)(rgb, samples)
        out = np.empty((3, 320, 480), np.float32)
        blur(samples, out)
        pictures.append(out)
    decibel = -10 * np.log10(np.mean((pictures[0] - pictures[1]) ** 2))
    assert decibel > 48


def test_small_kernels_are_applied_directly_and_turned_right() -> None:
    kernel = np.zeros((3, 16, 16))
    kernel[:, 8, 8], kernel[:, 8, 9] = 0.75, 0.25  # a quarter of the light one pixel right
    blur = blur_for(kernel, (32, 16))
    assert isinstance(blur, DirectBlur)
    samples = np.zeros((3, blur.grid.rows, blur.grid.columns), np.float32)
    rim = (blur.grid.rows - 16) // 2
    samples[:, rim + 5, rim + 10] = 1.0
    out = np.empty((3, 16, 32), np.float32)
    blur(samples, out)
    np.testing.assert_allclose(out[:, 5, 10:12], [[0.75, 0.25]] * 3, atol=1e-6)
    fourier = FourierBlur(kernel.astype(np.float32), (32, 16), 1)
    work = np.zeros((3, fourier.grid.rows, fourier.grid.columns), np.float32)
    rim = round(-fourier.grid.origin_px[0])
    work[:, rim + 5, rim + 10] = 1.0
    fourier(work, out)
    np.testing.assert_allclose(out[:, 5, 10:12], [[0.75, 0.25]] * 3, atol=1e-5)


def test_a_new_blur_is_made_only_when_the_shape_changes() -> None:
    made = lab()
    arm = made.world.cameras["privacy"].arm
    still = made.world.wavefront_um("privacy", 0.0)
    first, _ = arm.blur(still)
    nudge = np.zeros_like(still)
    nudge[5] = 0.2 * arm._tolerance_um
    assert arm.blur(still + nudge)[0] == first
    assert arm.blur(still + 20 * nudge)[0] != first
    assert arm.blur(still)[0] == first


def test_resampling_is_bilinear_and_light_goes_on_beyond_the_edge() -> None:
    field = Field(height_px=4, width_px=6, width_mm=6.0)
    geometry = Geometry((6, 4), 1.0)
    picture = np.arange(72, dtype=np.float32).reshape(4, 6, 3)
    out = np.empty((3, 4, 6), np.float32)
    Resampler(geometry, Grid(4, 6), field)(picture, out)
    np.testing.assert_allclose(out, picture.transpose(2, 0, 1), atol=1e-3)
    Resampler(geometry, Grid(4, 6, (0.5, 0.0)), field)(picture, out)
    np.testing.assert_allclose(out[0, 0, :5], picture[0, :5, 0] + 1.5, atol=1e-3)
    Resampler(geometry, Grid(4, 6, (100.0, 0.0)), field)(picture, out)
    np.testing.assert_allclose(out[0, 1], picture[1, 5, 0], atol=1e-2)

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from camera_rig.optics import (
    CameraResponse,
    Coefficients,
    Imager,
    Padding,
    PreviewImager,
    Pupil,
    SensorNoise,
    compute_psf,
)
from camera_rig.optics.imaging import half_psf, half_scene
from camera_rig.optics.response import decode_srgb, encode_srgb

NUMPY_MODE = {"zero": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def _direct(scene: np.ndarray, psf: np.ndarray, padding: str) -> np.ndarray:
    """Every output pixel as its sum, by a library that knows nothing of ours."""
    from scipy.signal import convolve

    room = [(k - 1 - k // 2, k // 2) for k in psf.shape[1:]]
    return np.array(
        [
            convolve(np.pad(plane, room, mode=NUMPY_MODE[padding]), one, "valid", "direct")
            for plane, one in zip(scene, psf, strict=True)
        ]
    )


@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize("kernel", [(7, 9), (8, 6), (1, 1), (15, 20)])
def test_blur_equals_direct_convolution(
    padding: Padding, kernel: tuple[int, int], random: np.random.Generator
) -> None:
    scene, psf = random.random((3, 20, 31)), random.random((3, *kernel))
    got = Imager(psf, (20, 31), padding)(scene)
    np.testing.assert_allclose(got, _direct(scene, psf, padding.value), atol=1e-12)


def test_a_point_becomes_the_psf_the_right_way_up(published: Coefficients, pupil: Pupil) -> None:
    psf = compute_psf(published, pupil, 31).pixels
    scene = np.zeros((3, 64, 64))
    scene[:, 20, 40] = 1.0
    picture = Imager(psf, (64, 64))(scene)
    np.testing.assert_allclose(picture[:, 5:36, 25:56], psf, atol=1e-15)


def test_batches_single_precision_and_colours_last(random: np.random.Generator) -> None:
    scene, psf = random.random((2, 3, 16, 18)), random.random((3, 5, 5))
    wide = Imager(psf, (16, 18), "edge")
    together = wide(scene)
    np.testing.assert_allclose(together[1], wide(scene[1]), atol=1e-13)
    narrow = Imager(psf.astype(np.float32), (16, 18), "edge")(scene.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, together, rtol=1e-5)
    last = wide.frame(np.moveaxis(scene[0], 0, -1))
    np.testing.assert_allclose(np.moveaxis(last, -1, 0), together[0], atol=1e-13)
    many = Imager(np.stack([psf, 2 * psf]), (16, 18), "edge")(scene)
    np.testing.assert_allclose(many[1], 2 * together[1], atol=1e-12)


def test_a_call_changes_neither_scene_nor_transfer_function(random: np.random.Generator) -> None:
    scene, psf = random.random((3, 16, 16)), random.random((3, 5, 5))
    imager, before = Imager(psf, (16, 16)), scene.copy()
    first = imager(scene)
    np.testing.assert_array_equal(scene, before)
    np.testing.assert_array_equal(imager(scene), first)


def test_flat_light_stays_flat_where_the_scene_goes_on() -> None:
    psf = np.full((3, 5, 5), 1 / 25)
    flat = np.ones((3, 16, 16))
    for padding in ("edge", "reflect", "wrap"):
        np.testing.assert_allclose(Imager(psf, (16, 16), padding)(flat), 1.0, atol=1e-12)
    dark = Imager(psf, (16, 16), "zero")(flat)
    assert dark[0, 0, 0] == pytest.approx(9 / 25)


def test_half_resolution_equals_the_averaged_full_one(random: np.random.Generator) -> None:
    # Exact for a scene made of blocks of two by two.
    blocks = random.random((3, 12, 14)).repeat(2, -1).repeat(2, -2)
    for size in (7, 8, 9, 10):
        psf = random.random((3, size, size))
        full = half_scene(Imager(psf, (24, 28))(blocks))
        half = PreviewImager(psf, (24, 28))(blocks)
        np.testing.assert_allclose(half, full, atol=1e-10)
        np.testing.assert_allclose(half_psf(psf).sum((-2, -1)), psf.sum((-2, -1)))


def test_preview_of_a_detailed_scene_is_within_48_db(
    published: Coefficients, pupil: Pupil, random: np.random.Generator
) -> None:
    psf = compute_psf(published, pupil, 127).pixels
    row, column = np.mgrid[:256, :320]
    scene = np.stack(
        [0.5 + 0.5 * np.sign(np.sin(row / 7 + k) * np.sin(column / 9)) for k in (0, 1, 2)]
    )
    scene = 0.9 * scene + 0.1 * random.random(scene.shape)
    full = half_scene(Imager(psf, (256, 320))(scene))
    half = PreviewImager(psf, (256, 320))(scene)
    assert -10 * np.log10(np.mean((full - half) ** 2)) > 48


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Imager(np.ones((3, 5, 5)), (8, 8), "mirror"), "zero, edge, reflect, wrap"),
        (lambda: Imager(np.ones((3, 9, 9)), (8, 8), "wrap"), "larger than the repeating"),
        (lambda: Imager(np.ones((3, 17, 17)), (8, 8), "reflect"), "reaches 8 pixels"),
        (lambda: Imager(np.ones((3, 5, 5)), (8, 8))(np.ones((3, 8, 9))), "does not fit"),
        (lambda: Imager(np.ones((3, 5, 5)), (8, 8))(np.ones((1, 8, 8))), "does not fit"),
        (lambda: Imager(np.ones((3, 5, 5)), (8, 8))(np.ones((3, 8, 8), np.float32)), "precision"),
        (lambda: Imager(np.ones((3, 5, 5)), (8, 8))(np.ones((3, 8, 8), np.uint8)), "float32"),
        (lambda: PreviewImager(np.ones((3, 5, 5)), (8, 9)), "even sizes"),
        (lambda: SensorNoise(read=-0.1), "impossible"),
        (lambda: SensorNoise(full_well_e=0), "impossible"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]


def test_noise_has_the_stated_variance(random: np.random.Generator) -> None:
    noise = SensorNoise(read=0.01, full_well_e=1000.0)
    flat = np.full((200, 500), 0.5)
    wanted = 0.01**2 + 0.5 / 1000
    exact = noise.sample(flat, random)
    smooth = noise.apply(flat, random.standard_normal(flat.shape))
    for picture in (exact, smooth):
        # Five standard errors of a variance of 1e5 numbers.
        assert picture.var() == pytest.approx(wanted, rel=5 * np.sqrt(2 / flat.size))
        assert picture.mean() == pytest.approx(0.5, abs=5 * np.sqrt(wanted / flat.size))
    again = noise.sample(flat, np.random.default_rng(1))
    np.testing.assert_array_equal(again, noise.sample(flat, np.random.default_rng(1)))
    np.testing.assert_array_equal(SensorNoise().sample(flat, random), flat)


def test_response_mixes_channels_and_encodes() -> None:
    light = np.stack([np.full((2, 2), value) for value in (0.1, 0.2, 0.4)])
    swap = CameraResponse(matrix=((0, 1, 0), (1, 0, 0), (0, 0, 0.5)), gain=2.0)
    np.testing.assert_allclose(swap(light)[:, 0, 0], [0.4, 0.2, 0.4])
    np.testing.assert_array_equal(CameraResponse()(light), light)
    ramp = np.linspace(0, 1, 101)
    np.testing.assert_allclose(decode_srgb(encode_srgb(ramp)), ramp, atol=1e-7)
    assert encode_srgb(np.array([0.214041]))[0] == pytest.approx(0.5, abs=1e-4)

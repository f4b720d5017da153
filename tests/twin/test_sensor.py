"""The twin's sensor against the statistics it promises."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.twin.sensor import Exposure, Sensor, SensorOptions, srgb_tone

SIZE = (256, 128)
FLUX = np.array([4e5, 5e5, 4.5e5])


def sensor(**options: object) -> Sensor:
    settings = {"size": SIZE, "hot_pixels": 0, "vignetting": 0.0, **options}
    return Sensor(SensorOptions.model_validate(settings), FLUX, 11)


def exposure(level: float, *, iso: int = 100, number: int = 0, seconds: float = 0.01) -> Exposure:
    picture = np.full((3, SIZE[1], SIZE[0]), level, np.float32)
    weight = np.ones((1, SIZE[1]), np.float32)
    return Exposure((picture,), weight, seconds, iso, 1000 + number)


@pytest.mark.parametrize("iso", [100, 800])
@pytest.mark.parametrize("bits", [12, 14])
def test_photon_transfer_slope_is_the_configured_gain(iso: int, bits: int) -> None:
    gain = 1.5 if bits == 14 else 6.0
    chip = sensor(bits=bits, gain_e_per_dn=gain, black_level_dn=128)
    means, variances = [], []
    top = 0.8 * chip.saturation_e(iso) / (FLUX[1] * 0.01)
    for number, level in enumerate(np.linspace(0.02, top, 24)):
        pairs = [
            chip.raw(exposure(level, iso=iso, number=4 * number + k)).astype(float)
            for k in range(4)
        ]
        means.append(np.mean(pairs) - 128)
        # Differences cancel what is fixed in the pixels.
        variances.append(
            np.mean([np.var(a - b) / 2 for a, b in zip(pairs[::2], pairs[1::2], strict=True)])
        )
    means_dn, variances_dn = np.array(means), np.array(variances)
    weight = 1 / variances_dn
    slope, floor = np.polyfit(means_dn, variances_dn, 1, w=weight)
    expected = chip.gain_e_per_dn(iso)
    assert 1 / slope == pytest.approx(expected, rel=0.01)
    assert expected == pytest.approx(gain * 100 / iso)
    read = np.sqrt(max(floor - 1 / 12, 0)) * expected
    assert read == pytest.approx(chip.options.read_noise_e, rel=0.25, abs=0.6)


def test_response_is_linear_until_it_saturates() -> None:
    chip = sensor(response_spread=0.0)
    levels = np.linspace(0.0, 4.0, 9)
    numbers = [chip.raw(exposure(level))[..., 1].mean() - 512 for level in levels]
    np.testing.assert_allclose(numbers, levels * FLUX[1] * 0.01 / 1.5, rtol=2e-3, atol=1.0)
    full = chip.raw(exposure(1e3))
    assert full.max() == 2**14 - 1
    assert full.min() == 2**14 - 1


def test_full_well_saturates_before_the_converter_when_it_is_smaller() -> None:
    chip = sensor(full_well_e=6000.0, read_noise_e=0.0)
    assert chip.raw(exposure(1e3)).max() == 512 + 4000


def test_dark_frames_hold_black_level_read_noise_and_hot_pixels() -> None:
    chip = sensor(hot_pixels=5, dark_e_per_s=1.0)
    dark = chip.raw(exposure(0.0, seconds=10.0)).astype(float)
    assert np.median(dark) == pytest.approx(512 + 10 / 1.5, abs=1)
    hot = (dark[..., 0] > 512 + 300).sum()
    assert hot == 5


def test_flat_pictures_show_the_pixels_response_and_vignetting() -> None:
    chip = sensor(response_spread=0.01, vignetting=0.2)
    mean = np.mean([chip.raw(exposure(3.0, number=k))[..., 1] for k in range(24)], axis=0) - 512.0
    shape = mean / mean[60:68, 120:136].mean()
    assert np.corrcoef(shape.ravel(), chip.flat.ravel())[0, 1] > 0.98
    assert chip.flat[0, 0] == pytest.approx(0.8, abs=0.04)


def test_live_view_is_white_balanced_gamma_with_the_right_noise() -> None:
    chip = sensor(response_spread=0.0)
    level = 2.0
    picture = chip.live(exposure(level))
    electrons = level * FLUX[1] * 0.01
    fraction = electrons / chip.saturation_e(100)
    coded = srgb_tone()[round(fraction * ((1 << 14) - 1))]
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), coded, atol=0.6)
    # Noise in linear light, through the slope of the curve.
    slope = 255 * 1.055 / 2.4 * fraction ** (1 / 2.4 - 1) / chip.saturation_e(100)
    expected = slope * np.sqrt(electrons + chip.options.read_noise_e**2)
    green = picture[..., 1].astype(float)
    assert green.std() == pytest.approx(np.sqrt(expected**2 + 1 / 12), rel=0.05)


def test_live_noise_has_no_pattern() -> None:
    chip = sensor(response_spread=0.0)
    first, second = (chip.live(exposure(2.0, number=k))[..., 1].astype(float) for k in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    rows = first - first.mean()
    neighbours = np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_same_key_same_pixels() -> None:
    for make in (Sensor.live, Sensor.raw):
        first, same, other = (make(sensor(), exposure(1.0, number=k)) for k in (5, 5, 6))
        np.testing.assert_array_equal(first, same)
        assert (first != other).mean() > 0.5


def test_mosaic_takes_each_colour_from_its_place() -> None:
    chip = sensor(bayer=True, response_spread=0.0)
    mosaic = chip.raw(exposure(2.0)).astype(float) - 512
    assert mosaic.shape == (SIZE[1], SIZE[0])
    for (row, column), colour in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        expected = 2.0 * FLUX[colour] * 0.01 / 1.5
        assert mosaic[row::2, column::2].mean() == pytest.approx(expected, rel=0.01)


def test_rows_are_mixed_by_their_weights() -> None:
    chip = sensor(response_spread=0.0, read_noise_e=0.0)
    bright = np.full((3, SIZE[1], SIZE[0]), 2.0, np.float32)
    weight = np.stack([np.linspace(0, 1, SIZE[1]), np.zeros(SIZE[1])]).astype(np.float32)
    shot = Exposure((bright, np.zeros_like(bright)), weight, 0.01, 100, 3)
    raw = chip.raw(shot)[..., 1].astype(float).mean(axis=1) - 512
    np.testing.assert_allclose(raw, 2.0 * FLUX[1] * 0.01 / 1.5 * weight[0], rtol=0.02, atol=3)
    live = chip.live(shot)[..., 1].astype(float).mean(axis=1)
    assert (np.diff(live[::8]) > 0).all()

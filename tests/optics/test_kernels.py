"""The compiled inner loops against numpy's own functions."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.optics._xp import Backend


@pytest.mark.parametrize(("double", "tolerance"), [(True, 4e-16), (False, 1.2e-7)])
@pytest.mark.parametrize("reach_rad", [0.8, 40.0, 1e5])
def test_phasor_and_intensity_are_right_to_the_last_bit(
    double: bool, tolerance: float, reach_rad: float, random: np.random.Generator
) -> None:
    back = Backend(torch=False, double=double)
    phase = back.real(random.uniform(-reach_rad, reach_rad, (2, 33, 35)))
    phase[0, 0, :9] = np.arange(-4, 5) * (np.pi / 2)  # where sine and cosine change places
    amplitude = back.real(random.random((33, 35)))
    exact = amplitude * np.exp(1j * phase.astype(np.float64))
    field = back.phasor(amplitude, phase)
    np.testing.assert_allclose(field, exact, rtol=0, atol=tolerance)
    power = back.intensity(field)
    np.testing.assert_allclose(power, np.abs(exact) ** 2, rtol=0, atol=3 * tolerance)
    wide = np.zeros((2, 33, 40), field.dtype)
    assert np.array_equal(back.phasor(amplitude, phase, wide)[..., :35], field)
    assert not wide[..., 35:].any()


def test_halving_is_the_mean_of_four_also_of_views(random: np.random.Generator) -> None:
    back = Backend(torch=False, double=True)
    pictures = random.random((8, 6, 2, 3)).transpose(2, 3, 0, 1)
    expected = pictures.reshape(2, 3, 4, 2, 3, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(back.halve(pictures), expected, rtol=1e-15)

"""The 4f form against two Fourier transforms of a point of light."""

from __future__ import annotations

import math

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients, Form, Orientation, Plan, PsfModel, Relay, zernike
from camera_rig.optics.pupil import aperture


def test_two_transforms_of_an_off_axis_point_give_the_shifted_psf() -> None:
    relay = Relay(focal_in_mm=40.0, focal_out_mm=60.0, beam_mm=3.0, mirror_mm=10.0)
    pupil = relay.pupil(pixel_um=4.0, wavelengths_nm=(550.0,))
    shape = relay.wavefront(Coefficients({(2, 2): 0.9, (3, 1): 2.0}, "um_rms"))
    samples, size = 128, 65
    model = PsfModel(pupil, shape.modes, size, plan=Plan(Form.MFT, 0, samples, 1, ""))
    psf = model(shape.array(shape.modes))[0]
    # Lens one: a point at x1 becomes the flat wave exp(-2 pi i x1 u / (lambda f1)).
    point_um = -8.0 * 4.0 / -relay.magnification
    line_um = zernike.axis(samples) * 1500.0
    tilt = np.exp(-2j * np.pi * point_um * line_um / (0.55 * 40e3))
    u, v = np.meshgrid(line_um, line_um)
    opd = np.tensordot(
        shape.array(shape.modes),
        zernike.basis(shape.modes, np.hypot(u, v) / 1500, np.arctan2(v, u)),
        1,
    )
    clear = aperture(samples, float(samples), 0.0)
    field = clear * np.exp(2j * np.pi * opd / 0.55) * tilt[None, :]
    # Lens two: the second transform, point by point on the sensor.
    sensor_um = (np.arange(size) - size // 2) * 4.0
    kernel = np.exp(-2j * np.pi * np.outer(sensor_um, line_um) / (0.55 * 60e3))
    picture = np.abs(kernel @ field @ kernel.T) ** 2
    # The point stands at -f2/f1 times its height: eight pixels to the right.
    ours, theirs = psf[:, : size - 8], picture[:, 8:]
    np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), atol=1e-9)


def test_tilted_mirror_shortens_the_stroke_and_lengthens_the_footprint() -> None:
    relay = Relay(50.0, 50.0, beam_mm=8.0, mirror_mm=10.0, incidence_deg=30.0)
    cosine = math.cos(math.radians(30))
    assert relay.footprint == pytest.approx((0.8 / cosine, 0.8))
    piston = relay.wavefront(Coefficients({(0, 0): 1.0}, "um_rms"))
    assert dict(piston.values) == pytest.approx({(0, 0): cosine})
    seen = relay.wavefront(Coefficients({(2, 0): 1.0}, "um_rms"))
    x = np.array([0.3, -0.5, 0.1])
    y = np.array([0.2, 0.1, -0.9])

    def at(values: dict, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        stack = zernike.basis(list(values), np.hypot(x, y), np.arctan2(y, x))
        return np.tensordot(np.array(list(values.values())), stack, 1)

    wanted = cosine * at({(2, 0): 1.0}, 0.8 / cosine * x, 0.8 * y)
    np.testing.assert_allclose(at(dict(seen.values), x, y), wanted, atol=1e-12)
    assert seen.values[2, 2] > 0, "a tilted mirror's defocus is astigmatic"


def test_axes_of_the_sensor_are_the_relays_last_step() -> None:
    turned = Relay(50.0, 50.0, 8.0, 10.0, orientation=Orientation(180.0))
    plain = Relay(50.0, 50.0, 8.0, 10.0)
    coma = Coefficients({(3, 1): 1.0}, "um_rms")
    assert turned.wavefront(coma).values[3, 1] == -plain.wavefront(coma).values[3, 1]
    assert plain.magnification == -1.0


def test_impossible_relays_are_refused() -> None:
    with pytest.raises(ConfigError, match="footprint"):
        Relay(50.0, 50.0, 9.0, 10.0, incidence_deg=40.0)
    with pytest.raises(ConfigError, match="incidence_deg"):
        Relay(50.0, 50.0, 5.0, 10.0, incidence_deg=80.0)
    with pytest.raises(ConfigError, match="beam_mm"):
        Relay(50.0, 50.0, 0.0, 10.0)
    with pytest.raises(ConfigError, match="stroke"):
        Relay(50.0, 50.0, 5.0, 10.0).wavefront(Coefficients({(2, 0): 0.1}, "stroke_fraction"))

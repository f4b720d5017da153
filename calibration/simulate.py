"""PSF stacks that a given shape would give: to plan a measurement, and to test the fit.

Made by :mod:`camera_rig.optics` in double precision with sampling for the shape at hand,
not by the model that the retrieval fits with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.stack import PsfStack
from camera_rig.optics import Coefficients, Form, PsfModel, Pupil, Unit, choose

__all__ = ["Detector", "simulate_stack"]

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Detector:
    """A camera as far as noise goes.

    Args:
        peak_e: Brightest pixel of a plane, electrons.
        full_well_e: Electrons at the last step of the converter.
        bits: Steps of the converter, as a power of two.
        read_noise_e: Standard deviation of the read noise, electrons.
        offset_e: Level of no light, electrons.
    """

    peak_e: float = 8500.0
    full_well_e: float = 10_000.0
    bits: int = 12
    read_noise_e: float = 2.5
    offset_e: float = 20.0

    @property
    def step_e(self) -> float:
        """Electrons per step."""
        return float(self.full_well_e / (2**self.bits - 1))

    @property
    def floor_e2(self) -> float:
        """Variance without light, rounding included, electrons squared."""
        return self.read_noise_e**2 + self.step_e**2 / 12.0

    def expose(self, expected_e: Floats, rng: np.random.Generator) -> Floats:
        """Return one picture, offset subtracted, electrons."""
        counted = rng.poisson(expected_e) + rng.normal(0.0, self.read_noise_e, expected_e.shape)
        steps = np.clip(np.rint((counted + self.offset_e) / self.step_e), 0, 2**self.bits - 1)
        return np.asarray(steps * self.step_e - self.offset_e)


def simulate_stack(
    shape: Coefficients,
    shown: Sequence[Coefficients],
    pupil: Pupil,
    size: int,
    rng: np.random.Generator,
    detector: Detector | None = None,
    *,
    stated: Sequence[Coefficients] | None = None,
    source_px: float = 0.0,
) -> PsfStack:
    """Return a noisy stack, with an unknown tilt of up to a pixel in each plane.

    Args:
        shape: The wavefront to find.
        shown: What the mirror really adds in each plane.
        pupil: The optical system, one wavelength.
        size: Window, px.
        rng: Noise, tilts, brightness.
        detector: The camera.
        stated: What the mirror is believed to add; default: the truth.
        source_px: Diameter of the source on the sensor, px.
    """
    camera = detector or Detector()
    tilt_px = 4.0 * pupil.pixels_per_airy(pupil.wavelengths_nm[0])
    images = []
    for offset in shown:
        tilt = rng.uniform(-1.0, 1.0, 2) / tilt_px
        total = dict(shape.to(unit=Unit.WAVES_RMS, wavelength_nm=pupil.wavelengths_nm[0]).values)
        for mode, value in {
            **offset.to(unit=Unit.WAVES_RMS, wavelength_nm=pupil.wavelengths_nm[0]).values
        }.items():
            total[mode] = total.get(mode, 0.0) + value
        total[1, 1], total[1, -1] = float(tilt[0]), float(tilt[1])
        waves = Coefficients(total, Unit.WAVES_RMS, pupil.wavelengths_nm[0])
        um = waves.to(unit=Unit.UM_RMS)
        values = um.array(um.modes)
        plan = choose(values, um.modes, pupil, size, Form.FFT)
        sharp = PsfModel(pupil, um.modes, size, plan=plan)(values)[0]
        image = _smeared(sharp, source_px)
        image *= camera.peak_e * rng.uniform(0.9, 1.0) / image.max()
        images.append(camera.expose(image, rng))
    return PsfStack(
        images_e=np.array(images),
        diversity=tuple(shown if stated is None else stated),
        pupil=pupil,
        floor_e2=camera.floor_e2,
    )


def _smeared(image: Floats, diameter_px: float) -> Floats:
    """Convolve with a disc, drawn on a grid eleven times finer and added up in shifts."""
    if diameter_px <= 0.0:
        return image.copy()
    from scipy.ndimage import fourier_shift

    line = (np.arange(11) - 5.0) / 11.0 * diameter_px
    x, y = (g.ravel() for g in np.meshgrid(line, line))
    inside = np.hypot(x, y) <= diameter_px / 2.0
    spectrum = np.fft.fft2(image)
    total = np.zeros_like(spectrum)
    for dx, dy in zip(x[inside], y[inside], strict=True):
        total += fourier_shift(spectrum, (dy, dx))
    smooth = np.fft.ifft2(total / np.count_nonzero(inside)).real
    return np.asarray(np.maximum(smooth, 0.0))

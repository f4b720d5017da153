"""The published two-transform form of the PSF, kept as an oracle.

``H = |F^-1{ F{P W} T }|^2`` with the lens's own chirp in P and Fresnel
propagation in T. It needs the pupil sampled at the sensor's pitch, thousands of
points across, and is silently wrong below that; here it refuses. For work use
:mod:`camera_rig.optics.psf`, which is equal and much cheaper.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import chebyshev
from camera_rig.optics._xp import Array, backend_of, fast_length, to_numpy
from camera_rig.optics.plan import steepest_slope_um
from camera_rig.optics.pupil import Pupil, aperture
from camera_rig.optics.zernike import Mode


def fresnel_psf(
    coefficients_um: Array,
    modes: tuple[Mode, ...],
    pupil: Pupil,
    size: int,
    oversample: int | None = None,
) -> Array:
    """Return the PSF by the literal two-transform form.

    Args:
        coefficients_um: ``(len(modes),)``, micrometres RMS of wavefront.
        modes: ``(n, m)`` of the coefficients.
        pupil: The optical system.
        size: Width of the window in pixels.
        oversample: Grid points per pixel; None takes the fewest that do.

    Returns:
        ``(colours, size, size)``, energy share per pixel pitch squared, sampled at
        the pixel centres.

    Raises:
        ConfigError: The grid is too coarse for a chirp; the hint says what would do.
    """
    given = backend_of(coefficients_um)
    # An oracle has no business with rounding: double inside, always.
    coefficients_um = given.cast(coefficients_um, double=True)
    back = backend_of(coefficients_um)
    need = needed_oversample(to_numpy(coefficients_um), modes, pupil, size)
    factor = need if oversample is None else int(oversample)
    if factor < need:
        across = math.ceil(pupil.diameter_mm * 1000.0 / pupil.pixel_um * need)
        raise ConfigError(
            f"the two-transform form is under-sampled with {factor} points per pixel",
            hint=f"use oversample={need} ({across} points across the pupil) or more",
        )
    step_mm = pupil.pixel_um / 1000.0 / factor
    cells = pupil.diameter_mm / step_mm
    count = math.ceil(cells - 1e-9)
    line_mm = (np.arange(count) - (count - 1) / 2.0) * step_mm
    wave_map = chebyshev.SeparableMap(tuple(modes), line_mm / (pupil.diameter_mm / 2.0))
    path_um = wave_map(coefficients_um, back)
    clear = aperture(count, cells, pupil.obscuration)
    planes = [
        _one_colour(path_um, clear, line_mm, pupil, wavelength, (size, factor))
        for wavelength in pupil.wavelengths_nm
    ]
    return given.cast(back.xp.stack(planes))


def _one_colour(
    path_um: Array,
    clear: Any,
    line_mm: Any,
    pupil: Pupil,
    wavelength_nm: float,
    window: tuple[int, int],
) -> Array:
    back = backend_of(path_um)
    size, factor = window
    wave_mm = wavelength_nm * 1e-6
    wavenumber = 2.0 * math.pi / wave_mm
    square = line_mm[:, None] ** 2 + line_mm[None, :] ** 2
    rim = (pupil.diameter_mm / 2.0) ** 2
    chirp = -wavenumber / (2.0 * pupil.focal_length_mm) * square
    chirp = chirp + wavenumber * pupil.defocus_um * 1e-3 * square / rim
    amplitude = back.real(clear / math.sqrt(float(clear.sum())))
    # The chirp turns thousands of radians: in double, then narrowed.
    lens = back.complex(np.exp(1j * chirp))
    field = back.phasor(amplitude, path_um * (wavenumber * 1e-3)) * lens
    # T: transform of the sampled Fresnel kernel, from every pupil point to every pixel.
    count, span = len(line_mm), (size - 1) * factor
    step = line_mm[1] - line_mm[0]
    first = -(size // 2) * factor * step - line_mm[-1]
    offsets = first + step * np.arange(count + span)
    kernel = np.exp(1j * wavenumber / (2.0 * pupil.focal_length_mm) * offsets**2)
    length = fast_length(count + span)
    transfer = back.complex(np.fft.fft(kernel, length))
    spectrum = back.fft(back.fft(field, length, -1), length, -2)
    spectrum = spectrum * (transfer[:, None] * transfer[None, :])
    sensor = back.ifft(back.ifft(spectrum, length, -1), length, -2)
    places = count - 1 + factor * np.arange(size)
    scale = step * step * factor / (wave_mm * pupil.focal_length_mm)
    return back.intensity(sensor[places][:, places] * scale)


def needed_oversample(
    coefficients_um: Any, modes: tuple[Mode, ...], pupil: Pupil, size: int
) -> int:
    """Return the fewest grid points per pixel that carry both chirps (dimensionless).

    The lens's chirp with the aberration on it, and the kernel from the pupil's
    rim to the window's far corner, may step by at most pi per grid point.
    """
    radius = pupil.diameter_mm / 2.0
    slope = steepest_slope_um(coefficients_um, tuple(modes), pupil.defocus_um) * 1e-3 / radius
    reach = size / 2.0 * pupil.pixel_um * 1e-3
    steepest = max(radius / pupil.focal_length_mm + slope, (radius + reach) / pupil.focal_length_mm)
    finest_um = min(pupil.wavelengths_nm) * 1e-3 / (2.0 * steepest)
    return max(1, math.ceil(pupil.pixel_um / finest_um - 1e-9))

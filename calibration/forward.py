"""What a PSF plane should look like, and how it changes with every unknown.

One colour, one transform per picture, as in :mod:`camera_rig.optics.psf`, from whose
parts it is built; added here are the analytic derivatives that a fit needs (one
transform per direction in coefficient space) and the blur of source and pixel.
Single precision inside: a fit is limited by photons long before 1e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import _kernels
from camera_rig.optics import Mode, Pupil
from camera_rig.optics._xp import Backend, fast_length
from camera_rig.optics.chebyshev import SeparableMap
from camera_rig.optics.pupil import aperture

__all__ = ["PlaneModel", "PlaneState", "PointSource"]

Floats = npt.NDArray[np.floating[Any]]
Complex = npt.NDArray[np.complex64]

SMALL_RIM = 64
"""Rim around small windows, px."""
ROOM = 1.1
"""Transform over what rays need: diffraction goes a little farther than they do."""

_SINGLE = Backend(torch=False, double=False)


@dataclass(frozen=True)
class PointSource:
    """How far the source and the pixel are from mathematical points.

    Args:
        diameter_px: Diameter of the round source as imaged on the sensor, px.
        pixel_px: Width of the light-sensitive part of a pixel, in pitches; 0 for
            data that were sampled at points.
        summed: Samples across that were added up into each pixel of the data.
    """

    diameter_px: float = 0.0
    pixel_px: float = 0.0
    summed: int = 1


@dataclass(frozen=True)
class PlaneState:
    """A plane evaluated at one set of coefficients; input of the derivatives.

    Args:
        pupil_field: Complex field on the pupil grid, unit energy.
        field: Complex field on the fine sensor grid.
        sharp: Intensity of a point source, energy share per fine pixel.
        image: The same with source and pixel blur.
        scale: Pupil diameter over its nominal value.
    """

    pupil_field: Complex
    field: Complex
    sharp: Floats
    image: Floats
    scale: float


class PlaneModel:
    """PSF of one colour in a window, with derivatives.

    Args:
        pupil: The optical system; its first wavelength counts.
        size: Width of the square window, camera px.
        modes: ``(n, m)`` of all coefficients, waves RMS at that wavelength.
        source: Size of source and pixel.
        reach_px: How far from the middle of the spot light goes, camera px. Light that
            leaves the window must not come back on its other side.
    """

    def __init__(
        self,
        pupil: Pupil,
        size: int,
        modes: tuple[Mode, ...],
        source: PointSource,
        reach_px: float = 0.0,
    ) -> None:
        self.size, self.modes, self.pupil = size, tuple(modes), pupil
        self.oversample = pupil.oversample
        self.fine = size * self.oversample
        needed = math.ceil(2.0 * ROOM * reach_px * self.oversample)
        rim = SMALL_RIM if self.fine < 192 else 0
        self.length = fast_length(max(self.fine + rim, needed))
        self.pitch = pupil.pixels_per_airy(pupil.wavelengths_nm[0]) * self.oversample
        """Fine pixels per wavelength times f-number, at nominal pupil diameter."""
        self.source = source
        self._scale = math.nan
        self._buffers: dict[int, tuple[Complex, Complex]] = {}
        self._unit: npt.NDArray[np.float32] | None = None
        pixels = np.arange(self.fine, dtype=np.float32) - np.float32(self.fine // 2)
        self.column, self.row = pixels[None, :], pixels[:, None]

    @property
    def tilt_px_per_wave(self) -> float:
        """Shift of the spot in camera px for one wave RMS of tilt at nominal scale."""
        return 4.0 * self.pitch / self.oversample

    @property
    def reach_waves(self) -> float:
        """Steepest slope that the transform can hold, waves per pupil radius."""
        return self.length / (4.0 * self.pitch)

    @property
    def window_waves(self) -> float:
        """Steepest slope that the window can hold, waves per pupil radius."""
        return self.fine / (4.0 * self.pitch)

    @property
    def largest_scale(self) -> float:
        """Largest pupil over its nominal diameter that the pixels still sample."""
        return self.pitch

    def evaluate(
        self, waves: Floats, scale: float = 1.0, diameter_px: float | None = None
    ) -> PlaneState:
        """Return the plane for coefficients (waves RMS, in the order of ``modes``).

        Args:
            waves: The coefficients.
            scale: Pupil diameter over its nominal value, dimensionless.
            diameter_px: Diameter of the source on the sensor, px; None keeps it.
        """
        self._set_scale(scale)
        phase = self._map(np.asarray(waves, np.float32) * np.float32(2.0 * math.pi), _SINGLE)
        pupil_field = _SINGLE.phasor(self.amplitude, phase)
        field = self._transform(pupil_field)[0].copy()
        sharp = _SINGLE.intensity(field)
        image = self._blur(sharp, self._otf(diameter_px))
        return PlaneState(pupil_field, field, sharp, image, scale)

    def along_modes(self, state: PlaneState, modes: slice | list[int]) -> Floats:
        """Return dI/dc for single modes (per wave RMS), unblurred, fine grid."""
        self._set_scale(state.scale)  # a trial step may have been evaluated since
        if self._unit is None:
            eye = np.eye(len(self.modes), dtype=np.float32)
            self._unit = self._map(eye, _SINGLE)
        return self._derivative(state, self._unit[modes])

    def along(self, state: PlaneState, directions: Floats) -> Floats:
        """Return dI/dt for coefficient directions ``(k, modes)``, waves RMS per unit of t."""
        self._set_scale(state.scale)
        return self._derivative(state, self._map(directions.astype(np.float32), _SINGLE))

    def along_scale(self, state: PlaneState, tilt_x: Floats, tilt_y: Floats) -> Floats:
        """Return dI/d(scale) from the derivatives along both tilts (per wave RMS)."""
        # I(u; s) = s^2 I(s u; 1), and a tilt derivative is a shifted picture.
        slope = self.column * tilt_x + self.row * tilt_y
        result: Floats = 2.0 / state.scale * state.sharp - slope / np.float32(4.0 * self.pitch)
        return result

    def along_diameter(self, state: PlaneState, diameter_px: float) -> Floats:
        """Return dI/d(source diameter), per px, already blurred."""
        step = 1e-2
        high, low = (self._otf(diameter_px + d) for d in (step, max(-step, -diameter_px)))
        assert high is not None  # noqa: S101 - a positive diameter has a transfer function
        width = step + min(step, diameter_px)
        return self._blur(state.sharp, (high - (1.0 if low is None else low)) / width)

    def blurred(self, pictures: Floats, diameter_px: float | None = None) -> Floats:
        """Return pictures ``(..., fine, fine)`` as source and pixel blur them."""
        return self._blur(pictures, self._otf(diameter_px))

    def _set_scale(self, scale: float) -> None:
        if scale == self._scale:
            return
        across = self.length / self.pitch
        samples = math.ceil(across * max(scale, 1.0) - 1e-9)
        line = (2.0 * np.arange(samples) + 1.0 - samples) / (across * scale)
        self._map = SeparableMap(self.modes, line)
        # Not through the cache of optics: a fit of the scale asks for a new one each step.
        clear = aperture.__wrapped__(samples, across * scale, self.pupil.obscuration)
        sign = 1.0 - 2.0 * (np.arange(samples) % 2)
        norm = 1.0 / (math.sqrt(float((clear * clear).sum())) * self.length)
        self.amplitude = (clear * norm * sign[None, :] * sign[:, None]).astype(np.float32)
        self._unit = None
        self._scale = scale

    def _transform(self, field: Complex, maps: Floats | None = None) -> Complex:
        """Transform a pupil field, or ``maps`` times it, cut to the window; a view of a buffer."""
        from scipy.fft import fft

        count, samples, length = 1 if maps is None else len(maps), field.shape[0], self.length
        kept = self._buffers.get(count)
        if kept is None or kept[0].shape[1] != samples:
            # Fresh large arrays cost more than the arithmetic, so these are kept.
            kept = self._buffers[count] = (
                np.empty((count, samples, length), np.complex64),
                np.empty((count, length, self.fine), np.complex64),
            )
        (rows, grid), low = kept, length // 2 - self.fine // 2
        if maps is None:
            rows[0, :, :samples] = field
            rows[..., samples:] = 0.0
        else:
            _kernels.spread(maps, field.view(np.float32), rows.view(np.float32))
        rows = fft(rows, axis=-1, overwrite_x=True)
        grid[:, :samples] = rows[..., low : low + self.fine]
        grid[:, samples:] = 0.0
        moved = fft(grid, axis=-2, overwrite_x=True)
        return np.asarray(moved[..., low : low + self.fine, :])

    def _derivative(self, state: PlaneState, maps: Floats) -> Floats:
        result = np.empty((len(maps), self.fine, self.fine), np.float32)
        field = state.field.view(np.float32)
        # Two at a time stay in the cache of one core.
        for first in range(0, len(maps), 2):
            moved = self._transform(state.pupil_field, maps[first : first + 2])
            _kernels.slope(field, moved.view(np.float32), result[first : first + 2])
        return result

    def _otf(self, diameter_px: float | None) -> Floats | None:
        width = self.source.diameter_px if diameter_px is None else diameter_px
        # Finer grids than the camera's are summed later: that is the pixel's blur.
        pixel = self.source.pixel_px if self.oversample == 1 else 0.0
        summed = self.source.summed if self.oversample == 1 else 1
        if width <= 0.0 and pixel <= 0.0 and summed == 1:
            return None
        key = (width, pixel)
        if getattr(self, "_otf_key", None) != key:
            self._otf_kept = _transfer(self.fine, width * self.oversample, pixel, summed)
            self._otf_key = key
        return self._otf_kept

    def _blur(self, pictures: Floats, otf: Floats | None) -> Floats:
        if otf is None:
            return pictures
        spectrum = _SINGLE.rfft(pictures, self.fine, -1)
        spectrum = _SINGLE.fft(spectrum, self.fine, -2) * otf
        out: Floats = _SINGLE.irfft(_SINGLE.ifft(spectrum, self.fine, -2), self.fine, -1)
        return out


def _transfer(size: int, diameter: float, pixel: float, summed: int) -> Floats:
    """Transfer function of a round source and a square pixel, fine px, half spectrum."""
    from scipy.special import j1

    fx, fy = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    radius = np.pi * diameter * np.hypot(fx[None, :], fy[:, None])
    safe = np.where(radius > 1e-9, radius, 1.0)
    disc = np.where(radius > 1e-9, 2.0 * j1(safe) / safe, 1.0)
    place = (np.arange(summed) - (summed - 1) / 2.0) / summed
    comb_x = np.cos(2.0 * np.pi * np.outer(place, fx)).mean(axis=0)
    comb_y = np.cos(2.0 * np.pi * np.outer(place, fy)).mean(axis=0)
    box = (np.sinc(pixel * fx) * comb_x)[None, :] * (np.sinc(pixel * fy) * comb_y)[:, None]
    return np.asarray(disc * box, dtype=np.float32)

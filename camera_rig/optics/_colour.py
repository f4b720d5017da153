"""One wavelength of a PSF model: its pupil grid, its aperture and its transform."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import chebyshev
from camera_rig.optics._xp import Array, Backend, Matrix, scratch
from camera_rig.optics.plan import Form, Plan
from camera_rig.optics.pupil import Pupil, aperture
from camera_rig.optics.zernike import Mode


class Colour:
    """One wavelength: its pupil grid, aperture and transform."""

    def __init__(
        self, pupil: Pupil, wavelength_nm: float, size: int, plan: Plan, modes: tuple[Mode, ...]
    ) -> None:
        self.pupil, self.plan, self.size = pupil, plan, size
        self.fine = size * plan.oversample
        self.phase_per_um = 2.0 * math.pi * 1000.0 / wavelength_nm
        pitch = pupil.pixels_per_airy(wavelength_nm) * plan.oversample
        # Cells across the pupil so that the transform lands on the pixel pitch.
        self.across = plan.fft_size / pitch if plan.form is Form.FFT else float(plan.samples)
        self.samples = math.ceil(self.across - 1e-9)
        self.pitch = pitch
        if plan.form is Form.FFT and not 0 <= self._low <= plan.fft_size - self.fine:
            raise ConfigError(
                f"a window of {size} pixels does not fit into a transform of {plan.fft_size}",
                hint="take the plan from choose() for this window",
            )
        line = (2.0 * np.arange(self.samples) + 1.0 - self.samples) / self.across
        self.map = chebyshev.SeparableMap(modes, line)
        self._line = line
        self._kept: dict[Backend, tuple[Array, ...]] = {}

    def psf(self, coefficients_um: Array, back: Backend) -> Array:
        """Return the PSF of this wavelength, energy share per pixel."""
        return self._binned(back.intensity(self.field(coefficients_um, back)))

    def psf_into(self, coefficients_um: Array, back: Backend, out: Array) -> None:
        """Numpy: the same as :meth:`psf`, through buffers that are kept.

        A fresh megabyte costs more in page faults than the arithmetic on it.

        Args:
            coefficients_um: ``(pictures, modes)``, micrometres RMS of wavefront.
            back: Backend of ``coefficients_um``.
            out: ``(pictures, size, size)`` to fill.
        """
        if self.plan.form is not Form.FFT or self.plan.oversample != 1:
            out[...] = self.psf(coefficients_um, back)
            return
        length, low, samples = self.plan.fft_size, self._low, self.samples
        pictures, kind = len(coefficients_um), np.complex128 if back.double else np.complex64
        rows = scratch((pictures, samples, length), kind, "rows")
        rows[..., samples:] = 0.0
        phase = self._phase(coefficients_um, back)
        back.phasor(self._constants(back)[0], phase, rows)
        rows = back.fft_in_place(rows, -1)
        # Rows a power of two apart would share their cache lines: some columns more.
        columns = scratch((pictures, length, self.fine + 8), kind, "columns")
        columns[:, :samples, : self.fine] = rows[..., low : low + self.fine]
        columns[:, samples:] = 0.0
        columns[..., self.fine :] = 0.0
        field = back.fft_in_place(columns, -2)[:, low : low + self.fine]
        back.intensity(field, out)

    def field(self, coefficients_um: Array, back: Backend) -> Array:
        """Return the fine sensor field; its squared modulus is energy share."""
        return self._to_sensor(self._pupil_field(coefficients_um, back), back)

    def pullback(
        self, coefficients_um: Array, back: Backend
    ) -> tuple[Array, Callable[[Array], Array]]:
        """Return the PSF and the map of a slope on it to the coefficients."""
        pupil_field = self._pupil_field(coefficients_um, back)
        field = self._to_sensor(pupil_field, back)

        def pull(slope: Array) -> Array:
            wave = self._to_pupil(field * self._spread(slope, back), back)
            # d|F exp(i p)|^2 = 2 Im(conj(F) dF ...): the phase turns the field.
            turned = pupil_field.real * wave.imag - pupil_field.imag * wave.real
            return self.map.pull(turned, back) * (2.0 * self.phase_per_um)

        return self._binned(back.intensity(field)), pull

    def _pupil_field(self, coefficients_um: Array, back: Backend) -> Array:
        return back.phasor(self._constants(back)[0], self._phase(coefficients_um, back))

    def _phase(self, coefficients_um: Array, back: Backend) -> Array:
        fixed = self._constants(back)[1]
        phase = self.map(coefficients_um * self.phase_per_um, back)
        return phase if fixed is None else phase + fixed

    def _to_sensor(self, pupil_field: Array, back: Backend) -> Array:
        if self.plan.form is Form.MFT:
            left, right = self._constants(back)[2:]
            return left @ (pupil_field @ right)
        length, low = self.plan.fft_size, self._low
        rows = back.fft(pupil_field, length, -1)[..., low : low + self.fine]
        return back.fft(rows, length, -2)[..., low : low + self.fine, :]

    def _to_pupil(self, field: Array, back: Backend) -> Array:
        """Apply the adjoint (conjugate transpose) of :meth:`_to_sensor`."""
        if self.plan.form is Form.MFT:
            left, right = self._constants(back)[2:]
            return left.conj().T @ (field @ right.conj().T)
        length, low = self.plan.fft_size, self._low
        rows = back.adjoint_fft(field, length, low, self.samples, -2)
        return back.adjoint_fft(rows, length, low, self.samples, -1)

    def _binned(self, power: Array) -> Array:
        factor = self.plan.oversample
        if factor == 1:
            return power
        split = power.reshape((*power.shape[:-2], self.size, factor, self.size, factor))
        return split.sum(-1).sum(-2)

    def _spread(self, slope: Array, back: Backend) -> Array:
        """Apply the adjoint of :meth:`_binned`: every fine pixel gets its pixel's slope."""
        factor = self.plan.oversample
        if factor == 1:
            return slope
        lead, fine = slope.shape[:-2], self.fine
        split = (*lead, self.size, factor, self.size, factor)
        wide = back.xp.broadcast_to(slope[..., :, None, :, None], split)
        return wide.reshape((*lead, fine, fine))

    def _constants(self, back: Backend) -> tuple[Array, ...]:
        if back not in self._kept:
            self._kept[back] = self._make(back)
        return self._kept[back]

    def _make(self, back: Backend) -> tuple[Array, ...]:
        clear = aperture(self.samples, self.across, self.pupil.obscuration)
        # By the area, not by the sum of squares: grey edges then give the true
        # circle's PSF, and the light that the grid's period cannot hold is missing
        # from the sum instead of being spread over the core.
        scale = 1.0 / math.sqrt(float(clear.sum()))
        fixed = self._fixed_phase()
        phase = None if fixed is None else back.real(fixed)
        if self.plan.form is Form.MFT:
            matrices = self._mft_matrices(back)
            return back.real(clear * scale / self._period), phase, *matrices
        # Alternating signs move the axis to the middle of the transform.
        sign = 1.0 - 2.0 * (np.arange(self.samples) % 2)
        amplitude = clear * scale / self.plan.fft_size * sign[None, :] * sign[:, None]
        return back.real(amplitude), phase

    def _fixed_phase(self) -> Matrix | None:
        """Phase that no coefficient changes: defocus, and the axis between fine pixels."""
        square = self._line**2 * self.pupil.defocus_um * self.phase_per_um
        if self.plan.form is Form.FFT and self._axis % 1.0:
            square = square + np.pi * np.arange(self.samples) / self.plan.fft_size
        if not square.any():
            return None
        return square[None, :] + square[:, None]

    @property
    def _axis(self) -> float:
        """Where the optical axis lies, in fine pixels of the window: a pixel's middle."""
        factor = self.plan.oversample
        return (self.size // 2) * factor + (factor - 1) / 2.0

    @property
    def _low(self) -> int:
        """First fine pixel of the window in the transform."""
        return self.plan.fft_size // 2 - int(self._axis)

    @property
    def _period(self) -> float:
        """Pixels after which the discrete transform repeats itself."""
        return self.across * self.pitch

    def _mft_matrices(self, back: Backend) -> tuple[Array, Array]:
        pixels = np.arange(self.fine) - self._axis
        place = self._line * self.across / 2.0
        kernel = np.exp(-2j * np.pi * np.outer(pixels, place) / self._period)
        return back.complex(kernel), back.complex(kernel.T)

"""Point spread functions by one Fourier transform of the pupil.

On the sensor of a focused system the lens chirp and the Fresnel chirp of the
textbook two-transform form cancel exactly, so one transform of
``A exp(2 pi i W / wavelength)`` gives the intensity, sampled straight at the
camera's pixel pitch for every colour. :mod:`camera_rig.optics.fresnel` keeps
the literal form as a check.

Orientation: rows grow with y, columns with x; a positive x tilt moves the spot
to larger columns; the axis is at pixel ``size // 2``. Pictures with row 0 at the
top need ``Orientation.rows_down()`` on the coefficients first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import chebyshev, zernike
from camera_rig.optics._xp import Array, Backend, Matrix, backend_of, to_numpy
from camera_rig.optics.coefficients import Coefficients
from camera_rig.optics.plan import Form, Plan, check_sampling, choose
from camera_rig.optics.pupil import Pupil, aperture
from camera_rig.optics.zernike import Mode


@dataclass(frozen=True)
class Psf:
    """A point spread function and how it came about.

    Args:
        pixels: ``(colours, size, size)``, share of the light of one point that
            falls on each pixel (dimensionless); the axis is at ``size // 2``.
        captured: Share of the energy inside the window, one per colour; the rest
            fell outside.
        pupil: The system it belongs to.
        plan: Form and sampling used, with the reason.
    """

    pixels: Array
    captured: tuple[float, ...]
    pupil: Pupil
    plan: Plan


def compute_psf(
    coefficients: Coefficients, pupil: Pupil, size: int, form: Form | str = Form.AUTO
) -> Psf:
    """Return the PSF of an aberration at the camera's pixel pitch.

    Args:
        coefficients: The wavefront; any unit but ``stroke_fraction``.
        pupil: The optical system.
        size: Width of the square window in pixels.
        form: ``auto`` (chooses and says why), ``fft``, ``mft`` or ``geometric``.

    Raises:
        ConfigError: The unit has no optical meaning, or a forced form cannot
            carry the aberration.
    """
    um = coefficients.to(unit="um_rms")
    listed = um.modes or ((0, 0),)
    values = um.array(listed)
    plan = choose(values, listed, pupil, size, form)
    if plan.form is Form.GEOMETRIC:
        from camera_rig.optics.geometric import GeometricModel

        pixels = GeometricModel(pupil, listed, size)(values)
    else:
        pixels = PsfModel(pupil, listed, size, plan=plan)(values)
    captured = tuple(float(plane.sum()) for plane in pixels)
    return Psf(pixels, captured, pupil, plan)


class PsfModel:
    """Coefficients in, PSFs out, many times over: constants are kept.

    Differentiable with respect to the coefficients when they are a torch
    tensor. Safe to share between threads once called.

    Args:
        pupil: The optical system.
        modes: ``(n, m)`` of the coefficients, in their order.
        size: Width of the square window in pixels.
        plan: Sampling, from :func:`camera_rig.optics.choose` for the strongest
            aberration expected. Default: room for rays over the whole window.
        check: Refuse coefficients that the sampling cannot carry (costs some
            microseconds a call). Switch off only inside a loop that checks
            with :meth:`why_not` itself.
    """

    def __init__(
        self,
        pupil: Pupil,
        modes: tuple[Mode, ...],
        size: int,
        *,
        plan: Plan | None = None,
        check: bool = True,
    ) -> None:
        self.pupil = pupil
        self.modes = tuple(zernike.check_mode(mode) for mode in modes)
        self.size = int(size)
        self.plan = plan or choose(np.zeros(len(modes)), self.modes, pupil, size, Form.FFT)
        self._check = check
        self._colours = [
            _Colour(pupil, wavelength, self.size, self.plan, self.modes)
            for wavelength in pupil.wavelengths_nm
        ]

    def __call__(self, coefficients_um: Array) -> Array:
        """Return PSFs ``(..., colours, size, size)``, energy share per pixel.

        Args:
            coefficients_um: ``(..., len(modes))``, micrometres RMS of wavefront,
                float32 or float64.

        Raises:
            ConfigError: The phase would step by more than pi between samples.
        """
        back = backend_of(coefficients_um)
        self._guard(coefficients_um)
        planes = [colour.psf(coefficients_um, back) for colour in self._colours]
        return back.xp.stack(planes, -3)

    def pullback(self, coefficients_um: Array) -> tuple[Array, Callable[[Array], Array]]:
        """Return PSFs and the map from a loss's slope on them to its slope on coefficients.

        The hand-written reverse pass: one transform per colour, nothing recorded.
        Same libraries and shapes as a call; inside torch use it without autograd.

        Args:
            coefficients_um: ``(..., len(modes))``, micrometres RMS of wavefront.

        Returns:
            The PSFs (energy share per pixel), and a function from an array of
            their shape (loss per share) to one of the coefficients' shape (loss
            per micrometre).
        """
        back = backend_of(coefficients_um)
        self._guard(coefficients_um)
        pairs = [colour.pullback(coefficients_um, back) for colour in self._colours]

        def pull(slope: Array) -> Array:
            total = pairs[0][1](slope[..., 0, :, :])
            for index, (_, one) in enumerate(pairs[1:], start=1):
                total = total + one(slope[..., index, :, :])
            return total

        return back.xp.stack([plane for plane, _ in pairs], -3), pull

    def field(self, coefficients_um: Array, colour: int) -> Array:
        """Return the complex sensor field of one colour (square root of energy share)."""
        self._guard(coefficients_um)
        return self._colours[colour].field(coefficients_um, backend_of(coefficients_um))

    def why_not(self, coefficients_um: Array) -> list[str]:
        """Return why the sampling cannot carry these micrometres RMS; empty if it can."""
        return check_sampling(to_numpy(coefficients_um), self.modes, self.pupil, self.plan)

    def _guard(self, coefficients_um: Array) -> None:
        if coefficients_um.shape[-1] != len(self.modes):
            raise ConfigError(
                f"{coefficients_um.shape[-1]} coefficients for {len(self.modes)} modes",
                hint="the last axis must list one value per mode of the model",
            )
        if self._check and (reasons := self.why_not(coefficients_um)):
            raise ConfigError(
                reasons[0],
                hint="build the model with plan=choose(...) for the strongest aberration, "
                "or use the geometric form",
            )


class _Colour:
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
        return self._binned(back.intensity(self.field(coefficients_um, back)))

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
        amplitude, fixed, *_ = self._constants(back)
        phase = self.map(coefficients_um * self.phase_per_um, back)
        if fixed is not None:
            phase = phase + fixed
        return back.phasor(amplitude, phase)

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

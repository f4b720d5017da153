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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import zernike
from camera_rig.optics._colour import Colour
from camera_rig.optics._xp import Array, backend_of, to_numpy
from camera_rig.optics.coefficients import Coefficients
from camera_rig.optics.plan import Form, Plan, check_sampling, choose
from camera_rig.optics.pupil import Pupil
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
            Colour(pupil, wavelength, self.size, self.plan, self.modes)
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
        if back.torch:
            return back.xp.stack([c.psf(coefficients_um, back) for c in self._colours], -3)
        flat = coefficients_um.reshape(-1, len(self.modes))
        planes = (len(self._colours), self.size, self.size)
        result = np.empty((len(flat), *planes), coefficients_um.dtype)
        for index, colour in enumerate(self._colours):
            colour.psf_into(flat, back, result[:, index])
        return result.reshape((*coefficients_um.shape[:-1], *planes))

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

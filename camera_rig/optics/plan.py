"""How finely a PSF must be sampled, and which form to take: a stated choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import chebyshev
from camera_rig.optics._xp import fast_length
from camera_rig.optics.pupil import Pupil
from camera_rig.optics.zernike import Mode

MAX_SAMPLES = 4096
"""Pupil samples beyond which diffraction is left to the geometric form."""

NOT_FINITE = "the coefficients are not all finite numbers"

MIN_SAMPLES = 96
"""Samples across the pupil below which its round edge costs more than 0.3 %."""

MARGIN = 1.15
"""Grid over the bare need of two samples per fringe: room for diffraction's rim."""

# Relative cost of one complex multiply-add in a matrix product against one
# butterfly of a transform; a rule of thumb that only decides between two right answers.
_MFT_COST = 0.5


class Form(StrEnum):
    """Ways to compute a PSF (all in energy share per pixel).

    ``fft``: padded transform. ``mft``: matrix Fourier transform, cheaper for a
    small window of a finely sampled pupil. ``geometric``: density of rays, for
    aberrations no grid can carry. ``auto``: let :func:`choose` decide.
    """

    AUTO = "auto"
    FFT = "fft"
    MFT = "mft"
    GEOMETRIC = "geometric"


@dataclass(frozen=True)
class Plan:
    """The sampling of one PSF computation, and why it was chosen.

    Args:
        form: ``fft``, ``mft`` or ``geometric``.
        fft_size: Length of the transform, in fine pixels (0 when not ``fft``).
        samples: Most samples across the pupil over the colours (0 when geometric).
        oversample: Fine pixels per camera pixel and axis.
        reason: One sentence for people.
    """

    form: Form
    fft_size: int
    samples: int
    oversample: int
    reason: str


def choose(
    coefficients_um: Any,
    modes: tuple[Mode, ...],
    pupil: Pupil,
    size: int,
    form: Form | str = Form.AUTO,
) -> Plan:
    """Return the cheapest plan that carries the aberration, and why.

    Args:
        coefficients_um: ``(..., len(modes))``, micrometres RMS of wavefront; the
            strongest of a batch decides.
        modes: ``(n, m)`` of the coefficients.
        pupil: The optical system.
        size: Window in camera pixels.
        form: Force a form instead of choosing.

    Raises:
        ConfigError: The forced form cannot carry the aberration within 4096
            samples, or the form is unknown.
    """
    wanted = _form_named(form)
    reach = ray_reach_pixels(coefficients_um, tuple(modes), pupil)
    if not math.isfinite(reach):
        raise ConfigError(NOT_FINITE, hint="look for the first nan or inf in the coefficients")
    if wanted is Form.GEOMETRIC:
        return Plan(wanted, 0, 0, 1, "geometric form asked for")
    over = pupil.oversample
    span = max(2.0 * reach * MARGIN, 1.0)
    finest = pupil.pixels_per_airy(min(pupil.wavelengths_nm))
    coarsest = pupil.pixels_per_airy(max(pupil.wavelengths_nm))
    # With several fine pixels to one the axis lies between them: one pixel more.
    window = size if over == 1 else size + 1
    fft_size = fast_length(math.ceil(max(window, span, MIN_SAMPLES * coarsest) * over))
    across = math.ceil(fft_size / (finest * over) - 1e-9)
    mft_samples = max(MIN_SAMPLES, 2 * math.ceil(max(size, span) / finest / 2.0))
    if min(across, mft_samples) > MAX_SAMPLES:
        message = (
            f"the aberration throws rays {reach:.0f} pixels off and needs "
            f"{min(across, mft_samples)} samples across the pupil (at most {MAX_SAMPLES})"
        )
        if wanted is not Form.AUTO:
            raise ConfigError(message, hint="use form='geometric' or 'auto'")
        return Plan(Form.GEOMETRIC, 0, 0, 1, message + ": ray density instead")
    by_fft = _fft_cost(across, fft_size, size * over)
    by_mft = _mft_cost(mft_samples, size * over)
    if wanted is Form.MFT or (wanted is Form.AUTO and by_mft < by_fft):
        why = f"window {size} of a pupil of {mft_samples} samples: matrix products are cheaper"
        return Plan(Form.MFT, 0, mft_samples, over, why if wanted is Form.AUTO else "mft asked for")
    why = f"transform of {fft_size} carries rays up to {reach:.0f} pixels off"
    return Plan(Form.FFT, fft_size, across, over, why if wanted is Form.AUTO else "fft asked for")


def check_sampling(
    coefficients_um: Any, modes: tuple[Mode, ...], pupil: Pupil, plan: Plan
) -> list[str]:
    """Return why a plan cannot carry the aberration; an empty list when it can.

    Args:
        coefficients_um: ``(..., len(modes))``, micrometres RMS of wavefront.
        modes: ``(n, m)`` of the coefficients.
        pupil: The optical system.
        plan: The sampling to judge.
    """
    if plan.form is Form.GEOMETRIC:
        return []
    slope_um = steepest_slope_um(coefficients_um, tuple(modes), pupil.defocus_um)
    if not math.isfinite(slope_um):
        return [NOT_FINITE]
    reasons = []
    for wavelength in pupil.wavelengths_nm:
        across = float(plan.samples)
        if plan.form is Form.FFT:
            across = plan.fft_size / (pupil.pixels_per_airy(wavelength) * plan.oversample)
        step = 2.0 * math.pi * slope_um * 1000.0 / wavelength * 2.0 / across
        if not step <= math.pi:
            need = fast_length(math.ceil(across * step / math.pi * MARGIN))
            size = (
                f"a transform of {fast_length(math.ceil(plan.fft_size * step / math.pi * MARGIN))}"
                if plan.form is Form.FFT
                else f"{need} samples"
            )
            reasons.append(
                f"the pupil is aliased at {wavelength:g} nm: the phase steps by "
                f"{step / math.pi:.2f} pi between samples; {size} would do"
            )
    return reasons


def ray_reach_pixels(coefficients_um: Any, modes: tuple[Mode, ...], pupil: Pupil) -> float:
    """Return how far the farthest ray lands from the axis along x or y, pixels."""
    return steepest_slope_um(coefficients_um, modes, pupil.defocus_um) * pupil.pixels_per_slope_um


def steepest_slope_um(
    coefficients_um: Any, modes: tuple[Mode, ...], defocus_um: float = 0.0
) -> float:
    """Return the steepest slope along x or y, micrometres of path per pupil radius."""
    along_x, along_y, x, y = _slopes(tuple(modes))
    c = np.asarray(coefficients_um, dtype=np.float64)
    slope_x = c @ along_x + 2.0 * defocus_um * x
    slope_y = c @ along_y + 2.0 * defocus_um * y
    return float(max(np.abs(slope_x).max(), np.abs(slope_y).max()))


@lru_cache(maxsize=16)
def _slopes(modes: tuple[Mode, ...]) -> tuple[Any, Any, Any, Any]:
    along_x, along_y = chebyshev.slope_points(modes)
    tilt_x, tilt_y = chebyshev.slope_points(((2, 0),), angles=len(along_x) // 4)
    unit = 4.0 * math.sqrt(3.0)  # d/dx of sqrt(3)(2 r^2 - 1) is 4 sqrt(3) x
    return along_x.T.copy(), along_y.T.copy(), tilt_x[:, 0] / unit, tilt_y[:, 0] / unit


def _fft_cost(samples: int, length: int, window: int) -> float:
    return float(samples + window) * length * math.log2(length)


def _mft_cost(samples: int, window: int) -> float:
    return _MFT_COST * float(window) * samples * (samples + window)


def _form_named(form: Form | str) -> Form:
    try:
        return Form(form)
    except ValueError:
        known = ", ".join(item.value for item in Form)
        raise ConfigError(f"unknown PSF form {form!r}", hint=f"use one of: {known}") from None

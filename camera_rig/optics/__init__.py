"""Optics core: from Zernike coefficients to the picture a sensor sees.

The way through, each step usable alone::

    shape = Coefficients.load("hw_configs/coefficients/lopez2024.yaml")
    pupil = Pupil(diameter_mm=4.0, focal_length_mm=50.0, pixel_um=3.713)
    psf = compute_psf(shape, pupil, size=127)           # Psf: pixels, captured, plan
    blur = Imager(psf.pixels, (480, 640))               # kept transfer function
    picture = blur(scene)                               # (3, 480, 640), linear light

Many PSFs of one system, differentiable: ``PsfModel(pupil, modes, size)`` maps an
array ``(..., modes)`` of micrometres RMS of wavefront to ``(..., colours, size,
size)``. numpy in gives numpy out, a torch tensor in gives a differentiable torch
tensor out; float32 and float64.

Conventions, everywhere: wavefront (twice the surface of a mirror), orthonormal
Zernike modes ``(n, m)`` with m > 0 cosine and m < 0 sine, theta counter-clockwise
from +x, rows growing with y, PSF axis at ``size // 2``, PSFs in share of energy.
A positive coefficient adds ``+2 pi W / wavelength`` to the phase, so a positive x
tilt moves the spot to larger columns. Pictures with row 0 at the top need
``shape.oriented(Orientation.rows_down())``.
"""

from camera_rig.optics.coefficients import Coefficients, Unit
from camera_rig.optics.imaging import Imager, Padding, PreviewImager
from camera_rig.optics.orientation import Orientation, stretch_matrix
from camera_rig.optics.plan import Form, Plan, choose
from camera_rig.optics.psf import Psf, PsfModel, compute_psf
from camera_rig.optics.pupil import Pupil, defocus_of_object, defocus_of_shift
from camera_rig.optics.relay import Relay
from camera_rig.optics.response import CameraResponse, SensorNoise
from camera_rig.optics.zernike import Mode, Order, from_mode, modes, norm, to_mode

__all__ = [
    "CameraResponse",
    "Coefficients",
    "Form",
    "Imager",
    "Mode",
    "Order",
    "Orientation",
    "Padding",
    "Plan",
    "PreviewImager",
    "Psf",
    "PsfModel",
    "Pupil",
    "Relay",
    "SensorNoise",
    "Unit",
    "choose",
    "compute_psf",
    "defocus_of_object",
    "defocus_of_shift",
    "from_mode",
    "modes",
    "norm",
    "stretch_matrix",
    "to_mode",
]

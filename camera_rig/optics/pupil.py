"""The optical system as far as diffraction cares: pupil, distance, pixels, colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics._xp import Matrix

PAPER_WAVELENGTHS_NM = (640.0, 550.0, 440.0)
"""Red, green and blue of the published simulation, in nanometres."""


@dataclass(frozen=True)
class Pupil:
    """Everything that turns an aberration into a blur on a sensor.

    Args:
        diameter_mm: Clear diameter of the pupil, millimetres.
        focal_length_mm: Distance from pupil to sensor in millimetres: the focal
            length for far scenes, the second lens's in a 4f relay.
        pixel_um: Pitch of the camera's pixels, micrometres.
        wavelengths_nm: One per colour channel, in channel order, nanometres.
        defocus_um: Extra defocus as optical path at the rim, micrometres; positive
            delays nothing at the centre and adds this much at the rim. See
            :func:`defocus_of_object` and :func:`defocus_of_shift`.
        obscuration: Diameter of a central stop as a share of the pupil, 0 … 0.95.
    """

    diameter_mm: float
    focal_length_mm: float
    pixel_um: float
    wavelengths_nm: tuple[float, ...] = PAPER_WAVELENGTHS_NM
    defocus_um: float = 0.0
    obscuration: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be an optical system."""
        object.__setattr__(self, "wavelengths_nm", tuple(float(w) for w in self.wavelengths_nm))
        for name in ("diameter_mm", "focal_length_mm", "pixel_um"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value!r}", hint="give a number above 0")
        if not self.wavelengths_nm or any(not (100.0 <= w <= 20000.0) for w in self.wavelengths_nm):
            raise ConfigError(
                f"wavelengths_nm {self.wavelengths_nm} are not all within 100 … 20000",
                hint="give nanometres, one per colour, for example (640, 550, 440)",
            )
        if not math.isfinite(self.defocus_um):
            raise ConfigError(
                f"defocus_um is {self.defocus_um!r}", hint="give a finite number of micrometres"
            )
        if not 0.0 <= self.obscuration <= 0.95:
            raise ConfigError(
                f"obscuration {self.obscuration!r} is outside 0 … 0.95",
                hint="give the stop's diameter as a share of the pupil's",
            )

    @property
    def f_number(self) -> float:
        """Focal length over diameter (dimensionless)."""
        return self.focal_length_mm / self.diameter_mm

    @property
    def oversample(self) -> int:
        """Points per pixel pitch so that no energy is lost between them.

        A point-sampled PSF adds up to the true energy only when the pitch is at
        most wavelength times f-number; coarser pixels are sampled finer and
        then summed, as the real pixel does.
        """
        finest_um = min(self.wavelengths_nm) / 1000.0 * self.f_number
        return max(1, math.ceil(self.pixel_um / finest_um - 1e-9))

    @property
    def pixels_per_slope_um(self) -> float:
        """Ray displacement in pixels for one micrometre of path per pupil radius."""
        return self.focal_length_mm / (self.diameter_mm / 2.0 * self.pixel_um)

    def pixels_per_airy(self, wavelength_nm: float) -> float:
        """Return wavelength times f-number, in pixels (Q of the sampling)."""
        return wavelength_nm / 1000.0 * self.f_number / self.pixel_um


def defocus_of_object(diameter_mm: float, focus_mm: float, object_mm: float) -> float:
    """Return ``defocus_um`` of an object away from the plane in focus, micrometres.

    A positive result belongs to an object nearer than the focus: its wave still
    diverges at the pupil.

    Args:
        diameter_mm: Pupil diameter.
        focus_mm: Distance that is in focus (may be infinite).
        object_mm: Distance of the object (may be infinite).
    """
    radius = diameter_mm / 2.0
    return radius * radius / 2.0 * (1.0 / object_mm - 1.0 / focus_mm) * 1000.0


def defocus_of_shift(diameter_mm: float, focal_length_mm: float, shift_mm: float) -> float:
    """Return ``defocus_um`` of a sensor beyond (positive) or before its focus, micrometres.

    Args:
        diameter_mm: Pupil diameter.
        focal_length_mm: Distance from pupil to the plane in focus.
        shift_mm: How much farther from the pupil the sensor is.
    """
    radius, far = diameter_mm / 2.0, focal_length_mm + shift_mm
    return radius * radius / 2.0 * (1.0 / far - 1.0 / focal_length_mm) * 1000.0


@lru_cache(maxsize=16)
def aperture(samples: int, diameter: float, obscuration: float) -> Matrix:
    """Return the share of each grid cell that light passes, 0 … 1, read-only.

    Grey edges make the energy and the shape of the PSF follow the true circle
    instead of a staircase.

    Args:
        samples: Cells across the grid.
        diameter: Pupil diameter in cells (at most ``samples``).
        obscuration: Central stop as a share of the diameter.
    """
    result: Matrix = _disc(samples, diameter / 2.0)
    if obscuration > 0.0:
        result = result - _disc(samples, diameter / 2.0 * obscuration)
    result.flags.writeable = False
    return result


def _disc(samples: int, radius: float) -> Matrix:
    centre = np.arange(samples) - (samples - 1) / 2.0
    distance = np.hypot(centre[None, :], centre[:, None])
    share: Matrix = (distance <= radius).astype(np.float64)
    rows, columns = np.nonzero(np.abs(distance - radius) <= 0.75)
    fine = (np.arange(16) + 0.5) / 16 - 0.5
    x = centre[columns][:, None, None] + fine[None, None, :]
    y = centre[rows][:, None, None] + fine[None, :, None]
    share[rows, columns] = (x * x + y * y <= radius * radius).mean(axis=(1, 2))
    return share

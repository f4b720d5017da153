"""The 4f form: a deformable mirror in the common focal plane of two lenses.

The first lens spreads every scene point into a flat wave over the mirror, the
second gathers it on the sensor. For light that adds up without interference the
picture is the scene turned by 180 degrees and blurred by the PSF of the mirror's
shape with the second lens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics import zernike
from camera_rig.optics.coefficients import Coefficients, Unit
from camera_rig.optics.orientation import Orientation, stretch_matrix
from camera_rig.optics.pupil import PAPER_WAVELENGTHS_NM, Pupil
from camera_rig.optics.zernike import Order


@dataclass(frozen=True)
class Relay:
    """A 4f relay with a mirror in its pupil.

    Args:
        focal_in_mm: Focal length of the lens before the mirror, millimetres.
        focal_out_mm: Focal length of the lens before the sensor, millimetres.
        beam_mm: Diameter of the beam in the pupil plane, millimetres.
        mirror_mm: Diameter that the mirror's coefficients refer to, millimetres.
        incidence_deg: Angle between beam and mirror normal, degrees. The beam's
            footprint is longer by 1 / cos along x, the plane of incidence.
        orientation: From the mirror's axes to the sensor's.
    """

    focal_in_mm: float
    focal_out_mm: float
    beam_mm: float
    mirror_mm: float
    incidence_deg: float = 0.0
    orientation: Orientation = Orientation()  # noqa: RUF009 frozen, no state

    def __post_init__(self) -> None:
        """Refuse a beam that misses the mirror."""
        for name in ("focal_in_mm", "focal_out_mm", "beam_mm", "mirror_mm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value!r}", hint="give millimetres above 0")
        if not 0.0 <= self.incidence_deg <= 60.0:
            raise ConfigError(
                f"incidence_deg {self.incidence_deg!r} is outside 0 … 60",
                hint="give the angle between beam and mirror normal in degrees",
            )
        if max(self.footprint) > 1.0 + 1e-9:
            raise ConfigError(
                f"the footprint {self.beam_mm / self._cosine:.3g} mm is longer than the mirror's "
                f"{self.mirror_mm:g} mm",
                hint="narrow the beam, or lessen the angle of incidence",
            )

    @property
    def _cosine(self) -> float:
        return math.cos(math.radians(self.incidence_deg))

    @property
    def footprint(self) -> tuple[float, float]:
        """Footprint along x and y as a share of the mirror's diameter."""
        share = self.beam_mm / self.mirror_mm
        return share / self._cosine, share

    @property
    def magnification(self) -> float:
        """Sensor size over scene size; negative, for the picture is turned by 180 degrees."""
        return -self.focal_out_mm / self.focal_in_mm

    def pupil(
        self, pixel_um: float, wavelengths_nm: tuple[float, ...] = PAPER_WAVELENGTHS_NM
    ) -> Pupil:
        """Return the equivalent pupil: the beam seen through the second lens.

        Args:
            pixel_um: Pitch of the sensor, micrometres.
            wavelengths_nm: One per colour, nanometres.
        """
        return Pupil(self.beam_mm, self.focal_out_mm, pixel_um, wavelengths_nm)

    def wavefront(self, mirror: Coefficients) -> Coefficients:
        """Return what the beam carries after a mirror shape.

        Args:
            mirror: The mirror's effect at normal incidence (wavefront, twice the
                surface) over its own disc, in any unit but ``stroke_fraction``.

        Returns:
            The wavefront over the beam's disc in the sensor's axes, same unit.

        Raises:
            ConfigError: The unit is ``stroke_fraction``.
        """
        if mirror.unit is Unit.STROKE_FRACTION:
            raise ConfigError(
                "a wavefront cannot be computed from stroke fractions",
                hint="convert first: .to(unit='um_rms', strokes_um=TABLE)",
            )
        degree = zernike.max_radial_order(mirror.modes)
        full = zernike.modes(Order.OSA, 0, (degree + 1) * (degree + 2) // 2 - 1)
        along_x, along_y = (min(share, 1.0) for share in self.footprint)
        values = stretch_matrix(full, along_x, along_y) @ mirror.array(full) * self._cosine
        # Rounding leaves modes at 1e-17 of the rest; they would only add noise.
        floor = 1e-15 * float(np.abs(values).max(initial=0.0))
        kept = {m: float(v) for m, v in zip(full, values, strict=True) if abs(v) > floor}
        return replace(mirror, values=kept).oriented(self.orientation)

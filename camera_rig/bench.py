"""Constants of the optical bench: measured or chosen, in the config file, never in code.

The same section describes the lab and the twin. What no maker states (ring radii,
segment angle, pupil of the mirror) carries a plausible default and is found by
``rig calibrate``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Bench", "BranchOptics", "MirrorGeometry"]

Positive = Annotated[float, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MirrorGeometry(_Frozen):
    """Electrode layout of the deformable mirror, as seen in its own plane.

    Args:
        ring_segments: Number of electrodes per ring, inner ring first.
        ring_radii_mm: Outer radius of each ring, mm.
        disc_diameter_mm: Free diameter of the glass disc, mm.
        segment0_angle_deg: Direction of the middle of segment 0 of every ring, from
            +x counter-clockwise, degrees.
        counter_clockwise: Whether segment numbers grow counter-clockwise.
        stroke_um: Stroke of the glass for a spherical shape, all segments together over
            the whole voltage range, µm of surface: as much wavefront from mid-range to
            one end.
    """

    ring_segments: tuple[int, ...] = (8, 16, 16)
    ring_radii_mm: tuple[Positive, ...] = (3.5, 7.0, 9.5)
    disc_diameter_mm: Positive = 21.0
    segment0_angle_deg: float = 0.0
    counter_clockwise: bool = True
    stroke_um: Positive = 24.5


class BranchOptics(_Frozen):
    """One imaging branch as a thin lens in front of a sensor.

    Args:
        focal_length_mm: Effective focal length in front of the sensor, mm.
        pupil_diameter_mm: Diameter of the entrance pupil, mm.
        sensor_width_mm: Width of the active sensor area, mm.
    """

    focal_length_mm: Positive = 12.5
    pupil_diameter_mm: Positive = 0.4
    sensor_width_mm: Positive = 4.46

    def image_distance_mm(self, object_distance_mm: float) -> float:
        """Return the distance from the pupil to the sharp image, mm."""
        return 1.0 / (1.0 / self.focal_length_mm - 1.0 / object_distance_mm)

    def magnification(self, object_distance_mm: float) -> float:
        """Return image size over object size (dimensionless, taken as positive)."""
        return self.image_distance_mm(object_distance_mm) / object_distance_mm

    def pixel_um(self, width_px: int) -> float:
        """Return the pitch of pixels when ``width_px`` of them span the sensor, µm."""
        return 1000.0 * self.sensor_width_mm / width_px


class Bench(_Frozen):
    """The light path: wavelengths, both branches, the mirror in the pupil.

    The defaults let a head two metres away fill half of a live view that shows the middle
    fifth of the sensor, through a stop so small that the published coefficients hide the
    face from detectors and recognisers (``docs/twin.md`` derives it).

    Args:
        wavelengths_nm: Centre wavelengths of red, green and blue, nm.
        object_distance_mm: From the first lens to the subject, mm.
        mirror_pupil_mm: Diameter of the beam on the mirror, mm.
        incidence_deg: Angle of incidence on the mirror, degrees.
        privacy: Branch with the mirror.
        side: Sharp branch.
        mirror: Electrode layout.
    """

    wavelengths_nm: tuple[Positive, Positive, Positive] = (640.0, 550.0, 440.0)
    object_distance_mm: Positive = 2000.0
    mirror_pupil_mm: Positive = 14.0
    incidence_deg: Annotated[float, Field(ge=0, lt=60)] = 10.0
    privacy: BranchOptics = BranchOptics()
    side: BranchOptics = BranchOptics(pupil_diameter_mm=3.0)
    mirror: MirrorGeometry = MirrorGeometry()

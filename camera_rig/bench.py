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
        stroke_um: Spherical wavefront stroke of all segments over the full range, µm.
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

    focal_length_mm: Positive = 50.0
    pupil_diameter_mm: Positive = 4.0
    sensor_width_mm: Positive = 22.3


class Bench(_Frozen):
    """The light path: wavelengths, both branches, the mirror in the pupil.

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
    object_distance_mm: Positive = 750.0
    mirror_pupil_mm: Positive = 14.0
    incidence_deg: Annotated[float, Field(ge=0, lt=60)] = 10.0
    privacy: BranchOptics = BranchOptics()
    side: BranchOptics = BranchOptics(pupil_diameter_mm=4.5)
    mirror: MirrorGeometry = MirrorGeometry()

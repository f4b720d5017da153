"""Where a head is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camera_rig.twin.head.assets import Floats


@dataclass(frozen=True, kw_only=True)
class HeadPose:
    """Where the head is. R = Rz(roll) Ry(yaw) Rx(pitch), x right, y up, z to the viewer.

    Args:
        yaw_deg: Positive turns the face to the picture's right.
        pitch_deg: Positive looks down.
        roll_deg: Positive tilts the head's top to the picture's left.
        shift_mm: Move of the head to the right, up, and to the viewer.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def angles_rad(self) -> Floats:
        """Yaw, pitch and roll in radians."""
        return np.deg2rad([self.yaw_deg, self.pitch_deg, self.roll_deg]).astype(np.float32)

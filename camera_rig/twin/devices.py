"""The twin's drivers: the same contracts as in the lab, filled by the simulated world.

``driver: twin`` in a configuration is all that tells them from real ones. They know
their world through what a cable could carry; the truth is not reachable from here.
"""

from camera_rig.twin._camera_device import TwinCamera
from camera_rig.twin._mirror_device import TwinMirror
from camera_rig.twin._stage_light_devices import TwinLight, TwinStage

__all__ = ["TwinCamera", "TwinLight", "TwinMirror", "TwinStage"]

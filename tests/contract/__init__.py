"""One contract test class per kind of device.

A driver's test module subclasses the class of its kind and gives a fixture ``camera``
(``mirror``, ``stage``, ``light``) that returns an unopened device. Optional fixtures say
what else a driver's peer can do: ``cable`` (:class:`Cable`) pulls and returns the plug.
"""

from tests.contract.cable import Cable
from tests.contract.camera import CameraContract
from tests.contract.light import LightContract
from tests.contract.mirror import MirrorContract
from tests.contract.stage import StageContract

__all__ = ["Cable", "CameraContract", "LightContract", "MirrorContract", "StageContract"]

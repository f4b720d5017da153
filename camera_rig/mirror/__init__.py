"""From learned coefficients to voltages: what fits, how it is sent, what is remembered.

The way through, each step usable alone::

    folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
    with modal_session(rig.mirror, folder) as modal:    # journal, hysteresis, safe shape
        plan = modal.plan(shape)                        # ShapePlan: looked at, not sent
        loaded = modal.load(shape)                      # sent, read back, verified

What actuators do is an :class:`InfluenceMatrix`, from the plate model
(:class:`InfluenceModel`) or measured. Hysteresis is a :class:`PlayModel`, followed by a
:class:`HysteresisMemory`; creep is in :mod:`camera_rig.mirror.creep`.
"""

from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix, InfluenceModel
from camera_rig.mirror.memory import HysteresisMemory
from camera_rig.mirror.modal import LoadedShape, ModalMirror
from camera_rig.mirror.reference import MirrorFolder, Reference
from camera_rig.mirror.session import modal_session
from camera_rig.mirror.shape import Fit, ShapePlan

__all__ = [
    "Fit",
    "HysteresisMemory",
    "InfluenceMatrix",
    "InfluenceModel",
    "LoadedShape",
    "MirrorFolder",
    "ModalMirror",
    "PlayModel",
    "PlayOperators",
    "Reference",
    "ShapePlan",
    "modal_session",
]

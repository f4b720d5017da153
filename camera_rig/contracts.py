"""The whole vocabulary of the toolkit on one page.

A driver author reads this file and nothing else: subclass one of
:class:`Camera`, :class:`Mirror`, :class:`Stage`, :class:`Light`, give it an
``Options`` model and fill the ``_do_*`` hooks. The public methods here hold the
policy (state, limits, retries, timing), so no driver repeats a check.

========================  ====================================================
:class:`Clock`            monotonic and civil time, sleep; injected everywhere
:class:`Frame`            one picture, frozen, with its time and origin
:class:`CodedPicture`     a picture as the camera coded it, decoded when looked at
:class:`FramePair`        privacy and side frame of one moment, with their skew
:class:`Device`           open, close, info, health
:class:`Camera`           configure, start, next/latest frame, snap, stop
:class:`Mirror`           limits, why_not, apply, read back, relax, park
:class:`Stage`            position, move, home on request, halt
:class:`Light`            level, pulse, shutter
:class:`DriverOptions`    base of a driver's own settings in the config file
:class:`DeviceContext`    what the rig hands to a driver: name, clock, twin world
========================  ====================================================

Conventions met everywhere:

* **Units** live in names: ``exposure_s``, ``command_v``, ``position_mm``.
* **Time** is integer nanoseconds on the rig's injected :class:`Clock`.
* **Failure**: a method either does what it says or raises a
  :class:`~camera_rig.errors.RigError`. Nothing is clipped, nothing is guessed.
* **Threads**: one thread at a time owns a device; whoever opened it may hand it to a
  worker and take it back. Only :meth:`Device.close`, :meth:`Device.health`,
  :meth:`Camera.stop`, :meth:`Camera.latest_frame` and :meth:`Stage.halt` may come from
  another thread meanwhile.
* **Opening** never moves, heats, homes or exposes anything.
"""

from camera_rig._contracts.camera import (
    Camera,
    CameraCapabilities,
    CameraMode,
    CameraSettings,
)
from camera_rig._contracts.data import (
    Clock,
    CodedPicture,
    DeviceInfo,
    DeviceKind,
    Frame,
    FramePair,
    Health,
    Pixels,
    Volts,
)
from camera_rig._contracts.device import Device, DeviceContext, DriverOptions
from camera_rig._contracts.mirror import Mirror, MirrorEvent, RelaxStep
from camera_rig._contracts.stage_light import Light, Stage

__all__ = [
    "Camera",
    "CameraCapabilities",
    "CameraMode",
    "CameraSettings",
    "Clock",
    "CodedPicture",
    "Device",
    "DeviceContext",
    "DeviceInfo",
    "DeviceKind",
    "DriverOptions",
    "Frame",
    "FramePair",
    "Health",
    "Light",
    "Mirror",
    "MirrorEvent",
    "Pixels",
    "RelaxStep",
    "Stage",
    "Volts",
]

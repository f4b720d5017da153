"""Time and data: the clock, frames, and who a device is and how it feels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Volts = npt.NDArray[np.float64]
"""One voltage per actuator, in volts, in the maker's electrode order."""


@runtime_checkable
class Clock(Protocol):
    """The rig's time, injected everywhere so that tests can move it.

    Not offered: a float "now". Seconds as floats lose nanoseconds after an hour.
    """

    def now_ns(self) -> int:
        """Return monotonic time in ns; only differences have a meaning."""
        ...

    def wall_ns(self) -> int:
        """Return civil time in ns since 1970 (UTC); may jump, never used to pair."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` (s, >= 0) of this clock's time."""
        ...


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture with its time and origin. No bare array leaves a camera.

    Args:
        pixels: H×W, or H×W×3 in RGB order, uint8 or uint16, made read-only here.
        encoded: The bytes as the camera sent them (JPEG or raw file), or None.
        camera: Serial number of the body.
        sequence: Counter of exposures, from 0 at start; a gap is a lost frame.
        captured_ns: Middle of the exposure on the rig clock, ns.
        uncertainty_ns: One standard deviation of ``captured_ns``, ns.
        exposure_s: Exposure time, s; 0 where the camera does not tell.
        linear: True only for raw or linear data; False for gamma-coded video.
        meta: Further facts, JSON-able. ``lost_before`` (int) counts frames lost
            just before this one; ``repeated`` (bool) marks the same picture again.
    """

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    camera: str
    sequence: int
    captured_ns: int
    uncertainty_ns: int
    exposure_s: float
    linear: bool = False
    encoded: bytes | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shape and type once, at the edge, and lock the pixels."""
        px = self.pixels
        if px.ndim not in (2, 3) or (px.ndim == 3 and px.shape[2] != 3):
            raise ValueError(f"pixels must be HxW or HxWx3, got {px.shape}")
        if px.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels must be uint8 or uint16, got {px.dtype}")
        view = px.view()
        view.setflags(write=False)
        object.__setattr__(self, "pixels", view)
        object.__setattr__(self, "meta", _frozen(self.meta))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[0])

    def with_meta(self, **more: Any) -> Frame:
        """Return the same frame with further ``meta`` entries."""
        return Frame(
            pixels=self.pixels,
            camera=self.camera,
            sequence=self.sequence,
            captured_ns=self.captured_ns,
            uncertainty_ns=self.uncertainty_ns,
            exposure_s=self.exposure_s,
            linear=self.linear,
            encoded=self.encoded,
            meta={**self.meta, **more},
        )


@dataclass(frozen=True, slots=True, eq=False)
class FramePair:
    """What the coded camera and the sharp camera saw at the same moment.

    Args:
        privacy: Frame of the branch with the mirror: too distorted to recognise.
        side: Frame of the sharp branch: a face in the clear, treat as sensitive.
        skew_ns: ``side`` minus ``privacy`` capture time after clock correction, ns.
        uncertainty_ns: One standard deviation of ``skew_ns``, ns.
    """

    privacy: Frame
    side: Frame
    skew_ns: int
    uncertainty_ns: int = 0


class DeviceKind(StrEnum):
    """The four kinds of device a rig is made of."""

    CAMERA = "camera"
    MIRROR = "mirror"
    STAGE = "stage"
    LIGHT = "light"


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Who a device is: kind, model, serial, driver name and firmware."""

    kind: DeviceKind
    model: str
    serial: str
    driver: str
    firmware: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How a device is now.

    Args:
        ok: False when the device could not do its job this moment.
        readings: Numbers with the unit in the key: ``mirror_c``, ``frames_lost``.
        warnings: Sentences for a person, worst first.
    """

    ok: bool
    readings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

"""Time and data: the clock, frames, and who a device is and how it feels."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from camera_rig.errors import StorageError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""A picture: H×W, or H×W×3 in RGB order."""

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


class Decoder(Protocol):
    """Makes pixels of a camera's own bytes; raises a RigError for damaged ones."""

    def __call__(self, encoded: bytes, shrink: int = 1) -> Pixels:
        """Return the picture at 1 / ``shrink`` (1, 2, 4 or 8) of its size, rounded up."""
        ...


class CodedPicture:
    """A picture as the camera coded it, decoded when somebody first looks at it, once.

    Most frames of a take are stored as they came and never looked at; decoding each one
    costs a third of a core at 1080p and 30 fps and camera.

    Args:
        encoded: The bytes as the camera sent them.
        size: Width and height, px, as their header says.
        decode: Makes the pixels.
    """

    __slots__ = ("_decode", "_lock", "_pixels", "encoded", "size")

    def __init__(self, encoded: bytes, size: tuple[int, int], decode: Decoder) -> None:
        self.encoded, self.size, self._decode = encoded, size, decode
        self._pixels: Pixels | None = None
        self._lock = threading.Lock()

    def pixels(self) -> Pixels:
        """Return the pixels, read-only; whoever asks first waits for the decoder."""
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decoded(1)
            return self._pixels

    def shrunk(self, by: int) -> Pixels:
        """Return the picture at 1 / ``by`` of its size; not kept."""
        return self.pixels() if by == 1 else self._decoded(by)

    def _decoded(self, shrink: int) -> Pixels:
        pixels = _locked(self._decode(self.encoded, shrink))
        width, height = (-(-length // shrink) for length in self.size)
        if pixels.shape[:2] != (height, width):
            raise StorageError(
                f"{width} x {height} px were announced, {pixels.shape} decoded",
                hint="the picture is damaged: check the cable",
            )
        return pixels


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture with its time and origin. No bare array leaves a camera.

    Args:
        picture: H×W, or H×W×3 in RGB order, uint8 or uint16, made read-only here; or a
            :class:`CodedPicture`, decoded when ``pixels`` is first read.
        camera: Serial number of the body.
        sequence: Counter of exposures, from 0 at start; a gap is a lost frame.
        captured_ns: Middle of the exposure on the rig clock, ns.
        uncertainty_ns: One standard deviation of ``captured_ns``, ns.
        exposure_s: Exposure time, s; 0 where the camera does not tell.
        linear: True only for raw or linear data; False for gamma-coded video.
        encoded: The bytes as the camera sent them (JPEG or raw file), or None; those of a
            :class:`CodedPicture` need not be given again.
        meta: Further facts, JSON-able. ``lost_before`` (int) counts frames lost
            just before this one; ``repeated`` (bool) marks the same picture again.
    """

    picture: Pixels | CodedPicture
    camera: str
    sequence: int
    captured_ns: int
    uncertainty_ns: int
    exposure_s: float
    linear: bool = False
    encoded: bytes | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the picture once, at the edge, and lock what was given."""
        if isinstance(self.picture, CodedPicture):
            if self.encoded is None:
                object.__setattr__(self, "encoded", self.picture.encoded)
        else:
            object.__setattr__(self, "picture", _locked(self.picture))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    @property
    def pixels(self) -> Pixels:
        """The picture, read-only; decoded now if nobody has looked at it before.

        Raises:
            RigError: The camera's bytes are damaged.
        """
        return self.picture.pixels() if isinstance(self.picture, CodedPicture) else self.picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px; nothing is decoded for it."""
        if isinstance(self.picture, CodedPicture):
            return self.picture.size
        return int(self.picture.shape[1]), int(self.picture.shape[0])

    def shrunk(self, by: int) -> Pixels:
        """Return the picture at 1 / ``by`` (1, 2, 4 or 8) of its size, rounded up, read-only.

        For whoever needs no more: a JPEG costs much less to decode so.

        Raises:
            RigError: The camera's bytes are damaged.
        """
        if by not in (1, 2, 4, 8):
            raise ValueError(f"a picture is shrunk by 1, 2, 4 or 8, not by {by}")
        if isinstance(self.picture, CodedPicture):
            return self.picture.shrunk(by)
        return self.picture if by == 1 else _locked(_block_means(self.picture, by))

    def with_meta(self, **more: Any) -> Frame:
        """Return the same frame with further ``meta`` entries."""
        return replace(self, meta={**self.meta, **more})


def _locked(pixels: Pixels) -> Pixels:
    """Check shape and type once, at the edge, and return a view that nobody writes to."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"pixels must be HxW or HxWx3, got {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels must be uint8 or uint16, got {pixels.dtype}")
    view = pixels.view()
    view.setflags(write=False)
    return view


def _block_means(pixels: Pixels, by: int) -> Pixels:
    """Return the mean of every ``by`` × ``by`` pixels; at the far edges the last row repeats."""
    extra = [(0, -length % by) for length in pixels.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    whole = np.pad(pixels, extra, mode="edge")
    rows, columns = whole.shape[0] // by, whole.shape[1] // by
    blocks = whole.reshape(rows, by, columns, by, *whole.shape[2:])
    means: Pixels = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(pixels.dtype)
    return means


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

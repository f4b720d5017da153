"""The camera contract: settings, capabilities, and three freshness promises."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from camera_rig._contracts.data import DeviceKind, Frame, Health
from camera_rig._contracts.device import Device, DeviceContext, DriverOptions
from camera_rig.errors import RigTimeoutError, StateError, UnsupportedError


class CameraMode(StrEnum):
    """Live view (small, gamma-coded, continuous) or still (full, one at a time)."""

    LIVE = "live"
    STILL = "still"


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What a camera is asked to do; None leaves a value as it is.

    Args:
        exposure_s: Exposure time, s.
        iso: ISO speed, for cameras that have one.
        gain: Linear gain, for cameras that have one instead of ISO.
        aperture: f-number of the lens.
        size: Width and height, px.
        mode: Live view or still.
        linear: Ask for raw or linear data.
    """

    exposure_s: float | None = None
    iso: int | None = None
    gain: float | None = None
    aperture: float | None = None
    size: tuple[int, int] | None = None
    mode: CameraMode = CameraMode.LIVE
    linear: bool = False


@dataclass(frozen=True, slots=True)
class CameraCapabilities:
    """What a camera can do; empty tuples mean "not known, ask and read back".

    Args:
        modes: Live, still or both.
        exposure_s: Shortest and longest exposure, s.
        iso: ISO values offered.
        aperture: f-numbers offered.
        sizes: Widths and heights offered, px.
        linear_modes: Modes in which linear data can be had.
        nominal_fps: Rate the camera claims for live view, 1/s; 0 if unknown.
        snap_while_streaming: Whether :meth:`Camera.snap` works during live view.
    """

    modes: tuple[CameraMode, ...] = (CameraMode.LIVE,)
    exposure_s: tuple[float, float] | None = None
    iso: tuple[int, ...] = ()
    aperture: tuple[float, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    linear_modes: tuple[CameraMode, ...] = ()
    nominal_fps: float = 0.0
    snap_while_streaming: bool = False

    def why_not(self, settings: CameraSettings) -> list[str]:
        """Return every reason why ``settings`` cannot be had; empty if they can."""
        why = []
        if settings.mode not in self.modes:
            why.append(f"mode {settings.mode} is not one of {[*map(str, self.modes)]}")
        if settings.linear and settings.mode not in self.linear_modes:
            why.append(f"no linear data in {settings.mode} mode")
        exposure_s = settings.exposure_s
        if exposure_s is not None and self.exposure_s is not None:
            low_s, high_s = self.exposure_s
            if not low_s <= exposure_s <= high_s:
                why.append(f"exposure {exposure_s} s is outside {low_s} to {high_s} s")
        for label, wanted, offered in (
            ("ISO", settings.iso, self.iso),
            ("aperture", settings.aperture, self.aperture),
            ("size", settings.size, self.sizes),
        ):
            if wanted is not None and offered and wanted not in offered:
                why.append(f"{label} {wanted} is not one of {list(offered)}")
        return why


class Camera(Device):
    """A source of frames. Live view streams; stills are taken one by one.

    Three freshness contracts: :meth:`next_frame` gives each frame once and counts
    what was lost, :meth:`latest_frame` gives the newest within an age limit,
    :meth:`snap` takes a new picture. None ever hands out a stale one in silence.

    Not offered: autofocus and auto exposure. Both make two pictures of one scene
    incomparable; calibration and pairing need a camera that holds still.
    """

    kind = DeviceKind.CAMERA

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._settings = CameraSettings()
        self._streaming = False
        self._expected: int | None = None
        self._previous: Frame | None = None
        self._delivered = self._lost = self._repeated = 0

    @property
    def capabilities(self) -> CameraCapabilities:
        """What this body can do, as read from it."""
        self._need_open()
        return self._do_capabilities()

    @property
    def settings(self) -> CameraSettings:
        """What was really set last, as read back."""
        return self._settings

    @property
    def is_streaming(self) -> bool:
        """Whether live view runs."""
        return self._streaming

    def configure(self, settings: CameraSettings) -> CameraSettings:
        """Set and read back; return what the camera really took.

        Raises:
            UnsupportedError: Names every value the camera cannot take; none was set.
            StateError: Live view is running.
        """
        self._need_open()
        if self._streaming:
            raise StateError(f"{self.name} is streaming", hint="stop the stream, configure, start")
        why = self.capabilities.why_not(settings)
        if why:
            raise UnsupportedError(
                f"{self.name} cannot be set so: " + "; ".join(why),
                hint="choose values from `rig camera settings`",
            )
        self._settings = self._do_configure(settings)
        return self._settings

    def start(self) -> None:
        """Start live view; sequence numbers begin at 0."""
        self._need_open()
        if self._streaming:
            raise StateError(f"{self.name} is already streaming", hint="stop it first")
        self._expected, self._previous = 0, None
        self._do_start()
        self._streaming = True

    def stop(self) -> None:
        """Stop live view; harmless when it does not run."""
        if self._streaming:
            self._streaming = False
            self._do_stop()

    def next_frame(self, timeout_s: float) -> Frame:
        """Return the next frame in order, waiting up to ``timeout_s`` (s).

        A gap in the numbers is told in ``meta["lost_before"]``, a picture equal to
        the one before in ``meta["repeated"]``; both are counted in :meth:`health`.

        Raises:
            RigTimeoutError: No frame came in time; the stream may still be alive.
            ConnectError: The link is lost.
        """
        self._need_streaming()
        frame = self._do_next_frame(timeout_s)
        if frame is None:
            raise RigTimeoutError(
                f"{self.name} gave no frame within {timeout_s:g} s",
                hint="check cable, power and live view, or allow more time",
            )
        return self._account(frame)

    def latest_frame(self, max_age_s: float) -> Frame:
        """Return the newest frame if it is no older than ``max_age_s`` (s).

        Raises:
            RigTimeoutError: There is none yet, or the newest is too old.
        """
        self._need_streaming()
        frame = self._do_latest_frame()
        now_ns = self.clock.now_ns()
        if frame is None or (now_ns - frame.captured_ns) * 1e-9 > max_age_s:
            age = (
                "none came yet"
                if frame is None
                else (f"the newest is {(now_ns - frame.captured_ns) * 1e-9:.3f} s old")
            )
            raise RigTimeoutError(
                f"{self.name} has no frame younger than {max_age_s:g} s: {age}",
                hint="the stream stalled, or the age limit is below the frame period",
            )
        return frame

    def snap(self) -> Frame:
        """Take one picture now with the present settings and return it.

        Raises:
            StateError: Live view runs and this camera cannot do both.
        """
        self._need_open()
        if self._streaming and not self.capabilities.snap_while_streaming:
            raise StateError(
                f"{self.name} cannot take a still during live view",
                hint="stop the stream first",
            )
        return self._do_snap()

    def _account(self, frame: Frame) -> Frame:
        expected = frame.sequence if self._expected is None else self._expected
        lost = max(0, frame.sequence - expected)
        repeated = self._previous is not None and _same_picture(self._previous, frame)
        self._expected, self._previous = frame.sequence + 1, frame
        self._delivered += 1
        self._lost += lost
        self._repeated += repeated
        if lost or repeated:
            return frame.with_meta(lost_before=lost, repeated=repeated)
        return frame

    def health(self) -> Health:
        """Add the frame counts of this session to what the driver tells."""
        health = super().health()
        counts = {
            "frames_delivered": float(self._delivered),
            "frames_lost": float(self._lost),
            "frames_repeated": float(self._repeated),
        }
        return Health(health.ok, {**counts, **health.readings}, health.warnings)

    def _need_streaming(self) -> None:
        self._need_open()
        if not self._streaming:
            raise StateError(f"{self.name} is not streaming", hint="call start() first")

    def _before_close(self) -> None:
        self.stop()

    @abstractmethod
    def _do_capabilities(self) -> CameraCapabilities:
        """Tell what the body can do."""

    @abstractmethod
    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        """Set what is not None and return what reads back, with no None left."""

    @abstractmethod
    def _do_start(self) -> None:
        """Start live view."""

    @abstractmethod
    def _do_stop(self) -> None:
        """Stop live view; must bear a dead link."""

    @abstractmethod
    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        """Return the next frame not yet handed out, or None after ``timeout_s``."""

    @abstractmethod
    def _do_latest_frame(self) -> Frame | None:
        """Return the newest frame without waiting and without consuming it."""

    @abstractmethod
    def _do_snap(self) -> Frame:
        """Expose one picture in the configured mode."""


def _same_picture(a: Frame, b: Frame) -> bool:
    if a.encoded is not None and b.encoded is not None:
        return a.encoded == b.encoded
    return a.pixels.shape == b.pixels.shape and bool(np.array_equal(a.pixels, b.pixels))

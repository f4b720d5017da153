"""The driver of the twin's cameras."""

from __future__ import annotations

import threading
from typing import Annotated, Any, ClassVar

from pydantic import Field

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraMode,
    CameraSettings,
    CodedPicture,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
    Health,
    Pixels,
)
from camera_rig.errors import ConfigError, StateError, UnsupportedError
from camera_rig.jpeg import coded_rgb
from camera_rig.twin._plug import Plugged
from camera_rig.twin.cameras import CameraBody, Shot
from camera_rig.twin.timing import FrameTimes
from camera_rig.twin.world import CLOCK_STEP_S


class TwinCameraOptions(DriverOptions):
    """Settings of a twin camera's driver.

    Args:
        answer_s: Time that a setting or a start takes, s.
        still_s: From a still's command to the picture, beside the exposure, s.
    """

    answer_s: Annotated[float, Field(ge=0)] = 0.020
    still_s: Annotated[float, Field(ge=0)] = 0.25


class TwinCamera(Camera):
    """A camera of the twin; its role decides which arm it looks through.

    Stills need the stream to be stopped, as on the real bodies. A body has ISO speeds
    and no separate gain.
    """

    Options: ClassVar[type[DriverOptions]] = TwinCameraOptions
    options: TwinCameraOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = Plugged(self, context, "Twin camera")
        if context.name not in self._plug.world.cameras:
            raise ConfigError(
                f"the twin has no camera {context.name!r}",
                hint=f"its cameras are {', '.join(self._plug.world.cameras)}",
            )
        self._body: CameraBody = self._plug.world.cameras[context.name]
        self._times: FrameTimes | None = None
        self._next = 0
        self._newest: tuple[int, Frame] | None = None
        self._shown: CodedPicture | None = None
        self._making = threading.Lock()

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.command(self.options.answer_s)
        sensor = self._body.options.sensor
        self._settings = CameraSettings(
            exposure_s=sensor.exposure_s,
            iso=sensor.iso,
            aperture=self._aperture,
            size=sensor.size,
            mode=CameraMode.LIVE,
        )

    def _do_close(self) -> None:
        self._times = None
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        return self._plug.health({})

    @property
    def _aperture(self) -> float:
        return round(self._body.arm.pupil.f_number, 1)

    def _do_capabilities(self) -> CameraCapabilities:
        sensor = self._body.options.sensor
        return CameraCapabilities(
            modes=(CameraMode.LIVE, CameraMode.STILL),
            exposure_s=(1 / 4000, 30.0),
            iso=sensor.isos,
            aperture=(self._aperture,),
            sizes=(sensor.size,),
            linear_modes=(CameraMode.STILL,),
            nominal_fps=self._body.options.timing.rate_hz,
        )

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        if settings.gain is not None:
            raise UnsupportedError(
                f"{self.name} has ISO speeds, no gain", hint="give iso instead of gain"
            )
        self._plug.command(self.options.answer_s)
        now = self._settings
        return CameraSettings(
            exposure_s=settings.exposure_s or now.exposure_s,
            iso=settings.iso or now.iso,
            aperture=self._aperture,
            size=self._body.options.sensor.size,
            mode=settings.mode,
            linear=settings.linear,
        )

    def _do_start(self) -> None:
        # Before the first exposure is timed: a frame must not wait for a renderer.
        self._plug.world.prepare()
        self._plug.command(self.options.answer_s)
        period_s = 1.0 / self._body.options.timing.rate_hz
        # Live view cannot expose for longer than its period: it brightens instead.
        exposure_s = min(self._exposure_s, period_s)
        self._live_exposure_s = exposure_s
        self._times = self._body.start(self._plug.world.now_s(), exposure_s)
        self._next, self._newest, self._shown = 0, None, None

    def _do_stop(self) -> None:
        self._times = None

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        world, times = self._plug.world, self._streaming_times()
        self._plug.link.call()
        until_s = world.now_s() + timeout_s
        self._skip_overrun(times)
        while self._body.lost(times, self._next):
            if self._body.arrival_s(times, self._next) > until_s:
                world.wait_until(until_s)
                self._plug.link.check()
                return None
            self._next += 1
        arrival_s = self._body.arrival_s(times, self._next)
        world.wait_until(min(arrival_s, until_s))
        self._plug.link.check()
        if arrival_s > until_s:
            return None
        frame = self._frame(times, self._next)
        self._next += 1
        return frame

    def _skip_overrun(self, times: FrameTimes) -> None:
        """Lose what the body's buffer could not hold for a late reader."""
        if self._plug.world.unpaced:
            return  # nobody can be late when time waits for him
        newest = times.newest(self._plug.world.now_s())
        oldest = newest - self._body.options.timing.buffer_frames + 1
        self._next = max(self._next, oldest)

    def _do_latest_frame(self) -> Frame | None:
        self._plug.link.check()
        times = self._streaming_times()
        now_s = self._plug.world.now_s() + CLOCK_STEP_S
        k = times.newest(now_s)
        while k >= 0 and (self._body.lost(times, k) or self._body.arrival_s(times, k) > now_s):
            k -= 1
        return None if k < 0 else self._frame(times, k)

    def _do_snap(self) -> Frame:
        world = self._plug.world
        self._plug.link.call()
        exposure_s, iso = self._exposure_s, self._iso
        mid_s = world.now_s() + 0.3 * self.options.still_s + exposure_s / 2
        world.wait_until(mid_s + exposure_s / 2 + 0.7 * self.options.still_s)
        self._plug.link.check()
        number = self._body.still_number()
        shot = Shot(mid_s, exposure_s, iso, number)
        stamp_s = self._body.clock.stamp_s(mid_s)
        if self._settings.mode is CameraMode.STILL and self._settings.linear:
            return self._made(self._body.raw(shot), shot, stamp_s, number & 0xFFFFFFFF)
        coded = coded_rgb(self._body.coded_still(shot))
        return self._made(coded, shot, stamp_s, number & 0xFFFFFFFF)

    def _frame(self, times: FrameTimes, k: int) -> Frame:
        """Make frame ``k`` once, whoever asks first."""
        with self._making:
            if self._newest is not None and self._newest[0] == k:
                return self._newest[1]
            shot = Shot(
                times.true_s(k), self._live_exposure_s, self._iso, self._body.live_number(k)
            )
            if self._shown is None or not self._body.frozen(times, k):
                self._shown = coded_rgb(self._body.live(shot))
            frame = self._made(self._shown, shot, times.stamp_s(k), k)
            self._newest = (k, frame)
            return frame

    def _made(
        self,
        picture: Pixels | CodedPicture,
        shot: Shot,
        stamp_s: float,
        sequence: int,
    ) -> Frame:
        timing = self._body.options.timing
        linear = not isinstance(picture, CodedPicture)
        return Frame(
            picture=picture,
            camera=self._plug.info().serial,
            sequence=sequence,
            captured_ns=self._plug.world.to_ns(stamp_s),
            uncertainty_ns=round(1e9 * timing.stamp_uncertainty_s),
            exposure_s=shot.exposure_s,
            linear=linear,
            meta=self._meta(linear, shot.iso),
        )

    def _meta(self, linear: bool, iso: int) -> dict[str, Any]:
        sensor = self._body.options.sensor
        meta: dict[str, Any] = {"iso": iso}
        if linear:
            meta |= {"bits": sensor.bits, "black_level": sensor.black_level_dn}
            if sensor.bayer:
                meta["mosaic"] = "RGGB"
        return meta

    @property
    def _exposure_s(self) -> float:
        return self._settings.exposure_s or self._body.options.sensor.exposure_s

    @property
    def _iso(self) -> int:
        return self._settings.iso or self._body.options.sensor.iso

    def _streaming_times(self) -> FrameTimes:
        if self._times is None:
            raise StateError(f"{self.name} is not streaming", hint="call start() first")
        return self._times

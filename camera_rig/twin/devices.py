"""The twin's drivers: the same contracts as in the lab, filled by the simulated world.

``driver: twin`` in a configuration is all that tells them from real ones. They know
their world through what a cable could carry; the truth is not reachable from here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraMode,
    CameraSettings,
    Device,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
    Health,
    Light,
    Mirror,
    Stage,
    Volts,
)
from camera_rig.errors import (
    ConfigError,
    ConnectError,
    RigTimeoutError,
    SafetyError,
    StateError,
    UnsupportedError,
)
from camera_rig.twin.cameras import CameraBody, Shot
from camera_rig.twin.faults import Link
from camera_rig.twin.timing import FrameTimes
from camera_rig.twin.world import CLOCK_STEP_S, World

__all__ = ["TwinCamera", "TwinLight", "TwinMirror", "TwinStage"]

_FIRMWARE = "1"


class _Plugged:
    """What all twin devices share: a world and a cable."""

    def __init__(self, device: Device, context: DeviceContext, model: str) -> None:
        if not isinstance(context.world, World):
            raise ConfigError(
                f"{context.name} is a twin device, but there is no simulated world",
                hint="open it through the rig, or give the context a camera_rig.twin world",
            )
        self.world: World = context.world
        self.link: Link = self.world.link(context.name)
        self._device, self._model = device, model

    def info(self) -> DeviceInfo:
        device = self._device
        serial = device.options.serial or f"TWIN-{device.name.upper()}"
        return DeviceInfo(device.kind, self._model, serial, "twin", _FIRMWARE)

    def health(self, readings: Mapping[str, float]) -> Health:
        if self.link.lost:
            return Health(ok=False, warnings=(f"the link to {self._device.name} is lost",))
        return Health(ok=True, readings=readings)


class TwinCameraOptions(DriverOptions):
    """Settings of a twin camera's driver.

    Args:
        still_s: From a still's command to the picture, beside the exposure, s.
    """

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
        self._plug = _Plugged(self, context, "Twin camera")
        if context.name not in self._plug.world.cameras:
            raise ConfigError(
                f"the twin has no camera {context.name!r}",
                hint=f"its cameras are {', '.join(self._plug.world.cameras)}",
            )
        self._body: CameraBody = self._plug.world.cameras[context.name]
        self._times: FrameTimes | None = None
        self._next = 0
        self._newest: tuple[int, Frame] | None = None
        self._shown: tuple[bytes, npt.NDArray[np.uint8]] | None = None
        self._making = threading.Lock()

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.link.call()
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
        self._plug.link.call()
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
        self._plug.link.call()
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
            return self._made(self._body.raw(shot), None, shot, stamp_s, number & 0xFFFFFFFF)
        coded = self._body.coded_still(shot)
        return self._made(_decoded(coded), coded, shot, stamp_s, number & 0xFFFFFFFF)

    def _frame(self, times: FrameTimes, k: int) -> Frame:
        """Make frame ``k`` once, whoever asks first."""
        with self._making:
            if self._newest is not None and self._newest[0] == k:
                return self._newest[1]
            shot = Shot(
                times.true_s(k), self._live_exposure_s, self._iso, self._body.live_number(k)
            )
            if self._shown is None or not self._body.frozen(times, k):
                coded = self._body.live(shot)
                self._shown = (coded, _decoded(coded))
            coded, pixels = self._shown
            frame = self._made(pixels, coded, shot, times.stamp_s(k), k)
            self._newest = (k, frame)
            return frame

    def _made(
        self,
        pixels: npt.NDArray[Any],
        coded: bytes | None,
        shot: Shot,
        stamp_s: float,
        sequence: int,
    ) -> Frame:
        timing = self._body.options.timing
        return Frame(
            pixels=pixels,
            encoded=coded,
            camera=self._plug.info().serial,
            sequence=sequence,
            captured_ns=self._plug.world.to_ns(stamp_s),
            uncertainty_ns=round(1e9 * timing.stamp_uncertainty_s),
            exposure_s=shot.exposure_s,
            linear=coded is None,
            meta=self._meta(coded is None, shot.iso),
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


def _decoded(coded: bytes) -> npt.NDArray[np.uint8]:
    import cv2

    bgr = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise UnsupportedError("a JPEG could not be decoded", hint="check the OpenCV build")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, bgr), dtype=np.uint8)


class TwinMirrorOptions(DriverOptions):
    """Settings of the twin mirror's driver, as a maker states them.

    Args:
        slew_v_per_s: Fastest change of one electrode, V/s.
        settle_s: Time after a command until the shape stands, s.
        answer_s: Time that one command takes, s.
    """

    slew_v_per_s: Annotated[float, Field(gt=0)] = 15_000.0
    settle_s: Annotated[float, Field(ge=0)] = 0.010
    answer_s: Annotated[float, Field(ge=0)] = 0.001


class TwinMirror(Mirror):
    """The mirror of the twin. Has patterns of its "maker" for the first twelve modes.

    Not offered: the maker's hysteresis compensation. The toolkit's own is what the
    twin is there to test.
    """

    Options: ClassVar[type[DriverOptions]] = TwinMirrorOptions
    options: TwinMirrorOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = _Plugged(self, context, "Twin mirror (40 electrodes)")
        self._patterns: dict[Any, Volts] | None = None

    @property
    def actuators(self) -> int:
        """Number of electrodes."""
        return self._plug.world.mirror.actuators

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per electrode, V, shape (electrodes, 2)."""
        return np.tile(self._plug.world.options.mirror.range_v, (self.actuators, 1))

    @property
    def slew_v_per_s(self) -> float:
        """Fastest change of one electrode, V/s."""
        return self.options.slew_v_per_s

    @property
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s."""
        return self.options.settle_s

    def maker_pattern(self, fractions: Mapping[tuple[int, int], float]) -> Volts:
        """Return the maker's voltages (V) for Zernike modes; sends nothing.

        Args:
            fractions: ``{(n, m): amplitude}``, each -1…1 of what the mode can do;
                n from 2 to 4.

        Raises:
            UnsupportedError: A mode that the maker does not offer.
            SafetyError: An amplitude, or the sum of all, is out of range.
        """
        if self._patterns is None:
            from camera_rig.twin.mirror import nominal_patterns

            self._patterns = nominal_patterns(self._plug.world.bench)
        total = np.zeros(self.actuators)
        for mode, fraction in fractions.items():
            if mode not in self._patterns:
                raise UnsupportedError(
                    f"{self.name} has no maker's pattern for mode {mode}",
                    hint="n goes from 2 to 4; piston, tip and tilt cannot be made",
                )
            if not -1.0 <= fraction <= 1.0:
                raise SafetyError(
                    f"amplitude {fraction} of mode {mode} is outside -1 to 1",
                    hint="amplitudes are shares of what the mode can do",
                )
            total += fraction * self._patterns[mode]
        if np.abs(total).max() > 1.0 + 1e-12:
            raise SafetyError(
                f"the pattern needs {np.abs(total).max():.2f} of the range",
                hint="lower the amplitudes together",
            )
        low_v, high_v = self.limits.T
        return np.asarray(low_v + (high_v - low_v) * (np.clip(total, -1, 1) + 1.0) / 2.0)

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.link.call()

    def _do_close(self) -> None:
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        health = self._plug.health(self._do_temperatures_c() if not self._plug.link.lost else {})
        if health.ok and not self._plug.world.mirror_has_power():
            return Health(False, health.readings, (f"{self.name} has no supply voltage",))
        return health

    def _do_apply(self, command_v: Volts) -> None:
        self._plug.link.call()
        self.clock.sleep(self.options.answer_s)
        if not self._plug.world.mirror_has_power():
            raise ConnectError(
                f"{self.name} has no supply voltage; its shape is lost",
                hint="check the supply, then read back and apply the shape again",
            )
        self._plug.world.command_mirror(command_v)

    def _do_read_back(self) -> Volts:
        self._plug.link.call()
        self._plug.world.settle_power()
        return self._plug.world.mirror.volts(self._plug.world.now_s())

    def _do_temperatures_c(self) -> Mapping[str, float]:
        self._plug.link.check()
        now_s = self._plug.world.now_s()
        mirror_c = round(self._plug.world.mirror.temperature_c(now_s), 2)
        return {"mirror_c": mirror_c, "electronics_c": round(mirror_c + 7.0, 2)}


class TwinStageOptions(DriverOptions):
    """Settings of the twin stage's driver.

    Args:
        limits_mm: Positions that may be driven to, mm; None: the whole travel.
    """

    limits_mm: tuple[float, float] | None = None


class TwinStage(Stage):
    """The stage of the twin: carries the point source to the right as it goes up."""

    Options: ClassVar[type[DriverOptions]] = TwinStageOptions
    options: TwinStageOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = _Plugged(self, context, "Twin stage")
        self._halted = threading.Event()

    @property
    def limits_mm(self) -> tuple[float, float]:
        """Lowest and highest position, mm."""
        return self.options.limits_mm or self._plug.world.stage.travel_mm

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.link.call()

    def _do_close(self) -> None:
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        return self._plug.health({})

    def _do_position_mm(self) -> float:
        self._plug.link.call()
        return round(self._plug.world.stage.position_mm(self._plug.world.now_s()), 4)

    def _do_move_to(self, position_mm: float, timeout_s: float) -> None:
        world = self._plug.world
        self._plug.link.call()
        self._halted.clear()
        now_s = world.now_s()
        ends_s, late_s = world.stage.move(position_mm, now_s), now_s + timeout_s
        while (now_s := world.now_s()) < ends_s - CLOCK_STEP_S:
            if self._halted.is_set():
                return
            if now_s >= late_s - CLOCK_STEP_S:
                raise RigTimeoutError(
                    f"{self.name} did not reach {position_mm:g} mm within {timeout_s:g} s",
                    hint="allow more time, or check that nothing blocks the stage",
                )
            world.wait_until(min(ends_s, now_s + 0.05, late_s))
            self._plug.link.check()

    def _do_home(self, timeout_s: float) -> None:
        self._do_move_to(self._plug.world.stage.travel_mm[0], timeout_s)

    def _do_halt(self) -> None:
        self._halted.set()
        self._plug.world.stage.halt(self._plug.world.now_s())


class TwinLight(Light):
    """The lamp of the twin: lights the scene, or the pinhole from behind."""

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = _Plugged(self, context, "Twin light")
        self._level, self._open = 0.0, False

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.link.call()
        self._level, self._open = 0.0, False
        self._switch()

    def _do_close(self) -> None:
        # The box has a watchdog: without a host it goes dark by itself.
        self._level, self._open = 0.0, False
        self._switch()
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        return self._plug.health({"level": self._level, "shutter_open": float(self._open)})

    def _do_set(self, level: float) -> None:
        self._plug.link.call()
        self._level = level
        self._switch()

    def _do_shutter(self, open: bool) -> None:
        self._plug.link.call()
        self._open = open
        self._switch()

    def _do_pulse(self, seconds: float) -> int:
        world = self._plug.world
        self._plug.link.call()
        start_s = world.now_s()
        world.lamp.switch(self._level, start_s)
        world.wait_until(start_s + seconds)
        world.lamp.switch(self._level if self._open else 0.0, start_s + seconds)
        return world.to_ns(start_s)

    def _switch(self) -> None:
        light = self._level if self._open else 0.0
        self._plug.world.lamp.switch(light, self._plug.world.now_s())

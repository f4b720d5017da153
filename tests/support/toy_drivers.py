"""Complete small drivers: the least a device maker would write. Used where the twin is too much."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraMode,
    CameraSettings,
    DeviceInfo,
    DeviceKind,
    DriverOptions,
    Frame,
    Light,
    Mirror,
    Stage,
)
from camera_rig.errors import ConnectError, RigTimeoutError


class ToyOptions(DriverOptions):
    unplugged: bool = False
    fail_on_close: bool = False
    temperature_c: float = 25.0


class _ToyLink:
    """A link that can be absent, and that remembers what went over it."""

    options: ToyOptions

    def _connect(self) -> None:
        self.wire: list[str] = []
        if self.options.unplugged:
            raise ConnectError("no such device", hint="plug it in")

    def _disconnect(self) -> None:
        if self.options.fail_on_close:
            raise ConnectError("the link broke while closing", hint="pull the plug")


class ToyCamera(_ToyLink, Camera):
    """A camera whose pictures are pushed in by the test, like a driver's callback would."""

    Options = ToyOptions

    def _do_open(self):
        self._connect()
        self.queue: deque[Frame] = deque()
        self.newest: Frame | None = None

    def _do_close(self):
        self._disconnect()

    def _do_info(self):
        return DeviceInfo(DeviceKind.CAMERA, "toy", self.options.serial, "toy")

    def _do_capabilities(self):
        return CameraCapabilities(
            modes=(CameraMode.LIVE, CameraMode.STILL),
            exposure_s=(0.001, 1.0),
            iso=(100, 200),
            linear_modes=(CameraMode.STILL,),
        )

    def _do_configure(self, settings: CameraSettings):
        return CameraSettings(settings.exposure_s or 0.01, settings.iso or 100, 1.0, 4.0, (4, 3))

    def push(self, sequence: int, value: int = 0) -> None:
        frame = Frame(
            picture=np.full((3, 4), value, np.uint8),
            camera=self.options.serial,
            sequence=sequence,
            captured_ns=self.clock.now_ns(),
            uncertainty_ns=1000,
            exposure_s=0.01,
        )
        self.queue.append(frame)
        self.newest = frame

    def _do_start(self):
        self.queue.clear()

    def _do_stop(self):
        self.wire.append("stop")

    def _do_next_frame(self, timeout_s: float):
        if self.queue:
            return self.queue.popleft()
        self.clock.sleep(timeout_s)
        return None

    def _do_latest_frame(self):
        return self.newest

    def _do_snap(self):
        self.push(0, 7)
        return self.queue.pop()


class ToyMirror(_ToyLink, Mirror):
    """Four electrodes that hold what they were told."""

    Options = ToyOptions
    actuators = 4
    slew_v_per_s = 1000.0
    settle_s = 0.01

    @property
    def limits(self):
        return np.tile([0.0, 300.0], (4, 1))

    def _do_open(self):
        self._connect()
        self.volts = np.full(4, 150.0)
        self.sent: list[np.ndarray] = []

    def _do_close(self):
        self._disconnect()

    def _do_info(self):
        return DeviceInfo(DeviceKind.MIRROR, "toy", self.options.serial, "toy")

    def _do_apply(self, command_v):
        self.sent.append(command_v.copy())
        self.volts = command_v.copy()

    def _do_read_back(self):
        return self.volts.copy()

    def _do_temperatures_c(self) -> Mapping[str, float]:
        return {"glass": self.options.temperature_c}


class ToyStage(_ToyLink, Stage):
    """A stage that never arrives when told to go to 13 mm."""

    Options = ToyOptions
    limits_mm = (0.0, 50.0)

    def _do_open(self):
        self._connect()
        self.at_mm = 5.0

    def _do_close(self):
        self._disconnect()

    def _do_info(self):
        return DeviceInfo(DeviceKind.STAGE, "toy", self.options.serial, "toy")

    def _do_position_mm(self):
        return self.at_mm

    def _do_move_to(self, position_mm, timeout_s):
        if position_mm == 13.0:
            self.clock.sleep(timeout_s)
            raise RigTimeoutError("not there", hint="try another number")
        self.at_mm = position_mm

    def _do_home(self, timeout_s):
        self.at_mm = 0.0

    def _do_halt(self):
        self.wire.append("halt")


class ToyLight(_ToyLink, Light):
    """A lamp that remembers its orders."""

    Options = ToyOptions

    def _do_open(self):
        self._connect()

    def _do_close(self):
        pass

    def _do_info(self):
        return DeviceInfo(DeviceKind.LIGHT, "toy", self.options.serial, "toy")

    def _do_set(self, level):
        self.wire.append(f"set {level:g}")

    def _do_pulse(self, seconds):
        self.wire.append(f"pulse {seconds:g}")
        return self.clock.now_ns()

    def _do_shutter(self, open):
        if self.options.fail_on_close and not open:
            raise ConnectError("the lamp is gone", hint="plug it in")
        self.wire.append("open" if open else "shut")

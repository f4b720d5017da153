"""A real camera driver that draws its pictures; it can be late, jumpy, stalled and lost."""

from __future__ import annotations

import threading

import numpy as np

from camera_rig.clock import ManualClock
from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraSettings,
    Clock,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
)
from camera_rig.errors import ConnectError
from tests.recording import support


class DrawnCamera(Camera):
    """Free-runs on the rig clock; keeps four frames like a usual driver, then loses them."""

    class Options(DriverOptions):
        fps: float = 100.0
        phase_s: float = 0.0
        offset_ns: int = 0
        encoded: bool = True
        drops: tuple[int, ...] = ()
        stall_at: int | None = None
        stall_s: float = 0.0
        dies_at: int | None = None
        driver: str = "twin"
        size: tuple[int, int] = (96, 64)
        buffers: int = 4

    options: Options
    _KINDS = 16

    def _do_open(self) -> None:
        width, height = self.options.size
        self._pictures = [
            support.picture(n, width=width, height=height) for n in range(self._KINDS)
        ]
        self._jpegs = [support.jpeg(p) for p in self._pictures]
        self._lock = threading.Lock()
        self._latest: Frame | None = None

    def _do_close(self) -> None:
        self._pictures = []

    def _do_info(self) -> DeviceInfo:
        return DeviceInfo(self.kind, "drawn", self.options.serial, self.options.driver)

    def _do_capabilities(self) -> CameraCapabilities:
        return CameraCapabilities(sizes=(self.options.size,), nominal_fps=self.options.fps)

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        return CameraSettings(exposure_s=0.002, size=self.options.size)

    def _do_start(self) -> None:
        self._start_ns = self.clock.now_ns() + round(self.options.phase_s * 1e9)
        self._next = 0

    def _do_stop(self) -> None:
        pass

    def _at(self, number: int) -> int:
        at = self._start_ns + round(number / self.options.fps * 1e9)
        if self.options.stall_at is not None and number >= self.options.stall_at:
            at += round(self.options.stall_s * 1e9)
        return at

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        o = self.options
        while self._next in o.drops:
            self._next += 1
        number = self._next
        if o.dies_at is not None and number >= o.dies_at:
            raise ConnectError("the cable was pulled", hint="plug it in")
        # What the driver's few buffers could not keep is lost, as in life.
        behind = int((self.clock.now_ns() - self._at(number)) * 1e-9 * o.fps)
        if behind > o.buffers and not isinstance(self.clock, ManualClock):
            number += behind - o.buffers
        wait_s = (self._at(number) - self.clock.now_ns()) * 1e-9
        if wait_s > timeout_s:
            self.clock.sleep(timeout_s)
            return None
        self.clock.sleep(max(0.0, wait_s))
        self._next = number + 1
        pixels = self._pictures[number % self._KINDS]
        made = Frame(
            picture=pixels,
            camera=o.serial,
            sequence=number,
            captured_ns=self._at(number) + o.offset_ns,
            uncertainty_ns=100_000,
            exposure_s=0.002,
            encoded=self._jpegs[number % self._KINDS] if o.encoded else None,
        )
        with self._lock:
            self._latest = made
        return made

    def _do_latest_frame(self) -> Frame | None:
        with self._lock:
            return self._latest

    def _do_snap(self) -> Frame:
        return Frame(self._pictures[0], self.options.serial, 0, self.clock.now_ns(), 0, 0.002)


def drawn_pair(clock: Clock, **changes: dict) -> dict[str, DrawnCamera]:
    """Return two open cameras; ``privacy={...}`` and ``side={...}`` change their options."""
    made = {}
    for role, serial in support.SERIALS.items():
        options = {"serial": serial, "phase_s": 0.003 if role == "side" else 0.0}
        options |= changes.get(role, {})
        made[role] = DrawnCamera(DrawnCamera.Options(**options), DeviceContext(role, clock))
        made[role].open()
        made[role].configure(CameraSettings())
    return made


def mosaic(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """A Bayer-like picture, for uncompressed sources."""
    rng = np.random.default_rng(seed)
    px = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) // 8 % 200
    px[::2] //= 2
    return (px + rng.integers(0, 5, shape)).astype(np.uint8)

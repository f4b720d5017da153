"""HDMI grabbers and webcams through OpenCV.

OpenCV opens "the next best" camera when the wanted one is absent, hands out old
pictures, and silently negotiates another mode. So: the back end is named, the device
is named by a path that stays, the mode is read back, and a thread reads all the time
so that the newest picture is really new.
"""

from __future__ import annotations

import math
import re
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraSettings,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
    Health,
)
from camera_rig.errors import ConfigError, ConnectError, StateError, UnsupportedError

__all__ = ["UvcCamera", "UvcOptions", "megabytes_per_s"]

_BYTES_PER_PIXEL = {"MJPG": 0.35, "H264": 0.1, "NV12": 1.5, "YUYV": 2.0, "UYVY": 2.0, "RGB3": 3.0}
_RAW_BYTES_PER_PIXEL = 3.0
_READ_FAILURES = 10


class UvcOptions(DriverOptions):
    """Which device and in which mode.

    Args:
        device: Linux: a stable path such as ``/dev/v4l/by-id/usb-…-video-index0``.
            Windows: the device path, or a part of it that occurs only once.
        backend: OpenCV back end; never left to chance.
        serial: Serial number to show; empty takes it from ``device``.
        size: Width and height to ask for, px.
        fps: Rate to ask for, 1/s.
        fourcc: Pixel format to ask for; MJPG saves bus bandwidth.
        bus_mb_per_s: What the USB bus can carry, MB/s: about 35 for USB 2, 350 for 3.
        delay_s: From exposure to arrival of a picture, s, as measured.
        stall_s: No picture for so long counts as a loss, s.
        queue_frames: Pictures kept for a slow reader; older ones become gaps.
    """

    device: Annotated[str, Field(min_length=1)]
    backend: Literal["v4l2", "dshow", "msmf", "avfoundation"] = "v4l2"
    size: tuple[int, int] = (1920, 1080)
    fps: Annotated[float, Field(gt=0)] = 30.0
    fourcc: Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$")] = "MJPG"
    bus_mb_per_s: Annotated[float, Field(gt=0)] = 350.0
    delay_s: Annotated[float, Field(ge=0)] = 0.0
    stall_s: Annotated[float, Field(gt=0)] = 3.0
    queue_frames: Annotated[int, Field(gt=0)] = 8


def megabytes_per_s(size: tuple[int, int], fps: float, fourcc: str) -> float:
    """Return the bandwidth a mode needs on the bus, MB/s; estimated where compressed."""
    per_pixel = _BYTES_PER_PIXEL.get(fourcc, _RAW_BYTES_PER_PIXEL)
    return size[0] * size[1] * fps * per_pixel / 1e6


class UvcCamera(Camera):
    """A stream of processed 8-bit pictures; time is when a picture arrived.

    Not offered: exposure and gain. An HDMI grabber has none, and webcams give them
    units of their own; set them at the camera.
    """

    Options = UvcOptions
    options: UvcOptions

    def __init__(self, options: UvcOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._capture: Any = None
        self._mode = (options.size, options.fps, options.fourcc)
        self._changed = threading.Condition()
        self._queue: deque[Frame] = deque()
        self._newest: Frame | None = None
        self._reader: threading.Thread | None = None
        self._reading = False
        self._failure: ConnectError | None = None
        self._arrivals: deque[int] = deque(maxlen=60)
        self._snaps = 0

    def _do_open(self) -> None:
        o = self.options
        wanted = megabytes_per_s(o.size, o.fps, o.fourcc)
        if wanted > o.bus_mb_per_s:
            raise ConfigError(
                f"{self.name}: {o.fourcc} {o.size[0]}x{o.size[1]} at {o.fps:g}/s needs about "
                f"{wanted:.0f} MB/s, the bus carries {o.bus_mb_per_s:g} MB/s",
                hint="ask for MJPG, a smaller size or rate, or a port on another controller",
            )
        self._capture, self._failure = open_capture(o), None
        self._mode = _negotiate(self._capture, o)
        self._settings = self._fixed(CameraSettings())

    def _do_close(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _do_info(self) -> DeviceInfo:
        size, fps, fourcc = self._mode
        driver = f"uvc ({self.options.backend}: {fourcc} {size[0]}x{size[1]} at {fps:g}/s)"
        return DeviceInfo(self.kind, "UVC camera", self._serial, driver)

    @property
    def _serial(self) -> str:
        return self.options.serial or Path(self.options.device).name

    def _do_capabilities(self) -> CameraCapabilities:
        return CameraCapabilities(sizes=(self._mode[0],), nominal_fps=self._mode[1])

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        for name in ("exposure_s", "iso", "gain", "aperture"):
            if getattr(settings, name) is not None:
                raise UnsupportedError(
                    f"{self.name}: {name} cannot be set over UVC", hint="set it at the camera"
                )
        return self._fixed(settings)

    def _fixed(self, settings: CameraSettings) -> CameraSettings:
        return CameraSettings(size=self._mode[0], mode=settings.mode)

    def _do_health(self) -> Health:
        size, fps, fourcc = self._mode
        o = self.options
        warnings = []
        if (size, fourcc) != (o.size, o.fourcc) or abs(fps - o.fps) > 0.5:
            warnings.append(
                f"asked for {o.fourcc} {o.size} at {o.fps:g}/s, "
                f"the device gives {fourcc} {size} at {fps:g}/s"
            )
        with self._changed:
            failure, arrivals = self._failure, list(self._arrivals)
        real_fps = (
            (len(arrivals) - 1) * 1e9 / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
        )
        if failure is not None:
            warnings.insert(0, failure.message)
        readings = {
            "negotiated_fps": fps,
            "live_fps": real_fps,
            "bus_mb_per_s": megabytes_per_s(size, fps, fourcc),
        }
        return Health(failure is None, readings, tuple(warnings))

    def _do_start(self) -> None:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._queue.clear()
            self._arrivals.clear()
            self._newest = None
        self._reading = True
        self._reader = threading.Thread(target=self._read_all, name="uvc-reader", daemon=True)
        self._reader.start()

    def _do_stop(self) -> None:
        self._reading = False
        if self._reader is not None:
            self._reader.join()
            self._reader = None

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._failure, timeout_s)
            if self._queue:
                return self._queue.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    def _do_latest_frame(self) -> Frame | None:
        with self._changed:
            return self._newest

    def _do_snap(self) -> Frame:
        """Return a picture exposed after the call: the old ones in the driver go first."""
        self.start()
        try:
            asked_ns = self.clock.now_ns()
            while True:
                frame = self._do_next_frame(self.options.stall_s)
                if frame is None:
                    raise ConnectError(f"{self.name} gives no picture", hint="check the cable")
                if frame.captured_ns > asked_ns and frame.sequence >= self.options.queue_frames:
                    break
        finally:
            self.stop()
        self._snaps += 1
        return Frame(
            picture=frame.pixels,
            camera=frame.camera,
            sequence=self._snaps - 1,
            captured_ns=frame.captured_ns,
            uncertainty_ns=frame.uncertainty_ns,
            exposure_s=0.0,
        )

    def _read_all(self) -> None:
        number = failures = 0
        while self._reading:
            ok, pixels = self._capture.read()
            if not ok:
                failures += 1
                if failures >= _READ_FAILURES:
                    return self._fail()
                self.clock.sleep(self.options.stall_s / _READ_FAILURES)
                continue
            failures = 0
            self._take(pixels, number)
            number += 1
        return None

    def _fail(self) -> None:
        with self._changed:
            self._failure = ConnectError(
                f"{self.name}: {self.options.device} gives no pictures any more",
                hint="check the cable and the HDMI source, then open the rig again",
            )
            self._changed.notify_all()

    def _take(self, pixels: Any, number: int) -> None:
        now_ns = self.clock.now_ns()
        period_ns = 1e9 / self._mode[1] if self._mode[1] > 0 else 1e8
        frame = Frame(
            picture=np.ascontiguousarray(pixels[..., ::-1]) if pixels.ndim == 3 else pixels,
            camera=self._serial,
            sequence=number,
            captured_ns=now_ns - round(self.options.delay_s * 1e9),
            uncertainty_ns=round(period_ns / math.sqrt(12)),
            exposure_s=0.0,
        )
        with self._changed:
            self._arrivals.append(now_ns)
            self._newest = frame
            self._queue.append(frame)
            while len(self._queue) > self.options.queue_frames:
                self._queue.popleft()
            self._changed.notify_all()


def open_capture(options: UvcOptions) -> Any:
    """Return OpenCV's capture of exactly this device with exactly this back end."""
    import cv2

    backend = {
        "v4l2": cv2.CAP_V4L2,
        "dshow": cv2.CAP_DSHOW,
        "msmf": cv2.CAP_MSMF,
        "avfoundation": cv2.CAP_AVFOUNDATION,
    }[options.backend]
    index = _index_of(options, backend)
    capture = cv2.VideoCapture(index, backend)
    if not capture.isOpened():
        raise ConnectError(
            f"{options.device} does not open with {options.backend}",
            hint="close other programs that use it; on Linux your user must be in group video",
        )
    return capture


def _index_of(options: UvcOptions, backend: int) -> int:
    if options.backend == "v4l2":
        path = Path(options.device)
        if not path.exists():
            raise ConnectError(
                f"there is no device {path}",
                hint="plug it in and look at `ls -l /dev/v4l/by-id`",
            )
        found = re.fullmatch(r"/dev/video(\d+)", str(path.resolve()))
        if found is None:
            raise ConfigError(f"{path} is no video device", hint="use a path below /dev/v4l/by-id")
        return int(found[1])
    try:
        from cv2_enumerate_cameras import (  # type: ignore[import-not-found,unused-ignore]
            enumerate_cameras,
        )
    except ImportError as error:
        raise ConnectError(
            f"finding cameras on {sys.platform} needs the Python package cv2-enumerate-cameras",
            hint="`pip install cv2-enumerate-cameras`",
        ) from error
    matches = [c for c in enumerate_cameras(backend) if options.device in f"{c.path}"]
    if len(matches) != 1:
        seen = ", ".join(f"{camera.path}" for camera in enumerate_cameras(backend)) or "none"
        raise ConnectError(
            f"{len(matches)} devices match {options.device!r}; there are: {seen}",
            hint="give a part of the path that occurs exactly once",
        )
    return int(matches[0].index)


def _negotiate(capture: Any, options: UvcOptions) -> tuple[tuple[int, int], float, str]:
    """Ask for a mode and return what the device agreed to."""
    import cv2

    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
    capture.set(cv2.CAP_PROP_FPS, options.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    size = (
        int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    )
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    fourcc = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))
    if size == (0, 0):
        raise StateError(
            f"{options.device} tells no picture size", hint="check the HDMI source of the grabber"
        )
    return size, float(capture.get(cv2.CAP_PROP_FPS)), fourcc

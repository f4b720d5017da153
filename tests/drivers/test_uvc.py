"""The UVC driver on a stand-in for OpenCV's capture (there is no grabber in a test machine)."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera_rig.clock import SystemClock
from camera_rig.contracts import CameraSettings, DeviceContext
from camera_rig.drivers import uvc
from camera_rig.drivers.uvc import UvcCamera, UvcOptions, megabytes_per_s
from camera_rig.errors import ConfigError, ConnectError, UnsupportedError
from tests.contract import Cable, CameraContract


class Grabber:
    """Behaves like ``cv2.VideoCapture`` on a grabber with one mode, and a cable."""

    def __init__(self) -> None:
        self.plugged = True
        self.number = 0
        self.mode = {
            cv2.CAP_PROP_FRAME_WIDTH: 64.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 48.0,
            cv2.CAP_PROP_FPS: 100.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")),
        }

    def set(self, prop: int, value: float) -> bool:
        return False

    def get(self, prop: int) -> float:
        return self.mode[prop]

    def read(self) -> tuple[bool, np.ndarray | None]:
        if not self.plugged:
            return False, None
        time.sleep(0.01)
        self.number += 1
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[..., 0] = self.number % 256  # blue, in OpenCV's order
        return True, pixels

    def release(self) -> None:
        pass


def camera_of(**options: object) -> UvcCamera:
    given = {"device": "/dev/v4l/by-id/usb-GRABBER_42", "size": (64, 48), "fps": 100, **options}
    context = DeviceContext("privacy", SystemClock())
    return UvcCamera(UvcOptions.model_validate({"stall_s": 0.2, **given}), context)


@pytest.fixture
def grabber(monkeypatch: pytest.MonkeyPatch) -> Grabber:
    one = Grabber()

    def open_capture(options: UvcOptions) -> Grabber:
        if not one.plugged:
            raise ConnectError("unplugged", hint="plug it in")
        return one

    monkeypatch.setattr(uvc, "open_capture", open_capture)
    return one


class TestContract(CameraContract):
    @pytest.fixture
    def camera(self, grabber: Grabber) -> UvcCamera:
        return camera_of()

    @pytest.fixture
    def cable(self, grabber: Grabber) -> Cable:
        def turn(on: bool) -> None:
            grabber.plugged = on

        return Cable(lambda: turn(False), lambda: turn(True))

    def use(self, device: object) -> object:
        frames: list[object] = []
        for _ in range(10):  # some pictures may wait in the queue
            frames.append(super().use(device))  # type: ignore[arg-type]
        return frames


def test_red_is_red(grabber: Grabber) -> None:
    with camera_of() as camera:
        frame = camera.snap()
        assert frame.pixels[0, 0, 0] == 0
        assert frame.pixels[0, 0, 2] > 0
        assert frame.camera == "usb-GRABBER_42"


def test_the_negotiated_mode_is_told(grabber: Grabber) -> None:
    grabber.mode[cv2.CAP_PROP_FOURCC] = float(cv2.VideoWriter.fourcc(*"YUYV"))
    with camera_of(size=(1920, 1080)) as camera:
        assert camera.configure(CameraSettings()).size == (64, 48)
        assert "YUYV (64, 48)" in camera.health().warnings[0]
        with pytest.raises(UnsupportedError):
            camera.configure(CameraSettings(exposure_s=0.01))


def test_a_mode_that_does_not_fit_the_bus_is_refused(grabber: Grabber) -> None:
    with pytest.raises(ConfigError, match="MB/s"):
        camera_of(size=(1920, 1080), fps=60, fourcc="YUYV", bus_mb_per_s=35).open()
    assert megabytes_per_s((1920, 1080), 30, "YUYV") == pytest.approx(124.4, abs=0.1)


def test_a_slow_reader_gets_the_newest(grabber: Grabber) -> None:
    with camera_of(queue_frames=2) as camera:
        camera.start()
        camera.next_frame(1.0)
        while camera.latest_frame(1.0).sequence < 10:
            pass
        assert camera.next_frame(1.0).meta["lost_before"] >= 5


def test_absent_and_wrong_devices(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="no device"):
        camera_of(device=str(tmp_path / "video9")).open()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="no video device"):
        camera_of(device=str(file)).open()

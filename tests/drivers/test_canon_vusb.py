"""The virtual USB camera of the gphoto2 wheel: capture, download and events once more.

It is somebody else's emulator, and says that it is a Nikon: an independent check of
everything that is not Canon's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera_rig.clock import SystemClock
from camera_rig.contracts import CameraMode, CameraSettings, DeviceContext
from camera_rig.drivers.canon import CanonCamera, CanonOptions, find_canons
from camera_rig.errors import UnsupportedError

pytest.importorskip("gphoto2")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    path = tmp_path / "card" / "GPH_0001.JPG"
    path.parent.mkdir()
    cv2.imwrite(str(path), noise)
    return path


@pytest.fixture
def camera(picture: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CanonCamera]:
    monkeypatch.setenv("VCAMERADIR", str(picture.parent))
    options = CanonOptions(serial="0.1", ports=("usb:",), reconnect_s=0.0)
    yield CanonCamera(options, DeviceContext("side", SystemClock()))


def test_it_is_found_and_opened_by_serial(camera: CanonCamera) -> None:
    rows = find_canons()
    assert [row["serial"] for row in rows] == ["0.1"]
    with camera:
        assert camera.info.serial == "0.1"
        assert camera.port.startswith("usb:")
        assert camera.all_settings()["shutterspeed"]["choices"]


def test_stills_are_downloaded_whole(camera: CanonCamera, picture: Path) -> None:
    wanted = hashlib.sha256(picture.read_bytes()).hexdigest()
    with camera:
        camera.configure(CameraSettings(mode=CameraMode.STILL))
        frames = [camera.snap() for _ in range(3)]
    for frame in frames:
        assert frame.encoded is not None
        assert hashlib.sha256(frame.encoded).hexdigest() == wanted
        assert frame.size == (64, 48)
    assert len({frame.meta["name"] for frame in frames}) == 3


def test_a_body_without_live_view_says_so(camera: CanonCamera) -> None:
    with camera:
        with pytest.raises(UnsupportedError):
            camera.configure(CameraSettings(mode=CameraMode.LIVE))

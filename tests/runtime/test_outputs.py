"""Windows and virtual cameras, as near to the real ones as this machine lets."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from camera_rig.errors import UnsupportedError
from models.runtime.live_data import Coded, LiveFrame
from models.runtime.outputs import VirtualCamera, Window

WINDOW = """
import cv2
from tests.runtime.test_outputs import frame_of
from models.runtime.outputs import Window
with Window("trial") as window:
    shown = [window.show(frame_of(n)) for n in range(5)]
    cv2.destroyWindow("trial")  # as its own button does
    print(shown, window.show(frame_of(5)), window.show(frame_of(6)))
"""


def frame_of(number: int, size: int = 64) -> LiveFrame:
    """A frame whose three colours differ everywhere."""
    picture = np.zeros((size, size + 32, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 200, 100 + number, 20
    picture[: size // 2] //= 2
    picture.setflags(write=False)
    return LiveFrame(picture, number, None, None, 0.0, {}, False, "", None, number, "Ada",
                     Coded(picture, 85))  # fmt: skip


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb-run")
def test_a_window_shows_frames_until_it_is_closed():
    done = subprocess.run(
        ["xvfb-run", "-a", sys.executable, "-c", WINDOW],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "[True, True, True, True, True] False False", done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_without_a_display_the_window_says_so_and_the_process_lives(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UnsupportedError, match="there is no display") as caught:
        Window()
    assert "rig preview" in caught.value.hint


def test_a_virtual_camera_that_is_not_there_is_said():
    pytest.importorskip("pyvirtualcam")
    if list(Path("/dev").glob("video*")):
        pytest.skip("there are video devices here")
    with pytest.raises(UnsupportedError, match="no virtual camera") as caught:
        VirtualCamera(frame_of(1))
    assert "v4l2loopback" in caught.value.hint


def test_a_virtual_camera_gets_every_colour_in_its_place():
    """Through pyvirtualcam itself, down to the seam where its device drivers begin."""
    library = pytest.importorskip("pyvirtualcam")
    told, sent = {}, []

    class Device:
        def __init__(self, *, width, height, fps, fourcc, **_):
            told.update(width=width, height=height, fps=fps, fourcc=fourcc)

        def close(self):
            told["closed"] = True

        def send(self, frame):
            sent.append(np.array(frame))

        def device(self):
            return "trial"

        def native_fmt(self):
            return None

    library.register_backend("trial", Device)
    with VirtualCamera(frame_of(1)) as camera:
        assert camera.show(frame_of(1)) and camera.show(frame_of(2))
        assert camera.device == "trial" and camera.size == (96, 64)
    assert told["closed"] and (told["width"], told["height"]) == (96, 64)
    assert told["fourcc"] == library.camera.encode_fourcc(library.PixelFormat.RGB.value)
    for number, frame in enumerate(sent, start=1):
        assert np.array_equal(frame.reshape(64, 96, 3), frame_of(number).picture)

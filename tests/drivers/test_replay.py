"""A folder and a video as a camera, on a clock that the tests move."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from camera_rig.clock import ManualClock
from camera_rig.contracts import CameraSettings, DeviceContext
from camera_rig.drivers.replay import ReplayCamera, ReplayOptions
from camera_rig.errors import (
    ConfigError,
    ConnectError,
    RigTimeoutError,
    StateError,
    StorageError,
    UnsupportedError,
)
from tests.contract import CameraContract

COUNT = 12


def replay(path: Path, **options: object) -> ReplayCamera:
    given = {"path": path, "fps": 100.0, **options}
    return ReplayCamera(ReplayOptions.model_validate(given), DeviceContext("side", ManualClock()))


def picture(number: int, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    shape = (24, 32, 3) if channels == 3 else (24, 32)
    pixels = np.full(shape, 10 * number, dtype)
    pixels[: number + 1, 0] = 255
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), picture(number))  # f10 comes after f9
    return tmp_path


class TestContract(CameraContract):
    timeout_s = 1.0

    @pytest.fixture
    def camera(self, folder: Path) -> ReplayCamera:
        return replay(folder, loop=True)


class TestJpegContract(CameraContract):
    timeout_s = 1.0

    @pytest.fixture
    def camera(self, tmp_path: Path) -> ReplayCamera:
        for number in range(COUNT):
            cv2.imwrite(str(tmp_path / f"{number:03}.jpg"), picture(number))
        return replay(tmp_path, loop=True)


def test_every_picture_once_and_in_order(folder: Path) -> None:
    with replay(folder) as camera:
        camera.start()
        for number in range(COUNT):
            assert camera.next_frame(1.0).pixels[-1, -1, 0] == 10 * number
        with pytest.raises(StateError, match="end of"):
            camera.next_frame(1.0)


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (1, "uint16"), (3, "uint16")])
def test_grey_and_deep_pictures_keep_their_shape(tmp_path: Path, channels: int, dtype: str) -> None:
    source = picture(3, channels, dtype)
    cv2.imwrite(str(tmp_path / "a.png"), source)
    with replay(tmp_path, linear=True) as camera:
        frame = camera.snap()
    assert frame.linear
    assert frame.pixels.shape == source.shape
    assert frame.pixels.dtype == source.dtype
    assert np.array_equal(frame.pixels, source[..., ::-1] if channels == 3 else source)


def test_a_lossless_video_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "take.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25.0, (32, 24))
    for number in range(COUNT):
        writer.write(picture(number))
    writer.release()
    with replay(path, fps=0) as camera:
        assert camera.capabilities.nominal_fps == pytest.approx(25.0)
        camera.start()
        frames = [camera.next_frame(1.0) for _ in range(COUNT)]
    for number, frame in enumerate(frames):
        assert np.array_equal(frame.pixels, picture(number)[..., ::-1])
    assert np.diff([frame.captured_ns for frame in frames]) == pytest.approx(40e6)


def test_original_times_set_the_pace(folder: Path) -> None:
    times = [1_000 + number**2 * 10_000_000 for number in range(COUNT)]
    (folder / "frames.csv").write_text("captured_ns\n" + "\n".join(map(str, times)) + "\n")
    with replay(folder, fps=0) as camera:
        camera.start()
        frames = [camera.next_frame(5.0) for _ in range(COUNT)]
    got = np.array([frame.captured_ns for frame in frames])
    assert np.array_equal(got - got[0], np.array(times) - times[0])


def test_a_slow_reader_gets_gaps(folder: Path) -> None:
    with replay(folder, queue_frames=3) as camera:
        camera.start()
        camera.clock.sleep(0.095)
        assert camera.latest_frame(1.0).sequence == 9
        frame = camera.next_frame(1.0)
        assert frame.sequence == 7
        assert frame.meta["lost_before"] == 7


def test_no_picture_before_its_time(folder: Path) -> None:
    with replay(folder, fps=1.0) as camera:
        camera.start()
        camera.next_frame(0.1)
        with pytest.raises(RigTimeoutError):
            camera.next_frame(0.5)
        assert camera.next_frame(0.6).sequence == 1


def test_unpaced_gives_all_at_once(folder: Path) -> None:
    with replay(folder, paced=False) as camera:
        camera.start()
        before = camera.clock.now_ns()
        frames = [camera.next_frame(1.0) for _ in range(COUNT)]
        assert camera.clock.now_ns() == before
        assert [frame.sequence for frame in frames] == list(range(COUNT))


def test_a_replay_takes_no_settings(folder: Path) -> None:
    with replay(folder, exposure_s=0.01) as camera:
        assert camera.configure(CameraSettings()).exposure_s == 0.01
        with pytest.raises(UnsupportedError):
            camera.configure(CameraSettings(exposure_s=0.02))


def test_what_cannot_be_replayed_says_why(folder: Path) -> None:
    with pytest.raises(ConnectError, match="nothing to replay"):
        replay(folder / "absent").open()
    with pytest.raises(ConfigError, match="no times"):
        replay(folder, fps=0).open()
    (folder / "frames.csv").write_text("time\n1\n")
    with pytest.raises(ConfigError, match="no column captured_ns"):
        replay(folder).open()
    (folder / "frames.csv").write_text("captured_ns\n1\n2\n")
    with replay(folder) as camera, pytest.raises(StorageError, match="more pictures"):
        camera.start()
        for _ in range(COUNT):
            camera.next_frame(1.0)
    (folder / "frames.csv").write_text("captured_ns\n2\n1\n")
    with pytest.raises(ConfigError, match="do not grow"):
        replay(folder).open()
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(ConnectError, match="no picture"):
        replay(empty).open()
    text = folder / "notes.txt"
    text.write_text("no video")
    with pytest.raises(ConnectError, match="cannot be read as a video"):
        replay(text).open()

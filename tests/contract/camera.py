"""What every camera driver must do."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.contracts import Camera, CameraMode, CameraSettings, DeviceKind, Frame
from camera_rig.errors import RigTimeoutError, StateError, UnsupportedError
from tests.contract.cable import Cable, LifeCycle


class CameraContract(LifeCycle):
    """Subclass gives the fixture ``camera``: an unopened camera, streaming on demand."""

    kind = DeviceKind.CAMERA
    timeout_s = 2.0

    @pytest.fixture
    def camera(self) -> Camera:
        raise NotImplementedError

    def use(self, device: Camera) -> object:
        if not device.is_open or not device.is_streaming:
            device.start()
        frame = device.next_frame(self.timeout_s)
        return frame

    def test_life_cycle(self, camera: Camera) -> None:
        self.check_opens_once_and_tells_who_it_is(camera)

    def test_opens_again(self, camera: Camera) -> None:
        self.check_opens_again(camera)

    def test_lost_link(self, camera: Camera, cable: Cable | None) -> None:
        self.check_lost_link(camera, cable)

    def test_absent(self, camera: Camera, cable: Cable | None) -> None:
        self.check_absent_device(camera, cable)

    def test_frames_come_in_order_and_are_whole(self, camera: Camera) -> None:
        with camera:
            camera.start()
            frames = [camera.next_frame(self.timeout_s) for _ in range(5)]
            for frame in frames:
                self.check_frame(camera, frame)
            sequence = [frame.sequence for frame in frames]
            assert sequence == sorted(set(sequence))
            times = [frame.captured_ns for frame in frames]
            assert times == sorted(set(times))

    def test_lost_and_repeated_frames_are_told(self, camera: Camera) -> None:
        with camera:
            camera.start()
            expected, lost, repeated, previous = 0, 0, 0, None
            for _ in range(12):
                frame = camera.next_frame(self.timeout_s)
                assert frame.meta.get("lost_before", 0) == frame.sequence - expected
                same = previous is not None and np.array_equal(previous.pixels, frame.pixels)
                assert frame.meta.get("repeated", False) == same
                lost += frame.sequence - expected
                repeated += same
                expected, previous = frame.sequence + 1, frame
            readings = camera.health().readings
            assert readings["frames_delivered"] == 12
            assert readings["frames_lost"] == lost
            assert readings["frames_repeated"] == repeated

    def test_numbers_begin_again_with_each_start(self, camera: Camera) -> None:
        with camera:
            for _ in range(2):
                camera.start()
                assert camera.is_streaming
                frame = camera.next_frame(self.timeout_s)
                assert frame.sequence == frame.meta.get("lost_before", 0)
                camera.stop()
                camera.stop()
                assert not camera.is_streaming

    def test_stream_commands_need_their_state(self, camera: Camera) -> None:
        with camera:
            with pytest.raises(StateError):
                camera.next_frame(0.1)
            with pytest.raises(StateError):
                camera.latest_frame(1.0)
            camera.start()
            with pytest.raises(StateError):
                camera.start()
            with pytest.raises(StateError):
                camera.configure(CameraSettings())
            if not camera.capabilities.snap_while_streaming:
                with pytest.raises(StateError):
                    camera.snap()
        assert not camera.is_streaming

    def test_no_time_no_frame(self, camera: Camera) -> None:
        with camera:
            camera.start()
            camera.next_frame(self.timeout_s)
            with pytest.raises(RigTimeoutError) as told:
                for _ in range(64):
                    camera.next_frame(1e-6)
            assert told.value.hint
            camera.next_frame(self.timeout_s)

    def test_latest_frame_is_fresh_and_not_consumed(self, camera: Camera) -> None:
        with camera:
            camera.start()
            seen = camera.next_frame(self.timeout_s)
            latest = camera.latest_frame(self.timeout_s)
            assert latest.sequence >= seen.sequence
            again = camera.latest_frame(self.timeout_s)
            assert again.sequence >= latest.sequence
            following = camera.next_frame(self.timeout_s)
            assert following.sequence > seen.sequence
            with pytest.raises(RigTimeoutError):
                camera.latest_frame(-10.0)

    def test_settings_read_back(self, camera: Camera) -> None:
        with camera:
            able = camera.capabilities
            wanted = CameraSettings(
                exposure_s=able.exposure_s[0] if able.exposure_s else None,
                iso=able.iso[-1] if able.iso else None,
                size=able.sizes[0] if able.sizes else None,
                mode=able.modes[0],
            )
            got = camera.configure(wanted)
            assert got == camera.settings
            for name in ("iso", "size", "mode"):
                if getattr(wanted, name) is not None:
                    assert getattr(got, name) == getattr(wanted, name)
            if wanted.exposure_s is not None:
                assert got.exposure_s is not None
            # What was read back can be set again.
            assert camera.configure(got) == got

    def test_impossible_settings_are_refused_together(self, camera: Camera) -> None:
        with camera:
            able, before = camera.capabilities, camera.settings
            wanted = CameraSettings(
                exposure_s=1e9 if able.exposure_s else None,
                iso=7 if able.iso else None,
                size=(3, 5) if able.sizes else None,
            )
            count = sum(v is not None for v in (wanted.exposure_s, wanted.iso, wanted.size))
            if not count:
                pytest.skip("this camera does not know its ranges beforehand")
            with pytest.raises(UnsupportedError) as told:
                camera.configure(wanted)
            assert told.value.message.count(";") == count - 1
            assert camera.settings == before

    def test_stills_come_one_by_one(self, camera: Camera) -> None:
        with camera:
            able = camera.capabilities
            if CameraMode.STILL not in able.modes:
                pytest.skip("this camera takes no stills")
            camera.configure(CameraSettings(mode=CameraMode.STILL))
            first, second = camera.snap(), camera.snap()
            self.check_frame(camera, first)
            assert not first.linear
            assert second.captured_ns > first.captured_ns
            assert second.sequence > first.sequence
            if CameraMode.STILL in able.linear_modes:
                camera.configure(CameraSettings(mode=CameraMode.STILL, linear=True))
                raw = camera.snap()
                assert raw.linear
                assert raw.pixels.dtype == np.uint16

    def check_frame(self, camera: Camera, frame: Frame) -> None:
        assert frame.camera == camera.info.serial
        assert frame.captured_ns <= camera.clock.now_ns()
        assert frame.uncertainty_ns >= 0
        assert frame.exposure_s >= 0
        assert not frame.pixels.flags.writeable
        if camera.settings.size is not None:
            assert frame.size == camera.settings.size
        if frame.encoded is not None and frame.encoded[:2] == b"\xff\xd8":
            import cv2

            coded = np.frombuffer(frame.encoded, np.uint8)
            assert np.array_equal(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1], frame.pixels)

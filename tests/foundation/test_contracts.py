"""The policy of the contracts: what every driver gets for nothing."""

from dataclasses import FrozenInstanceError

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.clock import ManualClock
from camera_rig.contracts import CameraMode, CameraSettings, CodedPicture, DeviceContext, Frame
from camera_rig.errors import (
    ConnectError,
    RigTimeoutError,
    SafetyError,
    StateError,
    StorageError,
    UnsupportedError,
)
from camera_rig.jpeg import coded_rgb
from tests.support.toy_drivers import ToyCamera, ToyLight, ToyMirror, ToyOptions, ToyStage


def make(driver, **options):
    return driver(ToyOptions(serial="T1", **options), DeviceContext("toy", ManualClock()))


def frame(**changes):
    values = {
        "picture": np.zeros((2, 3), np.uint8),
        "camera": "A",
        "sequence": 0,
        "captured_ns": 0,
        "uncertainty_ns": 0,
        "exposure_s": 0.0,
    }
    return Frame(**{**values, **changes})


def test_frame_pixels_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        frame().pixels[0, 0] = 1


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3)), np.zeros((2, 3, 4), np.uint8), np.zeros(5, np.uint8)]
)
def test_frame_refuses_what_is_no_picture(bad):
    with pytest.raises(ValueError, match="pixels must be"):
        frame(picture=bad)


def coded(decode, size=(3, 2)):
    return CodedPicture(b"as sent", size, decode)


def test_coded_picture_is_decoded_once_and_only_when_looked_at():
    asked = []

    def decode(data, shrink=1):
        asked.append(data)
        return np.full((2, 3), 7, np.uint8)

    one = frame(picture=coded(decode))
    other = one.with_meta(a=1)
    assert (one.size, one.encoded, asked) == ((3, 2), b"as sent", [])
    assert one.pixels.tolist() == other.pixels.tolist() == [[7] * 3] * 2
    assert asked == [b"as sent"]
    with pytest.raises(ValueError, match="read-only"):
        one.pixels[0, 0] = 1


@pytest.mark.parametrize(
    ("pixels", "error", "why"),
    [
        (np.zeros((3, 2), np.uint8), StorageError, "announced"),
        (np.zeros((2, 3)), ValueError, "must be"),
    ],
)
def test_coded_picture_that_decodes_to_something_else_is_refused(pixels, error, why):
    with pytest.raises(error, match=why):
        _ = frame(picture=coded(lambda _, shrink=1: pixels)).pixels


def test_damaged_picture_is_told_by_whoever_looks():
    def decode(_, shrink=1):
        raise StorageError("torn", hint="check the cable")

    torn = frame(picture=coded(decode))
    for _ in range(2):
        with pytest.raises(StorageError, match="torn"):
            _ = torn.pixels


def test_shrunk_picture_is_the_mean_of_blocks_and_its_size_is_rounded_up():
    ramp = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    small = frame(picture=ramp).shrunk(4)
    assert small.shape == (2, 2, 3)
    assert small[0, 0].tolist() == ramp[:4, :4].mean(axis=(0, 1)).round().tolist()
    assert frame(picture=ramp).shrunk(1) is not ramp
    with pytest.raises(ValueError, match="not by 3"):
        frame(picture=ramp).shrunk(3)


def test_shrunk_jpeg_is_the_whole_one_made_smaller():
    y, x = np.mgrid[:90, :121]
    smooth = np.stack([x, y, 128 + 60 * np.sin((x + y) / 9)], axis=2).astype(np.uint8)
    _, sent = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    one = frame(picture=coded_rgb(bytes(sent)))
    for by in (2, 4, 8):
        small, wanted = one.shrunk(by), frame(picture=one.pixels).shrunk(by)
        assert small.shape == wanted.shape
        inner = np.s_[:-1, :-1]
        off = small[inner].astype(float) - wanted[inner]
        assert np.abs(off).mean() < 2.0


def test_frames_do_not_change():
    with pytest.raises(FrozenInstanceError):
        frame().sequence = 3


def test_frame_meta_cannot_be_written_and_size_is_width_height():
    one = frame(meta={"a": 1})
    with pytest.raises(TypeError):
        one.meta["a"] = 2
    assert one.size == (3, 2)
    assert one.with_meta(b=2).meta == {"a": 1, "b": 2}


def test_device_life():
    camera = make(ToyCamera)
    assert not camera.health().ok
    with pytest.raises(StateError):
        _ = camera.info
    with camera:
        assert camera.info.serial == "T1"
        with pytest.raises(StateError, match="already open"):
            camera.open()
    camera.close()
    assert not camera.is_open


def test_failed_open_leaves_nothing_open():
    camera = make(ToyCamera, unplugged=True)
    with pytest.raises(ConnectError, match="no such device"):
        camera.open()
    assert not camera.is_open


def test_camera_counts_lost_and_repeated_frames():
    with make(ToyCamera) as camera:
        camera.start()
        for sequence, value in ((0, 1), (1, 1), (4, 2)):
            camera.push(sequence, value)
        first, second, third = (camera.next_frame(0.1) for _ in range(3))
        assert not first.meta
        assert second.meta == {"lost_before": 0, "repeated": True}
        assert third.meta == {"lost_before": 2, "repeated": False}
        readings = camera.health().readings
        assert (readings["frames_lost"], readings["frames_repeated"]) == (2, 1)


def test_frames_lost_before_the_first_are_counted():
    with make(ToyCamera) as camera:
        camera.start()
        camera.push(3)
        assert camera.next_frame(0.1).meta["lost_before"] == 3


def test_camera_timeout_and_staleness():
    with make(ToyCamera) as camera:
        with pytest.raises(StateError, match="not streaming"):
            camera.next_frame(0.1)
        camera.start()
        with pytest.raises(RigTimeoutError, match=r"within 0\.1 s"):
            camera.next_frame(0.1)
        with pytest.raises(RigTimeoutError, match="none came yet"):
            camera.latest_frame(0.1)
        camera.push(0)
        assert camera.latest_frame(0.1).sequence == 0
        camera.clock.sleep(0.2)
        with pytest.raises(RigTimeoutError, match=r"0\.200 s old"):
            camera.latest_frame(0.1)


def test_configure_names_every_reason_and_sets_nothing():
    with make(ToyCamera) as camera:
        before = camera.settings
        with pytest.raises(UnsupportedError) as caught:
            camera.configure(CameraSettings(exposure_s=9.0, iso=123, linear=True))
        for word in ("exposure 9.0 s", "ISO 123", "no linear data in live"):
            assert word in caught.value.message
        assert camera.settings is before
        got = camera.configure(CameraSettings(iso=200))
        assert got.iso == 200 and None not in (got.exposure_s, got.size)


def test_no_still_during_live_view_unless_the_body_can():
    with make(ToyCamera) as camera:
        camera.start()
        with pytest.raises(StateError, match="still during live view"):
            camera.snap()
        with pytest.raises(StateError, match="stop the stream"):
            camera.configure(CameraSettings(mode=CameraMode.STILL))
        camera.stop()
        assert camera.snap().pixels[0, 0] == 7


def test_closing_a_streaming_camera_stops_it():
    camera = make(ToyCamera)
    camera.open()
    camera.start()
    camera.close()
    assert camera.wire == ["stop"] and not camera.is_streaming


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ([1.0, 2.0, 3.0], "takes 4 voltages"),
        ([1.0, 2.0, 3.0, np.nan], "actuator 3 is not a number"),
        ([1.0, 2.0, 3.0, np.inf], "actuator 3 is not a number"),
        ([0.0, 301.0, -1.0, 0.0], "actuator 1: 301.00 V is outside 0 to 300 V"),
    ],
)
def test_mirror_refuses_before_sending(command, word):
    with make(ToyMirror) as mirror:
        with pytest.raises(SafetyError, match=word):
            mirror.apply(command)
        assert mirror.sent == []


@given(st.lists(st.floats(0, 300), min_size=4, max_size=4))
def test_mirror_never_moves_faster_than_its_slew(target_v):
    with make(ToyMirror) as mirror:
        start_v, start_ns = mirror.read_back(), mirror.clock.now_ns()
        mirror.apply(target_v, reason="test")
        path = np.array([start_v, *mirror.sent])
        step_limit_v = mirror.slew_v_per_s * mirror.step_s
        assert np.abs(np.diff(path, axis=0)).max() <= step_limit_v * (1 + 1e-9)
        assert np.array_equal(mirror.read_back(), np.array(target_v))
        waited_s = (mirror.clock.now_ns() - start_ns) * 1e-9
        assert waited_s >= np.abs(np.array(target_v) - 150).max() / mirror.slew_v_per_s - 0.01


def test_every_command_is_told_with_its_reason():
    with make(ToyMirror) as mirror:
        told = []
        mirror.observers.append(told.append)
        mirror.apply([100.0] * 4, reason="poke")
        mirror.park()
        assert [event.reason for event in told] == ["poke", "park"]
        assert told[0].steps == 5


def test_hot_mirror_takes_only_the_way_to_safety():
    with make(ToyMirror, temperature_c=80.0) as mirror:
        mirror.max_temperature_c = 60.0
        with pytest.raises(SafetyError, match=r"glass 80\.0 °C, limit 60 °C"):
            mirror.apply([100.0] * 4)
        mirror.park()
        assert np.array_equal(mirror.read_back(), [150.0] * 4)


def test_unknown_temperature_counts_as_hot():
    with make(ToyMirror, temperature_c=float("nan")) as mirror:
        mirror.max_temperature_c = 60.0
        with pytest.raises(SafetyError, match="too hot"):
            mirror.apply([100.0] * 4)


def test_relax_sweeps_and_comes_back_even_when_cancelled():
    with make(ToyMirror) as mirror:
        mirror.apply([10.0, 20.0, 30.0, 40.0])
        steps = list(mirror.relax())
        assert len(steps) == steps[0].total
        assert steps[0].command_v[0] == 300.0 and steps[1].command_v[0] < 10
        assert np.array_equal(mirror.read_back(), [10.0, 20.0, 30.0, 40.0])
        cancelled = mirror.relax()
        next(cancelled)
        cancelled.close()
        assert np.array_equal(mirror.read_back(), [10.0, 20.0, 30.0, 40.0])


def test_mirror_without_maker_patterns_says_so():
    with make(ToyMirror) as mirror, pytest.raises(UnsupportedError, match="no Zernike patterns"):
        mirror.maker_pattern({(2, 0): 0.5})


def test_stage_refuses_and_halts():
    with make(ToyStage) as stage:
        for bad_mm in (-1.0, 51.0, float("nan")):
            with pytest.raises(SafetyError, match="outside 0 to 50 mm"):
                stage.move_to(bad_mm, 1.0)
        assert stage.move_to(20.0, 1.0) == 20.0
        with pytest.raises(RigTimeoutError):
            stage.move_to(13.0, 1.0)
        assert stage.wire == ["halt"]


def test_light_is_dark_after_closing():
    light = make(ToyLight)
    with light:
        light.set(0.5)
        light.shutter(True)
        for bad in (-0.1, 1.1, float("nan")):
            with pytest.raises(SafetyError):
                light.set(bad)
        with pytest.raises(SafetyError):
            light.pulse(0)
    assert light.wire == ["set 0.5", "open", "shut", "set 0"]


def test_lost_lamp_does_not_stop_the_close(caplog):
    light = make(ToyLight, fail_on_close=True)
    light.open()
    light.close()
    assert not light.is_open
    assert "light_not_shut" in caplog.text

"""The Canon driver against emulated bodies that libgphoto2 takes for real ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest

from camera_rig.clock import SystemClock
from camera_rig.contracts import CameraMode, CameraSettings, Device, DeviceContext, Frame
from camera_rig.drivers.canon import CanonCamera, CanonOptions, find_canons
from camera_rig.errors import (
    ConfigError,
    ConnectError,
    RigError,
    RigTimeoutError,
    StateError,
    UnsupportedError,
)
from camera_rig.jpeg import jpeg_size
from camera_rig.peers import PeerProcess
from camera_rig.peers.m50 import M50Options
from tests.contract import Cable, CameraContract
from tests.peers.fixtures import SERIALS, two_m50s

__all__ = ["two_m50s"]

pytest.importorskip("gphoto2")

TINY = {"large_size": (320, 180), "small_size": (160, 90), "still_size": (300, 200), "fps": 60.0}


def canon(*ports: str, serial: str = SERIALS[0], **options: object) -> CanonCamera:
    given = {"serial": serial, "ports": ports, "stall_s": 5.0, **options}
    return CanonCamera(CanonOptions.model_validate(given), DeviceContext("side", SystemClock()))


def port_of(peer: PeerProcess) -> str:
    return str(peer.address["port"])


def plug(peer: PeerProcess, port: str) -> None:
    peer.tell(f"plug {port.rpartition(':')[2]}")


@pytest.fixture
def body() -> Iterator[PeerProcess]:
    with PeerProcess("m50", M50Options(**TINY)) as peer:
        yield peer


@pytest.fixture(scope="module")
def steady() -> Iterator[CanonCamera]:
    """One camera, opened once, for tests that only need its stills and settings."""
    options = M50Options(**TINY, busy_chance=0.3, seed=3, clock_offset_s=12.0)
    with PeerProcess("m50", options) as peer, canon(port_of(peer)) as camera:
        yield camera


class TestContract(CameraContract):
    @pytest.fixture
    def camera(self, body: PeerProcess) -> CanonCamera:
        return canon(port_of(body), reconnect_s=0.0, open_s=10.0)

    @pytest.fixture
    def cable(self, body: PeerProcess) -> Cable:
        def pull() -> None:
            body.tell("unplug")

        return Cable(pull, lambda: plug(body, port_of(body)))

    def use(self, device: Device) -> object:
        # A few pictures may have arrived before the cable was pulled.
        frames: list[object] = []
        for _ in range(8):
            frames.append(super().use(device))
        return frames


def next_after_restart(camera: CanonCamera) -> Frame:
    for _ in range(2000):
        frame = camera.next_frame(10.0)
        if "restart" in frame.meta:
            return frame
    raise AssertionError("the camera did not come back")


def test_two_bodies_are_told_apart_by_serial_alone(
    two_m50s: tuple[PeerProcess, PeerProcess],
) -> None:
    ports = [port_of(peer) for peer in two_m50s]
    found = {row["serial"]: row["port"] for row in find_canons(tuple(ports))}
    assert found == dict(zip(SERIALS, ports, strict=True))
    with canon(*ports, serial=SERIALS[1]) as second, canon(*ports, serial=SERIALS[0]) as first:
        for camera, peer in ((first, two_m50s[0]), (second, two_m50s[1])):
            camera.start()
            assert camera.next_frame(5.0).camera == peer.address["serial"]
        assert first.worker_pid != second.worker_pid


def test_a_wrong_serial_is_refused_and_what_is_there_is_told(body: PeerProcess) -> None:
    with pytest.raises(ConnectError, match=f"has serial {SERIALS[0]}") as told:
        canon(port_of(body), serial="999999999999").open()
    assert "rig camera list" in told.value.hint


@pytest.mark.parametrize("port", ["usb:001,004", "ptpip:host", "COM3"])
def test_ports_that_change_at_each_replug_are_refused(port: str) -> None:
    with pytest.raises(ConfigError, match="port"):
        canon(port).open()


def test_a_killed_worker_comes_back_and_the_gap_is_recorded(body: PeerProcess) -> None:
    with canon(port_of(body)) as camera:
        camera.start()
        for _ in range(20):
            camera.next_frame(5.0)
        victim = camera.worker_pid
        os.kill(victim, signal.SIGKILL)
        frame = next_after_restart(camera)
        assert camera.worker_pid != victim
        assert frame.meta["lost_before"] == frame.meta["restart"]["lost"] > 0
        assert "signal 9" in frame.meta["restart"]["reason"]
        assert camera.next_frame(5.0).sequence == frame.sequence + 1
        readings = camera.health().readings
        assert readings["restarts"] == 1
        assert readings["frames_lost"] >= frame.meta["lost_before"]


def test_a_body_that_returns_on_another_port_is_found_by_serial(
    two_m50s: tuple[PeerProcess, PeerProcess],
) -> None:
    first, second = two_m50s
    ports = (port_of(first), port_of(second))
    with canon(*ports, serial=SERIALS[0]) as camera:
        camera.configure(CameraSettings(iso=800))
        camera.start()
        camera.next_frame(5.0)
        first.tell("unplug")
        second.tell("unplug")
        plug(first, port_of(second))  # the two have changed places
        frame = next_after_restart(camera)
        assert frame.camera == SERIALS[0]
        camera.stop()
        assert camera.port == port_of(second)
        assert camera.configure(CameraSettings()).iso == 800


def test_a_body_that_stays_away_is_an_error(body: PeerProcess) -> None:
    with canon(port_of(body), reconnect_s=0.5) as camera:
        camera.start()
        camera.next_frame(5.0)
        body.tell("unplug")
        with pytest.raises(ConnectError, match="did not come back"):
            for _ in range(100):
                camera.next_frame(10.0)
        assert not camera.health().ok


def test_closing_does_not_wait_for_a_camera_that_is_away(body: PeerProcess) -> None:
    camera = canon(port_of(body), reconnect_s=60.0)
    camera.open()
    camera.start()
    camera.next_frame(5.0)
    body.tell("unplug")
    while camera.health().ok:
        pass
    camera.close()
    assert camera.worker_pid == 0
    plug(body, port_of(body))
    with camera:  # nobody holds the body
        camera.start()
        assert camera.next_frame(5.0).sequence == 0


def test_live_view_size_is_read_from_the_pictures(body: PeerProcess) -> None:
    with canon(port_of(body), live_view_size="small") as camera:
        assert camera.configure(CameraSettings()).size == (160, 90)
        assert camera.configure(CameraSettings(size=(320, 180))).size == (320, 180)
        with pytest.raises(UnsupportedError, match="160x90, 320x180"):
            camera.configure(CameraSettings(size=(640, 480)))


def test_encoded_bytes_are_the_cameras_own(body: PeerProcess) -> None:
    with canon(port_of(body)) as camera:
        camera.start()
        frames = [camera.next_frame(5.0) for _ in range(30)]
    numbers = []
    for frame in frames:
        assert frame.encoded is not None
        assert jpeg_size(frame.encoded) == frame.size == (320, 180)
        comment = frame.encoded[6 : 2 + 2 + frame.encoded[5]].decode()
        numbers.append(int(comment.removeprefix("live ")))
    # Bytes of a released CameraFile would be repeated, zero, or torn.
    assert numbers == sorted(set(numbers))


def test_a_slow_reader_gets_gaps_not_old_pictures(body: PeerProcess) -> None:
    with canon(port_of(body), queue_frames=4) as camera:
        camera.start()
        first = camera.next_frame(5.0)
        while camera.latest_frame(5.0).sequence < first.sequence + 12:
            pass
        frame = camera.next_frame(5.0)
        assert frame.meta["lost_before"] > 0
        assert camera.health().readings["frames_dropped_by_host"] >= frame.meta["lost_before"]


def test_stills_in_a_row_with_busy_answers(steady: CanonCamera) -> None:
    steady.configure(CameraSettings(mode=CameraMode.STILL, exposure_s=1 / 1000))
    frames = [steady.snap() for _ in range(25)]
    assert len({frame.meta["name"] for frame in frames}) == 25
    assert len({frame.encoded for frame in frames}) == 25
    assert sum(frame.meta["busy_answers"] for frame in frames) > 0
    assert all(frame.meta["command_to_frame_s"] > 0 for frame in frames)
    assert steady.health().readings["stray_files"] == 0


def test_raw_is_linear_in_light(steady: CanonCamera) -> None:
    levels = []
    for exposure_s in (1 / 1000, 1 / 500, 1 / 250):
        steady.configure(
            CameraSettings(
                mode=CameraMode.STILL, linear=True, exposure_s=exposure_s, iso=100, aperture=5.6
            )
        )
        frame = steady.snap()
        assert frame.linear
        assert frame.meta["name"].endswith(".cr3")
        levels.append(float(np.median(frame.pixels[:40, 60:100])))
    assert levels[1] / levels[0] == pytest.approx(2.0, rel=0.03)
    assert levels[2] / levels[1] == pytest.approx(2.0, rel=0.03)


def test_camera_clock_offset_is_told(steady: CanonCamera) -> None:
    readings = steady.health().readings
    limit_s = 3 * readings["camera_clock_uncertainty_s"]
    assert readings["camera_clock_offset_s"] == pytest.approx(12.0, abs=limit_s)


def test_what_a_body_does_not_have_is_refused(steady: CanonCamera) -> None:
    before = steady.settings
    with pytest.raises(UnsupportedError, match="ISO instead of gain"):
        steady.configure(CameraSettings(gain=2.0))
    assert steady.settings == before


def test_the_nearest_third_of_a_stop_is_taken_and_told(steady: CanonCamera) -> None:
    got = steady.configure(CameraSettings(mode=CameraMode.STILL, exposure_s=0.011))
    assert got.exposure_s == 0.01


def test_settings_by_name(steady: CanonCamera) -> None:
    rows = steady.all_settings()
    assert rows["eosserialnumber"]["value"] == SERIALS[0]
    assert "400" in rows["iso"]["choices"]
    assert steady.set_setting("iso", "400") == "400"
    with pytest.raises(UnsupportedError, match="cannot be '7'"):
        steady.set_setting("iso", "7")
    with pytest.raises(UnsupportedError):
        steady.set_setting("warpdrive", "on")


def test_auto_power_off_that_cannot_be_set_is_told(steady: CanonCamera) -> None:
    assert any("autopoweroff" in warning for warning in steady.health().warnings)


def test_no_stills_during_live_view(body: PeerProcess) -> None:
    with canon(port_of(body)) as camera:
        camera.configure(CameraSettings(mode=CameraMode.STILL))
        with pytest.raises(StateError):
            camera.start()


def test_no_focus_says_what_to_do() -> None:
    with PeerProcess("m50", M50Options(**TINY, autofocus_fails=True)) as peer:
        with canon(port_of(peer)) as camera:
            camera.configure(CameraSettings(mode=CameraMode.STILL))
            with pytest.raises(StateError, match="still") as told:
                camera.snap()
            assert "manual focus" in told.value.hint


@pytest.mark.slow
def test_an_idle_camera_is_kept_awake() -> None:
    # The library tells the body to stay on every ten seconds, but only while it is used.
    with PeerProcess("m50", M50Options(**TINY, sleep_after_s=13.0)) as peer:
        with canon(port_of(peer), reconnect_s=0.0) as camera:
            SystemClock().sleep(14.0)
            assert camera.health().ok
        assert peer.tell("stats")["kept_on"] >= 1


@pytest.mark.slow
def test_a_slow_link_is_slow_but_whole() -> None:
    with PeerProcess("m50", M50Options(**TINY, link_bytes_per_s=400_000)) as peer:
        with canon(port_of(peer)) as camera:
            camera.start()
            for _ in range(20):
                frame = camera.next_frame(5.0)
            assert frame.size == (320, 180)
            assert frame.meta["live_fps"] < 55


def test_a_silent_worker_is_replaced(body: PeerProcess) -> None:
    with canon(port_of(body), stall_s=1.0) as camera:
        camera.start()
        camera.next_frame(5.0)
        os.kill(camera.worker_pid, signal.SIGSTOP)
        assert "stood still" in next_after_restart(camera).meta["restart"]["reason"]


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (-110, RigTimeoutError, "switch the camera off and on"),
        (-53, ConnectError, "gvfs"),
        (-7, ConnectError, "cable"),
        (-1, StateError, "manual focus"),
        (-6, UnsupportedError, "no such setting"),
        (-105, ConnectError, "update"),
    ],
)
def test_library_codes_become_errors_with_a_remedy(
    code: int, kind: type[RigError], word: str
) -> None:
    from camera_rig.drivers._gphoto_errors import rig_error

    error = rig_error(code, "text", "opening")
    assert type(error) is kind
    assert word in error.hint
    assert str(code) in error.message

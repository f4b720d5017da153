"""The stage driver against an emulated APT controller on a pseudo-terminal."""

from __future__ import annotations

import random
import threading

import pytest

from camera_rig.clock import SystemClock
from camera_rig.contracts import DeviceContext
from camera_rig.drivers.apt_stage import AptStage, AptStageOptions
from camera_rig.errors import ConfigError, ConnectError, RigTimeoutError, StateError
from camera_rig.peers import PeerProcess
from tests.contract import Cable, StageContract
from tests.peers.fixtures import apt_peer, plug_of

__all__ = ["apt_peer"]

pytest.importorskip("thorlabs_apt_device")

COUNTS_PER_MM = 34304.0


def stage_at(peer: PeerProcess, **options: object) -> AptStage:
    given = {
        "serial": "27000001",
        "port": peer.address["port"],
        "counts_per_mm": COUNTS_PER_MM,
        "limits_mm": (1.0, 12.0),
        **options,
    }
    return AptStage(AptStageOptions.model_validate(given), DeviceContext("stage", SystemClock()))


@pytest.fixture
def stage(apt_peer: PeerProcess) -> AptStage:
    return stage_at(apt_peer, reply_s=1.0)


class TestContract(StageContract):
    @pytest.fixture
    def stage(self, apt_peer: PeerProcess) -> AptStage:
        return stage_at(apt_peer, reply_s=1.0, limits_mm=(0.0, 12.0))

    @pytest.fixture
    def cable(self, apt_peer: PeerProcess) -> Cable:
        return plug_of(apt_peer)


def test_opening_does_not_home(stage: AptStage, apt_peer: PeerProcess) -> None:
    with stage:
        assert stage.position_mm == pytest.approx(5.0)
        stage.clock.sleep(1.2)  # the library homes one second after opening, unless told not to
    assert apt_peer.tell("state") == {"counts": 171520.0, "homed": False, "moves": 0}


def test_a_report_that_comes_while_the_library_is_built_does_not_end_its_reader(
    stage: AptStage, apt_peer: PeerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thorlabs_apt_device.devices.aptdevice import APTDevice

    built = APTDevice.__init__

    def slowly(self: object, *given: object, **named: object) -> None:
        built(self, *given, **named)  # from here on the reader runs, half the fields are missing
        apt_peer.tell("leave_report")
        stage.clock.sleep(0.3)

    monkeypatch.setattr(APTDevice, "__init__", slowly)
    with stage:
        assert stage.position_mm == pytest.approx(5.0)


def test_another_controller_is_refused(apt_peer: PeerProcess) -> None:
    with pytest.raises(ConnectError, match="27000001, not 27000009"):
        stage_at(apt_peer, serial="27000009").open()


def test_limits_must_be_in_order(apt_peer: PeerProcess) -> None:
    with pytest.raises(ConfigError):
        stage_at(apt_peer, limits_mm=(2.0, 1.0))


def test_many_random_moves(stage: AptStage) -> None:
    goals = random.Random(5)
    with stage:
        for _ in range(6):
            goal = goals.uniform(1.0, 12.0)
            assert stage.move_to(goal, 10.0) == pytest.approx(goal, abs=0.005)
        readings = stage.health().readings
    assert readings["completions_lost"] == readings["completions_stale"] == 0


def test_a_lost_completion_is_survived_and_counted(stage: AptStage, apt_peer: PeerProcess) -> None:
    with stage:
        apt_peer.tell("lose 1")
        assert stage.move_to(3.0, 10.0) == pytest.approx(3.0, abs=0.005)
        assert stage.health().readings["completions_lost"] == 1


def test_the_end_of_an_earlier_move_is_not_taken_for_this_one(
    stage: AptStage, apt_peer: PeerProcess
) -> None:
    with stage:
        stage.move_to(2.0, 10.0)
        apt_peer.tell("stale 1")
        assert stage.move_to(11.0, 10.0) == pytest.approx(11.0, abs=0.005)
        assert stage.health().readings["completions_stale"] == 1


def test_halt_in_mid_move(apt_peer: PeerProcess) -> None:
    with stage_at(apt_peer, limits_mm=(0.0, 50.0)) as stage:
        stage.move_to(0.0, 10.0)
        timer = threading.Timer(0.3, stage.halt)
        timer.start()
        with pytest.raises(StateError, match="halted"):
            stage.move_to(50.0, 10.0)
        timer.join()
        assert 5.0 < stage.position_mm < 45.0


def test_ctrl_c_halts(apt_peer: PeerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage_at(apt_peer, limits_mm=(0.0, 50.0)) as stage:
        stage.move_to(0.0, 10.0)
        wait = stage._reports.next_event
        calls = iter([wait, wait])

        def interrupted(timeout_s: float) -> object:
            call = next(calls, None)
            if call is None:
                raise KeyboardInterrupt
            return call(timeout_s)

        monkeypatch.setattr(stage._reports, "next_event", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.move_to(50.0, 10.0)
        there = stage.position_mm
        assert there < 49.0
        assert stage.position_mm == there


def test_a_blocked_stage_times_out(apt_peer: PeerProcess) -> None:
    with stage_at(apt_peer, limits_mm=(0.0, 60.0)) as stage:  # travel ends at 50 mm
        with pytest.raises(RigTimeoutError, match="60 mm"):
            stage.move_to(60.0, 1.5)

"""The light driver against an emulated trigger box, on a pseudo-terminal and on TCP."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from camera_rig.clock import SystemClock
from camera_rig.contracts import DeviceContext
from camera_rig.drivers.serial_light import SerialLight, SerialLightOptions
from camera_rig.errors import ConnectError, RigTimeoutError
from camera_rig.peers import PeerProcess
from camera_rig.peers.trigger_box import EmulatedTriggerBox, TriggerBoxOptions
from tests.contract import Cable, LightContract
from tests.peers.fixtures import box_peer, plug_of

__all__ = ["box_peer"]


def light_at(peer: PeerProcess, **options: object) -> SerialLight:
    given = {"serial": "SN0001", "port": peer.address["port"], **options}
    return SerialLight(
        SerialLightOptions.model_validate(given), DeviceContext("light", SystemClock())
    )


def until(condition: Callable[[], bool], limit_s: float = 5.0) -> bool:
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def light(box_peer: PeerProcess) -> SerialLight:
    return light_at(box_peer)


class TestContract(LightContract):
    @pytest.fixture
    def light(self, box_peer: PeerProcess) -> SerialLight:
        return light_at(box_peer)

    @pytest.fixture
    def output(self, box_peer: PeerProcess) -> Callable[[], float]:
        return lambda: float(box_peer.tell("state")["output"])

    @pytest.fixture
    def cable(self, box_peer: PeerProcess) -> Cable:
        return plug_of(box_peer)


def test_another_box_is_refused(box_peer: PeerProcess) -> None:
    with pytest.raises(ConnectError, match="SN0001, not SN0002"):
        light_at(box_peer, serial="SN0002").open()


def test_a_late_reply_is_not_taken_for_the_next_answer(
    light: SerialLight, box_peer: PeerProcess
) -> None:
    with light:
        box_peer.tell("late 0.6")
        with pytest.raises(RigTimeoutError):
            light.set(0.25)
        assert until(lambda: light._line is not None and light._line.in_waiting > 0)
        light.set(0.75)
        assert light.health().readings["led"] == 0.75


def test_a_late_reply_in_the_middle_of_the_next_command_is_dropped(
    light: SerialLight, box_peer: PeerProcess
) -> None:
    with light:
        box_peer.tell("late 0.55")
        with pytest.raises(RigTimeoutError):
            light._ask("GET LED")
        box_peer.tell("late 0.2")
        assert light._ask("SET LED 40") == "40"
        assert light.health().readings["late_replies"] >= 1


def test_the_watchdog_is_fed_while_open(box_peer: PeerProcess) -> None:
    with light_at(box_peer, watchdog_s=0.3) as light:
        light.set(1.0)
        light.shutter(True)
        time.sleep(1.0)
        state = box_peer.tell("state")
    assert state["output"] == 1.0
    assert state["dark_by_watchdog"] == 0


def test_a_cut_line_in_mid_pulse_ends_in_the_dark(box_peer: PeerProcess) -> None:
    light = light_at(box_peer, watchdog_s=0.3)
    light.open()
    light.set(1.0)
    light.pulse(10.0)
    assert box_peer.tell("state")["output"] == 1.0
    box_peer.tell("unplug")
    assert until(lambda: box_peer.tell("state")["output"] == 0.0)
    assert box_peer.tell("state")["dark_by_watchdog"] == 1
    light.close()


def test_the_banner_of_a_reset_board_is_skipped() -> None:
    options = TriggerBoxOptions(banner="booting trigger box", transport="tcp")
    with PeerProcess("trigger-box", options) as peer, light_at(peer) as light:
        assert light.info.model == "SIMTRIG"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("*IDN?", "OK SIMTRIG 1.0 SN7"),
        ("#5 PING", "#5 OK"),
        ("SET LED 1001", "ERR 2 out of range"),
        ("SET LED -1", "ERR 1 unknown command"),
        ("PULSE 0", "ERR 2 out of range"),
        ("make coffee", "ERR 1 unknown command"),
        ("GET WATCHDOG", "OK 2000"),
    ],
)
def test_protocol_text(line: str, reply: str) -> None:
    assert EmulatedTriggerBox("SN7").answer(line) == reply

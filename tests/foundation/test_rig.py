"""Opening, closing, locking and interrupting a whole rig."""

import os
import signal
import subprocess
import sys

import pytest

from camera_rig.clock import ManualClock
from camera_rig.errors import ConfigError, GatheredError, StateError
from camera_rig.interrupt import SafeInterrupt
from camera_rig.rig import Rig, RigState
from tests.support.rigs import toy_rig


def test_open_use_close(tmp_path):
    with Rig.open(toy_rig(tmp_path), clock=ManualClock()) as rig:
        assert rig.state is RigState.OPEN
        rig.mirror.apply([10.0] * 4, reason="test")
        snapshot = rig.snapshot()
        assert set(snapshot.devices) == {"privacy", "side", "mirror", "stage", "light"}
        assert all(health.ok for health in snapshot.health.values())
        mirror = rig.mirror
    assert rig.state is RigState.CLOSED and not mirror.is_open
    rig.close()


def test_settings_and_temperature_limit_of_the_file_are_used(tmp_path):
    path = toy_rig(tmp_path, privacy=", settings: {iso: 200}", mirror=", max_temperature_c: 41")
    with Rig.open(path) as rig:
        assert rig.privacy.settings.iso == 200
        assert rig.mirror.max_temperature_c == 41


def test_all_failures_come_in_one_report_and_nothing_stays_open(tmp_path):
    path = toy_rig(tmp_path, side=", unplugged: true", light=", unplugged: true")
    with pytest.raises(GatheredError) as caught:
        Rig.open(path)
    assert [where for where, _ in caught.value.errors] == ["side", "light"]
    # The lock is free again, and so is every device that had been opened.
    mended = toy_rig(tmp_path)
    Rig.open(mended).close()


def test_an_optional_device_may_be_absent(tmp_path):
    path = toy_rig(tmp_path, stage=", unplugged: true, required: false")
    with Rig.open(path) as rig:
        assert set(rig.snapshot().absent) == {"stage"}
        with pytest.raises(StateError, match="the stage is absent: no such device"):
            _ = rig.stage


def test_settings_that_the_camera_refuses_close_it_again(tmp_path):
    path = toy_rig(tmp_path, side=", settings: {iso: 12345}")
    with pytest.raises(GatheredError, match="ISO 12345"):
        Rig.open(path)


def test_only_some_roles(tmp_path):
    with Rig.open(toy_rig(tmp_path), only={"mirror"}) as rig:
        assert set(rig.devices) == {"mirror"}
        with pytest.raises(StateError, match="the side is not open"):
            _ = rig.side
    with pytest.raises(ConfigError, match="has no microscope"):
        Rig.open(toy_rig(tmp_path), only={"microscope"})


def test_a_role_that_is_not_configured_says_what_to_add(tmp_path):
    path = tmp_path / "small.yaml"
    text = toy_rig(tmp_path).read_text().splitlines()
    path.write_text("\n".join(line for line in text if "light" not in line))
    with Rig.open(path) as rig, pytest.raises(StateError, match="has no light") as caught:
        _ = rig.light
    assert "devices.light" in caught.value.hint


def test_a_failing_close_still_closes_the_others(tmp_path):
    rig = Rig.open(toy_rig(tmp_path, mirror=", fail_on_close: true"))
    devices = list(rig.devices.values())
    with pytest.raises(GatheredError, match="broke while closing"):
        rig.close()
    assert rig.state is RigState.CLOSED
    assert not any(device.is_open for device in devices)
    Rig.open(toy_rig(tmp_path)).close()


def test_two_programs_cannot_drive_one_rig(tmp_path):
    path = toy_rig(tmp_path)
    code = f"from camera_rig.rig import Rig; Rig.open({str(path)!r})"
    with Rig.open(path):
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert second.returncode != 0
        assert f"another program drives this rig (process {os.getpid()})" in second.stderr
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_killed_program_frees_its_lock(tmp_path):
    path = toy_rig(tmp_path)
    code = (
        "import os, signal; from camera_rig.rig import Rig; "
        f"rig = Rig.open({str(path)!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    Rig.open(path).close()


def test_first_interrupt_waits_for_a_safe_point_second_stops_at_once():
    before, told = signal.getsignal(signal.SIGINT), []
    with SafeInterrupt(on_first=lambda: told.append("waiting")) as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert told == ["waiting"] and interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_polite_kill_is_a_stop_too_where_asked_for():
    before = signal.getsignal(signal.SIGTERM)
    with SafeInterrupt(also=("SIGTERM", "SIGNOTHING")) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupt_while_closing_still_closes_everything(tmp_path, monkeypatch):
    rig = Rig.open(toy_rig(tmp_path))
    devices = list(rig.devices.values())
    stop_light = rig.light._do_shutter

    def interrupted(open):
        os.kill(os.getpid(), signal.SIGINT)
        stop_light(open)

    monkeypatch.setattr(rig.light, "_do_shutter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rig.close()
    assert not any(device.is_open for device in devices)
    assert rig.state is RigState.CLOSED

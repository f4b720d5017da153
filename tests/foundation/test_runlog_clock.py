"""The run log never tells secrets or pictures; the clocks keep their promises."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_rig.clock import ManualClock, SystemClock
from camera_rig.contracts import Clock
from camera_rig.errors import StorageError
from camera_rig.runlog import start_run_log, stop_run_log

log = logging.getLogger("camera_rig.test")


def lines(handler):
    text = Path(handler.baseFilename).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_fields_are_kept_and_secrets_are_not(tmp_path):
    handler = start_run_log(tmp_path, "test")
    try:
        log.info(
            "event",
            extra={
                "rate_hz": 30.0,
                "pixels": np.zeros((2, 2)),
                "encoded": b"\xff\xd8",
                "data_key": "hunter2",
                "options": {"token": "hunter2", "port": "usb"},
            },
        )
    finally:
        stop_run_log(handler)
    (line,) = lines(handler)
    assert line["event"] == "event" and line["rate_hz"] == 30.0
    assert line["pixels"] == "<ndarray>" and line["encoded"] == "<bytes>"
    assert "hunter2" not in json.dumps(line)
    assert line["options"]["port"] == "usb"


def test_the_file_is_private_and_the_library_silent_without_it(tmp_path, capfd):
    handler = start_run_log(tmp_path / "new", "test")
    stop_run_log(handler)
    (path,) = (tmp_path / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    logging.getLogger("camera_rig").handlers[0].handle(
        log.makeRecord("a", 50, "", 0, "b", (), None)
    )
    assert capfd.readouterr().err == ""


def test_unwritable_folder_is_a_clear_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StorageError, match="cannot write the run log"):
        start_run_log(blocker / "logs", "test")


@given(st.lists(st.floats(0, 1e3), max_size=20))
def test_manual_clock_moves_only_when_slept_on(naps):
    clock = ManualClock(start_ns=5, wall_start_ns=100)
    expected_ns = 5
    for nap_s in naps:
        clock.sleep(nap_s)
        expected_ns += round(nap_s * 1e9)
    assert clock.now_ns() == expected_ns
    assert clock.wall_ns() - clock.now_ns() == 95


def test_wall_time_may_jump_but_monotonic_time_may_not():
    clock = ManualClock()
    clock.step_wall(-3_600_000_000_000)
    assert clock.now_ns() == 0
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_both_clocks_fulfil_the_contract():
    assert isinstance(SystemClock(), Clock) and isinstance(ManualClock(), Clock)
    clock = SystemClock()
    before_ns = clock.now_ns()
    clock.sleep(0)
    assert clock.now_ns() >= before_ns and clock.wall_ns() > 1_600_000_000_000_000_000

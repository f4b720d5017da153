"""Faults: the script, the rates, the disk and the clock."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from camera_rig.twin.faults import Fault, FaultKind, FaultOptions, Faults
from camera_rig.twin.targets import StepWedge
from tests.twin.worlds import lab


def test_a_fault_names_a_role_that_it_can_hit() -> None:
    with pytest.raises(ValidationError, match="brown-out can hit"):
        Fault(kind=FaultKind.BROWN_OUT, device="side")
    with pytest.raises(ValidationError):
        Fault.model_validate({"kind": "unplug", "device": "side", "tpyo": 1})
    with pytest.raises(ValidationError):
        FaultOptions.model_validate({"rates": {"nobody": {"drop": 0.1}}})


def test_faults_cover_their_time_and_can_be_ended() -> None:
    fault = {"kind": "busy", "device": "stage", "at_s": 2.0, "for_s": 1.5}
    faults = Faults(FaultOptions.model_validate({"script": [fault]}), seed=1)
    assert faults.at(FaultKind.BUSY, "stage", 1.99) is None
    assert faults.at(FaultKind.BUSY, "stage", 2.0) is not None
    assert faults.at(FaultKind.BUSY, "light", 2.0) is None
    assert faults.at(FaultKind.BUSY, "stage", 3.5) is None
    assert faults.between(FaultKind.BUSY, "stage", 3.0, 9.0) is not None
    assert faults.between(FaultKind.BUSY, "stage", 3.6, 9.0) is None
    faults.end(FaultKind.BUSY, "stage", 2.5)
    assert faults.at(FaultKind.BUSY, "stage", 2.6) is None
    assert faults.between(FaultKind.BUSY, "stage", 2.6, 9.0) is None


def test_chance_is_the_same_for_the_same_seed() -> None:
    options = FaultOptions.model_validate({"rates": {"side": {"freeze": 0.25}}})
    one, two, other = Faults(options, 4), Faults(options, 4), Faults(options, 5)

    def hits(faults: Faults) -> list[bool]:
        return [faults.by_chance(FaultKind.FREEZE, "side", k) for k in range(2000)]

    assert hits(one) == hits(two) != hits(other)
    assert np.mean(hits(one)) == pytest.approx(0.25, abs=0.04)
    assert not any(one.by_chance(FaultKind.DROP, "side", k) for k in range(100))


def test_scripted_drops_are_gaps_and_freezes_are_told() -> None:
    made = lab(
        faults={
            "script": [
                {"kind": "drop", "device": "side", "at_s": 0.3, "for_s": 0.2},
                {"kind": "freeze", "device": "side", "at_s": 0.8, "for_s": 0.2},
            ]
        }
    )
    made.world.set_scene(StepWedge())
    camera = made.device("side")
    with camera:
        camera.start()
        frames = [camera.next_frame(1.0) for _ in range(30)]
    lost = [frame.meta.get("lost_before", 0) for frame in frames]
    repeated = [frame.meta.get("repeated", False) for frame in frames]
    assert sum(lost) in (5, 6, 7)
    assert max(lost) == sum(lost)
    assert sum(repeated) in (5, 6, 7)


def test_disk_full_and_slow(tmp_path: Path) -> None:
    made = lab(
        faults={
            "script": [
                {"kind": "disk-slow", "device": "disk", "at_s": 1, "for_s": 1, "value": 0.25},
                {"kind": "disk-full", "device": "disk", "at_s": 3, "for_s": 1},
            ]
        }
    )
    disk = made.world.disk
    disk.before_write(tmp_path)
    assert made.world.now_s() == 0.0
    assert disk.free_bytes(tmp_path) > 0
    made.clock.sleep(1.5)
    disk.before_write(tmp_path)
    assert made.world.now_s() == pytest.approx(1.75)
    made.clock.sleep(1.75)
    assert disk.free_bytes(tmp_path) == 0
    with pytest.raises(OSError, match=r"space") as told:
        disk.before_write(tmp_path)
    assert told.value.errno == errno.ENOSPC
    made.clock.sleep(1.0)
    disk.before_write(tmp_path)


def test_civil_time_jumps_and_monotonic_time_does_not() -> None:
    jump = {"kind": "clock-jump", "device": "clock", "at_s": 1.0, "value": -3600.0}
    made = lab(faults={"script": [jump]})
    clock = made.world.clock
    before_wall, before = clock.wall_ns(), clock.now_ns()
    clock.sleep(2.0)
    assert clock.now_ns() - before == 2_000_000_000
    assert clock.wall_ns() - before_wall == -3_598_000_000_000


def test_a_cable_that_came_back_is_still_lost_to_the_open_device() -> None:
    made = lab(faults={"script": [{"kind": "unplug", "device": "light", "at_s": 1, "for_s": 1}]})
    link = made.world.link("light")
    assert link.lost
    link.connect()
    assert not link.lost
    made.clock.sleep(5.0)
    assert link.lost
    link.disconnect()
    link.connect()
    assert not link.lost

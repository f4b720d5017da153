"""The recorder: every frame that came is stored or counted, whatever goes wrong."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from camera_rig.clock import ManualClock, SystemClock
from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Light
from camera_rig.errors import ConnectError, PrivacyError, RigTimeoutError, StateError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.consent import ConsentStore, RecordingPermit, permit_recording
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.manifest import FinishReason
from camera_rig.recording.memory import swap_warnings
from camera_rig.recording.plan import OverloadPolicy, TakePlan, estimate
from camera_rig.recording.reading import Take, TakeReader
from camera_rig.recording.recorder import Recorder, TakeReport
from camera_rig.recording.recovery import verify
from camera_rig.recording.shards import ShardWriter
from camera_rig.recording.vault import KeyAccess, OpenKeys, open_keys
from tests.recording.cameras import drawn_pair

PLAN = TakePlan(duration_s=0.4, warm_up_s=0.2, frame_timeout_s=0.2, stall_limit_s=0.5,
                hold_s=0.1, min_free_gb=0, buffer_mb=64)  # fmt: skip


@pytest.fixture
def permit(keys: KeyStore, tmp_path: Path) -> RecordingPermit:
    consents = ConsentStore(tmp_path / "consent", SystemClock())
    return permit_recording("T01", keys, consents, simulated=True)


def record(
    tmp_path: Path, permit: RecordingPermit, plan: TakePlan = PLAN, clock=None, **changes
) -> TakeReport:
    """Record on a clock that the cameras move: the order is theirs, however busy the machine."""
    clock = clock or ManualClock(start_ns=1_000_000_000)
    with Recorder(drawn_pair(clock, **changes), clock, plan) as recorder:
        recorder.warm_up()
        return recorder.record(permit, tmp_path / "takes")


def opened(take: Take, keys: KeyStore, audit: AuditLog) -> OpenKeys:
    access = KeyAccess(keys, keys.lab_private(), audit, "test")
    return open_keys(take.id, take.manifest.keys, access)


def check_whole(report: TakeReport, keys: KeyStore, audit: AuditLog) -> Take:
    """Every frame of the cameras' counters is stored or told as a gap."""
    take = Take(report.folder)
    assert verify(report.folder, opened(take, keys, audit)).problems == ()
    for role in ("privacy", "side"):
        numbers = [frame.sequence for frame in take.frames(role)]
        gaps = sum(
            line.body["count"]
            for line in take.journal.lines
            if line.kind == "gap"
            and line.body["role"] == role
            and line.body["before_sequence"] <= max(numbers, default=0)
        )
        assert len(set(numbers)) == len(numbers)
        if len(numbers) > 1:
            assert numbers[-1] - numbers[0] + 1 == len(numbers) + gaps
    return take


def test_a_take_runs_to_its_end_with_nothing_lost(tmp_path, permit, keys, audit) -> None:
    report = record(tmp_path, permit)
    assert report.is_clean
    assert report.seal is not None
    take = check_whole(report, keys, audit)
    totals = report.seal.totals
    assert report.seal.reason is FinishReason.DURATION
    assert totals.pairs == pytest.approx(40, abs=2)
    assert totals.frames["side"] == pytest.approx(40, abs=2)
    assert take.manifest.simulated
    assert report.seal.clock_model.source == "online"
    pair = next(TakeReader(take, opened(take, keys, audit)).pairs())
    assert abs(pair.skew_ns) < 10_000_000
    assert pair.uncertainty_ns > 0


def test_in_real_time_nothing_is_lost_between_camera_and_disk(
    tmp_path, permit, keys, audit
) -> None:
    report = record(tmp_path, permit, clock=SystemClock())
    assert report.seal is not None
    check_whole(report, keys, audit)  # on a busy machine the cameras may skip: told as gaps
    assert sum(report.seal.totals.dropped.values()) == 0


def test_two_takes_from_one_stream(tmp_path, permit) -> None:
    clock = ManualClock()
    with Recorder(drawn_pair(clock), clock, PLAN) as recorder:
        recorder.warm_up()
        reports = [recorder.record(permit, tmp_path / "takes") for _ in range(2)]
    assert [r.is_clean for r in reports] == [True, True]
    assert reports[0].folder != reports[1].folder


def test_frames_the_camera_skips_are_gaps_in_the_journal(tmp_path, permit, keys, audit) -> None:
    report = record(tmp_path, permit, side={"drops": (30, 31, 40)})
    assert report.seal is not None
    check_whole(report, keys, audit)
    assert report.seal.totals.lost == {"side": 3}
    assert report.seal.totals.unpaired["privacy"] >= 3


def test_a_lost_camera_ends_the_take_sealed(tmp_path, permit, keys, audit) -> None:
    report = record(tmp_path, permit, side={"dies_at": 40})
    assert report.seal is not None
    assert report.seal.reason is FinishReason.CAMERA_LOST
    assert not report.is_clean
    take = check_whole(report, keys, audit)
    assert take.frames("side")[-1].sequence == 39
    assert any("cable was pulled" in line.body.get("why", "") for line in take.journal.lines)


def test_a_stall_is_told_and_survived(tmp_path, permit, keys, audit) -> None:
    plan = PLAN.model_copy(update={"duration_s": 0.8, "stall_limit_s": 5.0})
    report = record(tmp_path, permit, plan, side={"stall_at": 40, "stall_s": 0.3})
    assert report.seal is not None
    assert report.seal.reason is FinishReason.DURATION
    take = check_whole(report, keys, audit)
    assert any(line.body.get("event") == "stall" for line in take.journal.lines)
    assert report.seal.totals.unpaired["privacy"] > 15


def test_a_disk_that_stalls_loses_nothing(tmp_path, permit, keys, audit, monkeypatch) -> None:
    append, calls, pause = ShardWriter.append, [], threading.Event()

    def slow(self, members):
        calls.append(1)
        if len(calls) == 10:
            pause.wait(2.0)
        return append(self, members)

    monkeypatch.setattr(ShardWriter, "append", slow)
    plan = PLAN.model_copy(update={"duration_s": 0.6})
    report = record(tmp_path, permit, plan)
    assert report.is_clean
    assert report.seal is not None
    check_whole(report, keys, audit)
    assert report.seal.report["longest_write_ms"] > 300
    assert report.seal.report["queue_high_frames"] > 60


@pytest.mark.parametrize("policy", list(OverloadPolicy))
def test_full_buffers_follow_the_chosen_policy(
    tmp_path, permit, keys, audit, monkeypatch, policy: OverloadPolicy
) -> None:
    append, calls, pause = ShardWriter.append, [], threading.Event()

    def slow(self, members):
        calls.append(1)
        pause.wait(0.3 if len(calls) == 5 else 0)
        return append(self, members)

    monkeypatch.setattr(ShardWriter, "append", slow)
    plan = PLAN.model_copy(update={"buffer_mb": 0.04, "on_overload": policy})
    report = record(tmp_path, permit, plan)
    assert report.seal is not None
    check_whole(report, keys, audit)
    assert not report.is_clean
    dropped = sum(report.seal.totals.dropped.values())
    if policy is OverloadPolicy.DROP_COUNTED:
        assert report.seal.reason is FinishReason.DURATION
        assert dropped > 5
    else:
        assert report.seal.reason is FinishReason.OVERLOAD
        assert 1 <= dropped <= 2


def test_disk_full_seals_what_is_there(tmp_path, permit, keys, audit, monkeypatch) -> None:
    writev, calls = os.writev, []

    def full(descriptor, views):
        calls.append(1)
        if len(calls) > 20:
            os.write(descriptor, bytes(views[0][:100]))  # a real disk fills in mid-frame
            raise OSError(28, "No space left on device")
        return writev(descriptor, views)

    monkeypatch.setattr(os, "writev", full)
    report = record(tmp_path, permit)
    monkeypatch.undo()
    assert report.seal is not None
    assert report.seal.reason is FinishReason.DISK_FULL
    assert "No space left" in str(report.error)
    check_whole(report, keys, audit)
    assert report.seal.totals.groups == 20


class SteppedClock(ManualClock):
    """Civil time falls back by an hour one second into the test."""

    def wall_ns(self) -> int:
        return super().wall_ns() - (3_600_000_000_000 if self.now_ns() > 1_500_000_000 else 0)


def test_a_stepped_wall_clock_changes_no_pair(tmp_path, permit, keys, audit) -> None:
    plan = PLAN.model_copy(update={"duration_s": 2.3})
    report = record(tmp_path, permit, plan, clock=SteppedClock(start_ns=1_000_000_000))
    assert report.is_clean
    assert report.seal is not None
    take = check_whole(report, keys, audit)
    steps = [line.body["step_ns"] for line in take.journal.lines if "step_ns" in line.body]
    # The two times are read one after the other while the cameras move the clock.
    assert steps == [pytest.approx(-3_600_000_000_000, abs=50_000_000)]
    assert report.seal.totals.duration_s == pytest.approx(2.3, abs=0.1)
    assert report.seal.totals.pairs == pytest.approx(230, abs=3)


def test_stopping_seals_the_take(tmp_path, permit, keys, audit) -> None:
    clock = ManualClock()
    plan = PLAN.model_copy(update={"duration_s": 600.0})
    with Recorder(drawn_pair(clock), clock, plan) as recorder:
        recorder.warm_up()
        seen = []

        def stop(status) -> None:
            seen.append(status)
            if status.pairs > 5:
                recorder._session.stop()

        report = recorder.record(permit, tmp_path / "takes", on_status=stop)
    assert report.is_clean
    assert report.seal is not None
    assert report.seal.reason is FinishReason.STOPPED
    assert seen[-1].queue is not None
    assert seen[-1].privacy is not None
    assert seen[-1].privacy.camera == "P-1"


def test_a_real_camera_is_refused_without_consent(tmp_path, permit) -> None:
    with pytest.raises(PrivacyError, match="side is a real camera"):
        record(tmp_path, permit, side={"driver": "canon"})
    assert not (tmp_path / "takes").exists()


def test_a_camera_that_gives_nothing_is_told_before_the_take(tmp_path, permit) -> None:
    with pytest.raises(RigTimeoutError, match="gave no frame"):
        record(tmp_path, permit, side={"stall_at": 0, "stall_s": 60})


def test_pairs_need_both_cameras() -> None:
    clock = SystemClock()
    with pytest.raises(StateError, match="need a privacy and a side"):
        Recorder({"privacy": drawn_pair(clock)["privacy"]}, clock, PLAN)


def test_the_plan_says_why_not(tmp_path) -> None:
    plan = TakePlan(duration_s=1e6, buffer_mb=1)
    needs = estimate(plan, {"privacy": 2e6, "side": 30e6}, tmp_path, disk_bytes_per_s=20e6)
    why = needs.why_not(plan)
    assert len(why) == 3
    assert "32 MB/s" in why[1]
    easy = TakePlan(duration_s=1, min_free_gb=0)
    assert estimate(easy, {"privacy": 1e5}, tmp_path).why_not(easy) == []


class Box(Light):
    """A trigger box that notes its pulses; it breaks after ``limit`` of them."""

    limit = 10_000

    def _do_open(self) -> None:
        self.pulses: list[int] = []

    def _do_close(self) -> None:
        pass

    def _do_info(self) -> DeviceInfo:
        return DeviceInfo(self.kind, "box", "L-1", "twin")

    def _do_set(self, level: float) -> None:
        pass

    def _do_pulse(self, seconds: float) -> int:
        if len(self.pulses) >= self.limit:
            raise ConnectError("the box is gone", hint="plug it in")
        self.pulses.append(self.clock.now_ns())
        return self.pulses[-1]

    def _do_shutter(self, open: bool) -> None:
        pass


def test_triggered_takes_say_so(tmp_path, permit) -> None:
    clock = SystemClock()
    plan = PLAN.model_copy(update={"trigger": "light", "trigger_hz": 100.0})
    with Box(DriverOptions(), DeviceContext("light", clock)) as box:
        with Recorder(drawn_pair(clock), clock, plan, light=box) as recorder:
            recorder.warm_up()
            report = recorder.record(permit, tmp_path / "takes")
        assert len(box.pulses) > 10
        assert min(np.diff(box.pulses)) > 0
        assert report.seal is not None
        assert report.seal.clock_model.source == "trigger"
        box.limit = len(box.pulses) + 2
        with Recorder(drawn_pair(clock), clock, plan, light=box) as recorder:
            with pytest.raises(ConnectError, match="box is gone"):
                recorder.warm_up()
    with pytest.raises(StateError, match="the rig has no light"):
        Recorder(drawn_pair(clock), clock, plan)


@pytest.mark.parametrize(("offset_ns", "fits"), [(0, True), (80_000_000, False)])
def test_a_clock_model_that_no_longer_fits_is_told(offset_ns: int, fits: bool) -> None:
    clock = ManualClock()
    given = ClockModel(source="calibrated", offset_ns=offset_ns, offset_uncertainty_ns=1_000_000)
    with Recorder(drawn_pair(clock), clock, PLAN, clock_model=given) as recorder:
        recorder.warm_up()
        if fits:
            recorder.check_clock_model()
        else:
            with pytest.raises(StateError, match=r"80\.0 ms from what arrives"):
                recorder.check_clock_model()


def test_unencrypted_swap_is_warned_of(tmp_path: Path) -> None:
    head = "Filename\t\tType\t\tSize\n"
    (tmp_path / "swaps").write_text(head + "/dev/sda2 partition 1\n/dev/dm-1 partition 1\n")
    warnings = swap_warnings(tmp_path / "swaps")
    assert len(warnings) == 1
    assert "/dev/sda2" in warnings[0]
    assert swap_warnings(tmp_path / "absent") == []


def test_raw_pictures_get_a_measured_codec(tmp_path, permit, keys, audit) -> None:
    report = record(tmp_path, permit, side={"encoded": False, "size": (320, 240), "fps": 50})
    assert report.seal is not None
    take = check_whole(report, keys, audit)
    assert report.seal.report["codecs"]["side"].startswith("rdz")
    reader = TakeReader(take, opened(take, keys, audit))
    frame = take.frames("side")[0]
    from tests.recording import support

    expected = support.picture(frame.sequence % 16, width=320, height=240)
    assert (reader.frame(frame).pixels == expected).all()

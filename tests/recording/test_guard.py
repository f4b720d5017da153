"""A take ends, sealed, as soon as the mirror may no longer hide faces."""

from __future__ import annotations

import pytest

from camera_rig.clock import ManualClock, SystemClock
from camera_rig.config import StorageConfig, load_config
from camera_rig.errors import PrivacyError
from camera_rig.private_shape import private_shape
from camera_rig.recording.consent import ConsentStore, permit_recording
from camera_rig.recording.manifest import FinishReason
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.reading import Take
from camera_rig.recording.recorder import Recorder
from camera_rig.recording.store import DataStore
from camera_rig.rig import Rig
from tests.recording.cameras import drawn_pair
from tests.recording.test_store import consent

PLAN = TakePlan(duration_s=600.0, warm_up_s=0.2, min_free_gb=0, buffer_mb=64)


def test_a_mirror_that_browns_out_ends_the_take(tmp_path, keys):
    storage = StorageConfig(root=tmp_path, keys=tmp_path / "keys")
    config = load_config("simulated").model_copy(update={"storage": storage})
    permit = permit_recording(
        "T01", keys, ConsentStore(tmp_path / "consent", SystemClock()), simulated=True
    )
    with Rig.open(config, clock=ManualClock(start_ns=1_000_000_000)) as rig:
        with private_shape(rig) as shape:
            cameras = {"privacy": rig.privacy, "side": rig.side}
            guard_calls = []

            def guard():
                guard_calls.append(len(guard_calls))
                if len(guard_calls) == 2:  # the supply fails while the take runs
                    off_v = shape.command_v.copy()
                    off_v[:] = 0.0
                    rig.mirror.apply(off_v, reason="test: the supply failed")
                return shape.why_not(rig.mirror)

            with Recorder(cameras, rig.clock, PLAN, guard=guard) as recorder:
                recorder.warm_up()
                report = recorder.record(permit, tmp_path / "takes")
    assert not report.is_clean
    assert report.seal is not None and report.seal.reason is FinishReason.EXPOSED
    assert "not in its private shape" in report.error.message
    take = Take(report.folder)
    assert take.groups, "what came before is kept and sealed"
    assert '"exposed"' in take.folder.joinpath("journal.jsonl").read_text(encoding="utf-8")


def test_no_person_is_recorded_unless_somebody_watches_the_mirror(tmp_path, keys):
    clock = ManualClock(start_ns=1_000_000_000)
    store = DataStore(tmp_path / "data", keys.root, clock, "tester")
    consent(store, "S01")
    permit = permit_recording("S01", store.keys, store.consents, simulated=False)
    with Recorder(drawn_pair(clock), clock, PLAN) as recorder:
        recorder.warm_up()
        with pytest.raises(PrivacyError, match="nothing watches"):
            recorder.record(permit, tmp_path / "takes")
    assert not (tmp_path / "takes").exists()

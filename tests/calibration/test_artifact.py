"""Calibrations on disk: kept, compared, chosen, and told when they are stale."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.artifact import Artifact, CalibrationStore, HeldOut, Present
from camera_rig.errors import ConfigError, StorageError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def artifact(number: int = 1, **more) -> Artifact:
    known = {
        "id": f"20260301T00000{number}-abcdef",
        "procedure": "sensor",
        "status": "accepted",
        "made_at": NOW.isoformat(),
        "config_hash": "h",
        "serials": {"privacy": "A"},
        "figures": {"gain": 1.5 + number},
        "mirror_c": 23.0,
    }
    return Artifact(**{**known, **more})


def here(**more) -> Present:
    known = {
        "now": (NOW + timedelta(hours=1)).isoformat(),
        "config_hash": "h",
        "serials": {"privacy": "A"},
        "mirror_c": 23.5,
    }
    return Present(**{**known, **more})


@pytest.fixture
def store(tmp_path):
    return CalibrationStore(tmp_path / "calibration")


def test_saved_read_and_never_overwritten(store):
    one = artifact()
    folder = store.save(one, {"x": np.arange(3)}, {"note.txt": "hello"})
    assert (folder / "note.txt").read_text() == "hello"
    assert store.load(one.id).files == ("data.npz", "note.txt")
    assert store.load("20260301T").id == one.id
    assert (store.arrays(one)["x"] == np.arange(3)).all()
    with pytest.raises(StorageError, match="exists already"):
        store.save(one, {}, {})


def test_one_is_in_use_and_the_others_stay(store):
    for number in (1, 2):
        store.save(artifact(number), {}, {})
    assert store.active("sensor") is None
    store.use(artifact(2))
    store.use(artifact(1))
    assert store.active("sensor").id == artifact(1).id
    assert store.load("sensor").id == artifact(1).id
    assert [a.id for a in store.list()] == [artifact(1).id, artifact(2).id]
    with pytest.raises(ConfigError, match="2 calibrations"):
        store.load("2026")
    with pytest.raises(ConfigError, match="none of that name"):
        store.load("1999")


def test_a_rejected_one_needs_insistence(store):
    bad = artifact(1, status="rejected", reason="worse")
    store.save(bad, {}, {})
    with pytest.raises(ConfigError, match="worse"):
        store.use(bad)
    store.use(bad, even_rejected=True)
    assert store.active("sensor").id == bad.id


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"now": (NOW + timedelta(days=8)).isoformat()}, "h old"),
        ({"config_hash": "other"}, "changed"),
        ({"serials": {"privacy": "B"}}, "another one"),
        ({"mirror_c": 30.0}, "°C"),
    ],
)
def test_stale_by_time_hardware_serial_and_temperature(store, change, word):
    assert store.stale(artifact(), here()) == []
    (reason,) = store.stale(artifact(), here(**change))
    assert word in reason


def test_stale_when_an_input_was_replaced(store):
    for number in (1, 2):
        store.save(artifact(number), {}, {})
    user = artifact(3, procedure="psf", inputs={"sensor": artifact(1).id})
    store.use(artifact(1))
    assert store.stale(user, here()) == []
    store.use(artifact(2))
    (reason,) = store.stale(user, here())
    assert "replaced" in reason


def test_diff_tells_old_and_new(store):
    rows = store.diff(artifact(1), artifact(2, figures={"noise": 2.0}))
    assert rows == [("gain", 2.5, None), ("noise", None, 2.0)]


def test_held_out_decides():
    good = HeldOut(metric="m", before=2.0, after=1.0, limit=1.5)
    assert good.why_rejected == ""
    assert "did not improve" in HeldOut(metric="m", before=1.0, after=1.0).why_rejected
    assert "limit" in HeldOut(metric="m", before=2.0, after=1.6, limit=1.5).why_rejected
    assert HeldOut(metric="m", before=2.0, after=float("nan")).why_rejected


def test_partial_is_for_the_same_run_only(store):
    part = store.partial("sensor")
    assert part.begin("a") is False
    part.put("one", {"x": np.ones(2)})
    assert part.begin("a") is True
    assert part.steps() == {"one"} and part.get("one")["x"].sum() == 2
    assert part.begin("b") is False
    assert part.steps() == set()


def test_torn_record_is_told(store):
    folder = store.save(artifact(), {}, {})
    (folder / "artifact.json").write_text("{")
    with pytest.raises(StorageError, match="no calibration record"):
        store.list()


def test_a_run_that_was_killed_leaves_nothing_half_written_in_the_way(store):
    part = store.partial("sensor")
    part.begin("a")
    part.put("one", {"x": np.ones(2)})
    (part.folder / ".two.tmp.npz").write_bytes(b"PK\x03\x04 torn")
    assert part.steps() == {"one"}
    assert part.begin("a") is True
    (part.folder / "run.json").write_text('{"key": ')
    assert part.begin("a") is False
    assert part.steps() == set() and not list(part.folder.glob(".two*"))


def test_a_full_disk_is_told_with_what_to_do(store):
    part = store.partial("sensor")
    part.begin("a")
    (part.folder / ".one.tmp.npz").mkdir()  # nothing can be written there
    with pytest.raises(StorageError, match="cannot keep what was measured") as caught:
        part.put("one", {"x": np.ones(2)})
    assert "make room" in caught.value.hint

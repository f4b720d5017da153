"""Consent, retention, catalogue and playback on real takes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from camera_rig.clock import ManualClock
from camera_rig.contracts import DeviceInfo, DeviceKind
from camera_rig.errors import ConfigError, PrivacyError, RigTimeoutError, StateError
from camera_rig.recording.catalog import TakeRow
from camera_rig.recording.consent import (
    ConsentRecord,
    Scope,
    form_digest,
    need_scope,
    permit_recording,
)
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.playback import playback_pair
from camera_rig.recording.reading import Take, TakeReader
from camera_rig.recording.recorder import Recorder, TakeContext
from camera_rig.recording.retention import plan_purge, plan_withdrawal, remove
from camera_rig.recording.series import Series, read_prompts
from camera_rig.recording.store import DataStore
from camera_rig.recording.vault import open_keys
from camera_rig.rig import Rig
from tests.recording import support

DAY_NS = 86_400_000_000_000


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> DataStore:
    made = DataStore(tmp_path / "data", tmp_path / "keys", clock, "tester")
    made.keys.init(None)
    return made


def consent(store: DataStore, subject: str, *, days: int = 30, scopes=("train",)) -> ConsentRecord:
    record = ConsentRecord(
        id=store.consents.new_id(),
        pseudonym=subject,
        form_id="F1",
        form_version="1",
        form_sha256="0" * 64,
        scopes=scopes,
        retention_until=store.consents.today() + dt.timedelta(days=days),
        operator="tester",
        given_wall_ns=store.clock.wall_ns(),
    )
    store.consents.add(record)
    return record


def take_of(store: DataStore, subject: str, name: str, count: int = 3) -> Take:
    """Write a real take of a person's (drawn) frames with the consent in its manifest."""
    from camera_rig.recording.clockmodel import ClockModel
    from camera_rig.recording.manifest import FinishReason
    from camera_rig.recording.take import DiskRules, TakeWriter
    from camera_rig.recording.vault import new_keys

    permit = permit_recording(subject, store.keys, store.consents, simulated=False)
    keys, sealed = new_keys(name, permit.subject)
    manifest = support.manifest(name, sealed, simulated=False, clock=store.clock)
    manifest = manifest.model_copy(update={"consent": permit.consent})
    rules = DiskRules(reserve_bytes=4096)
    out = TakeWriter(store.takes / name, manifest, keys, store.clock, rules)
    for group in support.groups(keys, count):
        out.write(group)
    out.seal(FinishReason.DURATION, ClockModel())
    take = Take(store.takes / name)
    store.catalog.put(take)
    return take


def test_no_consent_no_permit(store: DataStore) -> None:
    with pytest.raises(PrivacyError, match="side camera stays off"):
        permit_recording("S01", store.keys, store.consents, simulated=False)
    consent(store, "S01", days=5)
    permit = permit_recording("S01", store.keys, store.consents, simulated=False)
    assert permit.consent is not None
    assert permit.consent.scopes == ("train",)
    store.clock.advance(7 * DAY_NS)
    with pytest.raises(PrivacyError, match="ran out"):
        permit_recording("S01", store.keys, store.consents, simulated=False)


def test_a_simulated_permit_is_worth_nothing_on_a_real_camera(store: DataStore) -> None:
    permit = permit_recording("T01", store.keys, store.consents, simulated=True)
    twin = DeviceInfo(DeviceKind.CAMERA, "m", "1", "twin")
    canon = DeviceInfo(DeviceKind.CAMERA, "m", "2", "canon")
    permit.check({"privacy": twin, "side": twin})
    for cameras in ({"privacy": twin, "side": canon}, {"privacy": canon, "side": twin}):
        with pytest.raises(PrivacyError, match="real camera"):
            permit.check(cameras)


def test_a_wider_use_is_refused() -> None:
    need_scope(["train"], Scope.TRAIN, "take a")
    with pytest.raises(PrivacyError, match="take a may not be used to publish"):
        need_scope(["train", "evaluate"], Scope.PUBLISH, "take a")


def test_withdrawal_makes_every_copy_unreadable(store: DataStore, tmp_path: Path) -> None:
    import shutil

    consent(store, "S01")
    consent(store, "S02")
    one = take_of(store, "S01", "take-1")
    two = take_of(store, "S02", "take-2")
    copy = Take(shutil.copytree(one.folder, tmp_path / "backup"))
    plan = plan_withdrawal(store, "S01")
    assert [row.take for row in plan.takes] == ["take-1"]
    assert one.folder.exists()  # planning changes nothing
    remove(store, plan)
    assert not one.folder.exists()
    with pytest.raises(PrivacyError, match="destroyed"):
        open_keys(copy.id, copy.manifest.keys, store.access("look"))
    with open_keys(two.id, two.manifest.keys, store.access("look")) as keys:
        assert len(list(TakeReader(two, keys).pairs())) == 3
    with pytest.raises(PrivacyError, match="withdrawn"):
        permit_recording("S01", store.keys, store.consents, simulated=False)
    with pytest.raises(PrivacyError, match="has withdrawn"):
        consent(store, "S01")
    events = [entry.event for entry in store.audit.verify()]
    assert events.count("subject-key-destroyed") == 1
    assert "take-deleted" in events
    with pytest.raises(PrivacyError, match="nothing is known"):
        plan_withdrawal(store, "S99")


def test_purge_removes_only_what_has_run_out(store: DataStore) -> None:
    consent(store, "S01", days=1)
    consent(store, "S02", days=100)
    take_of(store, "S01", "take-1")
    take_of(store, "S02", "take-2")
    assert plan_purge(store).is_empty
    store.clock.advance(3 * DAY_NS)
    plan = plan_purge(store)
    assert [row.take for row in plan.takes] == ["take-1"]
    assert plan.subjects == ("S01",)
    remove(store, plan)
    assert [row.take for row in store.catalog.rows()] == ["take-2"]
    assert store.keys.subjects() == ["S02"]
    assert plan_purge(store).is_empty


def test_the_catalogue_is_rebuilt_from_the_files(store: DataStore) -> None:
    consent(store, "S01")
    for name in ("take-1", "take-2"):
        take_of(store, "S01", name)
    before = store.catalog.rows()
    store.catalog.path.write_bytes(b"not a database")
    (store.takes / "rubbish").mkdir()
    count, problems = store.catalog.rebuild(store.takes)
    assert count == 2
    assert len(problems) == 1
    assert sorted(store.catalog.rows(), key=lambda r: r.take) == sorted(
        before, key=lambda r: r.take
    )
    assert store.catalog.path.stat().st_mode & 0o777 == 0o600


def test_takes_are_found_by_their_beginning(store: DataStore) -> None:
    consent(store, "S01")
    take = take_of(store, "S01", "take-1")
    take_of(store, "S01", "take-2")
    assert store.take("take-1").id == take.id
    assert store.take(str(take.folder)).id == take.id
    assert store.take("last").id in {"take-1", "take-2"}
    with pytest.raises(ConfigError, match="fits 2 takes"):
        store.take("take")
    with pytest.raises(ConfigError, match="no take"):
        store.take("nothing")


def test_only_takes_of_the_store_are_deleted(store: DataStore, tmp_path: Path) -> None:
    folder = support.make_take(tmp_path / "elsewhere", store.keys, 1)
    with pytest.raises(StateError, match="is not in"):
        store.delete(Take(folder), "test")
    assert folder.exists()


def test_a_series_goes_on_with_what_is_missing(store: DataStore, tmp_path: Path) -> None:
    prompts = tmp_path / "p.txt"
    prompts.write_text("# two\nsmile\n\nlook left # slowly\n")
    series = Series("s", 3, tuple(read_prompts(prompts)))
    assert [series.prompt(n) for n in (1, 2, 3)] == ["smile", "look left", "smile"]
    assert series.missing(store.catalog) == [1, 2, 3]
    consent(store, "S01")
    row = TakeRow.of(take_of(store, "S01", "take-1"))
    for number, state in ((1, row.state), (2, "camera lost")):
        facts = {name: getattr(row, name) for name in TakeRow.__slots__}
        facts |= {"take": f"t{number}", "series": "s", "number": number, "state": state}
        store.catalog.put_rows([TakeRow(**facts)])
    assert series.missing(store.catalog) == [2, 3]
    assert len(read_prompts(None)) == 17
    prompts.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="no prompt"):
        read_prompts(prompts)


def test_form_digest(tmp_path: Path) -> None:
    (tmp_path / "form").write_text("I agree")
    assert len(form_digest(tmp_path / "form")) == 64
    with pytest.raises(ConfigError):
        form_digest(tmp_path / "absent")


def test_a_take_plays_back_as_cameras(store: DataStore) -> None:
    folder = support.make_take(store.takes / "take-a", store.keys, 5)
    clock = ManualClock(start_ns=5_000_000_000)
    cameras = playback_pair(folder, clock, keys=store.keys.root)
    side = cameras["side"]
    assert side.info.serial == "S-1"
    assert side.info.driver == "playback-simulated"
    assert side.capabilities.nominal_fps == pytest.approx(30, abs=0.1)
    side.start()
    frames = [side.next_frame(1.0) for _ in range(5)]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[3].encoded == support.frame("side", 3).encoded
    assert frames[1].captured_ns - frames[0].captured_ns == support.PERIOD_NS
    assert side.health().readings["frames_lost"] == 0
    with pytest.raises(RigTimeoutError):
        side.next_frame(0.5)
    for camera in cameras.values():
        camera.close()
    assert [e.event for e in store.audit.verify()].count("keys-opened") == 2


def test_a_played_back_take_is_recorded_again(store: DataStore) -> None:
    folder = support.make_take(store.takes / "take-a", store.keys, 20)
    clock = ManualClock()
    cameras = playback_pair(folder, clock, keys=store.keys.root, loop=True)
    plan = TakePlan(duration_s=0.5, warm_up_s=0.1, min_free_gb=0)
    permit = permit_recording("T02", store.keys, store.consents, simulated=True)
    with Recorder(cameras, clock, plan) as recorder:
        recorder.warm_up()
        report = recorder.record(permit, store.takes, TakeContext(prompt="again"))
    for camera in cameras.values():
        camera.close()
    assert report.is_clean
    assert report.seal is not None
    assert report.seal.totals.pairs > 10
    assert Take(report.folder).manifest.prompt == "again"


def test_a_configuration_may_name_a_take_as_camera(store: DataStore, tmp_path: Path) -> None:
    folder = support.make_take(store.takes / "take-a", store.keys, 5)
    lines = ["schema: 1", "name: again", "devices:"]
    for role in ("privacy", "side"):
        driver = "camera_rig.recording.playback:PlaybackCamera"
        lines.append(f"  {role}: {{driver: '{driver}', take: {folder}, role: {role},")
        lines.append(f"    keys: {store.keys.root}, serial: {tmp_path.name}}}")
    path = tmp_path / "again.yaml"
    path.write_text("\n".join(lines))
    with Rig.open(path, clock=ManualClock()) as rig:
        rig.side.start()
        assert rig.side.next_frame(1.0).encoded == support.frame("side", 0).encoded
        assert rig.privacy.info.serial == "P-1"


def test_a_played_back_person_is_no_simulation(store: DataStore) -> None:
    consent(store, "S01")
    take = take_of(store, "S01", "take-1")
    clock = ManualClock()
    cameras = playback_pair(take.folder, clock, keys=store.keys.root)
    permit = permit_recording("T02", store.keys, store.consents, simulated=True)
    with pytest.raises(PrivacyError, match="real camera"):
        permit.check({role: camera.info for role, camera in cameras.items()})
    for camera in cameras.values():
        camera.close()

"""A take: acknowledged means readable, whatever kills the writer; edits are found."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camera_rig.clock import SystemClock
from camera_rig.errors import PrivacyError, StorageError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.journal import Journal, read_journal, verify_macs
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.manifest import FinishReason, upgrade
from camera_rig.recording.reading import Take, TakeReader
from camera_rig.recording.recovery import recover, verify
from camera_rig.recording.take import DiskRules
from camera_rig.recording.vault import KeyAccess, OpenKeys, open_keys
from tests.recording import support


def opened(folder: Path, keys: KeyStore, audit: AuditLog) -> OpenKeys:
    access = KeyAccess(keys, keys.lab_private(), audit, "test")
    manifest = Take(folder).manifest
    return open_keys(manifest.take, manifest.keys, access)


def test_a_take_reads_back_byte_for_byte(tmp_path: Path, keys: KeyStore, audit: AuditLog) -> None:
    folder = support.make_take(tmp_path / "t", keys, 6)
    take = Take(folder)
    assert take.seal is not None
    assert (take.seal.totals.pairs, take.seal.totals.groups) == (6, 6)
    with opened(folder, keys, audit) as key:
        for number, pair in enumerate(TakeReader(take, key).pairs()):
            assert pair.side.encoded == support.frame("side", number).encoded
            assert pair.privacy.sequence == number
            assert np.array_equal(pair.side.pixels.shape, (64, 96, 3))
    with pytest.raises(PrivacyError, match="keys are not open"):
        next(TakeReader(take).pairs())


def test_any_tar_tool_reads_the_shards(tmp_path: Path, keys: KeyStore) -> None:
    folder = support.make_take(tmp_path / "t", keys, 3)
    with tarfile.open(folder / "shard-000000.tar") as tar:
        names = tar.getnames()
    assert names[:3] == ["000000.privacy.jpg.enc", "000000.side.jpg.enc", "000000.json"]
    assert len(names) == 9


def test_files_are_private_and_show_no_picture(tmp_path: Path, keys: KeyStore) -> None:
    folder = support.make_take(tmp_path / "t", keys, 6)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
        data = path.read_bytes()
        # Longer than three bytes: ciphertext may hold any three by chance.
        assert b"\xff\xd8\xff\xe0\x00\x10" not in data, path
        assert b"JFIF" not in data, path


def test_shards_turn_over_and_the_index_spans_them(
    tmp_path: Path, keys: KeyStore, audit: AuditLog
) -> None:
    rules = DiskRules(shard_bytes=20_000, reserve_bytes=0x1000)
    out, writing = support.writer(tmp_path / "t", keys, rules=rules)
    for group in support.groups(writing, 12):
        out.write(group)
    out.seal(FinishReason.DURATION, ClockModel())
    assert len(list((tmp_path / "t").glob("shard-*.tar"))) > 2
    report = verify(tmp_path / "t", opened(tmp_path / "t", keys, audit))
    assert (report.problems, report.authenticated) == ((), 24)


def test_the_parquet_index_equals_the_sqlite_one(tmp_path: Path, keys: KeyStore) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    folder = support.make_take(tmp_path / "t", keys, 4)
    table = pq.read_table(folder / "index.parquet").to_pylist()
    db = sqlite3.connect(folder / "index.sqlite")
    db.row_factory = sqlite3.Row
    rows = [dict(row) for row in db.execute("SELECT * FROM frames ORDER BY number")]
    db.close()
    assert table == rows


def _write_until_killed(folder: Path, root: Path, pipe: int, seed: int) -> None:
    rules = DiskRules(shard_bytes=300_000, reserve_bytes=0x1000)
    out, writing = support.writer(folder, KeyStore(root), rules=rules, clock=SystemClock())
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        group = support.random_group(writing, number, int(rng.integers(1, 40_000)))
        out.write(group)
        os.write(pipe, number.to_bytes(4, "big"))
        number += 1


def kill_trial(folder: Path, keys: KeyStore, seed: int) -> int:
    """Write in a child, kill it at a random instant, return the count it acknowledged."""
    read, write = os.pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_write_until_killed, args=(folder, keys.root, write, seed)
    )
    child.start()
    os.close(write)
    first = os.read(read, 4)  # the take is open: now any instant may come
    time.sleep(np.random.default_rng(seed).uniform(0, 0.04))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    data = first
    while chunk := os.read(read, 65536):
        data += chunk
    os.close(read)
    return len(data) // 4


@pytest.mark.parametrize("seed", range(10))
def test_kill_minus_nine_loses_nothing_acknowledged(
    tmp_path: Path, keys: KeyStore, audit: AuditLog, seed: int
) -> None:
    folder = tmp_path / "t"
    acknowledged = kill_trial(folder, keys, seed)
    found = recover(folder)
    assert found.seal.totals.pairs >= acknowledged
    report = verify(folder, opened(folder, keys, audit))
    assert report.problems == ()
    assert report.authenticated == 2 * found.seal.totals.pairs
    assert recover(folder).was_sealed


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)
@given(data=st.data())
def test_any_cut_of_journal_and_shard_recovers_a_clean_prefix(
    tmp_path_factory, keys: KeyStore, audit: AuditLog, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "t"
    out, writing = support.writer(folder, keys)
    for number in range(5):
        out.write(support.random_group(writing, number, 700))
    for name in ("journal.jsonl", "shard-000000.tar"):
        path = folder / name
        first = path.read_bytes().index(b"\n") + 1 if name.startswith("j") else 0
        share = data.draw(st.integers(0, 1000))  # file sizes differ a little from run to run
        os.truncate(path, first + (path.stat().st_size - first) * share // 1000)
    seal = recover(folder).seal
    report = verify(folder, opened(folder, keys, audit))
    assert report.problems == ()
    assert seal.totals.pairs == report.groups <= 5
    again = recover(folder)
    assert again.was_sealed


def test_recovery_cut_short_is_finished_by_the_next(
    tmp_path: Path, keys: KeyStore, audit: AuditLog
) -> None:
    folder = tmp_path / "t"
    out, writing = support.writer(folder, keys)
    for number in range(4):
        out.write(support.random_group(writing, number, 700))
    with (folder / "shard-000000.tar").open("ab") as file:
        file.write(b"torn")
    recover(folder)
    for step in ("seal.json", "index.sqlite"):
        (folder / step).unlink()
        assert recover(folder).seal.totals.pairs == 4
    assert verify(folder, opened(folder, keys, audit)).problems == ()


def test_disk_full_ends_the_take_sealed(tmp_path: Path, keys: KeyStore, audit: AuditLog) -> None:
    out, writing = support.writer(tmp_path / "t", keys)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        with pytest.raises(StorageError, match="File too large"):
            for number in range(100):
                out.write(support.random_group(writing, number, 100_000))
                stored += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 3 <= stored < 6
    seal = out.seal(FinishReason.DISK_FULL, ClockModel())
    assert seal.totals.pairs == stored
    assert verify(tmp_path / "t", opened(tmp_path / "t", keys, audit)).problems == ()


@pytest.fixture
def two_takes(tmp_path: Path, keys: KeyStore) -> tuple[Path, Path]:
    one = support.make_take(tmp_path / "a", keys, 4, take="take-a")
    two = support.make_take(tmp_path / "b", keys, 4, take="take-b")
    return one, two


def problems(folder: Path, keys: KeyStore, audit: AuditLog) -> str:
    return "\n".join(verify(folder, opened(folder, keys, audit)).problems)


def test_a_flipped_byte_is_named(two_takes, keys: KeyStore, audit: AuditLog) -> None:
    path = two_takes[0] / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    frame = Take(two_takes[0]).groups[2].frames["side"]
    data[frame.offset + 200] ^= 4
    path.write_bytes(data)
    assert "frame 000002.side of take take-a differs" in problems(two_takes[0], keys, audit)


def _forge(folder: Path, change) -> None:
    """Rewrite the journal with ``change`` applied, chain made right again, seal too."""
    content = read_journal(folder / "journal.jsonl")
    path = folder / "journal.jsonl"
    bodies = [dict(line.body) for line in content.lines]
    change(bodies)
    path.unlink()
    journal = Journal(path, b"not the key of the take" + bytes(9))
    for body in bodies:
        journal.append_body(body)
    journal.close()
    seal = json.loads((folder / "seal.json").read_text())
    seal["journal_chain"] = journal.chain
    (folder / "seal.json").write_text(json.dumps(seal))


def test_swapped_frames_are_named_even_with_a_forged_journal(
    two_takes, keys: KeyStore, audit: AuditLog
) -> None:
    one, two = two_takes
    donor = Take(two)
    frame, theirs = (Take(f).groups[1].frames["side"] for f in (one, two))
    blob = donor.blob(theirs)
    assert len(blob) == frame.length
    path = one / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[frame.offset : frame.offset + frame.length] = blob
    path.write_bytes(data)

    def fits(bodies) -> None:
        side = next(b for b in bodies if b.get("key") == "000001")["frames"]["side"]
        side["crc"], side["tag"] = theirs.crc, theirs.tag

    _forge(one, fits)
    found = problems(one, keys, audit)
    assert "belongs to another take" in found
    assert "not signed by the recorder" in found


def test_frames_swapped_between_cameras_are_named(
    two_takes, keys: KeyStore, audit: AuditLog
) -> None:
    with opened(two_takes[0], keys, audit) as key:
        take = Take(two_takes[0])
        group = take.groups[0]
        blob = take.blob(group.frames["privacy"])
        from camera_rig.recording.vault import FrameClass

        with pytest.raises(StorageError, match="belongs to another camera"):
            key.opener(FrameClass.SIDE).open(group.frames["side"].camera, 0, blob)


def test_an_edited_journal_is_named(two_takes, keys: KeyStore, audit: AuditLog) -> None:
    path = two_takes[0] / "journal.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"sequence":1', '"sequence":9', 1))
    with pytest.raises(StorageError, match="edited at line 3"):
        read_journal(path)
    path.write_text("\n".join(text.splitlines()[:-2]) + "\n")
    assert "shortened or edited" in problems(two_takes[0], keys, audit)


def test_widened_scopes_in_the_manifest_are_named(
    two_takes, keys: KeyStore, audit: AuditLog
) -> None:
    path = two_takes[0] / "take.json"
    path.write_text(path.read_text().replace('"prompt": ""', '"prompt": "x"'))
    assert "manifest was edited" in problems(two_takes[0], keys, audit)


def test_a_wrong_lab_key_is_named(two_takes, tmp_path, keys: KeyStore, audit: AuditLog) -> None:
    stranger = KeyStore(tmp_path / "other").init(None)
    access = KeyAccess(keys, stranger, audit, "test")
    manifest = Take(two_takes[0]).manifest
    with pytest.raises(PrivacyError, match="wrong key"):
        open_keys(manifest.take, manifest.keys, access)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.lists(st.dictionaries(st.sampled_from("abcdef"), json_values), max_size=8))
def test_journal_round_trip(tmp_path_factory, facts) -> None:
    path = tmp_path_factory.mktemp("j") / "journal.jsonl"
    journal = Journal(path, b"k" * 32)
    for fact in facts:
        journal.append("event", **fact)
    journal.close()
    content = read_journal(path)
    assert [
        {k: v for k, v in line.body.items() if k not in {"n", "kind"}} for line in content.lines
    ] == facts
    assert verify_macs(content.lines, b"k" * 32) == 0
    if facts:
        with pytest.raises(StorageError, match="not signed"):
            verify_macs(content.lines, b"x" * 32)


def test_files_of_a_newer_schema_are_refused_and_older_ones_lifted(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="schema 99"):
        upgrade({"schema_version": 99}, tmp_path)
    steps = {1: lambda old: {**old, "new": 1}, 2: lambda old: {**old, "newer": 2}}
    lifted = upgrade({"schema_version": 1}, tmp_path, steps, newest=3)
    assert lifted == {"schema_version": 3, "new": 1, "newer": 2}


def test_a_take_is_never_overwritten(tmp_path: Path, keys: KeyStore) -> None:
    support.make_take(tmp_path / "t", keys, 1)
    with pytest.raises(StorageError, match="exists already"):
        support.writer(tmp_path / "t", keys)
    shutil.rmtree(tmp_path / "t")

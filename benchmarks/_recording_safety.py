"""What recording survives, and what it never shows: parts of ``recording.py``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera_rig.clock import ManualClock, SystemClock
from camera_rig.recording.consent import permit_recording
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.reading import Take
from camera_rig.recording.recorder import Recorder, TakeReport
from camera_rig.recording.recovery import recover, verify
from camera_rig.recording.shards import ShardWriter
from camera_rig.recording.store import DataStore
from camera_rig.recording.take import TakeWriter
from camera_rig.recording.vault import open_keys
from tests.recording.cameras import drawn_pair

KILLS = int(os.environ.get("BENCH_KILLS", "200"))
PLAN = TakePlan(duration_s=1.0, warm_up_s=0.1, min_free_gb=0, stall_limit_s=3.0)


def _store(folder: str) -> DataStore:
    store = DataStore(Path(folder) / "data", Path(folder) / "keys")
    if not store.keys.is_initialised:
        store.keys.init(None)
    return store


def _record(store: DataStore, plan: TakePlan = PLAN, clock: Any = None, hook: Any = None,
            **changes: Any) -> TakeReport:  # fmt: skip
    clock = clock or SystemClock()
    permit = permit_recording("T01", store.keys, store.consents, simulated=True)
    with Recorder(drawn_pair(clock, **changes), clock, plan) as recorder:
        recorder.warm_up()
        return recorder.record(permit, store.takes, on_status=hook)


def _problems(store: DataStore, take: Take) -> tuple[str, ...]:
    with open_keys(take.id, take.manifest.keys, store.access("benchmark")) as keys:
        return verify(take.folder, keys).problems


def _child(folder: str, pipe: int) -> None:
    write = TakeWriter.write

    def told(self: TakeWriter, group: Any) -> str:
        key = write(self, group)
        os.write(pipe, f"{key}\n".encode())
        return key

    TakeWriter.write = told  # type: ignore[method-assign]
    _record(_store(folder), PLAN.model_copy(update={"duration_s": 60.0}))


def kill() -> dict[str, Any]:
    """Kill a recording process with SIGKILL and see what is left."""
    rng = np.random.default_rng(6)
    counts: Counter[str] = Counter()
    bad: list[str] = []
    for trial in range(KILLS):
        with tempfile.TemporaryDirectory() as folder:
            store = _store(folder)
            read, write = os.pipe()
            child = multiprocessing.get_context("fork").Process(target=_child, args=(folder, write))
            child.start()
            os.close(write)
            data = os.read(read, 4096)
            time.sleep(float(rng.uniform(0, 0.5)))
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            while chunk := os.read(read, 65536):
                data += chunk
            os.close(read)
            # The last line may be torn: then the writer had not said it yet.
            acknowledged = set(data.decode().split("\n")[:-1])
            folder_of_take = next(store.takes.iterdir())
            found = recover(folder_of_take)
            take = Take(folder_of_take)
            stored = {group.key for group in take.groups}
            counts["acknowledged"] += len(acknowledged)
            counts["stored"] += len(stored)
            counts["acknowledged_but_gone"] += len(acknowledged - stored)
            counts["torn_takes"] += bool(found.torn_bytes)
            counts["journal_lines_without_payload"] += len(found.missing)
            problems = _problems(store, take)
            counts["takes_with_problems"] += bool(problems)
            bad += [f"trial {trial}: {text}" for text in problems[:2]]
    return {"kills": KILLS, **counts, "problems": bad[:5]}


def faults() -> dict[str, Any]:
    """Four mishaps, each recorded through and verified."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, _small_disk(Path(folder)) as kind:
        store = _store(folder)
        out["disk_full"] = {"disk": kind, **_told(store, _record(store, _long(30.0)))}
    with tempfile.TemporaryDirectory() as folder:
        store = _store(folder)
        with _one_stall(2.0):
            out["disk_stalls_2_s"] = _told(store, _record(store, _long(4.0)))
        out["camera_lost"] = _told(store, _record(store, _long(4.0), side={"dies_at": 150}))
        clock = _Stepped()
        report = _record(store, _long(3.0), clock=clock, hook=clock.step_after_one_second)
        steps = [li.body["step_ns"] for li in Take(report.folder).journal.lines
                 if "step_ns" in li.body]  # fmt: skip
        out["wall_clock_steps_1_h"] = {**_told(store, report), "journal_says_ns": steps}
    return out


def _long(seconds: float) -> TakePlan:
    return PLAN.model_copy(update={"duration_s": seconds})


def _told(store: DataStore, report: TakeReport) -> dict[str, Any]:
    take = Take(report.folder)
    assert report.seal is not None
    totals = report.seal.totals
    return {
        "end": str(report.seal.reason),
        "pairs": totals.pairs,
        "lost_by_cameras": totals.lost,
        "dropped": totals.dropped,
        "longest_write_ms": report.seal.report.get("longest_write_ms"),
        "problems_after": list(_problems(store, take)),
    }


@contextmanager
def _small_disk(folder: Path) -> Iterator[str]:
    """Mount 16 MB of memory over the takes, where we may; else limit the file size."""
    takes = folder / "data" / "takes"
    takes.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(takes)],
        capture_output=True, check=False,
    ).returncode == 0  # fmt: skip
    if mounted:
        try:
            yield "a tmpfs of 16 MB, really full"
        finally:
            subprocess.run(["umount", str(takes)], check=True)
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, hard))
    try:
        yield "a file-size limit of 12 MB"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _one_stall(seconds: float) -> Iterator[None]:
    append, calls, pause = ShardWriter.append, [], threading.Event()

    def slow(self: ShardWriter, members: Any) -> None:
        calls.append(1)
        if len(calls) == 50:
            pause.wait(seconds)
        append(self, members)

    ShardWriter.append = slow  # type: ignore[method-assign]
    try:
        yield
    finally:
        ShardWriter.append = append  # type: ignore[method-assign]


class _Stepped(SystemClock):
    jump_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.jump_ns

    def step_after_one_second(self, status: Any) -> None:
        if status.elapsed_s > 1.0:
            self.jump_ns = 3_600_000_000_000


_MARKS = {
    "JFIF": b"JFIF\0",
    "Exif": b"Exif\0\0",
    "SOI with APP0 of 16 bytes": b"\xff\xd8\xff\xe0\x00\x10",
    "quantisation table": b"\xff\xdb\x00\x43\x00",
    "Huffman table": b"\xff\xc4\x00\x1f\x00",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
}


def secrecy() -> dict[str, Any]:
    """Search every byte of a twin take, and every place for temporary files."""
    from camera_rig.rig import Rig

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as temporary:
        before = tempfile.tempdir
        tempfile.tempdir = os.environ["TMPDIR"] = temporary
        try:
            store = _store(folder)
            clock = ManualClock(wall_start_ns=time.time_ns())
            permit = permit_recording("T01", store.keys, store.consents, simulated=True)
            with Rig.open("simulated", clock=clock, only={"privacy", "side"}) as rig:
                cameras = {"privacy": rig.privacy, "side": rig.side}
                with Recorder(cameras, clock, _long(6.0)) as recorder:
                    recorder.warm_up()
                    report = recorder.record(permit, store.takes)
            left = [p.name for p in Path(temporary).rglob("*") if p.is_file()]
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
        files = sorted(report.folder.iterdir())
        data = {path.name: path.read_bytes() for path in files}
        modes = {oct(path.stat().st_mode & 0o777) for path in files}
        folder_mode = oct(report.folder.stat().st_mode & 0o777)
        strings = subprocess.run(
            ["strings", "-n", "8", str(report.folder / "shard-000000.tar")],
            capture_output=True, text=True, check=False,
        ).stdout if _has("strings") else ""  # fmt: skip
    total = sum(map(len, data.values()))
    starts = [i for text in data.values() for i in _find(text, b"\xff\xd8\xff")]
    pictures = sum(
        cv2.imdecode(np.frombuffer(text[i : i + 400_000], np.uint8), cv2.IMREAD_COLOR) is not None
        for text in data.values()
        for i in _find(text, b"\xff\xd8\xff")
    )
    return {
        "bytes_searched": total,
        "marks_found": {name: sum(t.count(mark) for t in data.values())
                        for name, mark in _MARKS.items()},
        "three_byte_starts": len(starts),
        "three_byte_starts_expected_by_chance": round(total / 2**24, 2),
        "pictures_decoded_from_them": pictures,
        "strings_with_picture_words": sum(w in strings for w in ("JFIF", "Exif", "Adobe", "ICC_")),
        "file_modes": sorted(modes),
        "folder_mode": folder_mode,
        "files_left_in_temporary_folder": left,
    }  # fmt: skip


def _has(tool: str) -> bool:
    import shutil

    return shutil.which(tool) is not None


def _find(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found

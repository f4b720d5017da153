"""The index of a sealed take: SQLite always, Parquet where pyarrow is installed.

Everything in it is derived from the journal and can be built again at any time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from camera_rig.recording._files import write_aside
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.journal import JournalLine
from camera_rig.recording.manifest import TakeTotals
from camera_rig.recording.shards import BLOCK, member_span

__all__ = ["COLUMNS", "build_index", "frame_rows"]

COLUMNS = (
    "number", "key", "role", "camera", "sequence", "captured_ns", "corrected_ns",
    "uncertainty_ns", "received_ns", "exposure_s", "linear", "width_px", "height_px", "ext",
    "shard", "offset", "length", "crc", "tag", "paired", "skew_ns", "skew_uncertainty_ns",
    "skew_online_ns", "over_tolerance", "lost_before", "repeated", "meta",
)  # fmt: skip
"""One row per stored frame; ``offset`` is that of the frame's bytes in its shard."""


def frame_rows(
    lines: Iterable[JournalLine], model: ClockModel, tolerance_ns: int
) -> Iterator[tuple[Any, ...]]:
    """Yield one row per stored frame, with skews by ``model``."""
    for line in lines:
        if line.kind == "group":
            yield from _group_rows(line.body, model, tolerance_ns)


def _group_rows(body: Any, model: ClockModel, tolerance_ns: int) -> Iterator[tuple[Any, ...]]:
    frames = body["frames"]
    paired = len(frames) == 2
    corrected = {r: model.corrected_ns(r, f["captured_ns"]) for r, f in frames.items()}
    skew = uncertainty = None
    if paired:
        skew = corrected["side"] - corrected["privacy"]
        uncertainty = model.uncertainty_ns(
            frames["side"]["captured_ns"], *(f["uncertainty_ns"] for f in frames.values())
        )
    offset = body["offset"]
    for role, frame in frames.items():
        meta = frame["meta"]
        yield (
            body["n"], body["key"], role, frame["camera"], frame["sequence"],
            frame["captured_ns"], corrected[role], frame["uncertainty_ns"],
            frame["received_ns"], frame["exposure_s"], int(frame["linear"]), *frame["size"],
            frame["ext"], body["shard"], offset + BLOCK, frame["length"], frame["crc"],
            frame.get("tag", ""), int(paired), skew, uncertainty, body["skew_ns"],
            int(skew is not None and abs(skew) > tolerance_ns),
            int(meta.get("lost_before", 0)), int(bool(meta.get("repeated", False))),
            json.dumps(meta, sort_keys=True),
        )  # fmt: skip
        offset += member_span(frame["length"])


def build_index(
    folder: Path, lines: list[JournalLine], model: ClockModel, tolerance_ns: int
) -> tuple[TakeTotals, str]:
    """Write ``index.sqlite`` (and ``index.parquet``); return the totals and its hash."""
    rows = list(frame_rows(lines, model, tolerance_ns))
    events = [(li.number, li.kind, json.dumps(dict(li.body))) for li in lines if li.kind != "group"]
    path = folder / "index.sqlite"
    write_aside(path, lambda aside: _write_sqlite(aside, rows, events))
    if importlib.util.find_spec("pyarrow") is not None:
        write_aside(folder / "index.parquet", lambda aside: _write_parquet(aside, rows))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _totals(rows, lines), digest


def _write_sqlite(
    path: Path, rows: list[tuple[Any, ...]], events: list[tuple[int, str, str]]
) -> None:
    try:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA journal_mode=OFF")  # a new file that is renamed whole
            db.execute(f"CREATE TABLE frames ({', '.join(COLUMNS)}, PRIMARY KEY (key, role))")
            db.execute("CREATE TABLE events (number INTEGER PRIMARY KEY, kind TEXT, body TEXT)")
            marks = ", ".join("?" * len(COLUMNS))
            db.executemany(f"INSERT INTO frames VALUES ({marks})", rows)
            db.executemany("INSERT INTO events VALUES (?, ?, ?)", events)
    except sqlite3.Error as error:
        raise OSError(f"the index could not be written: {error}") from error


def _write_parquet(path: Path, rows: list[tuple[Any, ...]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    pq.write_table(pa.table(table), path, compression="zstd")


def _totals(rows: list[tuple[Any, ...]], lines: list[JournalLine]) -> TakeTotals:
    def at(name: str) -> list[Any]:
        column = COLUMNS.index(name)
        return [row[column] for row in rows]

    roles, stamps = at("role"), at("corrected_ns")
    paired = sum(at("paired")) // 2
    dropped: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for line in lines:
        if line.kind == "gap":
            target = lost if line.body["cause"] == "camera" else dropped
            target[line.body["role"]] += line.body["count"]
    return TakeTotals(
        groups=len(set(at("key"))),
        pairs=paired,
        over_tolerance=sum(at("over_tolerance")) // 2,
        unpaired=dict(Counter(r for r, p in zip(roles, at("paired"), strict=True) if not p)),
        frames=dict(Counter(roles)),
        lost=dict(lost),
        dropped=dict(dropped),
        repeated=dict(Counter(r for r, x in zip(roles, at("repeated"), strict=True) if x)),
        stored_bytes=sum(at("length")),
        first_ns=min(stamps, default=0),
        last_ns=max(stamps, default=0),
    )

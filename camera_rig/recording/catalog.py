"""The catalogue: one SQLite file that finds takes quickly and can always be built again."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_rig.errors import RigError, StorageError
from camera_rig.recording._files import make_private_dir, open_private
from camera_rig.recording.reading import Take

__all__ = ["Catalog", "TakeRow"]

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS takes (
  take TEXT PRIMARY KEY, subject TEXT NOT NULL, started_wall_ns INTEGER NOT NULL,
  state TEXT NOT NULL, duration_s REAL NOT NULL, pairs INTEGER NOT NULL,
  over_tolerance INTEGER NOT NULL, dropped INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
  simulated INTEGER NOT NULL, scopes TEXT NOT NULL, retention_until TEXT NOT NULL,
  series TEXT NOT NULL, number INTEGER NOT NULL, prompt TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_subject ON takes (subject, started_wall_ns);
CREATE INDEX IF NOT EXISTS by_series ON takes (series, number);
CREATE INDEX IF NOT EXISTS by_time ON takes (started_wall_ns);
"""


@dataclass(frozen=True, slots=True)
class TakeRow:
    """What the catalogue knows of a take; ``state`` is the reason of its end, or ``open``."""

    take: str
    subject: str
    started_wall_ns: int
    state: str
    duration_s: float
    pairs: int
    over_tolerance: int
    dropped: int
    stored_bytes: int
    simulated: bool
    scopes: tuple[str, ...]
    retention_until: str
    series: str
    number: int
    prompt: str

    @classmethod
    def of(cls, take: Take) -> TakeRow:
        """Read a take's row from its files."""
        manifest, seal = take.manifest, take.seal
        totals = seal.totals if seal else None
        return cls(
            take=take.id,
            subject=manifest.subject,
            started_wall_ns=manifest.anchor.wall_ns,
            state=str(seal.reason) if seal else "open",
            duration_s=totals.duration_s if totals else 0.0,
            pairs=totals.pairs if totals else 0,
            over_tolerance=totals.over_tolerance if totals else 0,
            dropped=sum(totals.dropped.values()) if totals else 0,
            stored_bytes=totals.stored_bytes if totals else 0,
            simulated=manifest.simulated,
            scopes=tuple(sorted(manifest.scopes)),
            retention_until=manifest.consent.retention_until if manifest.consent else "",
            series=manifest.series[0] if manifest.series else "",
            number=manifest.series[1] if manifest.series else 0,
            prompt=manifest.prompt,
        )


class Catalog:
    """Rows of takes. The takes' own files are the truth; this is only their index.

    Args:
        path: The SQLite file, made with mode 0600.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, take: Take) -> TakeRow:
        """Add or replace a take's row."""
        row = TakeRow.of(take)
        self.put_rows([row])
        return row

    def put_rows(self, rows: Iterable[TakeRow]) -> None:
        """Add or replace rows, all or none."""
        with self._open() as db:
            for row in rows:
                self._insert(db, row)

    def remove(self, take: str) -> None:
        """Take a row out."""
        with self._open() as db:
            db.execute("DELETE FROM takes WHERE take = ?", (take,))

    def rows(self, *, subject: str = "", series: str = "", limit: int = -1) -> list[TakeRow]:
        """Return rows, newest first; empty filters match all."""
        with self._open() as db:
            found = db.execute(
                "SELECT * FROM takes WHERE (?1 = '' OR subject = ?1) AND (?2 = '' OR series = ?2)"
                " ORDER BY started_wall_ns DESC LIMIT ?3",
                (subject, series, limit),
            ).fetchall()
        return [self._row(row) for row in found]

    def matching(self, start: str) -> list[str]:
        """Return the ids that begin with ``start``."""
        with self._open() as db:
            # A range, not LIKE: it walks the primary key however many takes there are.
            query = "SELECT take FROM takes WHERE take >= ?1 AND take < ?1 || ?2 ORDER BY take"
            return [row[0] for row in db.execute(query, (start, chr(0x10FFFF)))]

    def rebuild(self, takes: Path) -> tuple[int, list[str]]:
        """Build the whole catalogue from the takes' files; return rows and unreadable folders."""
        problems: list[str] = []
        rows: list[TakeRow] = []
        for folder in sorted(takes.iterdir()) if takes.is_dir() else []:
            if folder.name.startswith("."):
                continue
            try:
                rows.append(TakeRow.of(Take(folder)))
            except RigError as error:
                problems.append(f"{folder.name}: {error.message}")
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.put_rows(rows)
        return len(rows), problems

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        make_private_dir(self.path.parent)
        fresh = not self.path.exists()
        if fresh:
            os.close(open_private(self.path))
        try:
            with closing(sqlite3.connect(self.path, timeout=10.0)) as db:
                if fresh or db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                    db.execute("PRAGMA journal_mode=WAL")
                    db.executescript(_TABLE)
                    db.execute(f"PRAGMA user_version={_VERSION}")
                with db:
                    yield db
        except sqlite3.Error as error:
            raise StorageError(
                f"the catalogue {self.path} cannot be used: {error}",
                hint="`rig data reindex` builds it again from the takes",
            ) from error

    def _insert(self, db: sqlite3.Connection, row: TakeRow) -> None:
        values: list[Any] = [getattr(row, name) for name in TakeRow.__slots__]
        values[TakeRow.__slots__.index("scopes")] = json.dumps(row.scopes)
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT OR REPLACE INTO takes VALUES ({marks})", values)

    def _row(self, values: tuple[Any, ...]) -> TakeRow:
        facts = dict(zip(TakeRow.__slots__, values, strict=True))
        facts["simulated"] = bool(facts["simulated"])
        facts["scopes"] = tuple(json.loads(facts["scopes"]))
        return TakeRow(**facts)

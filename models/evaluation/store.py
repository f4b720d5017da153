"""Measured rows by what decided them, so that nothing is measured twice.

Rows are kept on disk only for faces of nobody: an identity vector of a person is a
biometric template. A run that was stopped finds its rows here and goes on.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from camera_rig.errors import StorageError
from models.evaluation.embedders import Floats
from models.evaluation.gauges import VERSION

_ASK_AT_ONCE = 500


def row_key(gauge: str, system: str, reference: int, sample: str) -> str:
    """Return the name of one row."""
    told = f"{VERSION}|{gauge}|{system}|{reference}|{sample}"
    return hashlib.sha256(told.encode()).hexdigest()[:40]


def store_file() -> Path:
    """Return where rows of nobody's faces lie: in the user's cache."""
    from camera_rig.twin.head.cache import user_cache_dir

    return user_cache_dir() / "evaluation" / "measures.sqlite"


class MeasureStore:
    """Rows by key; a context manager.

    Args:
        file: Where they lie; None keeps them in memory and forgets them.

    Raises:
        StorageError: The file is not one of these.
    """

    def __init__(self, file: Path | None) -> None:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(":memory:" if file is None else file)
            self._base.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB)")
        except sqlite3.Error as error:
            raise StorageError(
                f"{file} holds no measurements: {error}", hint="remove it; it can be made again"
            ) from error

    def __enter__(self) -> MeasureStore:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._base.close()

    def known(self, keys: Sequence[str]) -> dict[str, Floats]:
        """Return the rows that are there."""
        found: dict[str, Floats] = {}
        for start in range(0, len(keys), _ASK_AT_ONCE):
            part = keys[start : start + _ASK_AT_ONCE]
            marks = ",".join("?" * len(part))
            asked = self._base.execute(f"SELECT key, value FROM rows WHERE key IN ({marks})", part)
            found.update({key: np.frombuffer(value, np.float32) for key, value in asked})
        return found

    def put(self, rows: Mapping[str, Floats] | Iterable[tuple[str, Floats]]) -> None:
        """Keep rows; they are on disk when this returns."""
        with self._base:
            self._base.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?)",
                [(key, np.asarray(row, np.float32).tobytes()) for key, row in dict(rows).items()],
            )

"""Every command of a mirror with its reason, one JSON line each, as it happened."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from camera_rig.contracts import Clock, MirrorEvent
from camera_rig.errors import StorageError


class MirrorJournal:
    """An observer for :attr:`Mirror.observers` that appends to one file a day.

    A line is on the disk before the next command can be sent. A mirror whose journal
    cannot be written is not driven on: the error stops the caller.

    Args:
        folder: Where the files go, ``commands-YYYY-MM-DD.jsonl``.
        serial: Serial number of the mirror.
        clock: For civil time.
    """

    def __init__(self, folder: Path, serial: str, clock: Clock) -> None:
        self._folder = folder
        self._serial = serial
        self._clock = clock

    def __call__(self, event: MirrorEvent) -> None:
        """Write one event (volts to 1 mV, times in ns).

        Raises:
            StorageError: The line could not be written.
        """
        wall_ns = self._clock.wall_ns()
        now = datetime.fromtimestamp(wall_ns * 1e-9, UTC)
        line = {
            "time": now.isoformat(timespec="milliseconds"),
            "at_ns": event.at_ns,
            "serial": self._serial,
            "reason": event.reason,
            "steps": event.steps,
            "command_v": [round(float(v), 3) for v in event.command_v],
        }
        path = self._folder / f"commands-{now:%Y-%m-%d}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"the mirror's journal {path} cannot be written: {error.strerror}",
                hint="free disk space, or set storage.root to a folder you may write",
            ) from error

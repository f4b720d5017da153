"""The audit log: who opened which keys, when and why; each line chained to the last."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_rig.contracts import Clock
from camera_rig.errors import StorageError
from camera_rig.recording._files import (
    canonical_json,
    make_private_dir,
    open_private,
    storage_error,
)

__all__ = ["AuditEntry", "AuditLog"]

_START = "0" * 64
_SIGNED = ("number", "wall_ns", "operator", "event", "facts")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log.

    Args:
        number: Counter from 0.
        wall_ns: Civil time, ns since 1970 UTC.
        operator: Who did it: the login name, or what the caller gave.
        event: What happened, for example ``keys-opened``.
        facts: What it concerned; never keys, never picture content.
        digest: SHA-256 over the line before and this one, hex.
    """

    number: int
    wall_ns: int
    operator: str
    event: str
    facts: dict[str, Any]
    digest: str


class AuditLog:
    """Append-only, hash-chained JSON lines; several processes may write.

    A changed, removed or inserted line breaks the chain. Lines cut off the end are
    found against the head kept beside the log, or against a head noted elsewhere:
    write the one that `rig data audit` prints into the lab book.
    """

    def __init__(self, path: Path, clock: Clock, operator: str | None = None) -> None:
        self.path = path
        self._head_path = path.with_suffix(".head")
        self._clock = clock
        self.operator = operator or getpass.getuser()

    def append(self, event: str, **facts: Any) -> AuditEntry:
        """Write one line and sync it to disk before returning.

        Raises:
            StorageError: It cannot be written: do not go on with what it would record.
        """
        make_private_dir(self.path.parent)
        descriptor = open_private(self.path, append=True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            number, digest = self._head()
            body: dict[str, Any] = {
                "number": number,
                "wall_ns": self._clock.wall_ns(),
                "operator": self.operator,
                "event": event,
                "facts": facts,
            }
            entry = AuditEntry(**body, digest=_chain(digest, body))
            os.write(descriptor, canonical_json({**body, "digest": entry.digest}) + b"\n")
            os.fsync(descriptor)
            self._write_head(entry)
            return entry
        except OSError as error:
            raise storage_error(error, self.path) from error
        finally:
            os.close(descriptor)

    def verify(self, head: str | None = None) -> list[AuditEntry]:
        """Check the chain and return all entries.

        Args:
            head: Digest of the newest line as noted elsewhere, if any.

        Raises:
            StorageError: Names the first line that was altered, or says how many are gone.
        """
        entries: list[AuditEntry] = []
        digest = _START
        for text in self._lines():
            entry = self._parse(text, len(entries))
            body = {
                k: getattr(entry, k) for k in ("number", "wall_ns", "operator", "event", "facts")
            }
            if entry.number != len(entries) or entry.digest != _chain(digest, body):
                raise self._broken(f"line {len(entries) + 1} was altered, removed or inserted")
            entries.append(entry)
            digest = entry.digest
        if self._head_path.exists():
            kept = json.loads(self._head_path.read_text())
            if kept["number"] >= len(entries):
                raise self._broken(f"{kept['number'] + 1 - len(entries)} lines are gone at the end")
        if head is not None and head not in {entry.digest for entry in entries}:
            raise self._broken("the noted head is not in it: lines were removed or rewritten")
        return entries

    def _head(self) -> tuple[int, str]:
        """Return number and chained digest for the next line, from the log itself."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return 0, _START
            file.seek(max(0, size - 65536))
            tail = file.read()
        if not tail.endswith(b"\n"):
            raise self._broken("its last line is torn")
        last = self._parse(tail.splitlines()[-1].decode(), -1)
        return last.number + 1, last.digest

    def _write_head(self, entry: AuditEntry) -> None:
        aside = self._head_path.with_suffix(".head.tmp")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, canonical_json({"number": entry.number, "digest": entry.digest}))
        finally:
            os.close(descriptor)
        aside.replace(self._head_path)

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8").splitlines()

    def _parse(self, text: str, index: int) -> AuditEntry:
        try:
            return AuditEntry(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise self._broken(f"line {index + 1} is no entry") from error

    def _broken(self, what: str) -> StorageError:
        return StorageError(
            f"audit log {self.path}: {what}",
            hint="compare with a backup; treat every key opened since then as exposed",
        )


def _chain(before: str, body: dict[str, Any]) -> str:
    return hashlib.sha256(before.encode() + canonical_json(body)).hexdigest()

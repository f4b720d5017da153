"""The journal of a take: JSON lines, each chained to the one before and signed.

Every line ends in ``chain``, a hash over the line before and this one that anybody
can check, and ``mac``, the same signed with the take's journal key, which only the
recorder had and only the lab can reopen. Lines that a later recovery adds carry no
``mac``, for the key is gone by then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_rig.errors import StorageError
from camera_rig.recording._files import canonical_json, open_private, storage_error

__all__ = ["Journal", "JournalLine", "read_journal", "verify_macs"]

_START = "0" * 32


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One event of a take.

    Args:
        number: Counter from 0.
        kind: ``open``, ``group``, ``gap``, ``event``, ``recovered`` or ``close``.
        body: All facts, ``n`` and ``kind`` included, as they were hashed.
        chain: Hash over the line before and this body, hex.
        mac: The chain signed with the journal key, hex; empty after a crash.
    """

    number: int
    kind: str
    body: Mapping[str, Any]
    chain: str
    mac: str


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal file holds.

    Args:
        lines: All whole lines.
        size: Length of those lines, bytes.
        torn: Bytes behind them that are no whole line: an interrupted write.
    """

    lines: tuple[JournalLine, ...]
    size: int
    torn: int

    @property
    def chain(self) -> str:
        """Hash of the last line, or the start value."""
        return self.lines[-1].chain if self.lines else _START


class Journal:
    """Appends lines; every line is with the kernel when :meth:`append` returns.

    Args:
        path: The file, created with mode 0600, or continued from ``after``.
        key: The take's journal key, or None when it is gone (recovery).
        after: What the file holds already; a torn tail is cut off first.
    """

    def __init__(self, path: Path, key: bytes | None, after: JournalContent | None = None) -> None:
        self._path, self._key = path, key
        self._fd = open_private(path, append=after is not None)
        self.size = after.size if after else 0
        self.count = len(after.lines) if after else 0
        self.chain = after.chain if after else _START
        if after:
            os.ftruncate(self._fd, after.size)

    def body(self, kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body that the next line will have."""
        return {**facts, "n": self.count, "kind": kind}

    def append(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Write one line and return its body."""
        return self.append_body(self.body(kind, facts))

    def append_body(self, body: dict[str, Any]) -> dict[str, Any]:
        """Write a line whose body was made by :meth:`body`.

        Raises:
            StorageError: The disk refuses; the file is as it was before.
        """
        chain = _chain(self.chain, canonical_json(body))
        line = canonical_json({**body, "chain": chain, "mac": _mac(self._key, chain)}) + b"\n"
        try:
            written = os.write(self._fd, line)
            if written < len(line):
                os.write(self._fd, line[written:])  # tells why the first one stopped
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            raise storage_error(error, self._path) from error
        self.size += len(line)
        self.chain, self.count = chain, self.count + 1
        return body

    def take_back(self, mark: tuple[int, int, str]) -> None:
        """Cut the file back to an earlier :meth:`mark`, whose payload could not be stored."""
        self.size, self.count, self.chain = mark
        os.ftruncate(self._fd, self.size)

    def mark(self) -> tuple[int, int, str]:
        """Return the present end, for :meth:`take_back`."""
        return self.size, self.count, self.chain

    def sync(self) -> None:
        """Force everything to the disk itself."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_journal(path: Path) -> JournalContent:
    """Read and check all whole lines.

    A broken end is a torn write and is counted; a broken line with good ones behind
    it was edited.

    Raises:
        StorageError: Names the first line that was edited, removed or inserted.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error(error, path) from error
    pieces = data.split(b"\n")
    lines: list[JournalLine] = []
    chain, size = _START, 0
    for index, piece in enumerate(pieces[:-1]):
        line = _parse(piece, index, chain)
        if line is None:
            if any(_looks_whole(later) for later in pieces[index + 1 : -1]):
                raise StorageError(
                    f"journal {path} was edited at line {index + 1}: the chain breaks",
                    hint="the take was tampered with; restore the journal from a backup",
                )
            break
        lines.append(line)
        chain, size = line.chain, size + len(piece) + 1
    return JournalContent(tuple(lines), size, len(data) - size)


def verify_macs(lines: tuple[JournalLine, ...], key: bytes) -> int:
    """Check the signatures; return how many lines a crash left unsigned at the end.

    Raises:
        StorageError: A line was signed by another key, or rewritten without one.
    """
    unsigned = 0
    for line in lines:
        if line.mac == "" and line.kind in {"recovered", "close"}:
            unsigned += 1
        elif unsigned or not hmac.compare_digest(line.mac, _mac(key, line.chain)):
            raise StorageError(
                f"journal edited: line {line.number + 1} is not signed by the recorder",
                hint="the take was tampered with; restore the journal from a backup",
            )
    return unsigned


def _parse(piece: bytes, index: int, chain: str) -> JournalLine | None:
    try:
        body = json.loads(piece)
        line_chain, mac = str(body.pop("chain")), str(body.pop("mac"))
        number, kind = int(body["n"]), str(body["kind"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    if number != index or line_chain != _chain(chain, canonical_json(body)):
        return None
    return JournalLine(number, kind, body, line_chain, mac)


def _looks_whole(piece: bytes) -> bool:
    try:
        return isinstance(json.loads(piece), dict)
    except ValueError:
        return False


def _chain(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:32]


def _mac(key: bytes | None, chain: str) -> str:
    return "" if key is None else hmac.digest(key, chain.encode(), "sha256").hex()[:32]

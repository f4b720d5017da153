"""Writing a take: journal line, then payload, then acknowledged; sealed at the end.

Files of a take, all mode 0600 in a folder of mode 0700::

    take.json              manifest, complete before the first frame
    journal.jsonl          one line per group of frames, gap and event
    shard-000000.tar …     KEY.privacy.jpg.enc, KEY.side.jpg.enc, KEY.json
    index.sqlite           built when the take ends (index.parquet beside it by extra)
    seal.json              totals and hashes; its presence says "closed"
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_rig.contracts import Clock
from camera_rig.errors import StorageError
from camera_rig.recording._files import (
    canonical_json,
    make_private_dir,
    storage_error,
    sync_dir,
    write_json,
)
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.index import build_index
from camera_rig.recording.journal import Journal, JournalLine, read_journal
from camera_rig.recording.manifest import FinishReason, Seal, TakeManifest
from camera_rig.recording.packing import Group
from camera_rig.recording.shards import ShardWriter, member_span
from camera_rig.recording.vault import WritingKeys

__all__ = ["INDEX", "JOURNAL", "MANIFEST", "SEAL", "DiskRules", "TakeWriter", "seal_take"]

MANIFEST, JOURNAL, SEAL, INDEX = "take.json", "journal.jsonl", "seal.json", "index.sqlite"
_RESERVE = ".reserve"


@dataclass(frozen=True, slots=True)
class DiskRules:
    """How a take treats its disk.

    Args:
        shard_bytes: Size of a shard, bytes.
        fsync_s: Longest time between two syncs, s.
        fsync_bytes: Most bytes between two syncs.
        reserve_bytes: Space kept back so that a full disk still lets the take be sealed.
    """

    shard_bytes: int = 1 << 30
    fsync_s: float = 1.0
    fsync_bytes: int = 64 << 20
    reserve_bytes: int = 8 << 20


class TakeWriter:
    """Stores groups of frames. One thread only: it owns journal and shards.

    A group is *acknowledged* when :meth:`write` returns: journal line and payload are
    with the kernel, and survive the death of this process. The sync interval bounds
    what a power cut can take.

    Args:
        folder: New folder for the take.
        manifest: Written first.
        keys: The take's keys, for the journal's signature.
        clock: The rig's clock.
        rules: Shard size and sync intervals.

    Raises:
        StorageError: The folder exists, or the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        manifest: TakeManifest,
        keys: WritingKeys,
        clock: Clock,
        rules: DiskRules | None = None,
    ) -> None:
        self.folder, self.manifest = folder, manifest
        self._clock, self._rules = clock, rules or DiskRules()
        if folder.exists():
            raise StorageError(f"{folder} exists already", hint="nothing is overwritten here")
        make_private_dir(folder)
        self._reserve()
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
        self._journal = Journal(folder / JOURNAL, keys.journal)
        self._shards = ShardWriter(folder, self._rules.shard_bytes)
        self._journal.append(
            "open",
            take=manifest.take,
            manifest_sha256=hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest(),
        )
        self._journal.sync()
        sync_dir(folder)
        self._synced_ns, self._unsynced = clock.now_ns(), 0
        self.groups = 0
        self.stored_bytes = 0

    def write(self, group: Group) -> str:
        """Store one group; return its key once it is acknowledged.

        Raises:
            StorageError: The disk refuses. Nothing of this group remains; what was
                acknowledged before stays, and the take can still be sealed.
        """
        key = f"{self.groups:06d}"
        names = {role: f"{key}.{role}.{frame.extension}" for role, frame in group.frames.items()}
        facts: dict[str, Any] = {
            "key": key,
            "skew_ns": group.skew_ns,
            "uncertainty_ns": group.uncertainty_ns,
            "over_tolerance": group.over_tolerance,
            "frames": {role: frame.entry() for role, frame in group.frames.items()},
        }
        payload = sum(member_span(len(frame.blob)) for frame in group.frames.values())
        # The text of the line is a member too; its own span is bounded by one more group.
        shard, offset = self._shards.place(payload + 4096)
        body = self._journal.body("group", {**facts, "shard": shard, "offset": offset})
        members = [(names[role], frame.blob) for role, frame in group.frames.items()]
        members.append((f"{key}.json", canonical_json(body)))
        mark = self._journal.mark()
        self._journal.append_body(body)
        try:
            self._shards.append(members)
        except StorageError:
            self._journal.take_back(mark)
            raise
        self.groups += 1
        self.stored_bytes += payload
        self._unsynced += payload
        self._sync_if_due()
        return key

    def note(self, kind: str, **facts: Any) -> None:
        """Write an event or a gap to the journal."""
        self._journal.append(kind, **facts)

    def sync(self) -> None:
        """Force everything to the disk now."""
        try:
            self._shards.sync()
            self._journal.sync()
        except OSError as error:
            raise storage_error(error, self.folder) from error
        self._synced_ns, self._unsynced = self._clock.now_ns(), 0

    def seal(
        self, reason: FinishReason, model: ClockModel, report: Mapping[str, Any] | None = None
    ) -> Seal:
        """Close the take: free the reserve, end the shard, build the index, write the seal.

        Raises:
            StorageError: Even the reserve did not suffice; `rig take recover` finishes it.
        """
        (self.folder / _RESERVE).unlink(missing_ok=True)
        try:
            self._shards.close()
            self._journal.append("close", reason=reason, groups=self.groups,
                                 clock_model=model.model_dump())  # fmt: skip
            self._journal.sync()
        finally:
            self._journal.close()
        return seal_take(self.folder, self.manifest, (reason, model), report)

    def _sync_if_due(self) -> None:
        elapsed_s = (self._clock.now_ns() - self._synced_ns) * 1e-9
        if elapsed_s >= self._rules.fsync_s or self._unsynced >= self._rules.fsync_bytes:
            self.sync()

    def _reserve(self) -> None:
        path = self.folder / _RESERVE
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                os.posix_fallocate(file.fileno(), 0, self._rules.reserve_bytes)
        except OSError as error:
            path.unlink(missing_ok=True)
            self.folder.rmdir()
            raise storage_error(error, path) from error


def seal_take(
    folder: Path,
    manifest: TakeManifest,
    end: tuple[FinishReason, ClockModel],
    report: Mapping[str, Any] | None = None,
) -> Seal:
    """Build the index from the journal and write the seal, each aside and renamed."""
    (folder / _RESERVE).unlink(missing_ok=True)
    journal = read_journal(folder / JOURNAL)
    totals, digest = build_index(folder, stored_lines(journal.lines), end[1], manifest.tolerance_ns)
    seal = Seal(
        take=manifest.take,
        reason=end[0],
        totals=totals,
        clock_model=end[1],
        journal_lines=len(journal.lines),
        journal_chain=journal.chain,
        index_sha256=digest,
        report=dict(report or {}),
    )
    write_json(folder / SEAL, seal.model_dump(mode="json"))
    return seal


def stored_lines(lines: tuple[JournalLine, ...]) -> list[JournalLine]:
    """Return the lines that stand, without groups that a recovery found to be missing."""
    gone: set[int] = set()
    for line in lines:
        if line.kind == "recovered":
            gone.update(line.body["missing"])
    return [line for line in lines if line.number not in gone]

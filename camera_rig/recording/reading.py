"""Reading a take: its files as they are, and its frames when the keys are open."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from camera_rig.contracts import Frame, FramePair
from camera_rig.errors import PrivacyError, StorageError
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.codec import decode_picture
from camera_rig.recording.index import COLUMNS, frame_rows
from camera_rig.recording.journal import JournalContent, read_journal
from camera_rig.recording.manifest import Seal, TakeManifest, read_model
from camera_rig.recording.shards import shard_name
from camera_rig.recording.take import INDEX, JOURNAL, MANIFEST, SEAL, stored_lines
from camera_rig.recording.vault import FrameClass, OpenKeys

__all__ = ["StoredFrame", "StoredGroup", "Take", "TakeReader"]


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """Where one frame lies and what is known about it; times in ns, sizes in px and bytes."""

    number: int
    key: str
    role: str
    camera: str
    sequence: int
    captured_ns: int
    corrected_ns: int
    uncertainty_ns: int
    received_ns: int
    exposure_s: float
    linear: int
    width_px: int
    height_px: int
    ext: str
    shard: int
    offset: int
    length: int
    crc: int
    tag: str
    paired: int
    skew_ns: int | None
    skew_uncertainty_ns: int | None
    skew_online_ns: int | None
    over_tolerance: int
    lost_before: int
    repeated: int
    meta: str

    @property
    def is_encrypted(self) -> bool:
        """Whether the stored bytes are sealed."""
        return self.ext.endswith(".enc")


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A stored pair, or a frame without partner."""

    key: str
    frames: Mapping[str, StoredFrame]

    @property
    def is_pair(self) -> bool:
        """Whether both cameras are in it."""
        return len(self.frames) == 2

    @property
    def first(self) -> StoredFrame:
        """The privacy frame, or the only one."""
        return self.frames.get("privacy") or next(iter(self.frames.values()))


class Take:
    """One take on disk. Reading its facts needs no key; reading its frames does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / MANIFEST).is_file():
            raise StorageError(
                f"{folder} is no take: it has no {MANIFEST}", hint="see `rig take list`"
            )
        self.manifest = read_model(folder / MANIFEST, TakeManifest)

    @property
    def id(self) -> str:
        """The take's identifier."""
        return self.manifest.take

    @cached_property
    def seal(self) -> Seal | None:
        """The seal, or None for a take that is being written or was cut short."""
        path = self.folder / SEAL
        return read_model(path, Seal) if path.exists() else None

    @cached_property
    def journal(self) -> JournalContent:
        """The journal, chain checked."""
        return read_journal(self.folder / JOURNAL)

    @cached_property
    def groups(self) -> tuple[StoredGroup, ...]:
        """All stored groups in the order of writing; from the index, or the journal."""
        groups: dict[str, dict[str, StoredFrame]] = {}
        for row in self._rows():
            frame = StoredFrame(*row)
            groups.setdefault(frame.key, {})[frame.role] = frame
        return tuple(StoredGroup(key, frames) for key, frames in groups.items())

    @property
    def pairs(self) -> tuple[StoredGroup, ...]:
        """The groups with both cameras."""
        return tuple(group for group in self.groups if group.is_pair)

    def frames(self, role: str) -> list[StoredFrame]:
        """Return the frames of one camera in order of capture."""
        found = [g.frames[role] for g in self.groups if role in g.frames]
        return sorted(found, key=lambda frame: frame.captured_ns)

    def blob(self, frame: StoredFrame) -> bytes:
        """Return a frame's bytes as stored.

        Raises:
            StorageError: They are torn, or changed since they were written.
        """
        path = self.folder / shard_name(frame.shard)
        try:
            with path.open("rb") as file:
                file.seek(frame.offset)
                data = file.read(frame.length)
        except OSError as error:
            raise StorageError(
                f"shard {path} cannot be read: {error.strerror}", hint="`rig take verify` the take"
            ) from error
        if len(data) < frame.length:
            raise StorageError(
                f"frame {frame.key}.{frame.role} is torn", hint="`rig take recover` the take"
            )
        if zlib.crc32(data) != frame.crc:
            raise StorageError(
                f"frame {frame.key}.{frame.role} of take {self.id} differs from the journal",
                hint="the disk is failing or the take was tampered with; restore a backup",
            )
        return data

    def _rows(self) -> list[tuple[Any, ...]]:
        path = self.folder / INDEX
        if self.seal is not None and path.exists():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                query = f"SELECT {', '.join(COLUMNS)} FROM frames ORDER BY number"
                return db.execute(query).fetchall()
        lines = stored_lines(self.journal.lines)
        return list(frame_rows(lines, ClockModel(), self.manifest.tolerance_ns))


class TakeReader:
    """Frames of a take as the cameras gave them, decrypted and decoded one by one.

    Args:
        take: The take.
        keys: Its opened keys; None reads only what is stored in the clear.
    """

    def __init__(self, take: Take, keys: OpenKeys | None = None) -> None:
        self.take = take
        self._keys = keys

    def encoded(self, stored: StoredFrame) -> bytes:
        """Return a frame's bytes as the camera sent them."""
        blob = self.take.blob(stored)
        if not stored.is_encrypted:
            return blob
        if self._keys is None:
            raise PrivacyError(
                f"take {self.take.id} is encrypted and its keys are not open",
                hint="read on the host with the lab's private key, or give --lab-key",
            )
        opener = self._keys.opener(FrameClass(stored.role))
        return opener.open(stored.camera, stored.sequence, blob)

    def frame(self, stored: StoredFrame) -> Frame:
        """Return one frame, pixels decoded."""
        data = self.encoded(stored)
        extension = stored.ext.removesuffix(".enc")
        return Frame(
            picture=decode_picture(extension, data),
            camera=stored.camera,
            sequence=stored.sequence,
            captured_ns=stored.captured_ns,
            uncertainty_ns=stored.uncertainty_ns,
            exposure_s=stored.exposure_s,
            linear=bool(stored.linear),
            encoded=None if extension in {"rdz", "raw"} else data,
            meta=json.loads(stored.meta),
        )

    def pair(self, group: StoredGroup) -> FramePair:
        """Return a stored pair."""
        side = group.frames["side"]
        return FramePair(
            privacy=self.frame(group.frames["privacy"]),
            side=self.frame(side),
            skew_ns=side.skew_ns or 0,
            uncertainty_ns=side.skew_uncertainty_ns or 0,
        )

    def pairs(self) -> Iterator[FramePair]:
        """Yield all pairs in order."""
        return (self.pair(group) for group in self.take.pairs)

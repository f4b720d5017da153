"""After a crash, and on suspicion: make a take whole again, and prove that it is.

:func:`recover` needs no key, may be repeated, and never throws away a frame that is
on disk whole. :func:`verify` names everything that is wrong; with the keys open it
also checks every signature and authenticates every frame.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from camera_rig.errors import RigError, StorageError
from camera_rig.recording._files import canonical_json
from camera_rig.recording.clockmodel import ArrivalEstimator, ClockModel
from camera_rig.recording.index import frame_rows
from camera_rig.recording.journal import Journal, JournalLine, read_journal, verify_macs
from camera_rig.recording.manifest import FinishReason, Seal
from camera_rig.recording.reading import StoredFrame, Take, TakeReader
from camera_rig.recording.shards import BLOCK, member_span, shard_name
from camera_rig.recording.take import INDEX, JOURNAL, MANIFEST, seal_take, stored_lines
from camera_rig.recording.vault import OpenKeys

__all__ = ["Recovery", "VerifyReport", "recover", "verify"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery found.

    Args:
        seal: The take's seal, new or old.
        was_sealed: The take was whole; at most its index was built again.
        missing: Journal numbers of groups that never reached the disk whole.
        torn_bytes: Bytes cut off the ends of journal and shards.
    """

    seal: Seal
    was_sealed: bool
    missing: tuple[int, ...] = ()
    torn_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Args:
        groups: Groups checked.
        frames: Frames checked.
        authenticated: Frames whose encryption was checked with the key.
        problems: One sentence each; empty when all is well.
    """

    groups: int
    frames: int
    authenticated: int
    problems: tuple[str, ...]


def recover(folder: Path) -> Recovery:
    """Close a take whose recorder died. Cuts torn ends, drops nothing that is whole.

    Raises:
        StorageError: The folder is no take, or its journal was edited.
    """
    take = Take(folder)
    if take.seal is not None:
        if not _index_stands(take, take.seal):
            if take.journal.chain != take.seal.journal_chain:
                raise StorageError(
                    f"take {take.id}: the journal was shortened or edited after it was sealed",
                    hint="restore the journal from a backup; it is not rebuilt from an edited one",
                )
            end = (take.seal.reason, take.seal.clock_model)
            return Recovery(seal_take(folder, take.manifest, end, take.seal.report), True)
        return Recovery(take.seal, was_sealed=True)
    content = read_journal(folder / JOURNAL)
    standing = stored_lines(content.lines)
    groups = [line for line in standing if line.kind == "group"]
    missing = tuple(line.number for line in groups if not _is_whole(folder, line))
    kept = [line for line in groups if line.number not in missing]
    torn = content.torn + _cut_shards(folder, kept)
    model = _model_from(standing)
    if not content.lines or content.lines[-1].kind != "close" or missing or content.torn:
        journal = Journal(folder / JOURNAL, None, after=content)
        try:
            journal.append("recovered", missing=list(missing), torn_bytes=torn)
            journal.append(
                "close",
                reason=FinishReason.RECOVERED,
                groups=len(kept),
                clock_model=model.model_dump(),
            )
            journal.sync()
        finally:
            journal.close()
    seal = seal_take(folder, take.manifest, (FinishReason.RECOVERED, model))
    return Recovery(seal, was_sealed=False, missing=missing, torn_bytes=torn)


def verify(folder: Path, keys: OpenKeys | None = None) -> VerifyReport:
    """Check a take: journal chain, payload, index and seal; with ``keys`` all signatures."""
    take = Take(folder)
    problems: list[str] = []
    try:
        content = take.journal
    except StorageError as error:
        return VerifyReport(0, 0, 0, (error.message,))
    _check_manifest(take, content.lines, problems)
    _check_seal(take, problems)
    if keys is not None and keys.journal is not None:
        try:
            verify_macs(content.lines, keys.journal)
        except StorageError as error:
            problems.append(error.message)
    groups = [line for line in stored_lines(content.lines) if line.kind == "group"]
    problems += [
        f"group {line.body['key']}: payload is not what the journal says"
        for line in groups
        if not _is_whole(folder, line)
    ]
    frames = list(frame_rows(groups, ClockModel(), take.manifest.tolerance_ns))
    authenticated = 0
    if keys is not None:
        reader = TakeReader(take, keys)
        for row in frames:
            authenticated += _authenticates(reader, StoredFrame(*row), problems)
    return VerifyReport(len(groups), len(frames), authenticated, tuple(problems))


def _check_manifest(take: Take, lines: tuple[JournalLine, ...], problems: list[str]) -> None:
    digest = hashlib.sha256((take.folder / MANIFEST).read_bytes()).hexdigest()
    if not lines or lines[0].kind != "open":
        problems.append("the journal does not begin with the opening of the take")
    elif lines[0].body["take"] != take.id:
        problems.append(f"the journal belongs to another take, {lines[0].body['take']}")
    elif lines[0].body["manifest_sha256"] != digest:
        problems.append("the manifest was edited after the take began")


def _check_seal(take: Take, problems: list[str]) -> None:
    if take.seal is None:
        problems.append("the take is not sealed: it is being written, or needs `rig take recover`")
        return
    if (take.journal.chain, len(take.journal.lines)) != (
        take.seal.journal_chain,
        take.seal.journal_lines,
    ):
        problems.append("the journal was shortened or edited after the take was sealed")
    if not _index_stands(take, take.seal):
        problems.append("the index was altered; `rig take recover` builds it again")


def _index_stands(take: Take, seal: Seal) -> bool:
    path = take.folder / INDEX
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == seal.index_sha256


def _authenticates(reader: TakeReader, frame: StoredFrame, problems: list[str]) -> bool:
    try:
        blob = reader.take.blob(frame)
        if frame.is_encrypted and blob[-16:].hex() != frame.tag:
            problems.append(f"frame {frame.key}.{frame.role} was replaced: its tag differs")
            return False
        reader.encoded(frame)
        return frame.is_encrypted
    except RigError as error:
        problems.append(error.message)
        return False


def _is_whole(folder: Path, line: JournalLine) -> bool:
    """Return whether all members of a group are on disk, as the journal says."""
    body = line.body
    path = folder / shard_name(body["shard"])
    if not path.exists():
        return False
    text = canonical_json(dict(body))
    expected = [
        (f"{body['key']}.{role}.{frame['ext']}", frame["length"])
        for role, frame in body["frames"].items()
    ] + [(f"{body['key']}.json", len(text))]
    with path.open("rb") as file:
        file.seek(body["offset"])
        data = file.read(sum(member_span(length) for _, length in expected))
    sums = {role: frame["crc"] for role, frame in body["frames"].items()}
    at = 0
    for name, length in expected:
        if len(data) < at + member_span(length):
            return False
        try:
            info = tarfile.TarInfo.frombuf(data[at : at + BLOCK], "utf-8", "strict")
        except tarfile.HeaderError:
            return False
        payload = data[at + BLOCK : at + BLOCK + length]
        role = name.split(".")[1]
        good = payload == text if role == "json" else zlib.crc32(payload) == sums[role]
        if (info.name, info.size) != (name, length) or not good:
            return False
        at += member_span(length)
    return True


def _cut_shards(folder: Path, kept: list[JournalLine]) -> int:
    """Cut each shard behind its last whole group; return the bytes cut."""
    ends: dict[int, int] = {}
    for line in kept:
        body = line.body
        size = sum(member_span(frame["length"]) for frame in body["frames"].values())
        size += member_span(len(canonical_json(dict(body))))
        ends[body["shard"]] = body["offset"] + size
    cut = 0
    for path in sorted(folder.glob("shard-*.tar")):
        end = ends.get(int(path.stem.removeprefix("shard-")), 0)
        excess = path.stat().st_size - end
        if excess > 0 and not _ends_well(path, end):
            os.truncate(path, end)
            with path.open("ab") as file:
                file.write(bytes(2 * BLOCK))
                os.fsync(file.fileno())
            cut += excess
    return cut


def _ends_well(path: Path, end: int) -> bool:
    with path.open("rb") as file:
        file.seek(end)
        return file.read(2 * BLOCK + 1) == bytes(2 * BLOCK)


def _model_from(lines: list[JournalLine]) -> ClockModel:
    """Return the model the recorder last noted, else one estimated from the stored stamps."""
    for line in reversed(lines):
        if "clock_model" in line.body:
            return ClockModel.model_validate(line.body["clock_model"])
    estimator = ArrivalEstimator()
    for line in lines:
        for role, frame in line.body.get("frames", {}).items():
            stamps = (frame["captured_ns"], frame["received_ns"], frame["uncertainty_ns"])
            estimator.add(role, *stamps, exposure_s=frame["exposure_s"])
    return estimator.model()

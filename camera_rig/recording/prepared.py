"""A prepared set on disk: encrypted crops in tar shards, and what is known of each.

Files of a set, mode 0600 in a folder of mode 0700::

    set.json                 what it is made of, scopes, counts, shards with their sealed keys
    samples.jsonl            one line per pair: key, split, take, shard, place, figures
    rejected.jsonl           one line per pair left out, with the reasons
    train-TAKE.tar …         KEY.privacy.png.enc, KEY.side.png.enc, KEY.json
    summary.html             counts and histograms; no picture
    sheet-TAKE.jpg.enc       contact sheet, encrypted like the side branch
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from camera_rig.errors import ConnectError, PrivacyError, StorageError
from camera_rig.recording.codec import decode_picture
from camera_rig.recording.consent import Scope, need_scope
from camera_rig.recording.vault import FrameClass, KeyAccess, OpenKeys, SealedKeys, open_keys

__all__ = ["PreparedPair", "PreparedSet", "Sample", "SetManifest", "ShardRecord"]

Split = Literal["train", "test"]
Crop = npt.NDArray[np.uint8]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardRecord(_Stored):
    """One shard: its file, what it is from, its own sealed keys, and its size."""

    name: str
    split: str
    take: str
    subject: str
    keys: SealedKeys
    samples: int
    size_bytes: int
    content_sha256: str


class SetManifest(_Stored):
    """What a prepared set is.

    Args:
        set_id: Identifier; part of what every crop is bound to.
        simulated: True when all takes are of the digital twin.
        scopes: Uses that all takes allow.
        subjects: Pseudonyms.
        takes: Takes it is made from.
        size_px: Side of the crops, px.
        settings: Everything that decided the result.
        counts: Pairs per split, and rejected ones by reason.
        shards: The shards.
        content_sha256: Hash over all crops in the clear; equal for equal settings.
        software: Version of camera-rig.
    """

    schema_version: int = 1
    set_id: str
    simulated: bool
    scopes: tuple[str, ...]
    subjects: tuple[str, ...]
    takes: tuple[str, ...]
    size_px: int
    settings: dict[str, Any]
    counts: dict[str, int]
    rejected: dict[str, int]
    shards: tuple[ShardRecord, ...]
    content_sha256: str
    software: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair of a set: where it lies and what is known of it.

    Args:
        key: ``TAKE/NUMBER``.
        split: ``train`` or ``test``.
        take: Take.
        subject: Pseudonym.
        shard: File name of its shard.
        places: Role to offset and length in the shard, bytes.
        sequences: Role to (camera, sequence): what the encryption is bound to.
        at_ns: Capture time, privacy clock, ns.
        skew_ns: Side minus privacy, ns.
        measures: Quality figures.
    """

    key: str
    split: str
    take: str
    subject: str
    shard: str
    places: dict[str, tuple[int, int]]
    sequences: dict[str, tuple[str, int]]
    at_ns: int
    skew_ns: int
    measures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPair:
    """Both crops of a pair, H×W×3 RGB (or H×W), uint8."""

    privacy: Crop
    side: Crop
    sample: Sample


class PreparedSet:
    """Reads a prepared set from a folder or from any fsspec URL; crops decrypt in memory.

    A context manager: closing it notes in the audit log how many crops were read.

    Args:
        where: Folder, or URL such as ``s3://bucket/set`` (extra ``learn`` brings fsspec).
        access: Keys; what is opened is logged. None gives facts, no crops.
        scope: What the crops will be used for.

    Raises:
        PrivacyError: The subjects did not agree to that use.
    """

    def __init__(
        self, where: str | Path, access: KeyAccess | None = None, scope: Scope = Scope.TRAIN
    ) -> None:
        self._where = str(where)
        self._access = access
        self._opened: dict[str, OpenKeys] = {}
        self._stack = ExitStack()
        try:
            self.manifest = SetManifest.model_validate_json(self._text("set.json"))
        except ValidationError as error:
            raise StorageError(
                f"{where} is no prepared set: {error}", hint="make one: `rig data prepare`"
            ) from error
        need_scope(self.manifest.scopes, scope, f"set {self.manifest.set_id}")
        self._samples: list[Sample] | None = None

    def __enter__(self) -> Self:
        """Return the set."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the keys."""
        self._stack.close()
        self._opened = {}

    @property
    def samples(self) -> list[Sample]:
        """All pairs, training part first, in order of take and time."""
        if self._samples is None:
            lines = self._text("samples.jsonl").splitlines()
            self._samples = [_sample(json.loads(line)) for line in lines]
        return self._samples

    def split(self, name: Split) -> list[Sample]:
        """Return the pairs of one part."""
        return [sample for sample in self.samples if sample.split == name]

    def pair(self, sample: Sample) -> PreparedPair:
        """Return both crops of a pair, by random access.

        Raises:
            StorageError: Altered, swapped or torn.
            PrivacyError: No keys, or the subject has withdrawn.
        """
        with self._open(sample.shard) as file:
            return self._read(file, sample)

    def stream(
        self, name: Split, *, seed: int | None = None, rank: int = 0, world: int = 1
    ) -> Iterator[PreparedPair]:
        """Yield this machine's part of a split, shard by shard, read in sequence.

        Args:
            name: ``train`` or ``test``.
            seed: Shuffles shards, and pairs within each; None keeps the order.
            rank: Number of this reader.
            world: Number of readers; their parts do not overlap and cover all.
        """
        mine = self.split(name)[rank::world]
        shards: dict[str, list[Sample]] = {}
        for sample in mine:
            shards.setdefault(sample.shard, []).append(sample)
        order = sorted(shards)
        rng = np.random.default_rng(seed)
        if seed is not None:
            order = [order[i] for i in rng.permutation(len(order))]
        for shard in order:
            todo = shards[shard]
            if seed is not None:
                todo = [todo[i] for i in rng.permutation(len(todo))]
            with self._open(shard) as file:
                for sample in todo:
                    yield self._read(file, sample)

    def sheet(self, take: str) -> bytes:
        """Return the contact sheet of a take, a JPEG."""
        record = next((s for s in self.manifest.shards if s.take == take), None)
        if record is None:
            raise StorageError(f"no take {take} in this set", hint="see set.json")
        with self._open(f"sheet-{take}.jpg.enc") as file:
            blob = file.read()
        return self._keys(record.name).opener(FrameClass.SIDE).open(f"sheet {take}", 0, blob)

    def _read(self, file: IO[bytes], sample: Sample) -> PreparedPair:
        keys = self._keys(sample.shard)
        crops = {}
        for role, (offset, length) in sample.places.items():
            file.seek(offset)
            blob = file.read(length)
            if len(blob) < length:
                raise StorageError(f"{sample.key} is torn", hint="run `rig data prepare` again")
            camera, sequence = sample.sequences[role]
            plain = keys.opener(FrameClass(role)).open(camera, sequence, blob)
            crops[role] = np.asarray(decode_picture("png", plain), dtype=np.uint8)
        return PreparedPair(crops["privacy"], crops["side"], sample)

    def _keys(self, shard: str) -> OpenKeys:
        if shard not in self._opened:
            if self._access is None:
                raise PrivacyError(
                    "the set is encrypted and no key was given",
                    hint="open it with the lab's private key",
                )
            record = next(s for s in self.manifest.shards if s.name == shard)
            keys = open_keys(shard_id(self.manifest.set_id, shard), record.keys, self._access)
            self._opened[shard] = self._stack.enter_context(keys)
        return self._opened[shard]

    def _text(self, name: str) -> str:
        with self._open(name) as file:
            return file.read().decode("utf-8")

    def _open(self, name: str) -> IO[bytes]:
        try:
            if "://" not in self._where:
                return (Path(self._where) / name).open("rb")
            return _remote(f"{self._where.rstrip('/')}/{name}")
        except OSError as error:
            raise StorageError(
                f"{self._where}/{name} cannot be read: {error.strerror or error}",
                hint="check the address; make a set with `rig data prepare`",
            ) from error


def shard_id(set_id: str, shard: str) -> str:
    """Return what the crops of a shard are bound to."""
    return f"{set_id}/{shard}"


def content_hash(parts: Iterator[bytes]) -> str:
    """Return the SHA-256 over several pieces, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _sample(data: dict[str, Any]) -> Sample:
    data["places"] = {role: (o, n) for role, (o, n) in data["places"].items()}
    data["sequences"] = {role: (c, n) for role, (c, n) in data["sequences"].items()}
    return Sample(**data)


def _remote(url: str) -> IO[bytes]:
    try:
        import fsspec
    except ImportError as error:
        raise ConnectError(
            "reading from a URL needs the package fsspec", hint="pip install camera-rig[learn]"
        ) from error
    opened: IO[bytes] = fsspec.open(url, "rb").open()
    return opened

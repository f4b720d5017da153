"""Cutting the chosen pairs of one take into an encrypted shard."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.errors import StorageError
from camera_rig.recording._files import canonical_json, read_json, write_aside, write_json
from camera_rig.recording.codec import decode_picture
from camera_rig.recording.prepared import Sample, ShardRecord, shard_id
from camera_rig.recording.reading import StoredGroup, Take, TakeReader
from camera_rig.recording.registration import CropBox, Registration, cut_both
from camera_rig.recording.shards import BLOCK, header, member_span
from camera_rig.recording.vault import FrameClass, KeyAccess, WritingKeys, new_keys, open_keys

__all__ = ["cut_shard"]

_ROLES = ("privacy", "side")
_SHEET_COLUMNS, _SHEET_CELL_PX, _SHEET_ROWS = 12, 96, 6


def cut_shard(
    take: Take,
    access: KeyAccess,
    target: tuple[Path, str, str, int],
    work: tuple[dict[str, CropBox], dict[str, dict[str, Any]], Registration],
) -> tuple[ShardRecord, list[Sample]]:
    """Write one shard and its contact sheet; read the record back if it was made before.

    Args:
        take: Where the frames come from.
        access: Keys.
        target: Folder of the set, its id, the part, and the size of crops (px).
        work: Key to crop box and to figures for every chosen pair, and the registration.
    """
    out, set_id, split, size_px = target
    name = f"{split}-{take.id}.tar"
    done = out / f"{name}.json"
    if done.exists():
        data = read_json(done)
        return ShardRecord.model_validate(data["shard"]), [
            Sample(**sample) for sample in data["samples"]
        ]
    # Fresh keys at every attempt: a repeated one must not use a counter twice.
    keys, sealed = new_keys(shard_id(set_id, name), access.store.subject(take.manifest.subject))
    cutter = _Cutter(take, keys, size_px, work)
    with open_keys(take.id, take.manifest.keys, access) as opened:
        reader = TakeReader(take, opened)
        write_aside(out / name, lambda aside: cutter.fill(aside, reader, split, name))
    sheet = keys.sealers[FrameClass.SIDE].seal(f"sheet {take.id}", 0, cutter.sheet())
    if not (out / f"sheet-{take.id}.jpg.enc").exists() or split == "train":
        write_aside(out / f"sheet-{take.id}.jpg.enc", lambda aside: _write(aside, sheet))
    record = ShardRecord(
        name=name,
        split=split,
        take=take.id,
        subject=take.manifest.subject,
        keys=sealed,
        samples=len(cutter.samples),
        size_bytes=(out / name).stat().st_size,
        content_sha256=cutter.digest.hexdigest(),
    )
    rows = [{**_as_dict(sample)} for sample in cutter.samples]
    write_json(done, {"shard": record.model_dump(mode="json"), "samples": rows})
    return record, cutter.samples


class _Cutter:
    """Fills one shard and gathers its samples, its hash and its contact sheet."""

    def __init__(
        self,
        take: Take,
        keys: WritingKeys,
        size_px: int,
        work: tuple[dict[str, CropBox], dict[str, dict[str, Any]], Registration],
    ) -> None:
        self._take, self._keys, self._size_px = take, keys, size_px
        self._boxes, self._facts, self._registration = work
        self.samples: list[Sample] = []
        self.digest = hashlib.sha256()
        self._cells: list[npt.NDArray[np.uint8]] = []

    def fill(self, path: Path, reader: TakeReader, split: str, shard: str) -> None:
        """Write all chosen pairs to ``path``; only ciphertext reaches the disk."""
        groups = [group for group in self._take.pairs if group.key in self._boxes]
        step = max(1, len(groups) // (_SHEET_COLUMNS * _SHEET_ROWS // 2))
        with path.open("wb") as file:
            for index, group in enumerate(groups):
                crops = self._crops(reader, group)
                if index % step == 0:
                    self._cells += [_cell(crops[role]) for role in _ROLES]
                sample, members = self._sample(group, crops, (split, shard, file.tell()))
                for name, data in members:
                    file.write(header(name, len(data)) + data + bytes(-len(data) % BLOCK))
                self.samples.append(sample)
            file.write(bytes(2 * BLOCK))

    def sheet(self) -> bytes:
        """Return the contact sheet: privacy and side crops side by side, a JPEG."""
        cells = self._cells[: _SHEET_COLUMNS * _SHEET_ROWS]
        blank = np.zeros((_SHEET_CELL_PX, _SHEET_CELL_PX, 3), np.uint8)
        cells += [blank] * (-len(cells) % _SHEET_COLUMNS)
        rows = [
            np.hstack(cells[i : i + _SHEET_COLUMNS]) for i in range(0, len(cells), _SHEET_COLUMNS)
        ]
        return _encode(np.vstack(rows), ".jpg")

    def _crops(self, reader: TakeReader, group: StoredGroup) -> dict[str, npt.NDArray[np.uint8]]:
        pictures = {}
        for role in _ROLES:
            stored = group.frames[role]
            px = decode_picture(stored.ext.removesuffix(".enc"), reader.encoded(stored))
            pictures[role] = px if px.dtype == np.uint8 else (px >> 8).astype(np.uint8)
        box = self._boxes[group.key]
        both = cut_both(
            pictures["privacy"], pictures["side"], box, self._registration, self._size_px
        )
        return {role: np.asarray(px, dtype=np.uint8) for role, px in zip(_ROLES, both, strict=True)}

    def _sample(
        self,
        group: StoredGroup,
        crops: dict[str, npt.NDArray[np.uint8]],
        place: tuple[str, str, int],
    ) -> tuple[Sample, list[tuple[str, bytes]]]:
        split, shard, offset = place
        side = group.frames["side"]
        members, places, sequences = [], {}, {}
        for role in _ROLES:
            stored = group.frames[role]
            plain = _encode(crops[role], ".png")
            self.digest.update(plain)
            blob = self._keys.sealers[FrameClass(role)].seal(stored.camera, stored.sequence, plain)
            members.append((f"{group.key}.{role}.png.enc", blob))
            places[role] = (offset + BLOCK, len(blob))
            sequences[role] = (stored.camera, stored.sequence)
            offset += member_span(len(blob))
        sample = Sample(
            key=f"{self._take.id}/{group.key}",
            split=split,
            take=self._take.id,
            subject=self._take.manifest.subject,
            shard=shard,
            places=places,
            sequences=sequences,
            at_ns=group.frames["privacy"].corrected_ns,
            skew_ns=side.skew_ns or 0,
            measures=self._facts[group.key],
        )
        facts = {k: v for k, v in _as_dict(sample).items() if k not in {"places", "shard"}}
        members.append((f"{group.key}.json", canonical_json(facts)))
        return sample, members


def _as_dict(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__slots__}


def _cell(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import cv2

    colour = crop if crop.ndim == 3 else np.repeat(crop[..., None], 3, axis=2)
    size = (_SHEET_CELL_PX, _SHEET_CELL_PX)
    return np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _encode(picture: npt.NDArray[np.uint8], extension: str) -> bytes:
    import cv2

    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 3] if extension == ".png" else []
    good, data = cv2.imencode(extension, bgr, settings)
    if not good:
        raise StorageError("a crop could not be encoded", hint="check the OpenCV build")
    return bytes(data.tobytes())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)

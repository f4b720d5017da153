"""Exports: a prepared set in the clear, in the form another tool wants.

An export leaves the vault. It is made only for a use that every subject agreed to, it
is written to the audit log with its place, and a later withdrawal names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camera_rig.errors import ConfigError, ConnectError, StateError
from camera_rig.recording._files import canonical_json, make_private_dir, open_private, write_json
from camera_rig.recording.consent import Scope, need_scope
from camera_rig.recording.prepared import PreparedPair, PreparedSet, Sample
from camera_rig.recording.shards import BLOCK, header
from camera_rig.recording.vault import KeyAccess

__all__ = ["ExportSettings", "Exported", "export_set", "write_private"]

_ROLES = ("privacy", "side")
_SHARD_PAIRS = 1000


class ExportSettings(BaseModel):
    """What is exported, how, and for what use.

    Args:
        form: ``webdataset`` tars, ``lerobot`` v3 layout, a ``folder`` of PNG, or ``mp4``.
        scope: The use; every subject must have agreed to it.
        privacy_only: Leave the sharp branch out.
        fps: Rate of videos, 1/s. Videos resample time; the table keeps the true times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["webdataset", "lerobot", "folder", "mp4"] = "webdataset"
    scope: Scope = Scope.TRAIN
    privacy_only: bool = False
    fps: float = Field(default=30.0, gt=0)

    @classmethod
    def parse(cls, **given: Any) -> ExportSettings:
        """Check what a user gave.

        Raises:
            ConfigError: Names what is wrong.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(
                f"the export is not possible: {error}",
                hint="formats: webdataset, lerobot, folder, mp4; "
                "uses: train, evaluate, share, publish",
            ) from error

    @property
    def roles(self) -> tuple[str, ...]:
        """Branches that are exported."""
        return ("privacy",) if self.privacy_only else _ROLES


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, and where it lies."""

    out: Path
    form: str
    pairs: int


def export_set(folder: Path, out: Path, access: KeyAccess, settings: ExportSettings) -> Exported:
    """Write a prepared set in the clear into the new folder ``out``.

    Raises:
        PrivacyError: A subject did not agree to this use, or has withdrawn.
        StateError: ``out`` exists.
    """
    write = {
        "webdataset": _webdataset,
        "folder": _folder,
        "mp4": _mp4,
        "lerobot": _lerobot,
    }[settings.form]
    with PreparedSet(folder, access, settings.scope) as source:
        # Scopes once more, of each take's own consent, before a byte leaves the vault.
        need_scope(source.manifest.scopes, settings.scope, f"set {source.manifest.set_id}")
        if out.exists():
            raise StateError(f"{out} exists already", hint="give a new --out")
        access.audit.append(
            "exported",
            set=source.manifest.set_id,
            out=str(out.resolve()),
            form=settings.form,
            scope=str(settings.scope),
            branches=list(settings.roles),
            subjects=list(source.manifest.subjects),
        )
        make_private_dir(out)
        pairs = write(source, out, settings)
        write_json(
            out / "origin.json",
            {
                "set": source.manifest.set_id,
                "scopes": source.manifest.scopes,
                "exported_for": settings.scope,
                "simulated": source.manifest.simulated,
                "content_sha256": source.manifest.content_sha256,
                "note": "faces in the clear; delete when a subject withdraws",
            },
        )
    return Exported(out, settings.form, pairs)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600."""
    with os.fdopen(open_private(path), "wb") as file:
        file.write(data)


def _pairs(source: PreparedSet) -> Iterator[tuple[str, PreparedPair]]:
    for split in ("train", "test"):
        for pair in source.stream("train" if split == "train" else "test"):
            yield split, pair


def _facts(sample: Sample) -> dict[str, Any]:
    return {
        "key": sample.key,
        "split": sample.split,
        "take": sample.take,
        "subject": sample.subject,
        "at_ns": sample.at_ns,
        "skew_ns": sample.skew_ns,
        **sample.measures,
    }


def _crop(pair: PreparedPair, role: str) -> npt.NDArray[np.uint8]:
    return pair.privacy if role == "privacy" else pair.side


def _folder(source: PreparedSet, out: Path, settings: ExportSettings) -> int:
    """``SPLIT/ROLE/TAKE_KEY.png`` and ``pairs.jsonl``."""
    lines = []
    for split, pair in _pairs(source):
        name = pair.sample.key.replace("/", "_") + ".png"
        for role in settings.roles:
            folder = make_private_dir(out / split / role)
            write_private(folder / name, _png(_crop(pair, role)))
        lines.append(json.dumps({**_facts(pair.sample), "file": name}, sort_keys=True))
    write_private(out / "pairs.jsonl", ("\n".join(lines) + "\n").encode())
    return len(lines)


def _webdataset(source: PreparedSet, out: Path, settings: ExportSettings) -> int:
    """Tar shards of a thousand pairs: ``KEY.privacy.png``, ``KEY.side.png``, ``KEY.json``."""
    count = 0
    for split, group in groupby(_pairs(source), key=lambda item: item[0]):
        descriptor = -1
        for index, (_, pair) in enumerate(group):
            if index % _SHARD_PAIRS == 0:
                _end_tar(descriptor)
                descriptor = open_private(out / f"{split}-{index // _SHARD_PAIRS:06d}.tar")
            key = pair.sample.key.replace("/", "_")
            members = [(f"{key}.{r}.png", _png(_crop(pair, r))) for r in settings.roles]
            members.append((f"{key}.json", canonical_json(_facts(pair.sample))))
            for name, data in members:
                os.write(descriptor, header(name, len(data)) + data + bytes(-len(data) % BLOCK))
            count += 1
        _end_tar(descriptor)
    return count


def _end_tar(descriptor: int) -> None:
    if descriptor >= 0:
        os.write(descriptor, bytes(2 * BLOCK))
        os.fsync(descriptor)
        os.close(descriptor)


def _by_take(source: PreparedSet) -> Iterator[tuple[str, str, list[Sample]]]:
    for split, part in groupby(source.samples, key=lambda s: s.split):
        for take, samples in groupby(part, key=lambda s: s.take):
            yield split, take, list(samples)


def _mp4(source: PreparedSet, out: Path, settings: ExportSettings) -> int:
    """One video per take, part and branch, and ``pairs.jsonl`` with the true times."""
    lines = []
    for split, take, samples in _by_take(source):
        videos = {r: out / f"{split}-{take}.{r}.mp4" for r in settings.roles}
        _video(source, samples, videos, settings.fps)
        lines += [
            json.dumps({**_facts(sample), "frame": index}, sort_keys=True)
            for index, sample in enumerate(samples)
        ]
    write_private(out / "pairs.jsonl", ("\n".join(lines) + "\n").encode())
    return len(lines)


def _video(source: PreparedSet, samples: list[Sample], videos: dict[str, Path], fps: float) -> None:
    import cv2

    size = (source.manifest.size_px, source.manifest.size_px)
    writers: dict[str, Any] = {}
    try:
        for role, path in videos.items():
            os.close(open_private(path))
            writers[role] = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
            if not writers[role].isOpened():
                raise StateError("this OpenCV cannot write MP4", hint="export another format")
        for sample in samples:
            pair = source.pair(sample)
            for role, writer in writers.items():
                writer.write(_bgr(_crop(pair, role)))
    finally:
        for writer in writers.values():
            writer.release()


def _lerobot(source: PreparedSet, out: Path, settings: ExportSettings) -> int:
    """The LeRobotDataset v3 layout: one episode per take and part, videos and Parquet.

    Time stamps there are frame number over rate, as that format wants; the true times
    stand beside them in the columns ``captured_ns`` and ``skew_ns``.
    """
    pa, pq = _pyarrow()
    rows: list[dict[str, Any]] = []
    episodes: list[dict[str, Any]] = []
    tasks = {"pair of privacy and side view": 0}
    for number, (split, take, samples) in enumerate(_by_take(source)):
        names = {r: f"observation.images.{r}" for r in settings.roles}
        videos = {
            r: make_private_dir(out / "videos" / name / "chunk-000") / f"file-{number:03d}.mp4"
            for r, name in names.items()
        }
        _video(source, samples, videos, settings.fps)
        start = len(rows)
        rows += [
            {
                "index": start + i,
                "episode_index": number,
                "frame_index": i,
                "timestamp": i / settings.fps,
                "task_index": 0,
                "captured_ns": sample.at_ns,
                "skew_ns": sample.skew_ns,
            }
            for i, sample in enumerate(samples)
        ]
        episode: dict[str, Any] = {
            "episode_index": number,
            "tasks": list(tasks),
            "length": len(samples),
            "dataset_from_index": start,
            "dataset_to_index": len(rows),
            "data/chunk_index": 0,
            "data/file_index": 0,
            "split": split,
            "take": take,
        }
        for name in names.values():
            episode[f"videos/{name}/chunk_index"] = 0
            episode[f"videos/{name}/file_index"] = number
            episode[f"videos/{name}/from_timestamp"] = 0.0
            episode[f"videos/{name}/to_timestamp"] = len(samples) / settings.fps
        episodes.append(episode)
    _parquet(pa, pq, out / "data" / "chunk-000" / "file-000.parquet", rows)
    _parquet(pa, pq, out / "meta" / "episodes" / "chunk-000" / "file-000.parquet", episodes)
    task_rows = [{"task_index": index, "task": task} for task, index in tasks.items()]
    _parquet(pa, pq, out / "meta" / "tasks.parquet", task_rows)
    write_json(out / "meta" / "info.json", _lerobot_info(source, settings, episodes, len(rows)))
    return len(rows)


def _lerobot_info(
    source: PreparedSet, settings: ExportSettings, episodes: list[dict[str, Any]], frames: int
) -> dict[str, Any]:
    size = source.manifest.size_px
    video = {
        "dtype": "video",
        "shape": [size, size, 3],
        "names": ["height", "width", "channels"],
        "info": {"video.fps": settings.fps, "video.codec": "mpeg4", "has_audio": False},
    }
    features: dict[str, Any] = {f"observation.images.{role}": video for role in settings.roles}
    for name in ("index", "episode_index", "frame_index", "task_index", "captured_ns", "skew_ns"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    border = sum(episode["split"] == "train" for episode in episodes)
    return {
        "codebase_version": "v3.0",
        "robot_type": "camera-rig",
        "total_episodes": len(episodes),
        "total_frames": frames,
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": settings.fps,
        "splits": {"train": f"0:{border}", "test": f"{border}:{len(episodes)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }


def _parquet(pa: Any, pq: Any, path: Path, rows: list[dict[str, Any]]) -> None:
    make_private_dir(path.parent)
    os.close(open_private(path))
    table = pa.Table.from_pylist(rows)
    if "timestamp" in table.column_names:
        column = table.column("timestamp").cast(pa.float32())
        table = table.set_column(table.column_names.index("timestamp"), "timestamp", column)
    pq.write_table(table, path)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConnectError(
            "this format needs the package pyarrow", hint="pip install camera-rig[export]"
        ) from error
    return pa, pq


def _bgr(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    colour = crop if crop.ndim == 3 else np.repeat(crop[..., None], 3, axis=2)
    return np.ascontiguousarray(colour[..., ::-1])


def _png(crop: npt.NDArray[np.uint8]) -> bytes:
    import cv2

    good, data = cv2.imencode(".png", _bgr(crop) if crop.ndim == 3 else crop)
    if not good:
        raise StateError("a crop could not be encoded", hint="check the OpenCV build")
    return bytes(data.tobytes())

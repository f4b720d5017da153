"""From takes to a set for training: register, crop, judge, thin, split, encrypt.

Three steps, each repeatable: *look* at every pair of a take (figures only, kept in
``look-TAKE.json``), *select* over all takes, *cut* and encrypt the chosen pairs, one
shard per take and part. A run that was cut short goes on where it stopped; the same
takes and settings give the same crops.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

import camera_rig
from camera_rig.errors import PrivacyError, StateError
from camera_rig.recording._cut import cut_shard
from camera_rig.recording._files import make_private_dir, read_json, write_aside, write_json
from camera_rig.recording.codec import decode_picture
from camera_rig.recording.consent import Scope, need_scope
from camera_rig.recording.faces import BoxTrack, DlibFaces, FaceFinder, TruthFaces
from camera_rig.recording.prepared import Sample, SetManifest, ShardRecord, content_hash
from camera_rig.recording.quality import Measures, QualityRules, judge, measure
from camera_rig.recording.reading import StoredGroup, Take, TakeReader
from camera_rig.recording.registration import CropBox, Registration, cut_both
from camera_rig.recording.selection import Candidate, SplitRules, select
from camera_rig.recording.summary import write_summary
from camera_rig.recording.truth import TRUTH, FrameTruth, read_truth
from camera_rig.recording.vault import FrameClass, KeyAccess, open_keys

__all__ = ["PrepareSettings", "Prepared", "prepare"]

Progress = Callable[[str, int, int], None]


class PrepareSettings(BaseModel):
    """What decides the result, besides the takes.

    Args:
        size_px: Side of the crops, px.
        detector: ``truth`` on the twin, ``dlib`` on people.
        every: Look at every n-th pair only.
        quality: Limits of a good pair.
        split: Parts.
        scope: What the set is for; all takes must allow it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(default=256, ge=16)
    detector: str = Field(default="truth", pattern="^(truth|dlib)$")
    every: int = Field(default=1, ge=1)
    quality: QualityRules = QualityRules()
    split: SplitRules = SplitRules()
    scope: Scope = Scope.TRAIN


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one pair; ``reasons`` is empty for a good one."""

    key: str
    at_ns: int
    box: tuple[float, float, float] | None
    measures: dict[str, Any]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finished set: its folder and manifest."""

    folder: Path
    manifest: SetManifest


def prepare(
    takes: Sequence[Take],
    out: Path,
    access: KeyAccess,
    settings: PrepareSettings,
    *,
    registration: Registration | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Prepared:
    """Make a prepared set of ``takes`` in the folder ``out``.

    Args:
        takes: Sealed takes.
        out: New folder, or one of an interrupted run with the same settings.
        access: Keys.
        settings: What decides the result.
        registration: Side to privacy; None takes it from the truth of simulated takes.
        workers: Takes worked on at the same time.
        progress: Called with step, done and total.

    Raises:
        PrivacyError: A take does not allow this use.
        StateError: The folder holds another set, or there are too few good pairs.
    """
    takes = sorted(takes, key=lambda take: take.id)
    for take in takes:
        need_scope(take.manifest.scopes, settings.scope, f"take {take.id}")
    job = _Job(list(takes), out, access, settings, registration)
    job.begin()
    tell = progress or (lambda step, done, total: None)
    looks = job.look_all(workers, tell)
    parts = job.choose(looks)
    return job.finish(looks, parts, job.cut_all(looks, parts, workers, tell))


class _Job:
    """One preparation; holds what its steps share."""

    def __init__(
        self,
        takes: list[Take],
        out: Path,
        access: KeyAccess,
        settings: PrepareSettings,
        registration: Registration | None,
    ) -> None:
        self.takes, self.out, self.access, self.settings = takes, out, access, settings
        self._registration = registration
        self._finder: FaceFinder = TruthFaces() if settings.detector == "truth" else DlibFaces()
        self.set_id = out.name

    def begin(self) -> None:
        """Make the folder, or make sure that it is ours to go on with."""
        wanted = {
            "settings": self.settings.model_dump(mode="json"),
            "takes": [take.id for take in self.takes],
            "registration": self._registration.model_dump() if self._registration else None,
        }
        make_private_dir(self.out)
        path = self.out / "job.json"
        if path.exists() and read_json(path) != json.loads(json.dumps(wanted)):
            raise StateError(
                f"{self.out} holds a set of other takes or settings", hint="give a new --out"
            )
        if (self.out / "set.json").exists():
            raise StateError(f"{self.out} is finished already", hint="give a new --out")
        write_json(path, wanted)

    def look_all(self, workers: int, tell: Progress) -> dict[str, list[Look]]:
        """Look at all takes; takes looked at before are read back."""
        found: dict[str, list[Look]] = {}
        with ThreadPoolExecutor(workers) as pool:
            for done, (take, looks) in enumerate(
                zip(self.takes, pool.map(self._look, self.takes), strict=True), start=1
            ):
                found[take.id] = looks
                tell("look", done, len(self.takes))
        return found

    def choose(self, looks: dict[str, list[Look]]) -> dict[str, list[Candidate]]:
        """Select over all takes."""
        good = [
            Candidate(take, look.key, look.at_ns)
            for take, seen in looks.items()
            for look in seen
            if not look.reasons
        ]
        return select(good, self.settings.split)

    def cut_all(
        self,
        looks: dict[str, list[Look]],
        parts: dict[str, list[Candidate]],
        workers: int,
        tell: Progress,
    ) -> list[tuple[ShardRecord, list[Sample]]]:
        """Cut and encrypt; one shard per take and part."""
        by_key = {(take, look.key): look for take, seen in looks.items() for look in seen}
        todo = []
        for split in ("train", "test"):
            for take in self.takes:
                chosen = [by_key[take.id, c.key] for c in parts[split] if c.take == take.id]
                if chosen:
                    todo.append((split, take, chosen))
        shards = []
        with ThreadPoolExecutor(workers) as pool:
            for done, made in enumerate(pool.map(lambda one: self._cut(*one), todo), start=1):
                shards.append(made)
                tell("cut", done, len(todo))
        return shards

    def finish(
        self,
        looks: dict[str, list[Look]],
        parts: dict[str, list[Candidate]],
        shards: list[tuple[ShardRecord, list[Sample]]],
    ) -> Prepared:
        """Write the tables, the summary and, last, the manifest that makes it a set."""
        samples = [sample for _, part in shards for sample in part]
        _write_lines(self.out / "samples.jsonl", [asdict(sample) for sample in samples])
        chosen = {(c.take, c.key) for part in parts.values() for c in part}
        rejected = []
        for take, seen in looks.items():
            for look in seen:
                if (take, look.key) not in chosen:
                    reasons = look.reasons or ("not needed: thinned or in the gap",)
                    rejected.append({"take": take, **asdict(look), "reasons": reasons})
        _write_lines(self.out / "rejected.jsonl", rejected)
        scopes = set.intersection(*(set(take.manifest.scopes) for take in self.takes))
        manifest = SetManifest(
            set_id=self.set_id,
            simulated=all(take.manifest.simulated for take in self.takes),
            scopes=tuple(sorted(scopes)),
            subjects=tuple(sorted({take.manifest.subject for take in self.takes})),
            takes=tuple(take.id for take in self.takes),
            size_px=self.settings.size_px,
            settings=self.settings.model_dump(mode="json"),
            counts={name: len(part) for name, part in parts.items()},
            rejected=dict(Counter(reason for one in rejected for reason in one["reasons"])),
            shards=tuple(record for record, _ in shards),
            content_sha256=content_hash(r.content_sha256.encode() for r, _ in shards),
            software=camera_rig.__version__,
        )
        write_summary(self.out / "summary.html", manifest, samples)
        write_json(self.out / "set.json", manifest.model_dump(mode="json"))
        facts = {"set": self.set_id, "subjects": list(manifest.subjects), "counts": manifest.counts}
        self.access.audit.append("set-prepared", **facts)
        for path in self.out.glob("look-*.json"):
            path.unlink()
        return Prepared(self.out, manifest)

    # One take

    def _look(self, take: Take) -> list[Look]:
        path = self.out / f"look-{take.id}.json"
        if path.exists():
            return [_look_of(data) for data in read_json(path)]
        registration, truth = self._geometry(take)
        pairs = take.pairs[:: self.settings.every]
        seen: list[tuple[StoredGroup, CropBox | None, Measures | None, Any, list[str]]] = []
        track = BoxTrack()
        with open_keys(take.id, take.manifest.keys, self.access, [FrameClass.SIDE]) as keys:
            reader = TakeReader(take, keys)
            for group in pairs:
                stored = group.frames["side"]
                pixels = _picture(reader, stored)
                faces = self._finder.find(pixels, truth.get((group.key, "side")))
                reasons = ["several faces"] if len(faces) > 1 else []
                box = track.follow(faces[0] if faces else None)
                if box is None or not faces:
                    seen.append((group, box, None, None, [*reasons, "no face"]))
                    continue
                crop = cut_both(pixels, pixels, box, registration, 128)[1]
                measures, tiny = measure(_eight(crop), group, box, faces[0])
                seen.append((group, box, measures, tiny, reasons))
        looks = self._judge(take, seen)
        write_json(path, [asdict(look) for look in looks])
        return looks

    def _judge(self, take: Take, seen: list[Any]) -> list[Look]:
        """Judge all pairs of a take against its median, and thin near-duplicates."""
        rules = self.settings.quality
        sharp = [m.sharpness for _, _, m, _, _ in seen if m is not None]
        median = statistics.median(sharp) if sharp else 0.0
        tolerance_ms = take.manifest.tolerance_ns * 1e-6
        last: npt.NDArray[np.float32] | None = None
        looks = []
        for group, box, measures, tiny, reasons in seen:
            why = list(reasons)
            if measures is not None:
                why += judge(measures, rules, median, tolerance_ms)
            if group.frames["side"].repeated or group.frames["privacy"].repeated:
                why.append("repeated by the camera")
            if not why and last is not None and _differ(tiny, last) < rules.min_novelty:
                why.append("near-duplicate")
            if not why:
                last = tiny
            looks.append(
                Look(
                    key=group.key,
                    at_ns=group.frames["privacy"].corrected_ns,
                    box=None if box is None else (box.x_px, box.y_px, box.size_px),
                    measures={} if measures is None else asdict(measures),
                    reasons=tuple(why),
                )
            )
        return looks

    def _cut(self, split: str, take: Take, chosen: list[Look]) -> tuple[ShardRecord, list[Sample]]:
        registration, _ = self._geometry(take)
        boxes = {look.key: CropBox(*look.box) for look in chosen if look.box is not None}
        facts = {look.key: look.measures for look in chosen}
        target = (self.out, self.set_id, split, self.settings.size_px)
        return cut_shard(take, self.access, target, (boxes, facts, registration))

    def _geometry(self, take: Take) -> tuple[Registration, dict[tuple[str, str], FrameTruth]]:
        wants_truth = self._registration is None or self.settings.detector == "truth"
        if not wants_truth:
            assert self._registration is not None  # noqa: S101 - narrows for the type checker
            return self._registration, {}
        if not take.manifest.simulated:
            raise PrivacyError(
                f"take {take.id} is of a person and has no truth",
                hint="give --register FILE and --detector dlib",
            )
        matrix, truth = read_truth(take.folder)
        return self._registration or Registration.of(matrix, TRUTH), truth


def _differ(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(np.abs(a - b).mean())


def _picture(reader: TakeReader, stored: Any) -> Any:
    return decode_picture(stored.ext.removesuffix(".enc"), reader.encoded(stored))


def _eight(pixels: Any) -> npt.NDArray[np.uint8]:
    eight = pixels if pixels.dtype == np.uint8 else pixels >> 8
    return np.asarray(eight, dtype=np.uint8)


def _look_of(data: dict[str, Any]) -> Look:
    box = data["box"]
    return Look(
        key=data["key"],
        at_ns=data["at_ns"],
        box=None if box is None else (box[0], box[1], box[2]),
        measures=data["measures"],
        reasons=tuple(data["reasons"]),
    )


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)

    def fill(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    write_aside(path, fill)

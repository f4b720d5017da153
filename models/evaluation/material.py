"""What is judged: faces with every truth that is known about them.

A folder of rendered heads tells everything; a folder of photographs tells only what
is in it; a prepared set of recordings brings the frame that the privacy camera really
saw. Whether a face may be shown or a template of it be stored is decided here, once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError, StorageError
from camera_rig.recording.consent import Scope
from camera_rig.recording.prepared import PreparedSet
from models.data import LABELS, Face, FaceSource, open_folder
from models.evaluation.detectors import HogDetector, LandmarkReader
from models.evaluation.embedders import Floats, Picture
from models.prepared import PreparedFaces

Progress = Callable[[str, int, int], None]
Landmarks = Callable[[Picture], Floats | None]

_ORDER = ("light", "medium", "tan", "brown", "dark", "female", "male")
_AGES = ((35.0, "18–34"), (55.0, "35–54"), (200.0, "55+"))


@dataclass(frozen=True)
class Truth:
    """What a renderer knows of one moment and a photograph does not tell.

    Args:
        yaw_pitch_roll: Degrees.
        t_s: Time in the person's clip, seconds.
        face_units: ``(52,)`` ARKit face units, 0 … 1.
    """

    yaw_pitch_roll: tuple[float, float, float] | None = None
    t_s: float | None = None
    face_units: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One moment of one person.

    Args:
        name: For reports.
        person: Number of the person.
        picture: Sharp face, ``(size, size, 3)`` RGB.
        landmarks_px: ``(68, 2)`` of the sharp face: true ones, or found on it.
        truth: What else is known.
        attributes: ``skin``, ``age`` and ``sex`` where they are known.
        privacy: What the privacy camera saw, for recordings; else None.
    """

    name: str
    person: int
    picture: Picture
    landmarks_px: Floats
    truth: Truth = field(default_factory=Truth)
    attributes: Mapping[str, str] = field(default_factory=dict)
    privacy: Picture | None = None

    @cached_property
    def key(self) -> str:
        """Hash of everything that a measurement can depend on."""
        digest = hashlib.sha256(np.ascontiguousarray(self.picture).tobytes())
        digest.update(np.round(self.landmarks_px, 2).tobytes())
        if self.privacy is not None:
            digest.update(np.ascontiguousarray(self.privacy).tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that is judged.

    Args:
        name: For reports.
        samples: Moments, those of one person together and in order of time.
        kind: ``synthetic heads``, ``simulated recordings``, ``recordings`` or ``pictures``.
        exact: True where landmarks and pose are the renderer's own.
        may_show: Faces may stand in a report.
        left_out: Pictures in which no face was found, so that nothing could be judged.
    """

    name: str
    samples: tuple[Sample, ...]
    kind: str
    exact: bool = False
    may_show: bool = False
    left_out: int = 0

    @property
    def people(self) -> Floats:
        """Number of the person of every sample."""
        return np.array([sample.person for sample in self.samples])

    @property
    def may_store(self) -> bool:
        """Templates of these faces may lie on disk: only when they are nobody's."""
        return self.kind in ("synthetic heads", "simulated recordings")

    @cached_property
    def key(self) -> str:
        """Hash of all samples."""
        return hashlib.sha256("".join(s.key for s in self.samples).encode()).hexdigest()[:16]

    def groups(self) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """Return attribute to value to which samples have it; empty where none is known."""
        found: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
        for name in sorted({key for s in self.samples for key in s.attributes}):
            values = np.array([s.attributes.get(name, "not told") for s in self.samples])
            found[name] = {
                value: values == value for value in sorted(set(values.tolist()), key=_place)
            }
        return found


def _place(group: str) -> tuple[int, str]:
    """Skin from light to dark, not by letter."""
    return (_ORDER.index(group) if group in _ORDER else len(_ORDER), group)


def open_pictures(folder: str | Path, size_px: int, landmarks: Landmarks | None = None) -> Material:
    """Return an image folder as material.

    Args:
        folder: As :func:`models.data.open_folder` takes it; a ``labels.json`` of rendered
            heads tells identity, landmarks, pose, face units, age, sex and skin.
        size_px: Height and width wanted.
        landmarks: Finds 68 landmarks where the labels tell none.

    Raises:
        ConfigError: No pictures, or fewer than two people.
    """
    source = open_folder(folder, size_px)
    labels = _labels(Path(folder))
    rendered = bool(labels.get("settings", {}).get("renderer"))
    told = {frame["name"]: frame for frame in labels.get("frames", [])}
    rows = [told.get(Path(source[i].name).stem, {}) for i in range(len(source))]
    return _assembled(
        _Opened(Path(folder).name, source, rows, "synthetic heads" if rendered else "pictures"),
        landmarks,
        exact=rendered,
        may_show=rendered,
    )


def open_recordings(
    source: PreparedSet, size_px: int, landmarks: Landmarks, part: str = "test"
) -> Material:
    """Return one part of a prepared set as material.

    Faces of people are shown only where every subject agreed to publication.

    Args:
        source: Opened set with keys, for the use ``evaluate``.
        size_px: Height and width wanted.
        landmarks: Finds 68 landmarks on the side crop.
        part: ``train`` or ``test``.
    """
    if part not in ("train", "test"):
        raise ConfigError(f"no part {part!r} in a prepared set", hint="use train or test")
    chosen = source.split("train" if part == "train" else "test")
    faces = PreparedFaces(source, tuple(chosen), size_px)
    manifest = source.manifest
    start = min((sample.at_ns for sample in chosen), default=0)
    rows = [{"time_s": (sample.at_ns - start) / 1e9} for sample in chosen]
    kind = "simulated recordings" if manifest.simulated else "recordings"
    return _assembled(
        _Opened(f"{manifest.set_id} ({part})", faces, rows, kind),
        landmarks,
        exact=False,
        may_show=manifest.simulated or Scope.PUBLISH in manifest.scopes,
    )


@dataclass(frozen=True)
class _Opened:
    name: str
    faces: FaceSource
    rows: Sequence[Mapping[str, Any]]
    kind: str


def _assembled(
    opened: _Opened, landmarks: Landmarks | None, *, exact: bool, may_show: bool
) -> Material:
    samples, left_out = [], 0
    for index, row in enumerate(opened.rows):
        face = opened.faces[index]
        points = _points(face, landmarks)
        if points is None:
            left_out += 1
            continue
        samples.append(_sample(face, points, row, index))
    samples.sort(key=lambda s: (s.person, s.truth.t_s or 0.0, s.name))
    if len({sample.person for sample in samples}) < 2:
        raise ConfigError(
            f"{opened.name} shows fewer than two people whose face can be found",
            hint="give labels.json with identities, or more takes; "
            "nothing can be told apart in a set of one person",
        )
    return Material(opened.name, tuple(samples), opened.kind, exact, may_show, left_out)


def _points(face: Face, landmarks: Landmarks | None) -> Floats | None:
    if face.landmarks_px is not None and face.landmarks_px.shape == (68, 2):
        return np.asarray(face.landmarks_px, dtype=np.float64)
    return None if landmarks is None else landmarks(face.picture)


def _sample(face: Face, points: Floats, row: Mapping[str, Any], index: int) -> Sample:
    pose, units, time = row.get("yaw_pitch_roll"), row.get("face_units"), row.get("time_s")
    truth = Truth(
        yaw_pitch_roll=None if pose is None else tuple(float(v) for v in pose),
        t_s=None if time is None else float(time),
        face_units=None if units is None else tuple(float(v) for v in units),
    )
    attributes = {}
    if "skin" in row:
        age = next(name for below, name in _AGES if float(row["age_years"]) < below)
        attributes = {"skin": str(row["skin"]), "sex": str(row["sex"]), "age": age}
    # Nobody told who it is: everybody is somebody else.
    person = face.identity if face.identity is not None else -1 - index
    return Sample(face.name, person, face.picture, points, truth, attributes, face.privacy)


def _labels(folder: Path) -> dict[str, Any]:
    file = folder / LABELS
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StorageError(
            f"{file} cannot be read: {error}", hint="render the heads again, or remove the file"
        ) from error
    return dict(content)


def found_landmarks() -> Landmarks:
    """Return a finder of 68 landmarks: dlib's detector for the box, then its points.

    The networks are loaded at the first picture that needs them.
    """
    tools: list[tuple[HogDetector, LandmarkReader]] = []

    def find(picture: Picture) -> Floats | None:
        if not tools:
            tools.append((HogDetector(), LandmarkReader()))
        detect, read = tools[0]
        face = detect(picture)
        return None if face is None else read(picture, face.box)

    return find


def held_out_heads(
    people: int,
    frames: int,
    size_px: int,
    *,
    video_fps: float | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a folder of rendered heads that no training may use, kept in the user's cache.

    Light, garment and wall change from picture to picture, but not within a video: a
    person must be known by the face.

    Args:
        people: How many.
        frames: Pictures of each.
        size_px: Height and width.
        video_fps: Pictures per second of a video; None spreads the pictures over a clip.
        progress: Called with step, identities done and identities in all.
    """
    from camera_rig.twin.head.cache import user_cache_dir
    from models.heads import TEST_SEEDS, HeadSetSettings, render_heads

    studios = frames if video_fps is None else 1
    settings = HeadSetSettings(tuple(TEST_SEEDS[:people]), frames, size_px, video_fps, studios)
    rate = "-lights" if video_fps is None else f"-{video_fps:g}fps"
    name = f"heads-{TEST_SEEDS[0]}-{people}x{frames}{rate}-{size_px}px"

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("rendering heads", done, total)

    return render_heads(user_cache_dir() / "evaluation" / name, settings, tell)


def public_references(count: int, size_px: int, *, progress: Progress | None = None) -> Path:
    """Return a folder of rendered heads kept for references, one picture of each."""
    from camera_rig.twin.head.cache import user_cache_dir
    from models.heads import REFERENCE_SEEDS, HeadSetSettings, render_heads

    settings = HeadSetSettings(tuple(REFERENCE_SEEDS[:count]), 1, size_px)
    name = f"references-{REFERENCE_SEEDS[0]}-{count}-{size_px}px"

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("rendering references", done, total)

    return render_heads(user_cache_dir() / "evaluation" / name, settings, tell)

"""The same moment acted by another head: the right answer that only a renderer knows.

A de-identified face should be another person in the same pose, expression and
light. Of real people no such pair exists; rendered heads can simply be asked to
repeat a moment. Folder layout: ``source/ID_FRAME.png`` beside
``target/REFERENCE/ID_FRAME.png``, told in ``labels.json``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError, StorageError
from models.data import LABELS, Face

INNER = slice(17, 68)
"""The landmarks by which a target is laid over its source: all but the jaw."""


@dataclass(frozen=True)
class ParallelSettings:
    """Who acts and who repeats it.

    Args:
        seeds: Identity seeds of the sources.
        references: Identity seeds that repeat them.
        repeats: Different references for each source identity.
        frames: Moments of each source, spread over its clip.
        size_px: Height and width of the pictures. They are wider than a face picture,
            so that turning and shifting them never shows an edge.
        width_mm: Width of the window around the head.
    """

    seeds: tuple[int, ...]
    references: tuple[int, ...]
    repeats: int = 2
    frames: int = 12
    size_px: int = 320
    width_mm: float = 325.0

    def chosen(self, number: int) -> tuple[int, ...]:
        """Return the references of the n-th identity: all are used equally often."""
        count = len(self.references)
        step = 1 + number // count
        places = [(number + k * (1 + step % max(count - 1, 1))) % count for k in range(count)]
        unique = list(dict.fromkeys(places))[: self.repeats]
        return tuple(self.references[place] for place in unique)


def render_parallel(
    folder: str | Path,
    settings: ParallelSettings,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Path:
    """Render a parallel set; kept if it is there already.

    About 1.4 s of CPU for an identity with 12 moments and two references.

    Args:
        folder: Where; written aside and renamed when complete.
        settings: Who.
        progress: Called with identities done and identities in all.
        workers: Processes.

    Raises:
        ConfigError: Nobody is asked for.
        StorageError: Another set is there, or the disk is full.
    """
    target = Path(folder)
    told = _told(settings)
    if (target / LABELS).exists():
        if json.loads((target / LABELS).read_text(encoding="utf-8")).get("settings") != told:
            raise StorageError(
                f"{target} holds other heads", hint="choose another folder for these settings"
            )
        return target
    if not settings.seeds or not settings.references or settings.frames < 1:
        raise ConfigError("no heads asked for", hint="give identities, references and frames")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    for part in ("source", *(f"target/{r}" for r in settings.references)):
        (aside / part).mkdir(parents=True)
    frames: list[dict[str, Any]] = []
    numbers = range(len(settings.seeds))
    with ProcessPoolExecutor(workers) as pool:
        for done in pool.map(partial(_render_one, aside, settings), numbers, chunksize=4):
            frames.extend(done)
            if progress is not None:
                progress(len(frames) // settings.frames, len(numbers))
    content = {"size": settings.size_px, "settings": told, "frames": frames}
    (aside / LABELS).write_text(json.dumps(content), encoding="utf-8")
    aside.replace(target)
    return target


def _told(settings: ParallelSettings) -> dict[str, Any]:
    from camera_rig.twin.heads import RENDERER_VERSION

    return json.loads(json.dumps({**asdict(settings), "renderer": RENDERER_VERSION}))


@cache
def _reference(seed: int) -> Any:
    """Identity and textures, painted once in a process."""
    from camera_rig.twin.head.assets import head_model
    from camera_rig.twin.head.identity import Identity
    from camera_rig.twin.head.textures import Maps

    identity = Identity.from_seed(seed, head_model())
    return identity, Maps.of(identity)


def _render_one(folder: Path, settings: ParallelSettings, number: int) -> list[dict[str, Any]]:
    """One identity's moments, and the same by each of its references."""
    from camera_rig.twin.head.assets import head_model
    from camera_rig.twin.head.identity import Identity
    from camera_rig.twin.head.motion import Motion, clip_track
    from camera_rig.twin.head.render import HeadRenderer
    from camera_rig.twin.head.studio import Studio
    from camera_rig.twin.scene import Field

    seed, size = settings.seeds[number], settings.size_px
    window = Field(height_px=size, width_px=size, width_mm=settings.width_mm)
    motion, studio = Motion(), Studio.from_seed(seed)
    track = clip_track(seed, motion)
    moments = ((np.arange(settings.frames) + 0.5) / settings.frames * motion.frames).astype(int)
    actor = HeadRenderer(Identity.from_seed(seed, head_model()), studio, window)
    names = [f"id{seed:05d}_{k:03d}" for k in range(settings.frames)]
    labels = []
    for name, moment in zip(names, moments, strict=True):
        pose = track.pose_at(int(moment))
        angles = [float(a) for a in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg)]
        shown = actor.render(track.coefficients[moment], pose)
        _write(folder / "source" / f"{name}.png", shown.radiance)
        labels.append(
            {
                "name": name,
                "identity": seed,
                "yaw_pitch_roll": angles,
                "landmarks68": np.round(shown.landmarks_px, 2).tolist(),
                "targets": {},
            }
        )
    for reference in settings.chosen(number):
        identity, maps = _reference(reference)
        double = HeadRenderer(identity, studio, window, maps)
        for name, moment, label in zip(names, moments, labels, strict=True):
            shown = double.render(track.coefficients[moment], track.pose_at(int(moment)))
            wanted = np.array(label["landmarks68"])[INNER]
            moved = laid_over(shown.radiance, shown.landmarks_px[INNER], wanted)
            place = f"target/{reference}/{name}.png"
            _write(folder / place, moved)
            label["targets"][str(reference)] = place
    return labels


def laid_over(picture: np.ndarray, points_px: np.ndarray, wanted_px: np.ndarray) -> np.ndarray:
    """Return the picture turned, scaled and shifted so that its points meet others best.

    What is left of the distance is the difference of the two faces' proportions:
    that is identity, and must not be carried over.

    Args:
        picture: ``(h, w, 3)``.
        points_px: ``(n, 2)`` x, y in the picture.
        wanted_px: ``(n, 2)`` where they should be.
    """
    import cv2

    here = points_px[:, 0] + 1j * points_px[:, 1]
    there = wanted_px[:, 0] + 1j * wanted_px[:, 1]
    flat = here - here.mean()
    turn = np.vdot(flat, there - there.mean()) / np.vdot(flat, flat).real
    shift = there.mean() - turn * here.mean()
    matrix = np.array(
        [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float64
    )
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(
        picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _write(path: Path, linear: np.ndarray) -> None:
    import cv2

    from camera_rig.twin.heads import film_curve

    if not cv2.imwrite(str(path), film_curve(linear)[..., ::-1]):
        raise StorageError(f"cannot write {path}", hint="check the disk")


def paired_names(labels: Sequence[dict[str, Any]]) -> list[tuple[str, int, str]]:
    """Return (source name, reference, target path) of every pair in some labels."""
    return [
        (frame["name"], int(reference), place)
        for frame in labels
        for reference, place in frame["targets"].items()
    ]


@dataclass(frozen=True, eq=False)
class Moment:
    """One moment, by the source and by its double, at the folder's own size.

    Args:
        name: For reports.
        source: Who stands before the camera, RGB 8 bit.
        target: The double, RGB 8 bit.
        reference: Number of the double within the set's references.
        landmarks_px: ``(68, 2)`` of the source, pixels of the picture.
    """

    name: str
    source: np.ndarray
    target: np.ndarray
    reference: int
    landmarks_px: np.ndarray


class ParallelFaces:
    """A parallel set as a source of moments.

    Args:
        root: Folder of :func:`render_parallel`.
        pairs: Which pairs of its labels.
        labels: By name of the source.
        references: Identity seeds of the doubles.
    """

    sensitive = False
    domains: tuple[str, ...] = ("heads",)

    def __init__(
        self,
        root: Path,
        pairs: Sequence[tuple[str, int, str]],
        labels: dict[str, dict[str, Any]],
        references: Sequence[int],
    ) -> None:
        self.root, self.pairs, self._labels = root, tuple(pairs), labels
        self.references = tuple(references)

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.pairs)

    def moment(self, index: int) -> Moment:
        """Return one pair."""
        name, reference, place = self.pairs[index]
        return Moment(
            name=name,
            source=_read(self.root / "source" / f"{name}.png"),
            target=_read(self.root / place),
            reference=self.references.index(reference),
            landmarks_px=np.array(self._labels[name]["landmarks68"], np.float32),
        )

    def __getitem__(self, index: int) -> Face:
        """Return the source of one pair as a face to learn from."""
        moment = self.moment(index)
        return Face(moment.name, moment.source, 0, self.identity_of(index), moment.landmarks_px)

    def identity_of(self, index: int) -> int | None:
        """Return the identity seed of the source."""
        return int(self._labels[self.pairs[index][0]]["identity"])

    def domain_of(self, index: int) -> int:
        """Return 0: there is one domain."""
        return 0

    def split(self, held_out: float) -> tuple[ParallelFaces, ParallelFaces]:
        """Return (training, the share ``held_out``, 0 … 1) by identity; the last are held out."""
        people = sorted({int(frame["identity"]) for frame in self._labels.values()})
        aside = set(people[len(people) - max(1, round(len(people) * held_out)) :])
        parts = []
        for wanted in (False, True):
            chosen = [p for p in self.pairs if (self._labels[p[0]]["identity"] in aside) == wanted]
            parts.append(ParallelFaces(self.root, chosen, self._labels, self.references))
        return parts[0], parts[1]


def open_parallel(root: str | Path) -> ParallelFaces:
    """Return the pairs of a parallel set.

    Raises:
        ConfigError: The folder holds none.
    """
    folder = Path(root)
    try:
        content = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        frames, references = content["frames"], content["settings"]["references"]
        pairs = paired_names(frames)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{folder} is no parallel set: {error}", hint="render one: heads that repeat a moment"
        ) from error
    return ParallelFaces(folder, pairs, {frame["name"]: frame for frame in frames}, references)


def _read(path: Path) -> np.ndarray:
    import cv2

    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise StorageError(f"{path} cannot be read as a picture", hint="render the set again")
    return np.ascontiguousarray(stored[..., ::-1])

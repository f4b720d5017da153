"""Faces as one table: sharp pictures, names, landmarks, and what each camera made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camera_rig.errors import ConfigError
from models.camera import PrivacyCamera
from models.data import Picture
from models.evaluation.material import Sample

__all__ = [
    "FaceTable",
    "Split",
    "gallery_split",
    "joined",
    "photographed",
    "table_of",
    "thinned",
    "to_pictures",
    "to_planes",
]

Floats = np.ndarray[Any, np.dtype[np.float64]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class FaceTable:
    """Faces of known people.

    Args:
        sharp: ``(n, h, w, 3)`` RGB, 8 bit.
        labels: Who, ``(n,)``.
        landmarks_px: ``(n, 68, 2)`` of the sharp pictures.
        recorded: What the real privacy camera saw, like ``sharp``; None for
            pictures without it.
        sensitive: Real people: their pictures appear in no report.
    """

    sharp: Picture
    labels: Labels
    landmarks_px: Floats
    recorded: Picture | None = None
    sensitive: bool = True

    def __len__(self) -> int:
        """Return how many faces there are."""
        return len(self.labels)

    @property
    def people(self) -> int:
        """How many people there are."""
        return len(np.unique(self.labels))

    def rows(self, index: Labels) -> FaceTable:
        """Return some of the faces."""
        recorded = None if self.recorded is None else self.recorded[index]
        return replace(
            self,
            sharp=self.sharp[index],
            labels=self.labels[index],
            landmarks_px=self.landmarks_px[index],
            recorded=recorded,
        )


@dataclass(frozen=True, eq=False)
class Split:
    """Whom the attacker seeks and among whom.

    Args:
        gallery: Rows with one photograph of each person.
        probes: Rows to be recognised.
    """

    gallery: Labels
    probes: Labels


def table_of(samples: Sequence[Sample], *, sensitive: bool) -> FaceTable:
    """Return samples as a table.

    Args:
        samples: Moments of known people.
        sensitive: Their pictures appear in no report.
    """
    privacy = [sample.privacy for sample in samples]
    whole = all(frame is not None for frame in privacy)
    return FaceTable(
        sharp=np.stack([sample.picture for sample in samples]),
        labels=np.array([sample.person for sample in samples], dtype=np.int64),
        landmarks_px=np.stack([sample.landmarks_px for sample in samples]),
        recorded=np.stack([frame for frame in privacy if frame is not None]) if whole else None,
        sensitive=sensitive,
    )


def thinned(labels: Labels, per_person: int) -> Labels:
    """Return rows with at most so many of each person, spread evenly, person by person."""
    people = [np.flatnonzero(labels == who) for who in np.unique(labels)]
    return np.array([row for own in people for row in _spread(list(own), per_person)], np.int64)


def joined(first: FaceTable, second: FaceTable) -> FaceTable:
    """Return both tables as one; people of unlike tables are never the same.

    Recorded frames are dropped: use the tables apart where they matter.
    """
    moved = second.labels + (first.labels.max() + 1 - min(int(second.labels.min()), 0))
    return FaceTable(
        sharp=np.concatenate([first.sharp, second.sharp]),
        labels=np.concatenate([first.labels, moved]),
        landmarks_px=np.concatenate([first.landmarks_px, second.landmarks_px]),
        sensitive=first.sensitive or second.sensitive,
    )


def gallery_split(labels: Labels, probes_each: int) -> Split:
    """Return the first picture of each person as gallery, and others as probes.

    Args:
        labels: Who.
        probes_each: At most so many probes of each person, spread evenly.

    Raises:
        ConfigError: Fewer than two people, or nobody has two pictures.
    """
    people = [np.flatnonzero(labels == who) for who in np.unique(labels)]
    gallery = np.array([own[0] for own in people], dtype=np.int64)
    rest = [i for own in people for i in _spread(list(own[1:]), probes_each)]
    if len(people) < 2 or not rest:
        raise ConfigError(
            f"{len(people)} people, {len(rest)} pictures beside the gallery",
            hint="an attack needs two people or more, with two pictures or more of each",
        )
    return Split(gallery, np.array(rest, dtype=np.int64))


@torch.no_grad()
def photographed(camera: PrivacyCamera, pictures: Picture, seed: int) -> Picture:
    """Return what a camera makes of sharp pictures: blur, noise, 8 bits.

    Args:
        camera: The camera.
        pictures: ``(n, h, w, 3)``, 8 bit.
        seed: Decides the noise.
    """
    draw = torch.Generator().manual_seed(seed)
    found = np.empty_like(pictures)
    for start in range(0, len(pictures), _CHUNK):
        scene = to_planes(pictures[start : start + _CHUNK])
        frame = camera(scene, torch.randn(scene.shape, generator=draw))
        found[start : start + _CHUNK] = to_pictures(frame)
    return found


def to_planes(pictures: Picture) -> Tensor:
    """Return ``(n, 3, h, w)`` in 0 … 1 of 8-bit pictures ``(n, h, w, 3)``."""
    stored = torch.from_numpy(np.ascontiguousarray(pictures))
    return stored.permute(0, 3, 1, 2).float().div(255.0)


def to_pictures(planes: Tensor) -> Picture:
    """Return 8-bit pictures ``(n, h, w, 3)`` of planes in 0 … 1."""
    stored = planes.detach().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return np.ascontiguousarray(stored.permute(0, 2, 3, 1).numpy())


def _spread(items: Sequence[int], most: int | None) -> list[int]:
    if most is None or len(items) <= most:
        return list(items)
    places = np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))
    return [items[i] for i in places]

"""Faces to learn from: image folders, rendered heads, prepared pairs.

A folder of pictures is the one form. Sub-folders are domains (``female/``,
``male/``), a flat folder is one domain, and folders whose names are all digits
(as FFHQ has) are only shelves. A ``labels.json`` beside them may tell identity
and landmarks, as rendered heads have.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from camera_rig.errors import ConfigError, StorageError

Picture = np.ndarray[Any, np.dtype[np.uint8]]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
LABELS = "labels.json"
_KEPT_PICTURES = 20_000


@dataclass(frozen=True, eq=False)
class Face:
    """One face to learn from.

    Args:
        name: Path below the folder, for reports.
        picture: ``(size, size, 3)`` RGB, 8 bit.
        domain: Number of the domain.
        identity: Who, when the labels tell; else None.
        landmarks_px: ``(points, 2)`` x, y, when the labels tell; else None.
        privacy: What the privacy camera really saw, for pairs; else None.
    """

    name: str
    picture: Picture
    domain: int = 0
    identity: int | None = None
    landmarks_px: np.ndarray | None = None
    privacy: Picture | None = None


class FaceSource(Protocol):
    """Faces by number. ``sensitive`` ones must not be written anywhere in the clear."""

    domains: tuple[str, ...]
    sensitive: bool

    def __len__(self) -> int:
        """Return how many faces there are."""
        ...

    def __getitem__(self, index: int) -> Face:
        """Return one face."""
        ...

    def identity_of(self, index: int) -> int | None:
        """Return who is shown, when known, without reading the picture."""
        ...

    def domain_of(self, index: int) -> int:
        """Return the domain, without reading the picture."""
        ...


@dataclass(frozen=True)
class _Entry:
    path: Path
    name: str
    domain: int
    identity: int | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    landmarks_size_px: int = 0
    privacy: Path | None = None


class FolderFaces:
    """Pictures of a folder, shown at one size.

    Args:
        entries: What is in it.
        domains: Names of the domains.
        size_px: Height and width wanted; other sizes are cut to a square and resized.
        sensitive: Real people in the clear.
    """

    def __init__(
        self,
        entries: Sequence[_Entry],
        domains: tuple[str, ...],
        size_px: int,
        *,
        sensitive: bool = False,
    ) -> None:
        self.entries, self.domains = tuple(entries), domains
        self.size_px, self.sensitive = size_px, sensitive
        self._read = lru_cache(maxsize=_KEPT_PICTURES)(_read_square)

    def __len__(self) -> int:
        """Return how many faces there are."""
        return len(self.entries)

    def __getitem__(self, index: int) -> Face:
        """Return one face."""
        entry = self.entries[index]
        landmarks = None
        if entry.landmarks is not None:
            scale = self.size_px / entry.landmarks_size_px
            landmarks = (np.array(entry.landmarks, dtype=np.float32) + 0.5) * scale - 0.5
        privacy = None if entry.privacy is None else self._read(entry.privacy, self.size_px)
        return Face(
            name=entry.name,
            picture=self._read(entry.path, self.size_px),
            domain=entry.domain,
            identity=entry.identity,
            landmarks_px=landmarks,
            privacy=privacy,
        )

    def identity_of(self, index: int) -> int | None:
        """Return who is shown, when known."""
        return self.entries[index].identity

    def domain_of(self, index: int) -> int:
        """Return the number of the domain."""
        return self.entries[index].domain

    def split(self, held_out: float, seed: int = 0) -> tuple[FolderFaces, FolderFaces]:
        """Return (training, held out): by identity where known, else by name.

        Args:
            held_out: Share of identities (or pictures) held out, 0 … 0.9.
            seed: Another seed, another split.
        """
        groups = sorted(
            {self._group(entry) for entry in self.entries}, key=lambda g: _hash(g, seed)
        )
        count = max(1, round(len(groups) * held_out)) if held_out > 0 else 0
        chosen_out = set(groups[:count])
        aside = [self._group(entry) in chosen_out for entry in self.entries]
        parts = []
        for wanted in (False, True):
            chosen = [e for e, out in zip(self.entries, aside, strict=True) if out == wanted]
            parts.append(FolderFaces(chosen, self.domains, self.size_px, sensitive=self.sensitive))
        if not len(parts[0]) or (held_out > 0 and not len(parts[1])):
            raise ConfigError(
                f"{len(self)} faces do not split into {1 - held_out:g} and {held_out:g}",
                hint="give more identities or pictures, or another share",
            )
        return parts[0], parts[1]

    @staticmethod
    def _group(entry: _Entry) -> str:
        return entry.name if entry.identity is None else f"identity {entry.identity}"


def _hash(text: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()


def open_folder(root: str | Path, size_px: int) -> FolderFaces:
    """Return the faces of an image folder.

    Args:
        root: CelebA-HQ or AFHQ layout (one folder per domain), FFHQ layout
            (numbered shelves), or pictures side by side.
        size_px: Height and width wanted.

    Raises:
        ConfigError: No such folder, or no pictures in it.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", hint="give a folder of face pictures")
    labels = _labels(folder)
    within = [p for p in folder.iterdir() if not p.name.startswith(".")]
    tops = sorted(p for p in within if p.is_dir() and _pictures(p))
    flat = any(p.suffix.lower() in SUFFIXES for p in within)
    shelves = flat or bool(labels) or all(p.name.isdigit() for p in tops)
    groups = [(folder.name, folder)] if shelves else [(p.name, p) for p in tops]
    entries = [
        _entry(path, folder, number, labels)
        for number, (_, top) in enumerate(groups)
        for path in _pictures(top)
    ]
    if not entries:
        raise ConfigError(
            f"no pictures in {folder}", hint=f"expected {', '.join(sorted(SUFFIXES))} files"
        )
    return FolderFaces(entries, tuple(name for name, _ in groups), size_px)


def open_pairs(root: str | Path, size_px: int, *, sensitive: bool = True) -> FolderFaces:
    """Return prepared pairs: ``privacy/NAME`` and ``side/NAME`` with equal names.

    Args:
        root: Folder with the two.
        size_px: Height and width wanted.
        sensitive: The side pictures show real people in the clear.

    Raises:
        ConfigError: A folder is missing, or a picture has no partner.
    """
    folder = Path(root)
    privacy, side = folder / "privacy", folder / "side"
    for part in (privacy, side):
        if not part.is_dir():
            raise ConfigError(
                f"{part} is missing", hint="a prepared set has the folders privacy and side"
            )
    ours = {p.relative_to(privacy).with_suffix("").as_posix(): p for p in _pictures(privacy)}
    theirs = {p.relative_to(side).with_suffix("").as_posix(): p for p in _pictures(side)}
    alone = sorted(set(ours) ^ set(theirs))
    if alone or not ours:
        raise ConfigError(
            f"{len(alone)} pictures without partner in {folder}"
            + (f", for example {alone[0]}" if alone else ""),
            hint="every privacy picture needs the side picture of the same moment",
        )
    labels = _labels(folder)
    entries = [
        replace(_entry(theirs[name], side, 0, labels), privacy=ours[name]) for name in sorted(ours)
    ]
    return FolderFaces(entries, (folder.name,), size_px, sensitive=sensitive)


def _pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, through links too, hidden folders left out."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we came from
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if Path(name).suffix.lower() in SUFFIXES]
    return sorted(path for path in found if not path.name.startswith("."))


def _labels(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / LABELS
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        size = int(content["size"])
        return {frame["name"]: {**frame, "size": size} for frame in content["frames"]}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{file} cannot be read: {error}", hint="render the heads again, or remove the file"
        ) from error


def _entry(path: Path, top: Path, domain: int, labels: dict[str, dict[str, Any]]) -> _Entry:
    name = path.relative_to(top).as_posix()
    told = labels.get(path.stem)
    if told is None:
        return _Entry(path, name, domain)
    points = told.get("landmarks68")
    return _Entry(
        path=path,
        name=name,
        domain=domain,
        identity=told.get("identity"),
        landmarks=None if points is None else tuple((float(x), float(y)) for x, y in points),
        landmarks_size_px=told["size"],
    )


def _read_square(path: Path, size_px: int) -> Picture:
    import cv2

    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise StorageError(f"{path} cannot be read as a picture", hint="remove or replace the file")
    return squared(stored[..., ::-1], size_px)


def squared(picture: np.ndarray, size_px: int) -> Picture:
    """Return the middle square of an RGB picture at a size, read-only."""
    import cv2

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(picture[top : top + side, left : left + side])
    if side != size_px:
        how = cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC
        square = cv2.resize(square, (size_px, size_px), interpolation=how)
    square.setflags(write=False)
    return square


def changed(face: Face, rng: np.random.Generator, *, flip: bool) -> Face:
    """Return the face turned, scaled and shifted a little, landmarks with it.

    Args:
        face: What to change.
        rng: Where chance comes from.
        flip: Mirror half of them; only for faces used without landmarks.
    """
    import cv2

    size = face.picture.shape[0]
    angle, scale = rng.uniform(-8.0, 8.0), rng.uniform(0.9, 1.1)
    middle = (size - 1) / 2.0
    matrix = cv2.getRotationMatrix2D((middle, middle), float(angle), float(scale))
    matrix[:, 2] += rng.uniform(-0.04, 0.04, 2) * size
    mirrored = flip and bool(rng.random() < 0.5)

    def warp(picture: Picture) -> Picture:
        moved = cv2.warpAffine(
            picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.ascontiguousarray(moved[:, ::-1] if mirrored else moved)

    landmarks = None
    if face.landmarks_px is not None and not mirrored:
        landmarks = (face.landmarks_px @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return replace(
        face,
        picture=warp(face.picture),
        privacy=None if face.privacy is None else warp(face.privacy),
        landmarks_px=landmarks,
    )


def planar(picture: Picture) -> np.ndarray:
    """Return ``(3, h, w)`` float32 in 0 … 1 of an RGB picture."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32) / 255.0

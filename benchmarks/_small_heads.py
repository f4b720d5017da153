"""Small rendered heads for learning benchmarks, and who is recognised in pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.twin.head.cache import user_cache_dir
from models.data import FaceSource, open_folder
from models.evaluation.embedders import DlibEmbedder, embed_all
from models.evaluation.identity import rank_rate
from models.heads import TEST_SEEDS, TRAINING_SEEDS, HeadSetSettings, render_heads

SIZE_PX = 64
LEARNED_FROM = (40, 6)
"""Identities, frames of each."""
JUDGED_ON = (20, 4)

NETWORKS = {
    "name": "tiny",
    "size_px": SIZE_PX,
    "width": 8,
    "cap": 64,
    "halvings": 4,
    "style_width": 8,
    "critic_width": 8,
    "style_dim": 16,
    "latent_dim": 4,
    "hidden": 16,
    "heat_channels": 32,
    "heat_depth": 2,
    "heat_foldable": True,
}
OPTICS = {"pixel_um": 24.0, "psf_px": 41, "noise": 0.003}
"""The default camera at a quarter of the picture size: four times the pitch."""


def training_folder() -> Path:
    """Render (once) the heads that are learned from."""
    return _rendered(TRAINING_SEEDS, *LEARNED_FROM)


@dataclass(frozen=True)
class Judged:
    """Held-out heads.

    Args:
        faces: Pictures and landmarks.
        people: Identity of each.
    """

    faces: FaceSource
    people: np.ndarray

    def __len__(self) -> int:
        return len(self.people)

    @property
    def pictures(self) -> list[np.ndarray]:
        return [self.faces[i].picture for i in range(len(self))]

    @property
    def landmarks_px(self) -> list[np.ndarray]:
        return [np.asarray(self.faces[i].landmarks_px) for i in range(len(self))]

    @property
    def in_gallery(self) -> np.ndarray:
        """True for the first picture of every person."""
        _, first = np.unique(self.people, return_index=True)
        return np.isin(np.arange(len(self)), first)

    def vectors(self, pictures: Sequence[np.ndarray]) -> Any:
        """Return dlib's vectors; the attacker is told where the landmarks are."""
        return embed_all(_recogniser(), pictures, self.landmarks_px)

    def rank1(self, gallery: Any, probes: Any) -> float:
        """Return rank-1 of the later pictures against the first one of everybody."""
        first = self.in_gallery
        people = self.people
        return round(rank_rate(gallery[first], people[first], probes[~first], people[~first]), 3)


def judged_heads() -> Judged:
    """Return heads that no training has seen."""
    faces = open_folder(str(_rendered(TEST_SEEDS, *JUDGED_ON)), SIZE_PX)
    return Judged(faces, np.array([faces.identity_of(i) for i in range(len(faces))]))


def bytes_of(pictures: Any) -> list[np.ndarray]:
    """Return 8-bit RGB pictures of a tensor ``(n, 3, h, w)`` in 0 … 1."""
    whole = (pictures.clamp(0, 1) * 255.0).round().permute(0, 2, 3, 1)
    return list(whole.byte().cpu().numpy())


@cache
def _recogniser() -> DlibEmbedder:
    return DlibEmbedder()


def _rendered(seeds: range, people: int, frames: int) -> Path:
    name = f"heads-{seeds.start}-{people}x{frames}-{SIZE_PX}px"
    settings = HeadSetSettings(tuple(seeds[:people]), frames=frames, size_px=SIZE_PX)
    return render_heads(user_cache_dir() / "training" / name, settings)

"""Prepared sets of recorded takes as faces to learn from: decrypted in memory only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.recording.prepared import PreparedSet, Sample
from models.data import Face, Picture, squared


@dataclass(frozen=True)
class PreparedFaces:
    """One part of a prepared set.

    Pairs are decrypted when asked for and never written. Real people stay
    sensitive, so sheets and stops of a run leave them out; only sets of the twin are not.

    Args:
        source: Opened set with keys.
        samples: The pairs of this part.
        size_px: Height and width wanted.
    """

    source: PreparedSet
    samples: tuple[Sample, ...]
    size_px: int
    domains: tuple[str, ...] = ("pairs",)

    @property
    def sensitive(self) -> bool:
        """True unless the set is of the digital twin."""
        return not self.source.manifest.simulated

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Face:
        """Return one pair: the side crop as picture, the privacy crop beside it."""
        pair = self.source.pair(self.samples[index])
        return Face(
            name=pair.sample.key,
            picture=self._fitted(pair.side),
            identity=self.identity_of(index),
            privacy=self._fitted(pair.privacy),
        )

    def identity_of(self, index: int) -> int | None:
        """Return the number of the subject within the set."""
        return self.source.manifest.subjects.index(self.samples[index].subject)

    def domain_of(self, index: int) -> int:
        """Return 0: pairs have one domain."""
        return 0

    def _fitted(self, crop: np.ndarray) -> Picture:
        colour = np.repeat(crop[..., None], 3, axis=2) if crop.ndim == 2 else crop
        return squared(colour, self.size_px)


def open_prepared(source: PreparedSet, size_px: int) -> tuple[PreparedFaces, PreparedFaces]:
    """Return (training, test) as the set itself was split: by take or block of time.

    Args:
        source: Opened set with keys.
        size_px: Height and width wanted.

    Raises:
        ConfigError: A part is empty.
    """
    parts = tuple(
        PreparedFaces(source, tuple(source.split(name)), size_px) for name in ("train", "test")
    )
    if not all(len(part) for part in parts):
        raise ConfigError(
            f"set {source.manifest.set_id} has an empty part",
            hint="prepare it again with more takes, or with another split",
        )
    return parts[0], parts[1]

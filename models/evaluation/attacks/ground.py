"""Everything an attack run stands on: faces, cameras, recognisers, and its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from models.evaluation.attacks.cameras import OWN, Victim
from models.evaluation.attacks.frames import FaceTable, Labels, Split, joined, photographed
from models.evaluation.attacks.learning import Effort
from models.evaluation.attacks.trunks import OnnxTrunk, SmallTrunk
from models.evaluation.embedders import Embedder, Floats, Picture, embed_all

__all__ = ["AttackSettings", "Ground", "Painter"]


class Painter(Protocol):
    """Makes de-identified outputs of the faces of a ground.

    ``key`` changes whenever its outputs would.
    """

    @property
    def key(self) -> str:
        """Hash of everything that decides the outputs."""
        ...

    def lessons(self, rows: Labels) -> Picture:
        """Return outputs of some faces to learn from, ``(n, h, w, 3)``."""
        ...

    def sought(self, reference: int) -> Picture:
        """Return outputs of all faces sought.

        Args:
            reference: Number of the public reference, another one for every person;
                negative: one reference for everybody.
        """
        ...


class AttackSettings(BaseModel):
    """How hard the attackers try. The whole of it goes into the report.

    Args:
        size_px: Height and width at which attackers work; a laptop trains at 128.
        probes: Pictures of each person to be recognised, beside one in the gallery.
        per_person: Pictures of each person to learn from.
        tuned: Training of the recogniser.
        restore: Training of the U-Net.
        prior: Training of the denoiser.
        landmarks: Training of the networks that tell how much use a camera leaves.
        vectors: Training of the networks between vectors.
        theft_error: Error of the stolen coefficients for the trained attack, as a share
            of their length.
        theft_sweep: Errors at which the Wiener filter is tried.
        seed: Decides everything that is left to chance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(128, ge=32)
    probes: int = Field(3, ge=1)
    per_person: int = Field(5, ge=2)
    tuned: Effort = Effort(steps=500, batch=16, rate=4e-4, judge_every=50)
    restore: Effort = Effort(steps=800, batch=8, rate=1e-3, judge_every=80)
    prior: Effort = Effort(steps=500, batch=8, rate=1e-3, judge_every=50)
    landmarks: Effort = Effort(steps=600, batch=16, rate=2e-3, judge_every=60)
    vectors: Effort = Effort(steps=600, batch=128, rate=5e-4, judge_every=50)
    theft_error: float = Field(0.05, ge=0)
    theft_sweep: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.3)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Ground:
    """What is attacked, with what.

    Args:
        settings: How hard.
        optics_id: Hash of the bundle's camera.
        victims: The cameras, the bundle's own first.
        learned: Faces that the attacker learns from, of nobody in ``sought``.
        sought: Faces of the people sought.
        split: Which rows of ``sought`` are gallery and probes.
        recognisers: Face recognisers by name.
        trunk_file: ONNX file of the recogniser that is trained further; None trains a
            small one from nothing.
        painter: Makes outputs of the bundle; None for a camera without a painter.
        stolen: Makes the bundle's camera with an error in its coefficients; None where
            there are no coefficients.
    """

    settings: AttackSettings
    optics_id: str
    victims: tuple[Victim, ...]
    learned: tuple[FaceTable, ...]
    sought: FaceTable
    split: Split
    recognisers: Mapping[str, Embedder]
    trunk_file: Path | None = None
    painter: Painter | None = None
    stolen: Callable[[float], Victim] | None = None

    @property
    def lessons(self) -> FaceTable:
        """All faces to learn from, as one table."""
        whole = self.learned[0]
        for part in self.learned[1:]:
            whole = joined(whole, part)
        return whole

    @property
    def quick(self) -> str:
        """The recogniser for attacks that need vectors of many faces."""
        return "faceplugin" if "faceplugin" in self.recognisers else next(iter(self.recognisers))

    @property
    def sensitive(self) -> bool:
        """Whether pictures of the people sought must not be shown."""
        return self.sought.sensitive

    def lesson_frames(self, victim: Victim) -> Picture:
        """Return what a camera makes of the faces to learn from; recorded where recorded."""
        return np.concatenate([self._frames(victim, part, 101) for part in self.learned])

    def sought_frames(self, victim: Victim) -> Picture:
        """Return what a camera makes of the people sought."""
        return self._frames(victim, self.sought, 202)

    def trunk(self) -> nn.Module:
        """Return the network that the strong attacker trains."""
        if self.trunk_file is None:
            return SmallTrunk(seed=self.settings.seed)
        return OnnxTrunk(self.trunk_file)

    @cached_property
    def gallery_vectors(self) -> dict[str, Floats]:
        """Recogniser to the vectors of the sharp photographs sought among."""
        gallery = self.sought.rows(self.split.gallery)
        return {name: self.vectors(name, gallery.sharp, gallery) for name in self.recognisers}

    def vectors(self, name: str, pictures: Picture, table: FaceTable) -> Floats:
        """Return vectors of pictures whose faces lie where the table says."""
        scale = pictures.shape[1] / table.sharp.shape[1]
        places = (table.landmarks_px + 0.5) * scale - 0.5
        return embed_all(self.recognisers[name], list(pictures), list(places))

    def fingerprint(self) -> str:
        """Return a hash of everything that decides the result."""
        digest = hashlib.sha256()
        told = {
            "settings": self.settings.model_dump(mode="json"),
            "optics": self.optics_id,
            "recognisers": sorted(self.recognisers),
            "trunk": self.trunk_file is not None,
            "cameras": [(victim.name, victim.detail) for victim in self.victims],
            "painter": None if self.painter is None else self.painter.key,
        }
        digest.update(json.dumps(told, sort_keys=True).encode())
        for table in (*self.learned, self.sought):
            for part in (table.sharp, table.recorded, table.labels):
                if part is not None:
                    digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def _frames(self, victim: Victim, table: FaceTable, seed: int) -> Picture:
        if victim.name == OWN and table.recorded is not None:
            return table.recorded
        with torch.no_grad():
            return photographed(victim.camera, table.sharp, self.settings.seed + seed)

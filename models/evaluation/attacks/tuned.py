"""Attack: a recogniser trained on privacy frames with names.

Attacker's knowledge: privacy frames of other people, who they are, sharp
photographs of the same, and where each face is. Classes are people; the softmax
has an angular margin (ArcFace, Deng 2019), so that the network must part people
it has never seen. Sharp photographs are among the pictures of every class, so that
a blurred probe can be sought in a sharp gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.evaluation.attacks.frames import FaceTable, gallery_split, to_planes
from models.evaluation.attacks.learning import Curve, Effort, Labels, Learner, learn
from models.evaluation.attacks.trunks import face_crops
from models.evaluation.embedders import Picture
from models.evaluation.identity import Floats, rank_rate, unit

__all__ = ["ArcLoss", "TunedRecogniser"]

_CHUNK = 64
_SHIFT_PX = 4


@dataclass(frozen=True)
class ArcLoss:
    """Softmax over people with an angular margin.

    Args:
        scale: Factor on cosines (dimensionless).
        margin_rad: Margin, radians.
    """

    scale: float = 24.0
    margin_rad: float = 0.3

    def __call__(self, vectors: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of vectors ``(n, d)`` against centres ``(people, d)``."""
        cosine = fn.normalize(vectors) @ fn.normalize(centres).T
        own = cosine.gather(1, labels[:, None]).clamp(-1.0 + 1e-6, 1.0 - 1e-6)
        harder = torch.cos((torch.acos(own) + self.margin_rad).clamp(max=torch.pi))
        return fn.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], harder), labels)


class TunedRecogniser:
    """Trains a trunk on what one camera makes of many people.

    Args:
        trunk: Network from crops ``(n, 3, 112, 112)`` in 0 … 1 to vectors.
        effort: How long.
        held_out: Share of the people that the attacker keeps for judging.
        sharp_share: Share of sharp photographs in every batch.
    """

    def __init__(
        self, trunk: nn.Module, effort: Effort, *, held_out: float = 0.1, sharp_share: float = 0.25
    ) -> None:
        self.trunk, self.effort = trunk, effort
        self.held_out, self.sharp_share = held_out, sharp_share

    def train(self, faces: FaceTable, frames: Picture, kept: Path | None = None) -> Curve:
        """Learn from named frames.

        Args:
            faces: Who is on them, and the sharp photographs.
            frames: What the camera made of each, ``(n, h, w, 3)``, 8 bit.
            kept: Where the trained network is kept, without suffix.
        """
        blurred = face_crops(frames, list(faces.landmarks_px))
        sharp = face_crops(faces.sharp, list(faces.landmarks_px))
        people = np.unique(faces.labels)
        aside = people[: max(2, round(self.held_out * len(people)))]
        judged = np.flatnonzero(np.isin(faces.labels, aside))
        learned = np.flatnonzero(~np.isin(faces.labels, aside))
        numbers = np.searchsorted(np.setdiff1d(people, aside), faces.labels[learned])
        centres = nn.Parameter(self._centres(sharp[learned], numbers))
        holder = nn.ModuleDict({"trunk": self.trunk, "centres": nn.ParameterList([centres])})
        chance, arc = np.random.default_rng([self.effort.seed, 23]), ArcLoss()

        def loss(rows: Labels) -> Tensor:
            take_sharp = chance.random(len(rows)) < self.sharp_share
            crops = np.where(
                take_sharp[:, None, None, None], sharp[learned[rows]], blurred[learned[rows]]
            )
            vectors = self.trunk(to_planes(_moved(crops, chance)))
            return arc(vectors, centres, torch.from_numpy(numbers[rows]))

        split = gallery_split(faces.labels[judged], 3)

        def judge() -> float:
            found = self._vectors(blurred[judged[split.probes]])
            known = self._vectors(sharp[judged[split.gallery]])
            names = faces.labels[judged]
            return rank_rate(known, list(names[split.gallery]), found, list(names[split.probes]))

        learner = Learner(
            holder,
            loss,
            judge,
            f"rank-1 among {len(aside)} held-out people, sharp gallery",
            "higher",
            len(learned),
        )
        return learn(learner, self.effort, kept)

    def embed(self, pictures: Picture, landmarks_px: Floats) -> Floats:
        """Return unit vectors of pictures ``(n, h, w, 3)``, faces at these landmarks."""
        return self._vectors(face_crops(pictures, list(landmarks_px)))

    @torch.no_grad()
    def _vectors(self, crops: Picture) -> Floats:
        self.trunk.eval()
        parts = [
            self.trunk(to_planes(crops[start : start + _CHUNK])).double().numpy()
            for start in range(0, len(crops), _CHUNK)
        ]
        return unit(np.concatenate(parts))

    def _centres(self, sharp: Picture, numbers: Labels) -> Tensor:
        """Classes start where the trunk sees their sharp photographs."""
        vectors = self._vectors(sharp)
        rows = [vectors[numbers == number].mean(0) for number in np.unique(numbers)]
        return torch.as_tensor(unit(np.stack(rows)), dtype=torch.float32)


def _moved(crops: Picture, chance: np.random.Generator) -> Picture:
    """Return crops mirrored and shifted by chance: landmarks are never exact."""
    found = np.empty_like(crops)
    for row, crop in enumerate(crops):
        down, right = (int(v) for v in chance.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2))
        turned = crop[:, ::-1] if chance.random() < 0.5 else crop
        found[row] = np.roll(turned, (down, right), (0, 1))
    return found

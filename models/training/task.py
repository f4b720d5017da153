"""What a stage gives the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.data import Face, FaceSource, changed, planar
from models.draws import Purpose, draw, shuffled_index
from models.training.config import RunConfig
from models.training.world import World

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """Networks that are updated together.

    Args:
        name: For metrics and checkpoints.
        objective: Called with ``(batch, step)``; returns named losses, of which
            ``total`` is minimised. Its trainable parameters are the group's.
        optimiser: Holds the same parameters.
    """

    name: str
    objective: nn.Module
    optimiser: torch.optim.Optimizer


class Task(ABC):
    """One stage: its networks, losses, data and judgement.

    Args:
        config: The run.
        faces: Training faces.
        held_out: Faces for validation and sheets; may be empty.
        world: The processes.
    """

    def __init__(
        self, config: RunConfig, faces: FaceSource, held_out: FaceSource, world: World
    ) -> None:
        self.config, self.faces, self.held_out, self.world = config, faces, held_out, world

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """Everything that a checkpoint holds, by name."""

    @property
    def averaged(self) -> Sequence[str]:
        """Names of the networks whose running average is kept."""
        return ()

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Modules that go to the device with the networks and are not saved."""
        return ()

    @property
    def kind(self) -> torch.dtype:
        """Precision of weights and pictures."""
        return torch.float64 if self.config.engine.precision == "fp64" else torch.float32

    def placed(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Return RGB pictures in 0 … 1 where the networks are."""
        return stacked(pictures).to(self.world.device, self.kind)

    @property
    @abstractmethod
    def groups(self) -> Sequence[Group]:
        """What is updated, in order, at every step."""

    @abstractmethod
    def batch(self, positions: Sequence[int]) -> Batch:
        """Return the inputs of some places of the endless shuffle, on the host.

        Must depend on nothing but the positions and the configuration.
        """

    def after_update(self, step: int) -> dict[str, float]:
        """Do what follows an update (mirror limits, for example); return figures."""
        return {}

    @abstractmethod
    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return figures on held-out faces; ``score`` (lower is better) is required."""

    @abstractmethod
    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return a picture ``(h, w, 3)`` uint8 of samples.

        Where the faces are sensitive it must not show a source in the clear.
        """

    def face_at(self, position: int, *, flip: bool) -> Face:
        """Return the training face at a place of the endless shuffle."""
        seed = self.config.seed
        face = self.faces[shuffled_index(len(self.faces), position, seed)]
        if not self.config.data.changes:
            return face
        return changed(face, draw(seed, Purpose.SOURCE_CHANGE, position), flip=flip)

    def noise_at(self, position: int) -> np.ndarray:
        """Return standard normal noise ``(3, size, size)`` float32 of a place."""
        size = self.config.sizes.size_px
        rng = draw(self.config.seed, Purpose.NOISE, position)
        return rng.standard_normal((3, size, size), dtype=np.float32)

    def names_at(self, positions: Sequence[int]) -> list[str]:
        """Return the names of the faces at some places, for reports."""
        count, seed = len(self.faces), self.config.seed
        entries = (shuffled_index(count, p, seed) for p in positions)
        return [self.faces[i].name for i in entries]

    def held_out_faces(self, most: int) -> list[Face]:
        """Return up to ``most`` validation faces, spread over the set."""
        source = self.held_out if len(self.held_out) else self.faces
        count = min(most, len(source))
        return [source[i * len(source) // count] for i in range(count)]


def stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    """Return RGB pictures as one float tensor ``(batch, 3, h, w)`` in 0 … 1."""
    return torch.from_numpy(np.stack([planar(p) for p in pictures]))


def tiles(rows: Sequence[Tensor]) -> np.ndarray:
    """Return one picture of rows of pictures.

    Args:
        rows: Each ``(columns, 3, h, w)`` in 0 … 1.
    """
    lines = [torch.cat(list(row.detach().float().cpu()), dim=2) for row in rows]
    whole = torch.cat(lines, dim=1).clamp(0.0, 1.0)
    return (whole.permute(1, 2, 0) * 255.0).round().to(torch.uint8).numpy()

"""S towards the codes of a painted run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from camera_rig.errors import ConfigError
from models.data import planar
from models.networks import build_face_networks
from models.parallel import ParallelFaces
from models.training.config import RunConfig
from models.training.parallel import Codes, ParallelTask
from models.training.sources import open_trained
from models.training.task import Batch, Group, tiles
from models.training.world import World


class StyleTask(ParallelTask):
    """S towards the codes of a painted run."""

    def __init__(
        self, config: RunConfig, faces: ParallelFaces, held_out: ParallelFaces, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
        if not config.parallel.start:
            raise ConfigError(
                "stage style needs the painted run whose codes S learns",
                hint="set parallel.start to the folder of a run of stage paint",
            )
        self.style = build_face_networks(config.sizes, 1, config.seed).style
        self.codes = Codes(len(faces.references), config.sizes.style_dim, config.seed)
        open_trained(config.parallel.start).into("codes", self.codes)
        self.codes.requires_grad_(False)
        self._groups = [self.one_group("style", _Styling(self))]

    @property
    def learned(self) -> Mapping[str, nn.Module]:
        """S."""
        return {"style": self.style}

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """The codes to learn."""
        return (self.codes,)

    @property
    def groups(self) -> Sequence[Group]:
        """S alone."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return pictures of doubles, and who they are."""
        moments = [self.moment_at(p) for p in positions]
        return {
            "picture": torch.stack([torch.from_numpy(planar(m.target)) for m in moments]),
            "reference": torch.tensor([m.reference for m in moments]),
        }

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return the distance from the code in its own spread, and how often it is the nearest."""
        moments = self.judged(48)
        pictures = self.placed([m.target for m in moments])
        who = torch.tensor([m.reference for m in moments], device=pictures.device)
        table = self.codes.table.to(pictures)
        codes = networks["style"](pictures * 2.0 - 1.0, torch.zeros_like(who)).float()
        away = (codes - table[who]).norm(dim=-1).mean() / table.std(0).norm()
        right = (torch.cdist(codes, table).argmin(1) == who).float().mean()
        return {"away": float(away), "nearest": float(right), "score": float(away)}

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return some pictures of doubles."""
        return tiles([self.placed([m.target for m in self.judged(8)])])


class _Styling(nn.Module):
    def __init__(self, task: StyleTask) -> None:
        super().__init__()
        self.style = task.style
        self._aside = (task,)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        (task,) = self._aside
        wanted = task.codes(batch["reference"])
        zero = torch.zeros_like(batch["reference"])
        found = self.style(batch["picture"] * 2.0 - 1.0, zero).float()
        return {"total": fn.smooth_l1_loss(found, wanted)}

"""Fine-tuning of U, E and G on pairs that the instrument itself recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from camera_rig.errors import ConfigError
from models.data import FaceSource
from models.draws import Purpose, draw
from models.training.config import FaceConfig, RunConfig
from models.training.generator import FacesTask
from models.training.objectives import FinetuneObjective
from models.training.sources import Trained
from models.training.task import Batch, Group, stacked
from models.training.world import World

SIMULATED_SHARE = 0.5
"""Share of the pairs whose frame is made anew through the measured PSFs."""


class FinetuneTask(FacesTask):
    """U, E and G on real or simulated pairs; styles come from public references only.

    With a bank of measured PSFs half of the frames are made from the sharp frame
    through them, so that every pair also shows other noise and other PSFs.

    Args:
        config: The run.
        faces: Pairs; their faces are never used as references.
        held_out: Validation pairs.
        world: The processes.
        start: What to go on from: U, U*, E, G and S.
        references: Public faces.
    """

    def __init__(
        self,
        config: RunConfig,
        faces: FaceSource,
        held_out: FaceSource,
        world: World,
        *,
        start: Trained,
        references: FaceSource,
    ) -> None:
        super().__init__(config, faces, held_out, world, design=start, references=references)
        for name in ("encoder", "generator", "style"):
            start.into(name, self.nets.named()[name])
        self.nets.style.requires_grad_(False)
        if faces[0].privacy is None:
            raise ConfigError(
                "fine-tuning needs pairs of privacy and side frames",
                hint="prepare a recorded take first: `rig data prepare`",
            )

    def _make_groups(self, settings: FaceConfig) -> list[Group]:
        objective = FinetuneObjective(self.nets, self.frozen, settings)
        self.frozen.heat.requires_grad_(True)  # statistics stay those of the start
        painters = [*self.nets.encoder.parameters(), *self.nets.generator.parameters()]
        optimiser = torch.optim.Adam(
            [
                {"params": painters, "lr": settings.rate},
                {"params": list(self.frozen.heat.parameters()), "lr": settings.heatmap_rate},
            ],
            betas=(0.0, 0.99),
            weight_decay=settings.decay,
        )
        return [Group("finetune", objective, optimiser)]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All but D and the mapping network: neither takes part, and a bundle has none."""
        return {k: v for k, v in super().networks.items() if k not in ("critic", "mapping")}

    @property
    def averaged(self) -> Sequence[str]:
        """U, E and G."""
        return ("heat", "encoder", "generator")

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return pairs, noise, references, and which frames are the recorded ones."""
        sources = [self.face_at(p, flip=True) for p in positions]
        batch = self.batch_of(positions, sources)
        batch["privacy"] = stacked([f.privacy for f in sources if f.privacy is not None])
        seed, bank = self.config.seed, bool(self.config.faces.psf_bank)
        draws = [draw(seed, Purpose.SIMULATED, p).random() for p in positions]
        batch["is_real"] = torch.from_numpy(np.array(draws) >= (SIMULATED_SHARE if bank else 0.0))
        return batch

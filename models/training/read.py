"""U on privacy frames of heads that repeat a moment, and nothing where nobody is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.draws import Purpose, draw
from models.heatmaps import draw_targets, read_landmarks
from models.losses import adaptive_wing_loss
from models.networks import build_heatmap_network
from models.parallel import ParallelFaces
from models.training.config import RunConfig
from models.training.heatmap import shown_maps
from models.training.parallel import ParallelTask
from models.training.task import Batch, Group, tiles
from models.training.world import World


def nobody(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a corner of a picture enlarged to all of it: a room with nobody in it."""
    import cv2

    size = picture.shape[0]
    side = int(rng.integers(size // 10, size // 5))
    left = 0 if rng.random() < 0.5 else size - side
    corner = picture[:side, left : left + side]
    return cv2.resize(corner, (size, size), interpolation=cv2.INTER_CUBIC)


class ReadTask(ParallelTask):
    """U on privacy frames, from the renderer's landmarks."""

    def __init__(
        self, config: RunConfig, faces: ParallelFaces, held_out: ParallelFaces, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
        self.heat = build_heatmap_network(config.sizes, self.layout.points, config.seed)
        self._groups = [self.one_group("read", _Reading(self.heat))]

    @property
    def learned(self) -> Mapping[str, nn.Module]:
        """U."""
        return {"heat": self.heat}

    @property
    def groups(self) -> Sequence[Group]:
        """U alone."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return frames and the maps a perfect U would give; empty maps of empty rooms."""
        settings, frames, targets = self.settings, [], []
        for position in positions:
            moment = self.moment_at(position)
            points = torch.from_numpy(moment.landmarks_px)[None]
            target = draw_targets(points, self.layout, self.config.sizes.size_px)[0]
            rng = draw(self.config.seed, Purpose.REFERENCE_CHANGE, position)
            if rng.random() < settings.empty_share:
                picture = nobody(moment.source, rng)
                target = torch.zeros_like(target)
            else:
                picture = moment.source
            frames.append(self.seen(picture, position, settings.sharp_share))
            targets.append(target)
        return {"frame": torch.stack(frames), "target": torch.stack(targets)}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return U's landmark error on held-out people, and how sure it is of them."""
        moments = self.judged(48)
        frames, inner = self.plainly_seen(moments), list(self.layout.inner)
        errors, peaks = [], []
        for number, frame in enumerate(frames):
            maps = networks["heat"](frame[None]).float()
            truth = torch.from_numpy(moments[number].landmarks_px)
            away = (read_landmarks(maps, self.layout)[0].cpu() - truth).norm(dim=-1)
            errors.append(float(away[inner].mean()))
            peaks.append(float(maps[0, inner].amax((-2, -1)).mean()))
        found = {
            "landmarks_px": float(np.mean(errors)),
            "worst_tenth_px": float(np.quantile(errors, 0.9)),
            "peak": float(np.mean(peaks)),
        }
        return {**found, "score": found["landmarks_px"]}

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return scenes, frames and heatmaps."""
        moments = self.judged(6)
        frames = self.plainly_seen(moments)
        maps = shown_maps(networks["heat"](frames), frames.shape[-1])
        return tiles([self.placed([m.source for m in moments]), frames, maps])


class _Reading(nn.Module):
    def __init__(self, heat: nn.Module) -> None:
        super().__init__()
        self.heat = heat

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        found = self.heat.stages(batch["frame"])
        losses = [adaptive_wing_loss(maps.float(), batch["target"]) for maps in found]
        return {"total": torch.stack(losses).sum()}

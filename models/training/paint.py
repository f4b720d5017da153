"""E and G towards the double, with one style code per double."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.data import planar
from models.draws import Purpose, draw
from models.heatmaps import draw_targets, guide, read_landmarks
from models.networks import build_face_networks
from models.parallel import Moment, ParallelFaces
from models.training.config import RunConfig
from models.training.parallel import Codes, ParallelTask
from models.training.sources import frozen_heat, open_trained
from models.training.task import Batch, Group, tiles
from models.training.world import World


class PaintTask(ParallelTask):
    """E and G towards the double, with one style code per double."""

    def __init__(
        self, config: RunConfig, faces: ParallelFaces, held_out: ParallelFaces, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
        nets = build_face_networks(config.sizes, 1, config.seed)
        self.encoder, self.generator = nets.encoder, nets.generator
        self.codes = Codes(len(faces.references), config.sizes.style_dim, config.seed)
        reader = config.parallel.reader
        self.heat = frozen_heat(open_trained(reader), "heat") if reader else None
        if config.parallel.start:
            before = open_trained(config.parallel.start)
            for name, network in self.learned.items():
                before.into(name, network)
            self.codes.requires_grad_(False)  # S may be learning them already
        self._groups = [self.one_group("paint", _Painting(self))]

    @property
    def learned(self) -> Mapping[str, nn.Module]:
        """E, G and the codes."""
        return {"encoder": self.encoder, "generator": self.generator, "codes": self.codes}

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The frozen U too, when there is one: a run is complete by itself."""
        own = {**self.learned, "camera": self.camera}
        return own if self.heat is None else {**own, "heat": self.heat}

    @property
    def groups(self) -> Sequence[Group]:
        """All together."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return frames, doubles, who they are, and the guide of G."""
        frames, moments, read = [], [], []
        for position in positions:
            moment = self.moment_at(position)
            rng = draw(self.config.seed, Purpose.REFERENCE_CHANGE, position)
            frames.append(self.seen(moment.source, position))
            moments.append(moment)
            read.append(self._as_read(moment.landmarks_px, rng))
        return {
            "frame": torch.stack(frames),
            "target": torch.stack([torch.from_numpy(planar(m.target)) for m in moments]),
            "reference": torch.tensor([m.reference for m in moments]),
            "points": torch.from_numpy(np.stack([m.landmarks_px for m in moments])),
            "read": torch.from_numpy(np.stack(read)),
        }

    def _as_read(self, points_px: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return landmarks as an imperfect U would read them: off together, and each."""
        error = self.settings.reading_error_px
        off = rng.normal(0.0, error * 0.7, (1, 2)) + rng.normal(0.0, error * 0.5, points_px.shape)
        return (points_px + off).astype(np.float32)

    @torch.no_grad()
    def guided(self, frames: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guide of G and the landmarks it stands on: U's, or those given."""
        if self.heat is None:
            maps = draw_targets(read, self.layout, self.config.sizes.size_px)
            return guide(maps, self.layout, read), read
        maps = self.heat(frames)
        read = read_landmarks(maps.float(), self.layout)
        return guide(maps, self.layout, read), read

    def _painted(
        self, networks: Mapping[str, nn.Module], frames: Tensor, masks: Tensor, who: Tensor
    ) -> Tensor:
        latent, skips = networks["encoder"](frames * 2.0 - 1.0)
        painted = networks["generator"](latent, skips, networks["codes"](who), masks)
        return (painted.float() * 0.5 + 0.5).clamp(0.0, 1.0)

    def _shown(self, moments: Sequence[Moment]) -> tuple[Tensor, Tensor]:
        frames = self.plainly_seen(moments)
        points = torch.from_numpy(np.stack([m.landmarks_px for m in moments]))
        return frames, self.guided(frames, points.to(frames))[0]

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return the distance from the double, for held-out people."""
        moments = self.judged(48)
        sums = {"away": 0.0, "edges": 0.0}
        for first in range(0, len(moments), 8):
            some = moments[first : first + 8]
            frames, masks = self._shown(some)
            who = torch.tensor([m.reference for m in some], device=frames.device)
            painted = self._painted(networks, frames, masks, who)
            wanted = self.placed([m.target for m in some])
            sums["away"] += float(fn.l1_loss(painted, wanted)) * len(some) / len(moments)
            sums["edges"] += float(edges_loss(painted, wanted)) * len(some) / len(moments)
        return {**sums, "score": sums["away"] + sums["edges"]}

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return scenes, frames, doubles as wanted and as painted, and another double."""
        moments = self.judged(8)
        frames, masks = self._shown(moments)
        who = torch.tensor([m.reference for m in moments], device=frames.device)
        other = (who + 1) % len(self.faces.references)
        return tiles(
            [
                self.placed([m.source for m in moments]),
                frames,
                self.placed([m.target for m in moments]),
                self._painted(networks, frames, masks, who),
                self._painted(networks, frames, masks, other),
            ]
        )


class _Painting(nn.Module):
    def __init__(self, task: PaintTask) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(task.learned))
        self._aside = (task,)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        (task,), parts = self._aside, self.parts
        guide, read = task.guided(batch["frame"], batch["read"])
        latent, skips = parts["encoder"](batch["frame"] * 2.0 - 1.0)
        painted = parts["generator"](latent, skips, parts["codes"](batch["reference"]), guide)
        painted = painted.float() * 0.5 + 0.5
        # The face belongs where U sees it: asking for another place only makes it soft.
        inner = list(task.layout.inner)
        wanted = shifted(batch["target"], (read - batch["points"])[:, inner].mean(1))
        settings = task.settings
        near = 1.0 + settings.features_weight * fn.interpolate(
            guide[:, 1:2], size=wanted.shape[-2:], mode="bilinear", align_corners=False
        )
        away = (near * (painted - wanted).abs()).mean()
        edges = edges_loss(painted, wanted)
        return {"total": away + settings.edges_weight * edges, "away": away, "edges": edges}


def shifted(pictures: Tensor, by_px: Tensor) -> Tensor:
    """Return pictures moved by ``(batch, 2)`` x, y in pixels; the rim goes on outside."""
    size = pictures.shape[-1]
    turn = torch.eye(2, device=pictures.device).expand(len(pictures), 2, 2)
    table = torch.cat([turn, -2.0 * by_px[:, :, None] / size], 2)
    grid = fn.affine_grid(table, list(pictures.shape), align_corners=False)
    return fn.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def edges_loss(painted: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference of slopes, over three sizes (ours).

    Plain differences are smallest for a soft face; slopes ask for edges in their place.
    """
    total = painted.new_zeros(())
    for _ in range(3):
        away = painted - wanted
        total = total + (away[..., 1:] - away[..., :-1]).abs().mean()
        total = total + (away[..., 1:, :] - away[..., :-1, :]).abs().mean()
        painted, wanted = fn.avg_pool2d(painted, 2), fn.avg_pool2d(wanted, 2)
    return total

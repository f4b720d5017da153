"""Learning from heads that repeat a moment: U, then E and G, then S, each with the right answer.

Ours, not the paper's: where a renderer can show the wanted face, no critic has to
guess what a face looks like. Three stages, so that the first two can run side by
side and each is judged by itself:

``read``   U finds the landmarks on privacy frames, and nothing where nobody is.
``paint``  E and G paint the double; every double has a style code of its own.
``style``  S learns to give that code for any picture of the double.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from camera_rig.config import coefficient_file
from camera_rig.optics import Coefficients
from models.camera import LearnedCamera
from models.data import planar
from models.draws import Purpose, draw, shuffled_index
from models.heatmaps import draw_targets, guide, layout_named, read_landmarks
from models.losses import adaptive_wing_loss
from models.networks import build_face_networks, build_heatmap_network
from models.parallel import Moment, ParallelFaces
from models.training.bench import Bench, Chance
from models.training.config import ParallelConfig, RunConfig
from models.training.heatmap import shown_maps
from models.training.sources import frozen_heat, open_trained
from models.training.task import Batch, Group, Task, tiles
from models.training.world import World

_HELD_OUT = 2**40
"""Place of the first held-out draw: far beyond any that training takes."""


class ParallelTask(Task):
    """What the three stages share: the bench, the moments, the pace.

    Args:
        config: The run.
        faces: Training pairs.
        held_out: Pairs of other people.
        world: The processes.
    """

    faces: ParallelFaces
    held_out: ParallelFaces

    def __init__(
        self, config: RunConfig, faces: ParallelFaces, held_out: ParallelFaces, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
        settings = config.parallel
        self.settings, self.layout = settings, layout_named(config.layout)
        wanted = Coefficients.load(coefficient_file(settings.coefficients))
        self.camera = LearnedCamera(config.optics, wanted).requires_grad_(False)
        self.bench = Bench(
            config.optics,
            wanted,
            config.sizes.size_px,
            shapes=settings.shapes,
            jitter_waves=settings.jitter_waves,
            seed=config.seed,
        )

    @property
    @abstractmethod
    def learned(self) -> Mapping[str, nn.Module]:
        """The networks this stage trains."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What is learned, and the camera it belongs to."""
        return {**self.learned, "camera": self.camera}

    @property
    def averaged(self) -> Sequence[str]:
        """All that is learned."""
        return tuple(self.learned)

    def one_group(self, name: str, objective: nn.Module) -> Group:
        """Return the stage's only group: Adam whose rate warms up and falls along a cosine."""
        rate, steps = self.settings.rate, self.config.engine.steps
        optimiser = torch.optim.Adam(objective.parameters(), rate, betas=(0.9, 0.99))

        def pace(_: nn.Module, inputs: tuple[Batch, int]) -> None:
            step = inputs[1]
            warm = min(1.0, (step + 1) / max(1, steps // 50))
            fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / steps))
            for part in optimiser.param_groups:
                part["lr"] = rate * warm * max(fall, 0.02)

        objective.register_forward_pre_hook(pace)
        return Group(name, objective, optimiser)

    def moment_at(self, position: int) -> Moment:
        """Return the pair at a place of the endless shuffle, a little changed."""
        seed = self.config.seed
        moment = self.faces.moment(shuffled_index(len(self.faces), position, seed))
        return placed_in(
            moment, self.config.sizes.size_px, draw(seed, Purpose.SOURCE_CHANGE, position)
        )

    def seen(self, picture: np.ndarray, position: int, sharp_share: float = 0.0) -> Tensor:
        """Return the frame that the bench makes of a picture at a place of the shuffle."""
        rng = draw(self.config.seed, Purpose.NOISE, position)
        chance = self.bench.drawn(rng, sharp_share)
        return self.bench.frame(torch.from_numpy(planar(picture)), chance, rng)

    def judged(self, most: int) -> list[Moment]:
        """Return held-out moments, spread over the people, unchanged but for the cut."""
        count = min(most, len(self.held_out))
        size = self.config.sizes.size_px
        chosen = (self.held_out.moment(i * len(self.held_out) // count) for i in range(count))
        return [placed_in(moment, size, None) for moment in chosen]

    def plainly_seen(self, moments: Sequence[Moment]) -> Tensor:
        """Return frames of held-out moments through the exact shape."""
        rows = []
        for number, moment in enumerate(moments):
            rng = draw(self.config.seed, Purpose.NOISE, _HELD_OUT + number)
            chance = replace(Chance(), noise=self.config.optics.noise)
            rows.append(self.bench.frame(torch.from_numpy(planar(moment.source)), chance, rng))
        return torch.stack(rows).to(self.world.device, self.kind)

    def names_at(self, positions: Sequence[int]) -> list[str]:
        """Return the names of the moments at some places, for reports."""
        count, seed = len(self.faces), self.config.seed
        return [self.faces.pairs[shuffled_index(count, p, seed)][0] for p in positions]


def placed_in(moment: Moment, size_px: int, rng: np.random.Generator | None) -> Moment:
    """Return the middle of a moment at a size, turned, scaled and shifted by chance.

    Args:
        moment: Wider than what is kept.
        size_px: Height and width kept.
        rng: Where chance comes from; None keeps the middle as it is.
    """
    import cv2

    whole = moment.source.shape[0]
    middle = (whole - 1) / 2.0
    angle, scale, shift = 0.0, 1.0, np.zeros(2)
    if rng is not None:
        angle, scale = float(rng.normal(0.0, 4.0)), float(np.exp(rng.normal(0.0, 0.07)))
        shift = rng.normal(0.0, 0.03, 2) * size_px
    matrix = cv2.getRotationMatrix2D((middle, middle), angle, scale)
    matrix[:, 2] += (size_px - 1) / 2.0 - middle + shift

    def cut(picture: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(
            picture, matrix, (size_px, size_px),
            flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    points = moment.landmarks_px @ matrix[:, :2].T + matrix[:, 2]
    return replace(
        moment,
        source=cut(moment.source),
        target=cut(moment.target),
        landmarks_px=points.astype(np.float32),
    )


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


class Codes(nn.Module):
    """One style code per double.

    Args:
        count: Doubles.
        style_dim: Length of a code.
        seed: Seed of the start.
    """

    def __init__(self, count: int, style_dim: int, seed: int) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(count, style_dim, generator=drawn))

    def forward(self, who: Tensor) -> Tensor:
        """Return ``(batch, style_dim)`` of the numbers of some doubles."""
        return self.table[who]


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


class StyleTask(ParallelTask):
    """S towards the codes of a painted run."""

    def __init__(
        self, config: RunConfig, faces: ParallelFaces, held_out: ParallelFaces, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
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


STAGES: dict[str, type[ParallelTask]] = {
    "read": ReadTask,
    "paint": PaintTask,
    "style": StyleTask,
}


def needs(settings: ParallelConfig, stage: str) -> str:
    """Return what a stage lacks in its settings; empty when nothing."""
    return "the painted run, as parallel.start" if stage == "style" and not settings.start else ""

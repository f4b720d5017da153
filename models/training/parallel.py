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
from torch import Tensor, nn

from camera_rig.config import coefficient_file
from camera_rig.optics import Coefficients
from models.camera import LearnedCamera
from models.data import planar
from models.draws import Purpose, draw, shuffled_index
from models.heatmaps import layout_named
from models.parallel import Moment, ParallelFaces
from models.training.bench import Bench, Chance
from models.training.config import RunConfig
from models.training.task import Batch, Group, Task
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
        """Return the bench's frame of a picture at a place of the shuffle.

        ``sharp_share`` of them, 0 … 1, stay sharp.
        """
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

"""What a camera is for: landmarks read off its frames by a network taught on them.

No attack. Two cameras are only worth comparing when they leave as much of the use, and the use
of a privacy camera is what U reads. So the same small U is taught on the frames of every
camera, of people whom nobody seeks, and judged on the people sought.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.evaluation.attacks.frames import Floats, to_planes
from models.evaluation.attacks.learning import Curve, Effort, Labels, Learner, learn
from models.evaluation.embedders import Picture
from models.heatmaps import IBUG68, STRIDE, draw_targets, read_landmarks
from models.networks.heatmap import HeatmapNetwork

__all__ = ["TOLD_AT_PX", "LandmarkReader"]

TOLD_AT_PX = 256
"""Errors are told in pixels of a picture of this size, as everywhere in evaluation."""

_CHANNELS = 64
_HELD_OUT, _JUDGED, _CHUNK = 0.1, 96, 32
_WEIGHT = 10.0
"""Weight of a spot over the empty map around it: else an empty map is nearly right."""


class LandmarkReader:
    """A small U for one camera.

    Args:
        size_px: Height and width of the frames.
        effort: How long it trains.
    """

    def __init__(self, size_px: int, effort: Effort) -> None:
        self.size_px, self.effort = size_px, effort
        # Halved as often as it goes: attackers may work at any multiple of eight pixels.
        halvings = max(n for n in (1, 2, 3) if size_px // STRIDE % 2**n == 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(effort.seed)
            self.network = HeatmapNetwork(IBUG68.points, _CHANNELS, 1, halvings, foldable=True)

    def train(self, frames: Picture, landmarks_px: Floats, kept: Path | None = None) -> Curve:
        """Learn from frames whose landmarks are known.

        Args:
            frames: ``(n, h, w, 3)``, 8 bit, pictures of one person side by side.
            landmarks_px: ``(n, 68, 2)``.
            kept: Where the trained network is kept, without suffix.
        """
        learned = len(frames) - max(1, round(_HELD_OUT * len(frames)))
        rest = np.arange(learned, len(frames))
        judged = rest[:: max(1, len(rest) // _JUDGED)]
        places = torch.from_numpy(np.asarray(landmarks_px, dtype=np.float32))

        def loss(rows: Labels) -> Tensor:
            target = draw_targets(places[torch.from_numpy(rows)], IBUG68, self.size_px)
            found = self.network(to_planes(frames[rows]))
            return ((found - target).square() * (1.0 + _WEIGHT * target)).mean()

        def judge() -> float:
            return float(self.errors_px(frames[judged], landmarks_px[judged]).mean())

        figure = f"landmark error on {len(judged)} held-out frames, px at {TOLD_AT_PX}"
        return learn(
            Learner(self.network, loss, judge, figure, "lower", learned), self.effort, kept
        )

    @torch.no_grad()
    def errors_px(self, frames: Picture, landmarks_px: Floats) -> Floats:
        """Return the mean error of each frame's inner landmarks, px at :data:`TOLD_AT_PX`."""
        self.network.eval()
        inner = list(IBUG68.inner)
        found = np.concatenate(
            [
                read_landmarks(self.network(to_planes(frames[start : start + _CHUNK])), IBUG68)
                for start in range(0, len(frames), _CHUNK)
            ]
        )
        apart = np.linalg.norm(found[:, inner] - np.asarray(landmarks_px)[:, inner], axis=-1)
        return np.asarray(apart.mean(1) * TOLD_AT_PX / self.size_px, dtype=np.float64)

"""Q of eq. 11: features in which two faces are compared."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as fn
from torch import Tensor, nn


class FeatureNetwork(Protocol):
    """Anything that turns pictures in -1 … 1 into a list of feature maps."""

    def __call__(self, pictures: Tensor) -> list[Tensor]:
        """Return features, coarse levels last."""
        ...


class RandomFeatures(nn.Module):
    """Fixed random convolutions at several sizes, the same for the same seed.

    Not LPIPS: no human judgement is in it. It needs no download, sees texture
    and colour at every scale, and is what a run without a trained network uses.

    Args:
        levels: Number of sizes.
        channels: Features per level.
        seed: Seed of the weights.
    """

    def __init__(self, levels: int = 4, channels: int = 32, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.levels = levels
        for i in range(levels):
            ins = 3 if i == 0 else channels
            weight = torch.randn(channels, ins, 3, 3, generator=draw) * (2.0 / (9 * ins)) ** 0.5
            self.register_buffer(f"weight{i}", weight)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return one feature map per level, each half the size of the one before."""
        x, found = pictures, []
        for i in range(self.levels):
            x = fn.relu(fn.conv2d(x, getattr(self, f"weight{i}"), padding=1))
            found.append(x)
            x = fn.avg_pool2d(x, 2)
        return found

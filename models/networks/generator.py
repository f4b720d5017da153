"""G: paints a new face from latent, style and heatmap masks."""

from __future__ import annotations

import torch.nn.functional as fn
from torch import Tensor, nn

from models.networks.encoder import skip_sizes
from models.networks.layers import StyledBlock, activate, channel_plan, initialise, laplacian


class Generator(nn.Module):
    """G of the paper: AdaIN decoder with mask-guided skips.

    What the encoder saw enters at three sizes only, high-passed, and only where
    a mask of the heatmap lets it: the outline mask at 1/8 of the size, the mask
    of the inner features at 1/4 and 1/2.

    Args:
        size: Height and width of the painted face, pixels.
        width: Channels at full size; doubled at each halving up to ``cap``.
        cap: Most channels.
        halvings: Doublings from the latent to the picture.
        style_dim: Length of the style code.
    """

    def __init__(self, size: int, width: int, cap: int, halvings: int, style_dim: int) -> None:
        super().__init__()
        plan = channel_plan(width, cap, halvings)[::-1]
        self.flat = nn.ModuleList(
            StyledBlock(plan[0], plan[0], style_dim, double=False, shortcut=False) for _ in range(2)
        )
        self.up = nn.ModuleList(
            StyledBlock(plan[i], plan[i + 1], style_dim, double=True, shortcut=False)
            for i in range(halvings)
        )
        self.norm = nn.InstanceNorm2d(plan[-1], affine=True)
        self.to_rgb = nn.Conv2d(plan[-1], 3, 1)
        sizes = [size >> (halvings - 1 - i) for i in range(halvings)]
        self._enter = {
            i: skip_sizes(size).index(s) for i, s in enumerate(sizes) if s in skip_sizes(size)
        }
        initialise(self)

    def forward(self, latent: Tensor, skips: list[Tensor], style: Tensor, masks: Tensor) -> Tensor:
        """Return faces ``(batch, 3, size, size)``, about -1 … 1.

        Args:
            latent: From the inversion encoder.
            skips: From the inversion encoder, at 1/8, 1/4 and 1/2 of the size.
            style: ``(batch, style_dim)``.
            masks: The guide; its first two channels are used: outline, inner features.
        """
        x = latent
        for block in self.flat:
            x = block(x, style)
        for i, block in enumerate(self.up):
            x = block(x, style)
            if i in self._enter:
                place = self._enter[i]
                mask = masks[:, :1] if place == 0 else masks[:, 1:2]
                x = x + laplacian(skips[place] * resized(mask, x.shape[-2:]))
        return self.to_rgb(activate(self.norm(x)))


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps at another size (pixels), bilinear."""
    return fn.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)

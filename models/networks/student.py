"""The fast form of E and G: plain convolutions behind space-to-depth.

Full-resolution layers are what makes the published form slow on a CPU, so all
work is done at 1/4 and 1/8 of the size, in convolution-norm-rectifier order that
a runtime folds into one operation. Same calls as the published form, so either
one trains in the same loop; a wide teacher is distilled into it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.heatmaps import GUIDE, MASKS
from models.networks.batchnorm import BatchNorm2d
from models.networks.generator import resized
from models.networks.layers import initialise

FOLD = 4
"""Side of the pixel block that space-to-depth turns into channels."""

WAYS = GUIDE - MASKS
"""Channels of the guide that tell where a pixel lies."""


class _Plain(nn.Module):
    """Convolution, norm, rectifier."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return fn.relu(self.norm(self.conv(x)))


class _Styled(nn.Module):
    """Convolution, norm, gain and offset of the style, rectifier, input added back.

    For a fixed style the gains are constants and fold away like the norm.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = BatchNorm2d(channels)
        self.affine = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gain, offset = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        return x + fn.relu((1.0 + gain) * self.norm(self.conv(x)) + offset)


class StudentEncoder(nn.Module):
    """Fast E: a privacy frame in, features at 1/8 and one skip at 1/4 out.

    Args:
        width: Channels at 1/4 of the size; twice as many at 1/8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_Plain(3 * FOLD * FOLD, width), _Plain(width, width))
        self.down = nn.Sequential(
            _Plain(width, 2 * width, stride=2),
            _Plain(2 * width, 2 * width),
            _Plain(2 * width, 2 * width),
        )
        initialise(self)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return latent and skips of frames ``(batch, 3, size, size)`` in -1 … 1."""
        side = self.stem(fn.pixel_unshuffle(frames, FOLD))
        return self.down(side), [side]


class _Waves(nn.Module):
    """Sines of learned directions and lengths over the ways to the key places.

    A pixel learns where it lies in the face, finely enough to paint a lash there;
    plain convolutions would have to count their way from the nearest edge.

    Args:
        channels: How many.
        shortest: Shortest wavelength at the start, in halves of the picture.
    """

    def __init__(self, channels: int, shortest: float) -> None:
        super().__init__()
        self.mix = nn.Conv2d(WAYS, channels, 1)
        keys = WAYS // 2
        length = shortest * (2.0 / shortest) ** torch.rand(channels)
        turn = torch.rand(channels) * 2.0 * math.pi
        weight = torch.randn(channels, WAYS) * 0.05
        key = torch.arange(channels) % keys
        row = torch.arange(channels)
        weight[row, key] += 2.0 * math.pi / length * torch.cos(turn)
        weight[row, key + keys] += 2.0 * math.pi / length * torch.sin(turn)
        self.mix.weight.data.copy_(weight[:, :, None, None])
        nn.init.uniform_(self.mix.bias, -math.pi, math.pi)

    def forward(self, ways: Tensor) -> Tensor:
        # Phases of many turns do not survive sixteen bits.
        with torch.autocast(ways.device.type, enabled=False):
            return torch.sin(self.mix(ways.to(self.mix.weight.dtype)))


class StudentGenerator(nn.Module):
    """Fast G: latent, skip, style and guide in, a face out.

    Args:
        width: Channels at 1/4 of the size; twice as many at 1/8.
        blocks: Styled convolutions at 1/8 of the size.
        style_dim: Length of the style code.
    """

    def __init__(self, width: int, blocks: int, style_dim: int) -> None:
        super().__init__()
        deep = 2 * width
        self.enter = _Plain(2 * deep + GUIDE, deep)
        self.deep = nn.ModuleList(_Styled(deep, style_dim) for _ in range(blocks))
        self.widen = nn.Conv2d(deep, 4 * width, 3, padding=1)
        self.mix = _Plain(2 * width, width)
        self.shallow = nn.ModuleList(_Styled(width, style_dim) for _ in range(2))
        self.to_rgb = nn.Conv2d(width, 3 * FOLD * FOLD, 3, padding=1)
        initialise(self)
        # Start from an even grey, and with styles that hardly differ: a network that has to
        # unlearn noise first, for each style another one, loses most of its paths on the way.
        self.to_rgb.weight.data.mul_(0.05)
        for block in (*self.deep, *self.shallow):
            block.affine.weight.data.mul_(0.15)
        self.coarse, self.fine = _Waves(deep, 0.25), _Waves(width, 0.08)

    def forward(self, latent: Tensor, skips: list[Tensor], style: Tensor, masks: Tensor) -> Tensor:
        """Return faces ``(batch, 3, size, size)``, about -1 … 1.

        Args:
            latent: From the student encoder.
            skips: From the student encoder: one, at 1/4 of the size.
            style: ``(batch, style_dim)``.
            masks: ``(batch, GUIDE, h, w)`` from :func:`models.heatmaps.guide`.
        """
        small = resized(masks, latent.shape[-2:])
        x = self.enter(torch.cat([latent, small, self.coarse(small[:, MASKS:])], 1))
        for block in self.deep:
            x = block(x, style)
        x = fn.pixel_shuffle(self.widen(x), 2)
        near = resized(masks, x.shape[-2:])
        x = x + skips[0] * near[:, 1:2]
        x = self.mix(torch.cat([x, self.fine(near[:, MASKS:])], 1))
        for block in self.shallow:
            x = block(x, style)
        return fn.pixel_shuffle(self.to_rgb(x), FOLD)

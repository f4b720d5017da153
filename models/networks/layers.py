"""Blocks shared by the networks: residual down and up blocks, AdaIN, coordinates.

Pictures are ``(batch, channels, height, width)`` float tensors. Nothing here
creates a parameter that a forward pass would not use: a distributed run waits
for the gradient of every parameter.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

SLOPE = 0.2
"""Slope of the leaky rectifier below zero (dimensionless)."""


def initialise(module: nn.Module) -> None:
    """He-normal weights and zero biases for every convolution and linear layer."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, a=0.0, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def activate(x: Tensor) -> Tensor:
    """Return the leaky rectifier of ``x``."""
    return fn.leaky_relu(x, SLOPE)


class DownBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, optionally halving the size.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        halve: Halve height and width by 2x2 means.
        norm: Instance-normalise before each rectifier.
    """

    def __init__(self, channels_in: int, channels_out: int, *, halve: bool, norm: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(channels_in, channels_in, 3, padding=1)
        self.second = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norms = nn.ModuleList(
            [nn.InstanceNorm2d(channels_in, affine=True) for _ in range(2)] if norm else []
        )
        self.shortcut = (
            nn.Conv2d(channels_in, channels_out, 1, bias=False)
            if channels_in != channels_out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of half or the same size."""
        side = self.shortcut(x)
        inner = self.first(activate(self.norms[0](x) if self.norms else x))
        if self.halve:
            side, inner = fn.avg_pool2d(side, 2), fn.avg_pool2d(inner, 2)
        inner = self.second(activate(self.norms[1](inner) if self.norms else inner))
        return (side + inner) / math.sqrt(2.0)


class AdaptiveNorm(nn.Module):
    """Instance norm whose gain and offset come from the style code (AdaIN).

    Args:
        channels: Channels of the features.
        style_dim: Length of the style code.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return ``(1 + gain) * normalised + offset``."""
        gain, offset = self.affine(style)[:, :, None, None].chunk(2, dim=1)
        return (1.0 + gain) * fn.instance_norm(x) + offset


class StyledBlock(nn.Module):
    """Two AdaIN convolutions, optionally doubling the size.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        style_dim: Length of the style code.
        double: Double height and width by nearest neighbours.
        shortcut: Add the input back (divided by sqrt 2). A decoder that is
            guided by heatmaps does without, so that position can come from the
            masked skips alone.
    """

    def __init__(
        self, channels_in: int, channels_out: int, style_dim: int, *, double: bool, shortcut: bool
    ) -> None:
        super().__init__()
        self.double, self.add_input = double, shortcut
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm_first = AdaptiveNorm(channels_in, style_dim)
        self.norm_second = AdaptiveNorm(channels_out, style_dim)
        self.match = (
            nn.Conv2d(channels_in, channels_out, 1, bias=False)
            if shortcut and channels_in != channels_out
            else nn.Identity()
        )

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return features of double or the same size in the style given."""
        inner = activate(self.norm_first(x, style))
        if self.double:
            inner = fn.interpolate(inner, scale_factor=2.0, mode="nearest")
        inner = self.second(activate(self.norm_second(self.first(inner), style)))
        if not self.add_input:
            return inner
        side = fn.interpolate(x, scale_factor=2.0, mode="nearest") if self.double else x
        return (self.match(side) + inner) / math.sqrt(2.0)


class Coordinates(nn.Module):
    """Appends where each pixel is: x, y in -1 … 1, and the distance r from the centre.

    Args:
        radius: Append r too.
        gated: Append x and y once more, where a boundary map (given to forward)
            is above 0.05 and zero elsewhere: coordinates along the boundary.
    """

    def __init__(self, *, radius: bool = True, gated: bool = False) -> None:
        super().__init__()
        self.radius, self.gated = radius, gated

    @property
    def extra(self) -> int:
        """How many channels are appended."""
        return 2 + int(self.radius) + 2 * int(self.gated)

    def forward(self, x: Tensor, boundary: Tensor | None = None) -> Tensor:
        """Return ``x`` with the coordinate channels behind it."""
        height, width = x.shape[-2:]
        rows = torch.linspace(-1.0, 1.0, height, dtype=x.dtype, device=x.device)
        columns = torch.linspace(-1.0, 1.0, width, dtype=x.dtype, device=x.device)
        place = torch.stack(
            [columns.expand(height, width), rows[:, None].expand(height, width)]
        ).expand(x.shape[0], 2, height, width)
        parts = [x, place]
        if self.radius:
            distance = place.square().sum(1, keepdim=True).sqrt()
            parts.append(distance / math.sqrt(2.0))
        if self.gated:
            if boundary is None:
                raise ValueError("gated coordinates need the boundary map")
            near = (boundary > 0.05).to(x.dtype)
            parts.append(place * near)
        return torch.cat(parts, 1)


def laplacian(x: Tensor) -> Tensor:
    """Return 8 times each pixel minus its eight neighbours, channel by channel."""
    kernel = torch.full((3, 3), -1.0, dtype=x.dtype, device=x.device)
    kernel[1, 1] = 8.0
    weight = kernel.expand(x.shape[1], 1, 3, 3)
    return fn.conv2d(x, weight, padding=1, groups=x.shape[1])


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def channel_plan(width: int, cap: int, steps: int) -> list[int]:
    """Return channel counts: ``width`` doubled at each of ``steps`` halvings, at most ``cap``."""
    return [min(width * 2**i, cap) for i in range(steps + 1)]

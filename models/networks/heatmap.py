"""U: stacked hourglasses that read landmark and boundary heatmaps off a picture.

Written from the papers: hourglasses (Newell 2016) of hierarchical blocks (Bulat
2017) with coordinate channels (Liu 2018), and adaptive-wing heatmaps with a
boundary map (Wang 2019). Input pictures are in 0 … 1; heatmaps come out at a
quarter of the input size, one per landmark and the boundary last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.networks.batchnorm import BatchNorm2d
from models.networks.layers import Coordinates


class HierarchicalBlock(nn.Module):
    """Three 3x3 convolutions of falling width, concatenated, beside a shortcut.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output, a multiple of 4.
        foldable: Convolution, then norm and rectifier, so that an exporter can
            fold the norm away (fast form); else norm first, as published.
    """

    def __init__(self, channels_in: int, channels_out: int, *, foldable: bool) -> None:
        super().__init__()
        self.foldable = foldable
        half, quarter = channels_out // 2, channels_out // 4
        ins, outs = (channels_in, half, quarter), (half, quarter, quarter)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(ins, outs, strict=True)
        )
        self.norms = nn.ModuleList(
            BatchNorm2d(o if foldable else i) for i, o in zip(ins, outs, strict=True)
        )
        parts: list[nn.Module] = []
        if channels_in != channels_out:
            conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
            norm = BatchNorm2d(channels_out if foldable else channels_in)
            parts = [conv, norm] if foldable else [norm, nn.ReLU(), conv]
        self.shortcut = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same size."""
        found, inner = [], x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            inner = fn.relu(norm(conv(inner))) if self.foldable else conv(fn.relu(norm(inner)))
            found.append(inner)
        return torch.cat(found, 1) + self.shortcut(x)


class Hourglass(nn.Module):
    """Down to a 2^depth-th of the size and back, with a branch at every size.

    Args:
        channels: Channels throughout.
        depth: Number of halvings.
        gated: Take coordinates along the boundary found by the hourglass before.
        foldable: See :class:`HierarchicalBlock`.
    """

    def __init__(self, channels: int, depth: int, *, gated: bool, foldable: bool) -> None:
        super().__init__()
        self.coordinates = Coordinates(gated=gated)
        self.enter = nn.Conv2d(channels + self.coordinates.extra, channels, 1)

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                HierarchicalBlock(channels, channels, foldable=foldable) for _ in range(count)
            )

        self.branch, self.down, self.up = blocks(depth), blocks(depth), blocks(depth)
        self.bottom = blocks(1)[0]

    def forward(self, x: Tensor, boundary: Tensor | None) -> Tensor:
        """Return features of the same size that have seen the whole picture."""
        inner = self.enter(self.coordinates(x, boundary))
        kept = []
        for branch, down in zip(self.branch, self.down, strict=True):
            kept.append(branch(inner))
            inner = down(fn.avg_pool2d(inner, 2))
        inner = self.bottom(inner)
        for side, up in zip(reversed(kept), reversed(self.up), strict=True):
            inner = side + fn.interpolate(up(inner), scale_factor=2.0, mode="nearest")
        return inner


class HeatmapNetwork(nn.Module):
    """U of the paper.

    Args:
        points: Landmarks; one more map, the boundary, is always last.
        channels: Width of the hourglasses, a multiple of 16.
        stacks: Hourglasses one after another.
        depth: Halvings inside each; the input size must be a multiple of
            ``4 * 2**depth``.
        foldable: Convolution-norm-rectifier order (fast form) instead of the
            published norm-rectifier-convolution.
    """

    def __init__(
        self,
        points: int,
        channels: int = 256,
        stacks: int = 1,
        depth: int = 4,
        foldable: bool = False,
    ) -> None:
        super().__init__()
        self.points, self.maps = points, points + 1
        quarter, half = channels // 4, channels // 2
        self.coordinates = Coordinates()
        self.stem = nn.Conv2d(3 + self.coordinates.extra, quarter, 7, stride=2, padding=3)
        self.stem_norm = BatchNorm2d(quarter)
        self.widen = nn.ModuleList(
            [
                HierarchicalBlock(quarter, half, foldable=foldable),
                HierarchicalBlock(half, half, foldable=foldable),
                HierarchicalBlock(half, channels, foldable=foldable),
            ]
        )
        self.glasses = nn.ModuleList(
            Hourglass(channels, depth, gated=i > 0, foldable=foldable) for i in range(stacks)
        )
        self.heads = nn.ModuleList(_Head(channels, self.maps, foldable) for _ in range(stacks))
        self.back_features = nn.ModuleList(
            nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1)
        )
        self.back_maps = nn.ModuleList(nn.Conv2d(self.maps, channels, 1) for _ in range(stacks - 1))

    def stages(self, pictures: Tensor) -> list[Tensor]:
        """Return the heatmaps of every stack, the best last.

        Args:
            pictures: ``(batch, 3, height, width)`` in 0 … 1.
        """
        x = fn.relu(self.stem_norm(self.stem(self.coordinates(pictures))))
        x = fn.avg_pool2d(self.widen[0](x), 2)
        x = self.widen[2](self.widen[1](x))
        found: list[Tensor] = []
        for i, (glass, head) in enumerate(zip(self.glasses, self.heads, strict=True)):
            boundary = found[-1][:, -1:].detach() if found else None
            features, maps = head(glass(x, boundary))
            found.append(maps)
            if i < len(self.back_maps):
                x = x + self.back_features[i](features) + self.back_maps[i](maps)
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Return heatmaps ``(batch, points + 1, height/4, width/4)``, about 0 … 1."""
        return self.stages(pictures)[-1]


class _Head(nn.Module):
    """From hourglass features to heatmaps."""

    def __init__(self, channels: int, maps: int, foldable: bool) -> None:
        super().__init__()
        self.block = HierarchicalBlock(channels, channels, foldable=foldable)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.norm = BatchNorm2d(channels)
        self.read = nn.Conv2d(channels, maps, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = fn.relu(self.norm(self.mix(self.block(x))))
        return features, self.read(features)

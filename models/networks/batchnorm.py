"""Batch norm over all processes of a run, also on CPUs.

torch's own synchronised form works on GPUs only, and plain batch norm would
make the result depend on how many processes share a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the whole batch of a distributed run."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features."""
        if not (self.training and _shared()):
            return super().forward(x)
        wide = x.double()  # E[x²] - E[x]² cancels in single precision
        count = x.numel() / x.shape[1]
        sums = torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])
        sums = _SumAcross.apply(sums)
        total = count * torch.distributed.get_world_size()
        mean = sums[0] / total
        variance = (sums[1] / total - mean.square()).clamp(min=0.0)
        self._remember(mean.detach(), variance.detach() * total / max(total - 1.0, 1.0))
        scale = (variance + self.eps).rsqrt() * self.weight
        shift = self.bias - mean * scale
        result = wide * scale[:, None, None] + shift[:, None, None]
        return result.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class _SumAcross(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def _shared() -> bool:
    group = torch.distributed
    return group.is_available() and group.is_initialized() and group.get_world_size() > 1

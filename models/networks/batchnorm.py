"""Batch norm over all processes of a run, also on CPUs.

torch's own synchronised form works on GPUs only, and plain batch norm would
make the result depend on how many processes share a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the whole batch of a distributed run."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features."""
        if not (self.training and _shared()):
            return super().forward(x)
        import torch.distributed.nn.functional as across

        wide = x.double()  # E[x²] - E[x]² cancels in single precision
        count = x.numel() / x.shape[1]
        sums = torch.stack([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3))])
        sums = across.all_reduce(sums)
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


def _shared() -> bool:
    group = torch.distributed
    return group.is_available() and group.is_initialized() and group.get_world_size() > 1

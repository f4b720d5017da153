"""The processes of a run: one by default, many under torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from camera_rig.errors import ConfigError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """Who this process is among how many, and where it computes.

    Args:
        rank: Number of this process.
        size: Number of processes.
        device: Where its tensors live.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """True for the one process that writes files."""
        return self.rank == 0

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean over all processes of named numbers."""
        if self.size == 1:
            return values
        table = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(table)
        return dict(zip(values, (table / self.size).tolist(), strict=True))

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in order of rank."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Join the run that torchrun started, or be alone.

    Args:
        device: ``auto`` (GPU when there is one), ``cpu`` or ``cuda``.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {device!r}", hint="use auto, cpu or cuda")
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if gpu and not torch.cuda.is_available():
        raise ConfigError("no GPU is in reach of torch", hint="use --device cpu")
    if "RANK" not in os.environ:
        yield World(device=torch.device("cuda" if gpu else "cpu"))
        return
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else "cpu"
    if gpu:
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), torch.device(place))
    finally:
        dist.destroy_process_group()

"""Checkpoints: tensors in safetensors, the rest in JSON, hashed, written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camera_rig.errors import StorageError

TENSORS, FACTS = "state.safetensors", "state.json"
_PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """The whole state of a run after a step.

    Args:
        step: Updates done.
        tensors: Name to tensor: networks, averages, optimisers.
        facts: JSON-able rest: best score, loss scale and so on.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below ``name/``, without that prefix."""
        start = f"{name}/"
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def save(checkpoint: Checkpoint, folder: Path, *, keep: int) -> Path:
    """Write a checkpoint below ``folder`` and remove the oldest beyond ``keep``.

    Raises:
        StorageError: It cannot be written; older checkpoints are untouched.
    """
    target = folder / f"{_PREFIX}{checkpoint.step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".aside-", dir=folder))
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in checkpoint.tensors.items()}
        save_file(tensors, aside / TENSORS)
        facts = {
            "step": checkpoint.step,
            "sha256": file_hash(aside / TENSORS),
            "facts": dict(checkpoint.facts),
        }
        _write_synced(aside / FACTS, json.dumps(facts, indent=1))
        if target.exists():
            shutil.rmtree(target)
        aside.replace(target)
    except OSError as error:
        raise StorageError(
            f"cannot write checkpoint {target}: {error}", hint="check disk space and permissions"
        ) from error
    for old in found(folder)[:-keep]:
        shutil.rmtree(folder / f"{_PREFIX}{old:08d}", ignore_errors=True)
    return target


def found(folder: Path) -> list[int]:
    """Return the steps that have a complete checkpoint, oldest first."""
    if not folder.is_dir():
        return []
    names = (p.parent.name for p in folder.glob(f"{_PREFIX}*/{FACTS}"))
    return sorted(int(name.removeprefix(_PREFIX)) for name in names)


def load(folder: Path, step: int | None = None) -> Checkpoint:
    """Read a checkpoint, the newest by default.

    Raises:
        StorageError: There is none, or its hash does not fit.
    """
    steps = found(folder)
    if not steps or (step is not None and step not in steps):
        raise StorageError(
            f"no checkpoint {'' if step is None else step} in {folder}",
            hint="train first, or give another run",
        )
    place = folder / f"{_PREFIX}{steps[-1] if step is None else step:08d}"
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if file_hash(place / TENSORS) != facts["sha256"]:
            raise StorageError(
                f"{place / TENSORS} is not what was written",
                hint="the file is torn or changed: remove this checkpoint and resume from an "
                "older one",
            )
        return Checkpoint(facts["step"], load_file(place / TENSORS), facts["facts"])
    except (OSError, json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise StorageError(
            f"{place} cannot be read: {error}",
            hint="remove this checkpoint and resume from an older one",
        ) from error


def network_tensors(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return ``network/key`` to tensor for several networks."""
    return {
        f"{name}/{key}": value
        for name, net in networks.items()
        for key, value in net.state_dict().items()
    }


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as named tensors."""
    states = optimiser.state_dict()["state"]
    return {
        f"{index}/{key}": torch.as_tensor(value)
        for index, state in states.items()
        for key, value in state.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimiser_tensors` returned."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/", 1)
        states.setdefault(int(index), {})[key] = value
    whole = optimiser.state_dict()
    whole["state"] = states
    optimiser.load_state_dict(whole)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())

"""The one loop that all trained attackers share: seeded, judged on held-out data, kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from camera_rig.errors import StateError

__all__ = ["Curve", "Effort", "Learner", "learn"]

Labels = np.ndarray


@dataclass(frozen=True)
class Effort:
    """How long an attacker trains.

    Args:
        steps: Updates.
        batch: Pictures, or rows, an update.
        rate: Highest learning rate of Adam; it rises over the first twentieth and
            falls to zero as a cosine.
        judge_every: Updates between two looks at held-out data.
        seed: Decides start and order.
        bf16: Multiply in 16 bits. Several times as fast on processors made for it, and
            slower on others; weights, losses and looks at held-out data keep 32 bits.
    """

    steps: int
    batch: int
    rate: float
    judge_every: int
    seed: int = 0
    bf16: bool = False


@dataclass(frozen=True)
class Curve:
    """How an attacker learned.

    Args:
        figure: What was measured on held-out data.
        steps: Updates done at each look.
        held_out: The figure there.
        seconds: Wall time of the training, s.
        better: ``higher`` or ``lower``.
    """

    figure: str
    steps: tuple[int, ...]
    held_out: tuple[float, ...]
    seconds: float
    better: str

    @property
    def still_rising(self) -> bool:
        """Whether the last fifth of the looks brought over a twentieth of all that was won."""
        looks = np.array(self.held_out) * (1.0 if self.better == "higher" else -1.0)
        if len(looks) < 5:
            return True
        before = looks[: len(looks) - max(len(looks) // 5, 1)]
        won = looks.max() - looks[0]
        return bool(won > 0 and looks.max() - before.max() > 0.05 * won)


@dataclass(frozen=True)
class Learner:
    """What is trained and how it is judged.

    Args:
        network: Trained in place.
        loss: Called with the rows of a batch; returns the loss.
        judge: Returns the figure on held-out data.
        figure: Its name.
        better: ``higher`` or ``lower``.
        rows: How many rows there are to learn from.
    """

    network: nn.Module
    loss: Callable[[Labels], Tensor]
    judge: Callable[[], float]
    figure: str
    better: str
    rows: int


def learn(learner: Learner, effort: Effort, kept: Path | None = None) -> Curve:
    """Train an attacker, or take the one that was trained before.

    The state with the best held-out figure is kept, as an attacker would.

    Args:
        learner: What is trained.
        effort: How long.
        kept: File (without suffix) that holds the trained attacker.

    Raises:
        StateError: The loss is not finite.
    """
    if kept is not None and kept.with_suffix(".json").exists():
        learner.network.load_state_dict(_load(kept))
        learner.network.eval()
        told = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        return Curve(**{**told, "steps": tuple(told["steps"]), "held_out": tuple(told["held_out"])})
    # Gradients of a network that knows most already fade into denormal numbers, with
    # which a processor takes several times as long; as zeros they teach the same.
    torch.set_flush_denormal(True)
    try:
        curve, state = _train(learner, effort)
    finally:
        torch.set_flush_denormal(False)
    learner.network.load_state_dict(state)
    learner.network.eval()
    if kept is not None:
        _save(kept, state, curve)
    return curve


def _train(learner: Learner, effort: Effort) -> tuple[Curve, dict[str, Tensor]]:
    network, sign = learner.network, 1.0 if learner.better == "higher" else -1.0
    wanted = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(wanted, lr=effort.rate)
    order = np.random.default_rng([effort.seed, 11])
    began, steps, held_out = time.perf_counter(), [], []
    best, state = -np.inf, _copy(network)
    for step in range(effort.steps + 1):
        if step % effort.judge_every == 0 or step == effort.steps:
            network.eval()
            with torch.no_grad():
                steps.append(step)
                held_out.append(float(learner.judge()))
            if sign * held_out[-1] > best:
                best, state = sign * held_out[-1], _copy(network)
        if step == effort.steps:
            break
        network.train()
        for group in optimiser.param_groups:
            group["lr"] = effort.rate * _share(step, effort.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=effort.bf16):
            loss = learner.loss(order.integers(0, learner.rows, effort.batch))
        if not bool(torch.isfinite(loss)):
            raise StateError(
                f"the loss is not finite after {step} updates", hint="train at a lower rate"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    taken = time.perf_counter() - began
    return Curve(learner.figure, tuple(steps), tuple(held_out), taken, learner.better), state


def _share(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / max(steps / 20.0, 1.0))
    return float(rise * 0.5 * (1.0 + np.cos(np.pi * step / steps)))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _save(kept: Path, state: dict[str, Tensor], curve: Curve) -> None:
    from safetensors.torch import save_file

    kept.parent.mkdir(parents=True, exist_ok=True)
    aside = kept.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in state.items()}, aside)
    aside.replace(kept.with_suffix(".safetensors"))
    # The curve comes last: where it is, the weights are whole.
    aside.write_text(json.dumps(asdict(curve)), encoding="utf-8")
    aside.replace(kept.with_suffix(".json"))


def _load(kept: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(kept.with_suffix(".safetensors")))

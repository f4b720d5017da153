"""The engine: updates, averages, metrics, checkpoints, exact resume, safe stops.

A stage brings networks, losses and data (:class:`Task`); everything else is here,
once. A run folder holds ``run.yaml``, ``metrics.jsonl``, ``checkpoints/``,
``best/``, ``sheets/`` and, after a stop on a number that is not finite,
``stopped/``.
"""

from __future__ import annotations

import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from camera_rig.errors import ConfigError, StateError, StorageError
from camera_rig.interrupt import SafeInterrupt
from models.training import checkpoint as store
from models.training.config import FILE, RunConfig
from models.training.task import Batch, Group, Task

Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Args:
        folder: Where its results are.
        step: Updates done.
        reason: ``finished`` or ``early`` (no better validation for long enough).
        best_score: Best validation score, or None.
        wall_s: Seconds this call took.
    """

    folder: Path
    step: int
    reason: str
    best_score: float | None
    wall_s: float


class Trainer:
    """Runs a task in a folder, from its newest checkpoint if it has one.

    Args:
        task: The stage.
        folder: The run folder; made if missing.
        report: Called on the first process with step, steps in all, figures.

    Raises:
        ConfigError: The folder holds a run with other settings, or the batch does
            not divide among the processes.
    """

    def __init__(self, task: Task, folder: str | Path, report: Report | None = None) -> None:
        self.task, self.folder, self.report = task, Path(folder), report
        self.config, self.world = task.config, task.world
        self.engine = self.config.engine
        chunk = self.engine.chunk or self.engine.batch
        if chunk % self.world.size:
            raise ConfigError(
                f"a chunk of {chunk} faces does not divide among {self.world.size} processes",
                hint="choose batch and chunk as multiples of the number of processes",
            )
        self._share, self._chunks = chunk // self.world.size, self.engine.batch // chunk
        self.step, self.best, self._waited = 0, math.inf, 0
        self.groups = task.groups
        objectives = [group.objective for group in self.groups]
        for part in (*task.networks.values(), *task.helpers, *objectives):
            part.to(self.world.device, task.kind)
        self._scaler = torch.amp.GradScaler(
            self.world.device.type, enabled=self.engine.precision == "fp16"
        )
        if self.engine.precision == "fp16" and self.world.device.type != "cuda":
            raise ConfigError("fp16 needs a GPU", hint="use precision bf16 or fp32 on a CPU")
        self.averages = self._fresh_averages()
        self._open_folder()
        self._wrapped = [self._wrap(group) for group in self.groups]

    # Set-up and resume

    def _open_folder(self) -> None:
        if (self.folder / FILE).exists():
            before = RunConfig.load(self.folder)
            if differs := self.config.differences(before):
                raise ConfigError(
                    f"{self.folder} holds a run with other settings: {'; '.join(differs)}",
                    hint="use the same settings to go on, or choose another folder",
                )
        elif self.world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.world.wait()
        if store.found(self._checkpoints):
            self._restore(store.load(self._checkpoints))
        if self.world.first:
            self.config.save(self.folder)
            self._trim_metrics()

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _fresh_averages(self) -> dict[str, nn.Module]:
        if not self.engine.ema:
            return {}
        made = {name: copy.deepcopy(self.task.networks[name]) for name in self.task.averaged}
        for net in made.values():
            net.requires_grad_(False).eval()
        return made

    def _wrap(self, group: Group) -> nn.Module:
        if self.world.size == 1:
            return group.objective
        place = self.world.device
        with warnings.catch_warnings():
            # Renamed in newer versions of torch; the old name works in all.
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            return DistributedDataParallel(
                group.objective,
                device_ids=[place.index] if place.type == "cuda" else None,
                broadcast_buffers=False,
            )

    @property
    def shown(self) -> dict[str, nn.Module]:
        """The networks to look at: averaged ones where there are averages."""
        return {**self.task.networks, **self.averages}

    # The loop

    def run(self) -> RunSummary:
        """Train until the steps are done or nothing improves.

        The first Ctrl-C ends the step, writes a checkpoint and then stops.

        Raises:
            KeyboardInterrupt: Somebody stopped it; the run can be taken up again.
            StateError: A loss or gradient is not finite; the batch is saved.
        """
        began, reason = time.monotonic(), "finished"
        with ExitStack() as stack:
            ahead, stop = _ReadAhead(self, stack), self._safe_stop(stack)
            while self.step < self.engine.steps:
                figures = self.update(ahead.chunks(self.step))
                self.step += 1
                if self._after(figures):
                    reason = "early"
                    break
                if stop is not None and stop.requested:
                    self._save()
                    stop.check()
            self._save()
        best = None if math.isinf(self.best) else self.best
        return RunSummary(self.folder, self.step, reason, best, time.monotonic() - began)

    def _safe_stop(self, stack: ExitStack) -> SafeInterrupt | None:
        """Let the first Ctrl-C wait for a checkpoint; of many processes torchrun takes care."""
        return stack.enter_context(SafeInterrupt()) if self.world.size == 1 else None

    def positions(self, step: int, chunk: int) -> range:
        """Return the places of the endless shuffle that this process takes."""
        first = step * self.engine.batch + (chunk * self.world.size + self.world.rank) * self._share
        return range(first, first + self._share)

    def places(self, step: int) -> list[range]:
        """Return the places of every chunk of a step, for this process."""
        return [self.positions(step, chunk) for chunk in range(self._chunks)]

    def update(self, chunks: Sequence[Batch]) -> dict[str, float]:
        """Update every group once from the chunks of one step; return the figures."""
        figures: dict[str, float] = {}
        batches = [{k: self._placed(v) for k, v in batch.items()} for batch in chunks]
        for group, wrapped in zip(self.groups, self._wrapped, strict=True):
            group.optimiser.zero_grad(set_to_none=True)
            for number, batch in enumerate(batches):
                last = number == len(batches) - 1
                terms = self._backward(wrapped, batch, last)
                for name, value in terms.items():
                    key = f"{group.name}/{name}"
                    figures[key] = figures.get(key, 0.0) + value / len(batches)
            figures[f"{group.name}/gradient"] = self._apply(group, figures, batches)
        figures.update(self.task.after_update(self.step))
        self._average()
        return figures

    def _placed(self, values: Tensor) -> Tensor:
        kind = self.task.kind if values.dtype.is_floating_point else values.dtype
        return values.to(self.world.device, kind, non_blocking=True)

    def _backward(self, wrapped: nn.Module, batch: Batch, last: bool) -> dict[str, float]:
        lonely = nullcontext() if last or self.world.size == 1 else wrapped.no_sync()
        with lonely:
            with self._precision():
                terms = wrapped(batch, self.step)
            self._scaler.scale(terms["total"] / self._chunks).backward()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _precision(self) -> Any:
        if self.engine.precision in ("fp32", "fp64"):
            return nullcontext()
        kind = torch.bfloat16 if self.engine.precision == "bf16" else torch.float16
        return torch.autocast(self.world.device.type, dtype=kind)

    def _apply(self, group: Group, figures: Mapping[str, float], batches: Sequence[Batch]) -> float:
        parameters = [p for part in group.optimiser.param_groups for p in part["params"]]
        self._scaler.unscale_(group.optimiser)
        limit = self.engine.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        mixed = self.engine.precision == "fp16"  # its scaler skips a step by itself
        if not math.isfinite(figures[f"{group.name}/total"] + (0.0 if mixed else norm)):
            self._stop_on_nan(group, figures, batches)
        self._scaler.step(group.optimiser)
        self._scaler.update()
        return norm

    @torch.no_grad()
    def _average(self) -> None:
        # Young averages forget the random start faster than the stated decay would.
        decay = min(self.engine.ema, (1.0 + self.step) / (10.0 + self.step))
        for name, mean in self.averages.items():
            now = self.task.networks[name].state_dict()
            for key, value in mean.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(now[key], 1.0 - decay)
                else:
                    value.copy_(now[key])

    # After a step

    def _after(self, figures: dict[str, float]) -> bool:
        """Log, save, show, judge. Returns True when the run should stop early."""
        every = self.engine
        if self.step % every.log_every == 0 or self.step == every.steps:
            self._log(self.world.mean(figures))
        stop = False
        if every.validate_every and self.step % every.validate_every == 0:
            stop = self._judge()
        if every.sheet_every and self.step % every.sheet_every == 0:
            self._show()
        if self.step % every.checkpoint_every == 0:
            self._save()
        return stop

    def _judge(self) -> bool:
        found = self.world.mean(self._looking(self.task.validate))
        self._log({f"held-out/{name}": value for name, value in found.items()})
        if found["score"] < self.best:
            self.best, self._waited = found["score"], 0
            if self.world.first:
                store.save(self._snapshot(), self.folder / "best", keep=1)
        else:
            self._waited += 1
        return bool(self.engine.patience) and self._waited >= self.engine.patience

    def _looking(self, what: Callable[[Mapping[str, nn.Module]], Any]) -> Any:
        networks = self.shown
        modes = {name: net.training for name, net in networks.items()}
        for net in networks.values():
            net.eval()
        try:
            with torch.no_grad():
                return what(networks)
        finally:
            for name, net in networks.items():
                net.train(modes[name])

    def _show(self) -> None:
        if not self.world.first:
            return
        import cv2

        place = self.folder / "sheets" / f"step-{self.step:08d}.png"
        place.parent.mkdir(exist_ok=True)
        picture = self._looking(self.task.sheet)
        if not cv2.imwrite(str(place), picture[..., ::-1]):
            raise StorageError(f"cannot write {place}", hint="check disk space and permissions")

    def _log(self, figures: Mapping[str, float]) -> None:
        if not self.world.first:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": self.step, **figures}) + "\n")
        if self.report is not None:
            self.report(self.step, self.engine.steps, figures)

    def _trim_metrics(self) -> None:
        """Drop lines from after the checkpoint: their steps are done again."""
        file = self.folder / "metrics.jsonl"
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = (line for line in lines if line.endswith("\n"))
            file.write_text(
                "".join(line for line in whole if json.loads(line)["step"] <= self.step), "utf-8"
            )

    # State

    def _snapshot(self) -> store.Checkpoint:
        tensors: dict[str, Tensor] = dict(store.network_tensors(self.task.networks))
        for name, net in self.averages.items():
            tensors.update({f"ema/{name}/{k}": v for k, v in net.state_dict().items()})
        for group in self.groups:
            state = store.optimiser_tensors(group.optimiser)
            tensors.update({f"optimiser/{group.name}/{k}": v for k, v in state.items()})
        facts = {
            "best": None if math.isinf(self.best) else self.best,
            "waited": self._waited,
            "scaler": self._scaler.state_dict(),
        }
        return store.Checkpoint(self.step, tensors, facts)

    def _save(self) -> None:
        if self.world.first:
            store.save(self._snapshot(), self._checkpoints, keep=self.engine.keep)
        self.world.wait()

    def _restore(self, saved: store.Checkpoint) -> None:
        for name, net in self.task.networks.items():
            net.load_state_dict(saved.part(name))
        for name, net in self.averages.items():
            net.load_state_dict(saved.part(f"ema/{name}"))
        for group in self.groups:
            store.restore_optimiser(group.optimiser, saved.part(f"optimiser/{group.name}"))
        best = saved.facts["best"]
        self.step, self.best = saved.step, math.inf if best is None else best
        self._waited = saved.facts["waited"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(saved.facts["scaler"])

    def _stop_on_nan(
        self, group: Group, figures: Mapping[str, float], batches: Sequence[Batch]
    ) -> None:
        """Save what led here and stop. Sensitive pictures are named, never written."""
        place = self.folder / "stopped" / f"step-{self.step:08d}-process-{self.world.rank}"
        place.mkdir(parents=True, exist_ok=True)
        names = [n for part in self.places(self.step) for n in self.task.names_at(part)]
        told = {"step": self.step, "group": group.name, "faces": names}
        told["figures"] = {k: v if math.isfinite(v) else str(v) for k, v in figures.items()}
        (place / "figures.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        if not self.task.faces.sensitive:
            for number, batch in enumerate(batches):
                tensors = {k: v.detach().cpu().contiguous() for k, v in batch.items()}
                save_file(tensors, place / f"batch-{number}.safetensors")
        raise StateError(
            f"{group.name}: loss or gradient of step {self.step} is not finite",
            hint=f"look into {place}; lower the learning rate, set clip_norm, or use fp32, then "
            "resume from the last checkpoint",
        )


class _ReadAhead:
    """Loads the next step's batch while this one trains."""

    def __init__(self, trainer: Trainer, stack: ExitStack) -> None:
        self._trainer = trainer
        workers = trainer.config.data.workers
        self._pool = stack.enter_context(ThreadPoolExecutor(workers)) if workers else None
        self._coming: dict[int, list[Future[Batch]]] = {}

    def chunks(self, step: int) -> list[Batch]:
        trainer = self._trainer
        if self._pool is None:
            return [trainer.task.batch(p) for p in trainer.places(step)]
        now = self._coming.pop(step, None) or self._ask(step)
        if step + 1 < trainer.engine.steps:
            self._coming[step + 1] = self._ask(step + 1)
        return [future.result() for future in now]

    def _ask(self, step: int) -> list[Future[Batch]]:
        if self._pool is None:
            raise RuntimeError("no threads to ask")
        return [self._pool.submit(self._trainer.task.batch, p) for p in self._trainer.places(step)]

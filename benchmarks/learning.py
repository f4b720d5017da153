"""What the networks cost: sizes, one training step, painting a frame.

Run ``python benchmarks/learning.py [SECTION ...]``; without a section all run. Each writes
its part of ``benchmarks/results/learning.json``.

=======  =====================================================================
sizes    parameters of every network and preset, and multiply-adds of one frame
step     one update of Stage II in the paper preset at 256 pixels: time, memory,
         operations, and from those an estimate for a GPU
paint    processor time of one frame, paper against live preset, torch, one thread
=======  =====================================================================

Weights are random: speed and size only, nothing about quality or privacy.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from models.heatmaps import IBUG68, WFLW98, guide
from models.networks import (
    build_face_networks,
    build_heatmap_network,
    parameter_count,
    preset,
)
from models.runtime.bundle import CardText, write_bundle
from models.training.config import RunConfig
from models.training.loop import Trainer
from models.training.sources import Trained
from models.training.start import build_task
from models.training.world import World

RESULTS = Path(__file__).parent / "results" / "learning.json"
GPU_TFLOPS = 100.0
"""Assumed rate of one large GPU in TF32, for the estimate only."""


class Counting(TorchDispatchMode):
    """Operations of everything inside. torch's own counter cannot see through R1."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def networks(name: str, points: int = 68, domains: int = 1) -> dict[str, torch.nn.Module]:
    made = build_face_networks(preset(name), domains, seed=0).named()
    return {"heat": build_heatmap_network(preset(name), points, seed=0), **made}


def one_frame(nets: dict[str, torch.nn.Module], style_dim: int, size: int, layout: Any) -> Any:
    frame, style = torch.rand(1, 3, size, size), torch.randn(1, style_dim)

    def paint() -> torch.Tensor:
        with torch.no_grad():
            masks = guide(nets["heat"](frame), layout)
            latent, skips = nets["encoder"](frame * 2 - 1)
            return nets["generator"](latent, skips, style, masks)

    return paint


def sizes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("paper", "live", "tiny"):
        layout, domains = (WFLW98, 2) if name == "paper" else (IBUG68, 1)
        nets = networks(name, layout.points, domains)
        for net in nets.values():
            net.eval()
        wanted = preset(name)
        with Counting() as counter:
            one_frame(nets, wanted.style_dim, wanted.size_px, layout)()
        counts = {key: parameter_count(net) for key, net in nets.items()}
        shipped = sum(counts[k] for k in ("heat", "encoder", "generator", "style"))
        found[name] = {
            "parameters": counts,
            "shipped_mb_fp32": round(shipped * 4 / 1e6, 2),
            "frame_gmac": round(counter.total / 2e9, 3),
        }
    return found


def step() -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as aside:
        task_of = _paper_task(Path(aside))
        figures: dict[str, Any] = {}
        trainer = Trainer(task_of(), Path(aside) / "run")
        with Counting() as counter:
            trainer.update([trainer.task.batch(p) for p in trainer.places(0)])
        figures["tflop_per_face"] = round(counter.total / 1e12, 2)
        began = time.process_time()
        trainer.update([trainer.task.batch(p) for p in trainer.places(1)])
        figures["cpu_s_per_face"] = round(time.process_time() - began, 1)
    figures["peak_memory_gb"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2
    )
    hours = figures["tflop_per_face"] * 8 * 100_000 / GPU_TFLOPS / 3600
    figures["estimate"] = {
        "assumed_gpu_tflops": GPU_TFLOPS,
        "batch": 8,
        "steps": 100_000,
        "hours_on_one_gpu": round(hours, 1),
    }
    return figures


def _paper_task(aside: Path) -> Callable[[], Any]:
    """Stage II in the paper preset, on drawn pictures, behind a made-up design."""
    faces = aside / "faces"
    faces.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        cv2.imwrite(str(faces / f"{i}.png"), rng.integers(0, 255, (256, 256, 3), np.uint8))
    config = RunConfig.model_validate(
        {
            "stage": "faces",
            "data": {"folder": str(faces), "held_out": 0.25},
            "sizes": "paper",
            "engine": {"steps": 10, "batch": 1},
            "faces": {"design": str(aside / "design")},
        }
    )
    from models.camera import LearnedCamera

    heat = networks("paper")["heat"]
    camera = LearnedCamera(config.optics, jitter_um=0.05)
    parts = {name: dict(n.state_dict()) for name, n in {"heat": heat, "camera": camera}.items()}
    trained = Trained(
        aside, config.sizes, "ibug68", 0, config.optics, parts, tuple(camera.coefficients)
    )
    write_bundle(trained, aside / "design", CardText("bench", "nothing", "2026-01-01"))
    return lambda: build_task(config, World())


def paint() -> dict[str, Any]:
    torch.set_num_threads(1)
    made = {}
    for name in ("paper", "live"):
        nets = networks(name)
        for net in nets.values():
            net.eval()
        made[name] = one_frame(nets, preset(name).style_dim, preset(name).size_px, IBUG68)
        made[name]()
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(7):
        for name, run in made.items():
            began = time.thread_time()
            run()
            times[name].append((time.thread_time() - began) * 1e3)
    found = {f"{name}_core_ms": round(float(np.median(t)), 1) for name, t in times.items()}
    return {**found, "ratio": round(found["paper_core_ms"] / found["live_core_ms"], 1)}


SECTIONS = {"sizes": sizes, "step": step, "paint": paint}


def main(names: list[str]) -> None:
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or list(SECTIONS):
        stored[name] = SECTIONS[name]()
        print(name, json.dumps(stored[name], indent=1))
    stored["machine"] = (
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        "one thread"
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

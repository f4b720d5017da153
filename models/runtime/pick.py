"""Which engine runs a bundle here: what agrees with torch, and of that the fastest."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camera_rig.errors import ConfigError, RigError, StateError, UnsupportedError
from models.runtime.bundle import Bundle
from models.runtime.engine import (
    Engine,
    OnnxEngine,
    OpenVinoEngine,
    Parity,
    TorchEngine,
    check_parity,
    network_bytes,
)
from models.runtime.export import FP32, INT8
from models.runtime.gate_frames import gate_inputs
from models.runtime.painter import Painter

__all__ = ["EngineChoice", "pick_engine"]

_log = logging.getLogger(__name__)
_WARM_UP, _TIMED = 1, 5
_SELF_TEST_S = 60.0
_SELF_TEST = (
    "import sys, openvino as ov; core = ov.Core(); "
    "core.compile_model(core.read_model(sys.stdin.buffer.read()), 'CPU', "
    "{'INFERENCE_PRECISION_HINT': sys.argv[1]})"
)


@dataclass(frozen=True)
class EngineChoice:
    """The engine to run and how it was chosen.

    Args:
        engine: Ready and warm.
        times_ms: Median time of one frame for every engine that could be used, ms.
        passed_over: Engine or file to the reason it was not used.
    """

    engine: Engine
    times_ms: Mapping[str, float]
    passed_over: Mapping[str, str]


def pick_engine(bundle: Bundle, wanted: str = "auto", *, int8: bool = True) -> EngineChoice:
    """Return the fastest engine that agrees with torch, after a short warm-up.

    Args:
        bundle: Its exports are tried; without any, torch runs.
        wanted: ``auto``; the start of a name: ``torch``, ``onnx``, ``openvino``; or a whole
            name, as ``OpenVINO int8``.
        int8: Whether int8 exports may be chosen.

    Raises:
        ConfigError: No engine is called ``wanted``.
        StateError: ``wanted`` cannot run here, and why.
    """
    key, kinds = _plain(wanted), ("torch", "onnx", "openvino")
    if key != "auto" and not any(n.startswith(key) or key.startswith(n) for n in kinds):
        raise ConfigError(
            f"no engine is called {wanted!r}", hint="use auto, torch, onnx or openvino"
        )
    inputs = gate_inputs(bundle)
    reference = TorchEngine(Painter(bundle))
    engines: dict[str, Engine] = {}
    times_ms: dict[str, float] = {}
    passed_over: dict[str, str] = {}
    if key == "auto" or _plain(reference.name).startswith(key):
        engines[reference.name] = reference
    for name, make in _wanted(list(_candidates(bundle, int8=int8)), key):
        try:
            engine = make()
            parity = check_parity(reference, engine, inputs)
        except (RigError, RuntimeError, ValueError) as error:
            passed_over[name] = error.message if isinstance(error, RigError) else str(error)[:200]
            continue
        if parity.passed:
            engines[name] = engine
        else:
            passed_over[name] = _why_not(parity)
    for name, engine in engines.items():
        times_ms[name] = _median_ms(engine, inputs)
    for name, why in passed_over.items():
        _log.info("engine_passed_over", extra={"engine": name, "why": why})
    if not engines:
        told = "; ".join(f"{name}: {why}" for name, why in passed_over.items())
        raise StateError(
            f"no engine {wanted!r} runs {bundle.card.name!r} here: {told or 'nothing exported'}",
            hint="`rig bundle export` makes the files; or use --engine torch",
        )
    best = min(times_ms, key=lambda name: times_ms[name])
    _log.info("engine_chosen", extra={"engine": best, "frame_ms": round(times_ms[best], 2)})
    return EngineChoice(engines[best], times_ms, passed_over)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("runtime", "")


def _wanted(
    candidates: list[tuple[str, Callable[[], Engine]]], key: str
) -> list[tuple[str, Callable[[], Engine]]]:
    """Return those meant: the one of that very name, else all whose names begin so."""
    if key == "auto":
        return candidates
    exact = [each for each in candidates if _plain(each[0]) == key]
    return exact or [each for each in candidates if _plain(each[0]).startswith(key)]


def _candidates(bundle: Bundle, *, int8: bool) -> Iterator[tuple[str, Callable[[], Engine]]]:
    files = [(FP32, "fp32"), (INT8, "int8")] if int8 else [(FP32, "fp32")]
    for file, precision in files:
        if file not in bundle.card.files:
            continue
        model = bundle.folder / file
        onnx, openvino = f"ONNX Runtime {precision}", f"OpenVINO {precision}"
        yield onnx, lambda model=model, name=onnx: OnnxEngine(model, name)
        yield openvino, lambda model=model, name=openvino: _tested_openvino(model, name)
        mixed = "OpenVINO bf16" if precision == "fp32" else f"OpenVINO {precision} and bf16"
        yield mixed, lambda model=model, name=mixed: _tested_openvino(model, name, bf16=True)


def _tested_openvino(model: Path, name: str, *, bf16: bool = False) -> Engine:
    """Some versions die while compiling on some processors: let another process find out."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SELF_TEST, "bf16" if bf16 else "f32"],
            input=network_bytes(model),
            capture_output=True,
            timeout=_SELF_TEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnsupportedError(
            "OpenVINO does not finish its self-test", hint="use --engine onnx"
        ) from error
    if done.returncode != 0:
        raise UnsupportedError(
            f"OpenVINO failed its self-test (exit {done.returncode})", hint="use --engine onnx"
        )
    return OpenVinoEngine(model, name, bf16=bf16)


def _median_ms(engine: Engine, inputs: tuple[np.ndarray, np.ndarray]) -> float:
    import torch

    frames, styles = inputs
    # One inference thread, whoever runs it: a second one collapses beside a neighbour.
    torch.set_num_threads(1)
    times = []
    for n in range(_WARM_UP + _TIMED):
        begin_s = time.perf_counter()
        engine(frames[n % len(frames)][None], styles[n % len(styles)][None])
        times.append(time.perf_counter() - begin_s)
    return 1000.0 * float(np.median(times[_WARM_UP:]))


def _why_not(parity: Parity) -> str:
    return (
        f"does not agree with torch: faces {parity.faces_worst:.2g} at worst, "
        f"peaks {parity.peaks_px:.2f} px off, {parity.faces_db:.1f} dB"
    )

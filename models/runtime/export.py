"""From a bundle to exported networks that passed the parity gate."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import zstandard

from camera_rig.errors import ConfigError, UnsupportedError
from models.data import planar
from models.runtime.bundle import Bundle, add_file, open_bundle
from models.runtime.engine import (
    Engine,
    OnnxEngine,
    OpenVinoEngine,
    Parity,
    choose_engine,
    export_onnx,
)
from models.runtime.gate_frames import GATE_FRAMES, FrameSet, gate_inputs, inputs_of
from models.runtime.painter import Painter
from models.runtime.quantise import quantise_onnx

FP32, INT8 = "painter.onnx", "painter.int8.onnx.zst"
_PACKING = 19


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how near it is.

    Args:
        results: One per engine and precision.
        chosen: Name of the engine to use, the cheapest that passed.
        files: Files added to the bundle.
    """

    results: tuple[Parity, ...]
    chosen: str
    files: tuple[str, ...]


def export_bundle(
    folder: Path, frames: FrameSet | None = None, *, fp32: bool = True
) -> ExportReport:
    """Export a bundle's painter; only files that passed are added to it.

    Args:
        folder: The bundle.
        frames: Privacy frames that int8 is made with and judged by; None exports fp32
            only. A bundle without people carries those it was judged by.
        fp32: Whether the fp32 form, as large as the weights, is added too.

    Raises:
        ConfigError: The bundle holds an export already, or nothing is asked for.
        UnsupportedError: The exporter is not installed.
    """
    bundle = open_bundle(folder)
    if held := {FP32, INT8} & bundle.card.files.keys():
        raise ConfigError(
            f"{folder} holds an export already: {', '.join(sorted(held))}",
            hint="make a new bundle to export it again",
        )
    if frames is None and not fp32:
        raise ConfigError("nothing to export", hint="int8 needs privacy frames")
    painter, sizes = Painter(bundle), bundle.card.sizes
    inputs = gate_inputs(bundle) if frames is None else inputs_of(bundle, frames.judging)
    with tempfile.TemporaryDirectory() as aside:
        plain, small = Path(aside) / FP32, Path(aside) / INT8
        export_onnx(painter, plain, style_dim=sizes.style_dim, size_px=sizes.size_px)
        makers: list[tuple[Path, Callable[[], Engine]]] = []
        if frames is not None:
            _write_int8(plain, small, bundle, frames)
            makers += [
                (small, lambda: OpenVinoEngine(small, "OpenVINO int8 and bf16", bf16=True)),
                (small, lambda: OpenVinoEngine(small, "OpenVINO int8")),
                (small, lambda: OnnxEngine(small, "ONNX Runtime int8")),
            ]
        if fp32:
            makers += [
                (plain, lambda: OpenVinoEngine(plain)),
                (plain, lambda: OnnxEngine(plain)),
            ]
        results, chosen, good = [], "torch fp32", set()
        for file, make in makers:
            engine, found = choose_engine(painter, [make], inputs)
            results += found
            if found and found[0].passed:
                good.add(file)
                chosen = engine.name if chosen == "torch fp32" else chosen
        if small in good and frames is not None and not bundle.card.people:
            carried = Path(aside) / GATE_FRAMES
            cv2.imwrite(str(carried), frames.carried()[..., ::-1])
            good.add(carried)
        for file in sorted(good):
            add_file(folder, file.name, file)
    return ExportReport(tuple(results), chosen, tuple(sorted(f.name for f in good)))


def require_exporter() -> None:
    """Refuse to begin what could not be ended.

    Raises:
        UnsupportedError: What exports networks is not installed.
    """
    wanted = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        raise UnsupportedError(
            f"what exports networks is not installed: {', '.join(missing)}",
            hint="pip install camera-rig[runtime], or leave the fast form out",
        )


def _write_int8(plain: Path, small: Path, bundle: Bundle, frames: FrameSet) -> None:
    codes = [reference.style for reference in bundle.references().values()]
    samples = [
        {"frames": planar(picture)[None], "style": np.asarray(codes[n % len(codes)])[None]}
        for n, picture in enumerate(frames.ranges)
    ]
    loose = plain.with_name("int8.onnx")
    quantise_onnx(plain, loose, samples)
    packer = zstandard.ZstdCompressor(level=_PACKING)
    small.write_bytes(packer.compress(loose.read_bytes()))

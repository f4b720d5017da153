"""From a bundle to exported networks that passed the parity gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camera_rig.errors import ConfigError
from models.data import open_folder, planar
from models.runtime.bundle import add_file, open_bundle
from models.runtime.engine import (
    Engine,
    OnnxEngine,
    OpenVinoEngine,
    Parity,
    choose_engine,
    export_onnx,
    fixed_inputs,
    quantise_onnx,
)
from models.runtime.painter import Painter

FP32, INT8 = "painter.onnx", "painter.int8.onnx"
_CALIBRATION_FRAMES = 32


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


def export_bundle(folder: Path, calibrate: Path | None = None) -> ExportReport:
    """Export a bundle's painter; only files that passed are added to it.

    Args:
        folder: The bundle.
        calibrate: Privacy frames for the ranges of int8; None exports fp32 only.

    Raises:
        ConfigError: The bundle holds an export already.
        UnsupportedError: The exporter is not installed.
    """
    bundle = open_bundle(folder)
    if FP32 in bundle.card.files:
        raise ConfigError(
            f"{folder} holds an export already", hint="make a new bundle to export it again"
        )
    painter = Painter(bundle)
    sizes = bundle.card.sizes
    inputs = fixed_inputs(sizes.size_px, sizes.style_dim)
    with tempfile.TemporaryDirectory() as aside:
        plain, small = Path(aside) / FP32, Path(aside) / INT8
        export_onnx(painter, plain, style_dim=sizes.style_dim, size_px=sizes.size_px)
        makers: list[tuple[Path, Callable[[], Engine]]] = [
            (plain, lambda: OpenVinoEngine(plain)),
            (plain, lambda: OnnxEngine(plain)),
        ]
        if calibrate is not None:
            quantise_onnx(plain, small, _samples(calibrate, sizes.size_px, inputs[1]))
            makers = [
                (small, lambda: OpenVinoEngine(small, "OpenVINO int8")),
                (small, lambda: OnnxEngine(small, "ONNX Runtime int8")),
                *makers,
            ]
        results, chosen, good = [], "torch fp32", set()
        for file, make in makers:
            engine, found = choose_engine(painter, [make], inputs)
            results += found
            if found and found[0].passed:
                good.add(file)
                chosen = engine.name if chosen == "torch fp32" else chosen
        for file in sorted(good):
            add_file(folder, file.name, file)
    return ExportReport(tuple(results), chosen, tuple(sorted(f.name for f in good)))


def _samples(folder: Path, size_px: int, styles: np.ndarray) -> list[dict[str, np.ndarray]]:
    frames = open_folder(folder, size_px)
    count = min(len(frames), _CALIBRATION_FRAMES)
    places = [i * len(frames) // count for i in range(count)]
    return [
        {"frames": planar(frames[i].picture)[None], "style": styles[n % len(styles)][None]}
        for n, i in enumerate(places)
    ]

"""Engines that run a painter: torch, ONNX Runtime, OpenVINO, behind one small class.

An exported network is used only after it gave the same answers as torch on fixed
inputs (the parity gate). One thread and no spinning: a second inference thread
collapses as soon as a neighbour wants the core.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import zstandard

from camera_rig.errors import StateError, UnsupportedError
from models.runtime.painter import Painter
from models.runtime.sines import fuse_sines

Floats = np.ndarray
FP32_TOLERANCE = 1e-4
"""Largest difference of the heatmaps, and RMS difference of the faces, share of full scale, for
fp32."""

FP32_WORST = 0.5 / 255
"""Largest difference of one face value for fp32: half a step of what is shown."""

FEW_BITS = ("int8", "bf16")
"""In an engine's name: it is judged by what it does to landmarks and faces."""

FEW_BITS_LANDMARKS_PX = 1.0
"""Largest mean shift of the heatmap peaks, pixels, for int8 and bf16."""

FEW_BITS_PSNR_DB = 30.0
"""Least agreement of the painted faces with fp32 for int8 and bf16."""

ONNX_OPSET = 18


class Engine(Protocol):
    """Runs frames and styles; ``name`` is shown to the user."""

    name: str

    def __call__(self, frames: Floats, style: Floats) -> tuple[Floats, Floats]:
        """Return faces and heatmaps of float32 arrays."""
        ...


class TorchEngine:
    """The reference.

    Args:
        painter: The network.
    """

    name = "torch fp32"

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def __call__(self, frames: Floats, style: Floats) -> tuple[Floats, Floats]:
        """Return faces and heatmaps."""
        with torch.inference_mode():
            faces, maps = self._painter(torch.from_numpy(frames), torch.from_numpy(style))
        return faces.numpy(), maps.numpy()


def network_bytes(file: Path) -> bytes:
    """Return an ONNX file's content; one whose name ends in ``.zst`` is unpacked."""
    content = file.read_bytes()
    return zstandard.ZstdDecompressor().decompress(content) if file.suffix == ".zst" else content


class OnnxEngine:
    """ONNX Runtime on one thread.

    Args:
        model: File from :func:`export_onnx`.
        name: Shown to the user.

    Raises:
        UnsupportedError: ONNX Runtime is not installed.
    """

    def __init__(self, model: Path, name: str = "ONNX Runtime fp32") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UnsupportedError(
                "ONNX Runtime is not installed", hint="pip install camera-rig[runtime]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.name = name
        self._session = onnxruntime.InferenceSession(
            network_bytes(model), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, frames: Floats, style: Floats) -> tuple[Floats, Floats]:
        """Return faces and heatmaps."""
        faces, maps = self._session.run(None, {"frames": frames, "style": style})
        return faces, maps


class OpenVinoEngine:
    """OpenVINO on one thread.

    Args:
        model: File from :func:`export_onnx`.
        name: Shown to the user.
        bf16: Compute in sixteen bits what is not in eight; only where the processor can.

    Raises:
        UnsupportedError: OpenVINO is not installed, or the processor has no bf16.
    """

    def __init__(self, model: Path, name: str = "OpenVINO fp32", *, bf16: bool = False) -> None:
        try:
            import openvino
        except ImportError as error:
            raise UnsupportedError(
                "OpenVINO is not installed", hint="pip install camera-rig[runtime]"
            ) from error
        self.name = name
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        }
        core = openvino.Core()
        if bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UnsupportedError(
                "this processor has no bf16", hint="OpenVINO runs fp32 and int8 here"
            )
        network = core.read_model(network_bytes(model))
        fuse_sines(network)
        self._model = core.compile_model(network, "CPU", settings)

    def __call__(self, frames: Floats, style: Floats) -> tuple[Floats, Floats]:
        """Return faces and heatmaps."""
        found = self._model([frames, style])
        return found[0], found[1]


def export_onnx(painter: Painter, target: Path, *, style_dim: int, size_px: int) -> None:
    """Write a painter for one frame at a time as ONNX, weights inside.

    Raises:
        UnsupportedError: The ONNX exporter is not installed.
    """
    try:
        import onnx  # noqa: F401  (the exporter needs both)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UnsupportedError(
            "the ONNX exporter is not installed", hint="pip install onnx onnxscript"
        ) from error
    example = (torch.zeros(1, 3, size_px, size_px), torch.zeros(1, style_dim))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            painter,
            example,
            str(target),
            input_names=["frames", "style"],
            output_names=["faces", "maps"],
            opset_version=ONNX_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@dataclass(frozen=True)
class Parity:
    """How near an engine is to torch on fixed inputs.

    Args:
        engine: Its name.
        faces_worst: Largest difference of the faces, share of full scale.
        maps_worst: Largest difference of the heatmaps.
        faces_db: PSNR of the faces, dB.
        peaks_px: Mean shift of the heatmap peaks, pixels of the frame.
        passed: Whether the gate let it through.
    """

    engine: str
    faces_worst: float
    maps_worst: float
    faces_db: float
    peaks_px: float
    passed: bool


def check_parity(reference: Engine, other: Engine, inputs: tuple[Floats, Floats]) -> Parity:
    """Compare an engine with torch on fixed inputs; few bits by the task, fp32 by the number.

    Args:
        reference: Torch.
        other: The engine to judge; one with ``int8`` or ``bf16`` in its name is judged by
            the shift of landmarks and by PSNR.
        inputs: Frames ``(n, 3, size, size)`` and styles ``(n, style_dim)``.
    """
    frames, styles = inputs
    pairs = [(frames[i : i + 1], styles[i : i + 1]) for i in range(len(frames))]
    wanted = [reference(*pair) for pair in pairs]
    found = [other(*pair) for pair in pairs]
    faces = np.concatenate([f[0] - w[0] for f, w in zip(found, wanted, strict=True)])
    maps = np.concatenate([f[1] - w[1] for f, w in zip(found, wanted, strict=True)])
    shift = float(np.mean([_peak_shift(f[1], w[1]) for f, w in zip(found, wanted, strict=True)]))
    db = float(-10.0 * np.log10(max(float(np.mean(faces**2)), 1e-12)))
    worst, worst_map = float(np.abs(faces).max()), float(np.abs(maps).max())
    if any(word in other.name for word in FEW_BITS):
        passed = shift <= FEW_BITS_LANDMARKS_PX and db >= FEW_BITS_PSNR_DB
    else:
        rms = 10.0 ** (-db / 20.0)
        passed = max(rms, worst_map) <= FP32_TOLERANCE and worst <= FP32_WORST
    return Parity(other.name, worst, worst_map, db, shift, passed)


def _peak_shift(found: Floats, wanted: Floats) -> float:
    width = found.shape[-1]
    a, b = (m.reshape(*m.shape[:2], -1).argmax(-1)[:, :-1] for m in (found, wanted))
    return float(4.0 * np.hypot(a % width - b % width, a // width - b // width).mean())


def fixed_inputs(size_px: int, style_dim: int, count: int = 3) -> tuple[Floats, Floats]:
    """Return smooth frames and styles for the parity gate, always the same."""
    rng = np.random.default_rng(2024)
    coarse = torch.from_numpy(rng.random((count, 3, 8, 8), dtype=np.float32))
    frames = torch.nn.functional.interpolate(
        coarse, size=(size_px, size_px), mode="bicubic", align_corners=False
    )
    styles = rng.standard_normal((count, style_dim)).astype(np.float32)
    return frames.clamp(0.0, 1.0).numpy(), styles


def choose_engine(
    painter: Painter, candidates: list[Callable[[], Engine]], inputs: tuple[Floats, Floats]
) -> tuple[Engine, list[Parity]]:
    """Return the first candidate that passes the gate, else torch, and all results.

    Args:
        painter: The network.
        candidates: Makers of engines, the preferred one first; one whose library
            is missing is passed over.
        inputs: From :func:`fixed_inputs`.
    """
    reference: Engine = TorchEngine(painter)
    results: list[Parity] = []
    for make in candidates:
        try:
            engine = make()
        except UnsupportedError:
            continue
        results.append(check_parity(reference, engine, inputs))
        if results[-1].passed:
            return engine, results
    return reference, results


def require_parity(result: Parity) -> None:
    """Refuse an exported network that does not agree with torch.

    Raises:
        StateError: It does not.
    """
    if not result.passed:
        raise StateError(
            f"{result.engine} does not agree with torch: faces {result.faces_worst:.2g}, heatmaps "
            f"{result.maps_worst:.2g} at worst, peaks {result.peaks_px:.2f} px, "
            f"{result.faces_db:.1f} dB",
            hint="use another engine or precision; int8 needs calibration pictures like the "
            "camera's",
        )

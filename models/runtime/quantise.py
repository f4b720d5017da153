"""The int8 form of an exported painter, made so that it still reads and paints the same.

Three things keep the loss small, found by measuring one group of layers at a time on
privacy frames:

* Rounding weights costs nothing; what costs is that the channels of a sum or a
  concatenation differ a hundredfold in size and share one scale. So each such channel is
  first brought to a like size, and the weights that read it undo that (`Xiao 2023
  <https://arxiv.org/abs/2211.10438>`_ do so for language models).
* The ranges leave out one value in two thousand, which would make all others coarse.
* Some layers compute in single precision: those that turn places into phases of many
  turns, the ends of U, whose maps are compared to find a peak, and its small deep layers.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.errors import UnsupportedError

__all__ = ["quantise_onnx"]

Floats = np.ndarray

PHASES = re.compile(r"(coarse|fine)\.mix\.weight$")
"""Weights of convolutions that turn places into phases: single precision throughout."""

KEPT_FP32 = re.compile(
    r"(heads\.\d+\.(mix|read)|glasses\.\d+\.(enter|bottom.*|(down|up)\..*|branch\.[1-9].*))\.weight$"
)
"""Weights of convolutions that compute in single precision: the ends of the hourglasses
and all that lies at an eighth of the picture's size or less. A tenth of the work, and half
of the loss. Their weights are stored in eight bits all the same, which costs nothing."""

EVENING = 0.6
"""How much of the unevenness of channels the weights take over, 0 (none) to 1."""

PERCENTILE = 99.95
"""Share of the values that the ranges cover, %."""

_RANGE_SAMPLES = 12


def quantise_onnx(model: Path, target: Path, samples: Sequence[Mapping[str, Floats]]) -> None:
    """Write an int8 form: weights per channel, activations unsigned.

    Args:
        model: fp32 file.
        target: int8 file.
        samples: Inputs that show the ranges of the activations.

    Raises:
        UnsupportedError: ONNX or ONNX Runtime is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise UnsupportedError(
            "ONNX Runtime is not installed", hint="pip install camera-rig[runtime]"
        ) from error
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    graph_of = onnx.load(prepared)
    kept = [
        node.name
        for node in _convolutions(graph_of)
        if KEPT_FP32.search(node.input[1]) or PHASES.search(node.input[1])
    ]
    onnx.save(_evened(graph_of, kept, samples), prepared)
    with contextlib.redirect_stdout(io.StringIO()):  # it talks about its progress
        quantize_static(
            str(prepared),
            str(target),
            _reader(samples),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
    prepared.unlink()
    onnx.save(_stored_small(onnx.load(target)), target)


def _reader(samples: Sequence[Mapping[str, Floats]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> dict[str, Floats] | None:
            sample = next(self._left, None)
            return None if sample is None else dict(sample)

    return Reader()


def _convolutions(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _evened(model: Any, kept: Sequence[str], samples: Sequence[Mapping[str, Floats]]) -> Any:
    """Return the model with the channels of sums and concatenations brought to a like size.

    The result is the same function: each channel is divided by a number, and the weights
    that read it are multiplied by that number.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    rectified = {name for node in graph.node if node.op_type == "Relu" for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in _convolutions(model):
        single = all(a.i == 1 for a in node.attribute if a.name == "group")
        if single and node.name not in kept and node.input[0] not in rectified:
            readers.setdefault(node.input[0], []).append(node)
    largest = _largest(model, list(readers), samples)
    for number, (name, nodes) in enumerate(readers.items()):
        arrays = {node.input[1]: numpy_helper.to_array(weights[node.input[1]]) for node in nodes}
        strongest = np.max([np.abs(w).max(axis=(0, 2, 3)) for w in arrays.values()], axis=0)
        scale = _even_scale(largest[name], strongest)
        factor, evened = f"even_{number}_factor", f"even_{number}"
        graph.initializer.append(
            numpy_helper.from_array((1.0 / scale).reshape(1, -1, 1, 1).astype(np.float32), factor)
        )
        ours = {node.name for node in nodes}
        first = next(i for i, node in enumerate(graph.node) if node.name in ours)
        graph.node.insert(first, helper.make_node("Mul", [name, factor], [evened], name=evened))
        for key, array in arrays.items():
            scaled = (array * scale[None, :, None, None]).astype(np.float32)
            weights[key].CopyFrom(numpy_helper.from_array(scaled, key))
        for node in nodes:
            node.input[0] = evened
    return model


def _stored_small(model: Any) -> Any:
    """Return the model with the kept layers' weights in eight bits, for a smaller file."""
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in _convolutions(model):
        key = node.input[1]
        if key not in weights or not KEPT_FP32.search(key):
            continue
        array = numpy_helper.to_array(weights[key])
        scale = np.maximum(np.abs(array).max(axis=(1, 2, 3)), 1e-9).astype(np.float32) / 127.0
        small = np.rint(array / scale[:, None, None, None]).astype(np.int8)
        parts = {"small": small, "scale": scale, "zero": np.zeros(len(scale), np.int8)}
        names = [f"{key}_{part}" for part in parts]
        graph.initializer.remove(weights.pop(key))
        for name, part in zip(names, parts.values(), strict=True):
            graph.initializer.append(numpy_helper.from_array(part, name))
        # First of all, so that whoever reads the weights comes after.
        graph.node.insert(0, helper.make_node("DequantizeLinear", names, [key], key, axis=0))
    return model


def _even_scale(largest: Floats, strongest: Floats) -> Floats:
    """Return what to divide each channel by, from its largest value and weight."""
    seen = np.maximum(largest, 1e-3 * float(largest.max()) + 1e-9)
    scale = seen**EVENING / np.maximum(strongest, 1e-6) ** (1.0 - EVENING)
    return np.asarray(np.clip(scale / np.exp(np.log(scale).mean()), 1e-3, 1e3))


def _largest(
    model: Any, names: Sequence[str], samples: Sequence[Mapping[str, Floats]]
) -> dict[str, Floats]:
    """Return the largest magnitude of every channel of some tensors."""
    import onnxruntime
    from onnx import ModelProto, TensorProto, helper

    telling = ModelProto()
    telling.CopyFrom(model)
    del telling.graph.output[:]
    for name in names:
        telling.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        telling.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: dict[str, Floats] = {}
    for sample in samples[:: max(1, len(samples) // _RANGE_SAMPLES)]:
        for name, value in zip(names, session.run(list(names), dict(sample)), strict=True):
            most = np.abs(value).max(axis=(0, 2, 3))
            found[name] = np.maximum(found.get(name, most), most)
    return found

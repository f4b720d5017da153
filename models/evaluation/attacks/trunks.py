"""Networks that turn an aligned face into a vector, and can be trained further.

The strong attacker starts from a recogniser that others trained on millions of
faces and goes on with privacy frames. Its weights stay in the user's cache folder.
Without them a small network is trained from nothing, which is a weaker attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from camera_rig.errors import UnsupportedError
from models.evaluation.embedders import FIVE_IN_112, Floats, Picture, aligned, five_points

__all__ = ["CROP_PX", "OnnxTrunk", "SmallTrunk", "face_crops"]

_NOTHING = 1e-20

CROP_PX = 112
"""Height and width of the aligned crops."""


class SmallTrunk(nn.Module):
    """A plain network of five halvings, trained from nothing.

    Args:
        width: Channels after the first halving; doubled at every second one.
        dim: Length of the vector.
        seed: Decides the start.
    """

    def __init__(self, width: int = 24, dim: int = 128, seed: int = 0) -> None:
        super().__init__()
        widths = [3, width, width, 2 * width, 4 * width, 4 * width]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convs = nn.ModuleList(
                nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in pairwise(widths)
            )
            self.norms = nn.ModuleList(nn.GroupNorm(4, o) for o in widths[1:])
            self.out = nn.Linear(4 * width * 16, dim)

    def forward(self, crops: Tensor) -> Tensor:
        """Return vectors of crops ``(n, 3, 112, 112)`` in 0 … 1."""
        x = crops - 0.5
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = fn.leaky_relu(norm(conv(x)), 0.2)
        return self.out(x.flatten(1))


class OnnxTrunk(nn.Module):
    """A recogniser from an ONNX file, as torch operations whose weights can learn.

    Args:
        model: ONNX file with one input ``(1, 3, 112, 112)``.
        mean: Subtracted from 0 … 255.
        scale: Divides the rest.

    Raises:
        UnsupportedError: The package ``onnx`` is missing, or the network has an
            operation that is not known here.
    """

    def __init__(self, model: Path, *, mean: float = 127.0, scale: float = 128.0) -> None:
        super().__init__()
        try:
            import onnx
        except ImportError as error:
            raise UnsupportedError(
                "the package onnx is not installed", hint="pip install camera-rig[runtime]"
            ) from error
        graph = onnx.load(str(model)).graph
        self._mean, self._scale = mean, scale
        self._names = {item.name: f"w{i}" for i, item in enumerate(graph.initializer)}
        for item in graph.initializer:
            value = torch.from_numpy(onnx.numpy_helper.to_array(item).copy())
            if value.is_floating_point():
                # Weights that decayed to nothing change no answer, but their products are
                # denormal numbers, with which a processor takes several times as long.
                value[value.abs() < _NOTHING] = 0.0
                if value.dim() == 4:
                    value = value.contiguous(memory_format=torch.channels_last)
                self.register_parameter(self._names[item.name], nn.Parameter(value))
            else:
                self.register_buffer(self._names[item.name], value)
        self._nodes = [_node(node, onnx.helper.get_attribute_value) for node in graph.node]
        self._input, self._output = graph.input[0].name, graph.output[0].name

    def forward(self, crops: Tensor) -> Tensor:
        """Return vectors of crops ``(n, 3, 112, 112)`` in 0 … 1."""
        pixels = crops.contiguous(memory_format=torch.channels_last) * 255.0
        values = {self._input: (pixels - self._mean) / self._scale}
        for kind, inputs, output, settings in self._nodes:
            given = [
                values[name] if name in values else getattr(self, self._names[name])
                for name in inputs
            ]
            values[output] = _OPERATIONS[kind](given, settings)
        return values[self._output].flatten(1)


def face_crops(pictures: Sequence[Picture] | Picture, landmarks_px: Sequence[Floats]) -> Picture:
    """Return crops ``(n, 112, 112, 3)`` in which eyes, nose and mouth lie in place."""
    return np.stack(
        [
            aligned(picture, five_points(points), FIVE_IN_112, CROP_PX)
            for picture, points in zip(pictures, landmarks_px, strict=True)
        ]
    )


Node = tuple[str, tuple[str, ...], str, dict[str, Any]]


def _node(node: Any, read: Any) -> Node:
    settings = {item.name: read(item) for item in node.attribute}
    pads = settings.get("pads", [0, 0, 0, 0])
    if node.op_type not in _OPERATIONS or pads[:2] != pads[2:]:
        raise UnsupportedError(
            f"operation {node.op_type} of a recogniser is not known in training",
            hint=f"known are {', '.join(_OPERATIONS)}, padded alike on both sides",
        )
    return node.op_type, tuple(name for name in node.input if name), node.output[0], settings


def _convolved(given: list[Tensor], settings: dict[str, Any]) -> Tensor:
    return fn.conv2d(
        given[0],
        given[1],
        given[2] if len(given) > 2 else None,
        stride=settings.get("strides", [1, 1]),
        padding=settings.get("pads", [0, 0, 0, 0])[:2],
        groups=settings.get("group", 1),
    )


_OPERATIONS = {
    "Conv": _convolved,
    "PRelu": lambda given, _: fn.prelu(given[0], given[1].flatten()),
    "Relu": lambda given, _: fn.relu(given[0]),
    "Add": lambda given, _: given[0] + given[1],
    "Reshape": lambda given, _: given[0].flatten(1),
    "Flatten": lambda given, _: given[0].flatten(1),
}

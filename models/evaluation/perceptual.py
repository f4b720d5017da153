"""Perceptual distance and features for a Fréchet distance, from networks that ship offline.

They are what their names say and nothing else: ST-LPIPS (AlexNet, shift tolerant) is
not LPIPS, and features of EfficientNet-lite0 are not Inception's. Figures made with
them compare rows of one table, not with tables made with other networks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor

from models.evaluation.embedders import Floats, Picture
from models.evaluation.weights import weights_file

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class StLpips:
    """ST-LPIPS with AlexNet (Ghildyal and Liu 2022): distance of two pictures, 0 for equal ones.

    Args:
        folder: Where its file lies; None is the user's cache.
    """

    name = "ST-LPIPS (alex)"

    def __init__(self, folder: Path | None = None) -> None:
        file = weights_file("st-lpips", "alex_shift_tolerant.pth", folder)
        stored = torch.load(file, map_location="cpu", weights_only=True)
        self._tensors = {key: value.float() for key, value in stored.items()}
        shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        self._shift, self._scale = shift, scale

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Return one distance per pair.

        Args:
            first: ``(batch, 3, h, w)`` in 0 … 1.
            second: The same shape.
        """
        total = torch.zeros(len(first))
        for level, (a, b) in enumerate(zip(self._levels(first), self._levels(second), strict=True)):
            away = (_unit(a) - _unit(b)).square()
            weight = self._tensors[f"lin{level}.model.1.weight"]
            total += fn.conv2d(away, weight).mean((1, 2, 3))
        return total

    def _levels(self, pictures: Tensor) -> list[Tensor]:
        # AlexNet, but every stride of 2 is a blur of stride 2 after a step of stride 1.
        x = (pictures * 2.0 - 1.0 - self._shift) / self._scale
        x = fn.relu(self._blur(self._conv(x, "slice1.0", 2), "slice1.1"))
        found = [x]
        for pool, blur, conv, padding in (
            (True, "slice2.4", "slice2.5", 2),
            (True, "slice3.8", "slice3.9", 1),
            (False, "", "slice4.11", 1),
            (False, "", "slice5.13", 1),
        ):
            if pool:
                x = self._blur(fn.max_pool2d(x, 3, stride=1), blur)
            x = fn.relu(self._conv(x, conv, padding))
            found.append(x)
        return found

    def _conv(self, x: Tensor, name: str, padding: int) -> Tensor:
        weight, bias = (self._tensors[f"net.{name}.{part}"] for part in ("weight", "bias"))
        return fn.conv2d(x, weight, bias, padding=padding)

    def _blur(self, x: Tensor, name: str) -> Tensor:
        kernel = self._tensors[f"net.{name}.filt"]
        reach = kernel.shape[-1] - 1
        padded = fn.pad(x, (reach, reach, reach, reach), mode="reflect")
        return fn.conv2d(padded, kernel, stride=2, groups=x.shape[1])


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


# Repeats, kernel, stride, expansion of the seven stages of EfficientNet-lite0.
_STAGES = (
    (1, 3, 1, 1),
    (2, 3, 2, 6),
    (2, 5, 2, 6),
    (3, 3, 2, 6),
    (3, 5, 1, 6),
    (4, 5, 2, 6),
    (1, 3, 1, 6),
)


class EfficientFeatures:
    """The 1280 pooled features of EfficientNet-lite0, trained on ImageNet.

    Args:
        folder: Where its file lies; None is the user's cache.
    """

    name = "EfficientNet-lite0"
    length = 1280

    def __init__(self, folder: Path | None = None) -> None:
        file = weights_file("efficientnet", "efficientnet-lite0-57934424.pth", folder)
        self._tensors = torch.load(file, map_location="cpu", weights_only=True)

    @torch.inference_mode()
    def __call__(self, picture: Picture) -> Floats:
        """Return the features of one RGB picture; it is resized to 224 pixels."""
        return self._pooled(_prepared(picture)).double().numpy()[0]

    @torch.inference_mode()
    def logits(self, picture: Picture) -> Floats:
        """Return the scores of the thousand ImageNet classes."""
        pooled = self._pooled(_prepared(picture))
        return fn.linear(pooled, self._tensors["_fc.weight"], self._tensors["_fc.bias"])[0].numpy()

    def _pooled(self, x: Tensor) -> Tensor:
        x = fn.relu6(self._norm(self._conv(x, "_conv_stem", 2), "_bn0"))
        block = 0
        for repeats, _, stride, expansion in _STAGES:
            for turn in range(repeats):
                x = self._block(x, f"_blocks.{block}", stride if turn == 0 else 1, expansion)
                block += 1
        x = fn.relu6(self._norm(self._conv(x, "_conv_head", 1), "_bn1"))
        return x.mean((2, 3))

    def _block(self, entering: Tensor, name: str, stride: int, expansion: int) -> Tensor:
        x = entering
        if expansion != 1:
            x = fn.relu6(self._norm(self._conv(x, f"{name}._expand_conv", 1), f"{name}._bn0"))
        x = self._conv(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
        x = fn.relu6(self._norm(x, f"{name}._bn1"))
        x = self._norm(self._conv(x, f"{name}._project_conv", 1), f"{name}._bn2")
        return x + entering if stride == 1 and x.shape == entering.shape else x

    def _conv(self, x: Tensor, name: str, stride: int, groups: int = 1) -> Tensor:
        weight = self._tensors[f"{name}.weight"]
        side, kernel = x.shape[-1], weight.shape[-1]
        # "Same" padding as TensorFlow has it: the odd pixel goes right and below.
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        low, high = total // 2, total - total // 2
        return fn.conv2d(fn.pad(x, (low, high, low, high)), weight, stride=stride, groups=groups)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            self._tensors[f"{name}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return fn.batch_norm(x, mean, variance, weight, bias, eps=1e-3)


def _prepared(picture: Picture) -> Tensor:
    import cv2

    small = cv2.resize(np.ascontiguousarray(picture), (224, 224), interpolation=cv2.INTER_AREA)
    scaled = (small.astype(np.float32) / 255.0 - _MEAN) / _DEVIATION
    return torch.from_numpy(scaled.transpose(2, 0, 1)[None].astype(np.float32))

"""The optics' hand-written reverse passes as torch functions.

Same values as recording every step with autograd, in less time and memory: the
reverse pass of a PSF is one transform per colour, and scenes need no gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from camera_rig.optics.psf import PsfModel
from camera_rig.optics.spectra import SceneSpectra


class _Psf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, coefficients_um: torch.Tensor, model: PsfModel) -> torch.Tensor:
        pixels, ctx.pull = model.pullback(coefficients_um)
        return pixels

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.pull(slope), None


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, psf: torch.Tensor, scenes: SceneSpectra) -> torch.Tensor:
        pictures, ctx.pull = scenes.blur(psf)
        return pictures

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.pull(slope), None


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, psf: torch.Tensor, scenes: SceneSpectra) -> torch.Tensor:
        loss, slope = scenes.squared_error(psf)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gain: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gain * slope, None


def psf(model: PsfModel, coefficients_um: torch.Tensor) -> torch.Tensor:
    """Return PSFs (energy share per pixel), once differentiable in the coefficients.

    Args:
        model: The system.
        coefficients_um: ``(..., modes)``, micrometres RMS of wavefront.
    """
    return _Psf.apply(coefficients_um, model)


def blur(scenes: SceneSpectra, psf: torch.Tensor) -> torch.Tensor:
    """Return blurred pictures (linear light), once differentiable in the PSF only.

    Args:
        scenes: Spectra of ``(pictures, colours, height, width)``.
        psf: ``(colours, h, w)``, energy share per pixel.
    """
    return _Blur.apply(psf, scenes)


def squared_error(scenes: SceneSpectra, psf: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the blurred scenes to their targets.

    Args:
        scenes: Spectra with targets.
        psf: ``(colours, h, w)``, energy share per pixel; gets the gradient.
    """
    return _SquaredError.apply(psf, scenes)

"""Attack: undo the blur with a known PSF by a Wiener filter.

Attacker's knowledge: the PSF (from firmware, a calibration file or one point of
light in the scene), the noise level, and that pictures have a 1/f² spectrum.
The regularisation is chosen with the truth at hand, which is the worst case for
privacy. numpy arrays or torch tensors in, the same out; differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor

from camera_rig.errors import ConfigError

STRENGTHS = tuple(float(v) for v in np.geomspace(0.01, 100.0, 13))
"""Factors on the expected noise-to-signal ratio that the attacker tries."""

WIDE_STRENGTHS = tuple(float(v) for v in np.geomspace(0.01, 1e6, 17))
"""The same for frames whose scene goes on beyond the edge: that error is far above the noise."""

_REFERENCE_POWER = 0.05
"""Power of a picture at one cycle per picture, share of full scale squared."""


def transfer_function(psf: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the transfer function of PSFs on a periodic grid, DC first.

    Args:
        psf: ``(..., k, k)``, axis at ``k // 2``.
        shape: Height and width of the pictures, pixels.
    """
    high, wide = psf.shape[-2:]
    if high > shape[0] or wide > shape[1]:
        raise ConfigError(
            f"a PSF of {high} x {wide} on a picture of {shape[0]} x {shape[1]}",
            hint="pad the picture or crop the PSF",
        )
    room = fn.pad(psf, (0, shape[1] - wide, 0, shape[0] - high))
    return torch.fft.rfft2(room.roll((-(high // 2), -(wide // 2)), (-2, -1)))


def wiener(
    frames: Tensor, psf: Tensor, noise: float, *, strength: float = 1.0, flat: bool = False
) -> Tensor:
    """Return the frames with the blur undone, pictures as periodic.

    Args:
        frames: ``(batch, 3, h, w)``, 0 … 1.
        psf: ``(3, k, k)``, energy share per pixel.
        noise: Standard deviation of the noise, share of full scale.
        strength: Factor on the noise-to-signal ratio.
        flat: Expect a flat spectrum instead of 1/f².
    """
    height, width = frames.shape[-2:]
    otf = transfer_function(psf, (height, width))
    rows = torch.fft.fftfreq(height, dtype=frames.dtype, device=frames.device) * height
    columns = torch.fft.rfftfreq(width, dtype=frames.dtype, device=frames.device) * width
    square = (rows[:, None].square() + columns.square()).clamp(min=1.0)
    # Power per frequency of white noise is its variance over the number of pixels.
    white = max(noise, 1e-6) ** 2 / (height * width)
    ratio = white * (torch.ones_like(square) * 100.0 if flat else square) / _REFERENCE_POWER
    keep = otf.conj() / (otf.abs().square() + strength * ratio)
    return torch.fft.irfft2(torch.fft.rfft2(frames) * keep, s=(height, width))


def best_wiener(
    scenes: Tensor,
    frames: Tensor,
    psf: Tensor,
    noise: float,
    *,
    border_px: int = 0,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Tensor, Tensor]:
    """Return the best of all strengths for each picture, and its PSNR in dB.

    Leaving the frame as it is counts as a strength, so an attack never scores
    below the frame: a design must not win by making the filter go wrong.

    Args:
        scenes: What was there, ``(batch, 3, h, w)``, 0 … 1.
        frames: What the camera saw.
        psf: ``(3, k, k)``.
        noise: Standard deviation of the noise, share of full scale.
        border_px: Rim that is filtered but not judged: the scene goes on there.
        strengths: Factors on the noise-to-signal ratio to try.
    """
    extended = fn.pad(frames, (border_px,) * 4, mode="reflect") if border_px else frames
    inner = slice(border_px, -border_px if border_px else None)
    tries = [
        frames,
        *(
            wiener(extended, psf, noise, strength=s)[..., inner, inner].clamp(0.0, 1.0)
            for s in strengths
        ),
    ]
    errors = torch.stack([(t - scenes).square().mean((1, 2, 3)) for t in tries])
    which = errors.argmin(0)
    chosen = torch.stack(tries)[which, torch.arange(len(scenes), device=scenes.device)]
    return chosen, psnr_db(errors.amin(0))


def psnr_db(mean_square_error: Tensor) -> Tensor:
    """Return dB of a mean squared error of values in 0 … 1."""
    return -10.0 * torch.log10(mean_square_error.clamp(min=1e-12))


def wiener_picture(
    scene: np.ndarray, frame: np.ndarray, psf: np.ndarray, noise: float
) -> tuple[np.ndarray, float]:
    """Return the best attack on one picture ``(h, w, 3)`` in 0 … 1, and its PSNR in dB."""

    def planes(picture: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).double()[None]

    kernel = torch.from_numpy(np.ascontiguousarray(psf)).double()
    found, psnr = best_wiener(planes(scene), planes(frame), kernel, noise)
    return found[0].permute(1, 2, 0).numpy(), float(psnr[0])

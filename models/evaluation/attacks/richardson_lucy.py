"""Attack: undo the blur with a known PSF by Richardson–Lucy iterations.

Attacker's knowledge: the PSF. Positive by construction, and a weak reference:
it amplifies noise without a stop of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.evaluation.attacks.wiener import transfer_function

_LEAST = 1e-4


def richardson_lucy(frames: Tensor, psf: Tensor, iterations: int = 50) -> Tensor:
    """Return the frames after some iterations, pictures as periodic.

    Args:
        frames: ``(batch, 3, h, w)``, 0 … 1.
        psf: ``(3, k, k)``, energy share per pixel; normalised here.
        iterations: More is sharper and noisier.
    """
    shape = (int(frames.shape[-2]), int(frames.shape[-1]))
    otf = transfer_function(psf / psf.sum((-2, -1), keepdim=True), shape)

    def through(pictures: Tensor, filter_: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(pictures) * filter_, s=shape)

    seen = frames.clamp(min=_LEAST)
    guess = torch.full_like(seen, 0.5)
    for _ in range(iterations):
        ratio = seen / through(guess, otf).clamp(min=_LEAST)
        guess = (guess * through(ratio, otf.conj())).clamp(min=0.0)
    return guess.clamp(max=1.0)

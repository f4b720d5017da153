"""Attack: plug-and-play restoration, the camera's model and a denoiser that knows faces.

Attacker's knowledge: the camera (as its maker could model it), its noise, and sharp
faces of other people; no pairs. The denoiser is trained on faces with noise of many
strengths, so it stands for "what a face may look like"; half-quadratic splitting
(Zhang 2021) lets it and the camera's model answer in turn. Any camera will do that
is nearly linear: its adjoint comes from automatic differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.camera import PrivacyCamera
from models.evaluation.attacks.frames import to_pictures, to_planes
from models.evaluation.attacks.learning import Curve, Effort, Labels, Learner, learn
from models.evaluation.attacks.restore import RestoringNetwork
from models.evaluation.attacks.wiener import psnr_db
from models.evaluation.embedders import Picture

__all__ = ["FacePrior", "Rounds", "plug_and_play"]

_CHUNK = 16
_JUDGED = 64
_JUDGED_NOISE = 0.1
_STRONGEST, _WEAKEST = 0.25, 0.005
_PROBE = 0.25  # step along which the camera's slope is taken, share of full scale


class FacePrior:
    """A denoiser of faces that is told how strong the noise is.

    Args:
        effort: How long it trains.
        held_out: Share of the faces, the last ones, kept for judging.
        width: Channels of its U-Net.
    """

    def __init__(self, effort: Effort, *, held_out: float = 0.1, width: int = 32) -> None:
        self.effort, self.held_out = effort, held_out
        self.network = RestoringNetwork(width, 2, effort.seed + 1)

    def train(self, faces: Picture, kept: Path | None = None) -> Curve:
        """Learn what faces look like.

        Args:
            faces: Sharp faces ``(n, h, w, 3)``, 8 bit.
            kept: Where the trained network is kept, without suffix.
        """
        learned = len(faces) - max(1, round(self.held_out * len(faces)))
        rest = np.arange(learned, len(faces))
        judged = to_planes(faces[rest[:: max(1, len(rest) // _JUDGED)]])
        chance = torch.Generator().manual_seed(self.effort.seed)
        fixed = torch.Generator().manual_seed(97)
        noisy = judged + _JUDGED_NOISE * torch.randn(judged.shape, generator=fixed)

        def loss(rows: Labels) -> Tensor:
            true = to_planes(faces[rows])
            share = torch.rand(len(rows), 1, 1, 1, generator=chance)
            sigma = _WEAKEST * (_STRONGEST / _WEAKEST) ** share
            seen = true + sigma * torch.randn(true.shape, generator=chance)
            # Weak noise must count as much as strong noise.
            error = (self.denoised(seen, sigma) - true).abs().mean((1, 2, 3))
            return (error / sigma[:, 0, 0, 0]).mean()

        def judge() -> float:
            sigma = torch.full((len(judged), 1, 1, 1), _JUDGED_NOISE)
            error = (self.denoised(noisy, sigma) - judged).square().mean((1, 2, 3))
            return float(psnr_db(error).mean())

        figure = f"PSNR of {len(judged)} held-out faces out of noise of {_JUDGED_NOISE:g}, dB"
        learner = Learner(self.network, loss, judge, figure, "higher", learned)
        return learn(learner, self.effort, kept)

    def denoised(self, pictures: Tensor, sigma: Tensor) -> Tensor:
        """Return pictures ``(n, 3, h, w)`` without noise of ``sigma`` (``(n, 1, 1, 1)``)."""
        strength = (sigma / _STRONGEST).expand_as(pictures)
        # It tells the noise in units of its strength, so that weak noise is learned too.
        told = self.network(torch.cat([pictures, strength], 1), torch.zeros_like(pictures))
        return pictures + sigma * told


@dataclass(frozen=True)
class Rounds:
    """How the two answer in turn.

    Args:
        rounds: How often.
        inner: Steps of conjugate gradients on the camera's model in each.
        first: Noise that the prior takes out at first, share of full scale.
        last: At last.
        weight: How much the prior counts (Zhang's lambda).
    """

    rounds: int = 6
    inner: int = 3
    first: float = 0.2
    last: float = 0.01
    weight: float = 0.2


def plug_and_play(
    frames: Picture, camera: PrivacyCamera, prior: FacePrior, plan: Rounds, noise: float
) -> Picture:
    """Return restored frames ``(n, h, w, 3)``, 8 bit.

    Args:
        frames: What the camera saw.
        camera: The camera as the attacker models it.
        prior: Trained denoiser.
        plan: How the two answer in turn.
        noise: Standard deviation of the noise, share of full scale.
    """
    found = []
    for start in range(0, len(frames), _CHUNK):
        seen = to_planes(frames[start : start + _CHUNK])
        guess = seen
        for sigma in np.geomspace(plan.first, plan.last, plan.rounds):
            balance = plan.weight * (noise / sigma) ** 2
            guess = _near_both(camera, seen, guess, (float(balance), plan.inner))
            with torch.no_grad():
                strength = torch.full((len(guess), 1, 1, 1), float(sigma))
                guess = prior.denoised(guess, strength).clamp(0.0, 1.0)
        found.append(to_pictures(guess))
    return np.concatenate(found)


def _near_both(
    camera: PrivacyCamera, seen: Tensor, wish: Tensor, weights: tuple[float, int]
) -> Tensor:
    """Return x of least ``|A x - seen|² + balance |x - wish|²`` by conjugate gradients.

    A is taken as linear about the wish, which is exact for a camera that blurs
    stored values.
    """
    balance, steps = weights
    start = wish.detach().clone().requires_grad_()
    shown = camera.blur(start)

    def normal(step: Tensor) -> Tensor:
        with torch.no_grad():
            ahead = (camera.blur(wish + _PROBE * step) - shown) / _PROBE
        (back,) = torch.autograd.grad(shown, start, ahead, retain_graph=True)
        return back + balance * step

    (residual,) = torch.autograd.grad(shown, start, (seen - shown).detach(), retain_graph=True)
    found, step = torch.zeros_like(wish), residual
    size = _energy(residual)
    for _ in range(steps):
        image = normal(step)
        share = size / (step * image).sum((1, 2, 3), keepdim=True).clamp(min=1e-20)
        found, residual = found + share * step, residual - share * image
        before, size = size, _energy(residual)
        step = residual + size / before.clamp(min=1e-20) * step
    return (wish + found).detach()


def _energy(pictures: Tensor) -> Tensor:
    return pictures.square().sum((1, 2, 3), keepdim=True)

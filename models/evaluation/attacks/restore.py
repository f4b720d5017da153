"""Attack: restoration learned from pairs of sharp and privacy frames.

Attacker's knowledge: pairs of other people through this very camera. The PSF is
not given, it is in the pairs. First the best linear filter, in closed form, then a
U-Net that corrects what a filter cannot know. The filter alone is what a Wiener
filter with a perfectly measured PSF and spectrum would be; the U-Net starts at it
and can only win.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.camera import to_display, to_linear
from models.evaluation.attacks.frames import to_pictures, to_planes
from models.evaluation.attacks.learning import Curve, Effort, Labels, Learner, learn
from models.evaluation.attacks.wiener import psnr_db
from models.evaluation.embedders import Picture
from models.networks.layers import initialise

__all__ = ["RIM_SHARE", "LinearFilter", "Restorer", "RestoringNetwork"]

_CHUNK = 16
RIM_SHARE = 2
"""The picture goes on for its size over this, mirrored: less of a rim costs decibels."""

_JUDGED = 96


class LinearFilter(nn.Module):
    """The linear filter that brings frames nearest to their scenes, for each colour.

    Least squares over pairs, one complex number per frequency: the cross spectrum
    over the spectrum of the frames; on stored values or on the light behind them,
    whichever serves better.

    Args:
        size_px: Height and width of the pictures.
    """

    def __init__(self, size_px: int) -> None:
        super().__init__()
        self.rim = size_px // RIM_SHARE
        room = size_px + 2 * self.rim
        self.register_buffer("spectrum", torch.ones(3, room, room // 2 + 1, 2))
        self.register_buffer("of_light", torch.tensor(False))

    def fit(self, frames: Picture, scenes: Picture) -> None:
        """Find the filter.

        Args:
            frames: ``(n, h, w, 3)``, 8 bit.
            scenes: What was there.
        """
        tried = []
        for of_light in (False, True):
            self.of_light.fill_(of_light)
            self.spectrum.copy_(self._least_squares(frames, scenes))
            tried.append((self._error(frames, scenes), of_light, self.spectrum.clone()))
        _, of_light, spectrum = min(tried, key=lambda one: one[0])
        self.of_light.fill_(of_light)
        self.spectrum.copy_(spectrum)

    def forward(self, frames: Tensor) -> Tensor:
        """Return filtered frames ``(n, 3, h, w)``."""
        size = frames.shape[-1]
        room = size + 2 * self.rim
        spectrum = self._spectrum(self._there(frames)) * torch.view_as_complex(self.spectrum)
        whole = torch.fft.irfft2(spectrum, s=(room, room))
        inner = slice(self.rim, self.rim + size)
        found = whole[..., inner, inner]
        return to_display(found) if self.of_light else found

    def _least_squares(self, frames: Picture, scenes: Picture) -> Tensor:
        shape = torch.view_as_complex(self.spectrum)
        cross, power = torch.zeros_like(shape), torch.zeros(shape.shape)
        for start in range(0, len(frames), _CHUNK):
            seen = self._spectrum(self._there(to_planes(frames[start : start + _CHUNK])))
            true = self._spectrum(self._there(to_planes(scenes[start : start + _CHUNK])))
            cross += (true * seen.conj()).sum(0)
            power += seen.abs().square().sum(0)
        return torch.view_as_real(cross / power.clamp(min=1e-9))

    def _error(self, frames: Picture, scenes: Picture) -> float:
        """Mean squared error on some of the pairs, stored values."""
        some = slice(None, None, max(1, len(frames) // _JUDGED))
        found = self(to_planes(frames[some])).clamp(0.0, 1.0)
        return float((found - to_planes(scenes[some])).square().mean())

    def _there(self, pictures: Tensor) -> Tensor:
        return to_linear(pictures) if self.of_light else pictures

    def _spectrum(self, pictures: Tensor) -> Tensor:
        return torch.fft.rfft2(fn.pad(pictures, (self.rim,) * 4, mode="reflect"))


class RestoringNetwork(nn.Module):
    """A U-Net on half the resolution that adds to a first guess.

    Args:
        width: Channels at half resolution, doubled at each of two further halvings.
        inputs: Pictures it sees, of three colours each.
        seed: Decides the start.
    """

    def __init__(self, width: int = 32, inputs: int = 2, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.enter = _block(12 * inputs, width)
            self.down = nn.ModuleList([_block(width, 2 * width), _block(2 * width, 4 * width)])
            self.up = nn.ModuleList(
                [_block(4 * width + 2 * width, 2 * width), _block(2 * width + width, width)]
            )
            self.out = nn.Conv2d(width, 12, 3, padding=1)
            initialise(self)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.to(memory_format=torch.channels_last)  # less shuffling before each product

    def forward(self, seen: Tensor, guess: Tensor) -> Tensor:
        """Return the guess with what the network adds to it.

        Args:
            seen: All it sees, ``(n, 3 * inputs, h, w)``.
            guess: First guess, ``(n, 3, h, w)``.
        """
        x = self.enter(fn.pixel_unshuffle(seen, 2) - 0.5)
        kept = []
        for block in self.down:
            kept.append(x)
            x = block(fn.avg_pool2d(x, 2))
        for block, side in zip(self.up, reversed(kept), strict=True):
            x = block(torch.cat([fn.interpolate(x, scale_factor=2.0, mode="nearest"), side], 1))
        return guess + fn.pixel_shuffle(self.out(x), 2)


class Restorer:
    """Learns to undo one camera.

    Args:
        size_px: Height and width of the pictures.
        effort: How long the U-Net trains.
        held_out: Share of the pairs, the last ones, kept for judging.
        width: Channels of the U-Net.
    """

    def __init__(
        self, size_px: int, effort: Effort, *, held_out: float = 0.1, width: int = 32
    ) -> None:
        self.effort, self.held_out = effort, held_out
        self.network = nn.ModuleDict(
            {
                "filter": LinearFilter(size_px),
                "unet": RestoringNetwork(width, 2, effort.seed),
            }
        )

    def train(self, frames: Picture, scenes: Picture, kept: Path | None = None) -> Curve:
        """Learn from pairs.

        Args:
            frames: ``(n, h, w, 3)``, 8 bit, pictures of one person side by side.
            scenes: What was there.
            kept: Where the trained network is kept, without suffix.
        """
        learned = len(frames) - max(1, round(self.held_out * len(frames)))
        if kept is None or not kept.with_suffix(".json").exists():
            self.network["filter"].fit(frames[:learned], scenes[:learned])
        rest = np.arange(learned, len(frames))
        judged = rest[:: max(1, len(rest) // _JUDGED)]
        chance = np.random.default_rng([self.effort.seed, 29])

        def loss(rows: Labels) -> Tensor:
            return fn.l1_loss(*self._mirrored(frames[rows], scenes[rows], chance))

        def judge() -> float:
            found = to_planes(self.restored(frames[judged]))
            error = (found - to_planes(scenes[judged])).square().mean((1, 2, 3))
            return float(psnr_db(error).mean())

        figure = f"PSNR of {len(judged)} held-out pairs, dB"
        learner = Learner(self.network, loss, judge, figure, "higher", learned)
        return learn(learner, self.effort, kept)

    @torch.no_grad()
    def restored(self, frames: Picture) -> Picture:
        """Return restored frames ``(n, h, w, 3)``, 8 bit."""
        return np.concatenate(
            [
                to_pictures(self._through(to_planes(frames[start : start + _CHUNK])))
                for start in range(0, len(frames), _CHUNK)
            ]
        )

    def _through(self, frames: Tensor) -> Tensor:
        with torch.no_grad():
            guess = self.network["filter"](frames)
        return self.network["unet"](torch.cat([frames, guess], 1), guess)

    def _mirrored(
        self, frames: Picture, scenes: Picture, chance: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Filter first, then mirror: a PSF has a left and a right."""
        seen, truth = to_planes(frames), to_planes(scenes)
        with torch.no_grad():
            guess = self.network["filter"](seen)
        stack = torch.stack([seen, guess, truth], 1)
        flip = torch.from_numpy(chance.random(len(frames)) < 0.5)
        stack = torch.where(flip[:, None, None, None, None], stack.flip(-1), stack)
        seen, guess, truth = stack.unbind(1)
        return self.network["unet"](torch.cat([seen, guess], 1), guess), truth


def _block(channels_in: int, channels_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.LeakyReLU(0.2),
    )

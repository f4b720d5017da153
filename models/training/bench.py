"""The bench a bundle must live with: PSFs that are a little off, and tones nobody promised.

A network that has seen one exact PSF reads another badly. A real mirror is off by
some hundredths of a wave, a camera by its exposure, so training draws both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from camera_rig.optics import Coefficients, Imager
from models.camera import LearnedCamera, OpticsSpec, to_display, to_linear

SHARP = -1
"""Number of the PSF that is none."""


@dataclass(frozen=True)
class Chance:
    """What a bench does to one frame.

    Args:
        psf: Number of the PSF, or :data:`SHARP`.
        gain: Exposure and white balance, one factor per colour.
        contrast: Power of the tone curve.
        noise: Standard deviation of the noise, share of full scale.
    """

    psf: int = 0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    noise: float = 0.0


class Bench:
    """Shapes near a wanted one, and the frames they give.

    Args:
        spec: The camera.
        wanted: The shape the bundle is for.
        size_px: Height and width of the pictures.
        shapes: PSFs kept; the first is the wanted one.
        jitter_waves: Standard deviation of every mode around it, waves RMS.
        seed: Decides the jitter.
    """

    def __init__(
        self,
        spec: OpticsSpec,
        wanted: Coefficients,
        size_px: int,
        *,
        shapes: int = 1,
        jitter_waves: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.spec, self._imagers = spec, []
        rng = np.random.default_rng([seed, 0xBE7C])
        camera = LearnedCamera(spec, wanted).requires_grad_(False)
        exact = camera.coefficients_um.clone()
        for number in range(shapes):
            away = rng.normal(0.0, jitter_waves * spec.reference_nm / 1000.0, exact.shape)
            camera.coefficients_um.copy_(exact + torch.from_numpy(away * bool(number)).to(exact))
            psf = camera.whole_psf()
            psf = psf[0] if psf.ndim == 4 else psf
            self._imagers.append(Imager(psf.float(), (size_px, size_px), spec.padding))

    def __len__(self) -> int:
        """Return how many PSFs there are."""
        return len(self._imagers)

    def drawn(self, rng: np.random.Generator, sharp_share: float) -> Chance:
        """Return what chance does to one frame; ``sharp_share`` of them, 0 … 1, stay sharp."""
        psf = SHARP if rng.random() < sharp_share else int(rng.integers(len(self)))
        exposure = float(np.exp(rng.normal(0.0, 0.25)))
        red, green, blue = (exposure * rng.normal(1.0, 0.05, 3)).tolist()
        contrast = float(np.exp(rng.normal(0.0, 0.12)))
        noise = float(self.spec.noise * np.exp(rng.normal(0.0, 0.5)))
        return Chance(psf, (red, green, blue), contrast, noise)

    @torch.no_grad()
    def frame(self, scene: Tensor, chance: Chance, rng: np.random.Generator) -> Tensor:
        """Return the frame of one scene ``(3, h, w)`` in 0 … 1."""
        linear = self.spec.light == "linear"
        light = to_linear(scene) if linear else scene
        if chance.psf != SHARP:
            light = self._imagers[chance.psf](light)
        light = light * torch.tensor(chance.gain)[:, None, None]
        shown = to_display(light) if linear else light.clamp(0.0, 1.0)
        grain = rng.standard_normal(tuple(shown.shape), dtype=np.float32)
        return (shown**chance.contrast + chance.noise * torch.from_numpy(grain)).clamp(0.0, 1.0)

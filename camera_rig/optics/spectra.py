"""Losses on blurred pictures with the scenes' spectra kept.

When only the PSF is being learned, the scene never needs a transform again and
never a gradient: the reverse pass costs one transform per colour instead of one
per picture, and a squared error needs no picture at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics._xp import Array, Backend, backend_of


class SceneSpectra:
    """Scenes that wrap around at their edges, kept as spectra (linear light).

    Args:
        scenes: ``(pictures, colours, height, width)``, float32 or float64.
        targets: Wanted pictures of the same shape, for :meth:`squared_error`.
    """

    def __init__(self, scenes: Array, targets: Array | None = None) -> None:
        self._back = backend_of(scenes)
        self.shape = tuple(int(extent) for extent in scenes.shape)
        if targets is not None and tuple(targets.shape) != self.shape:
            raise ConfigError(
                f"targets of shape {tuple(targets.shape)} for scenes of {self.shape}",
                hint="give one target picture per scene",
            )
        self._scenes = self._spectrum(scenes)
        self._targets = None if targets is None else self._spectrum(targets)
        self._turns: dict[tuple[int, int], Array] = {}

    def blur(self, psf: Array) -> tuple[Array, Any]:
        """Return the blurred pictures and the map of a loss's slope to the PSF.

        Args:
            psf: ``(colours, h, w)``, energy share per pixel, axis at ``(h // 2, w // 2)``.

        Returns:
            Pictures like the scenes, and a function from a slope on them (loss per
            unit of light) to the slope on the PSF (loss per share).
        """
        otf = self._otf(psf)
        pictures = self._picture(self._scenes * otf)

        def pull(slope: Array) -> Array:
            return self._to_psf((self._scenes.conj() * self._spectrum(slope)).sum(0), psf)

        return pictures, pull

    def squared_error(self, psf: Array) -> tuple[Array, Array]:
        """Return the mean squared error to the targets and its slope on the PSF.

        By Parseval's theorem no picture is ever formed: two transforms in all.

        Args:
            psf: ``(colours, h, w)``, energy share per pixel.
        """
        if self._targets is None:
            raise ConfigError("no targets were given", hint="pass targets= to SceneSpectra")
        otf = self._otf(psf)
        left = self._scenes * otf
        left -= self._targets
        count = float(np.prod(self.shape))
        pixels = self.shape[-2] * self.shape[-1]
        power = self._back.intensity(left)
        # A half spectrum holds every column twice, but the first and, for an
        # even width, the last.
        total = 2.0 * power.sum() - power[..., 0].sum()
        if self.shape[-1] % 2 == 0:
            total = total - power[..., -1].sum()
        left *= self._scenes.conj()
        slope = self._to_psf(left.sum(0) * (2.0 / count), psf)
        return total / (count * pixels), slope

    def _spectrum(self, pictures: Array) -> Array:
        return self._back.rfft2(pictures, (self.shape[-2], self.shape[-1]))

    def _picture(self, spectrum: Array) -> Array:
        return self._back.irfft2(spectrum, (self.shape[-2], self.shape[-1]))

    def _otf(self, psf: Array) -> Array:
        if backend_of(psf) != self._back:
            raise ConfigError(
                "PSF and scenes differ in array library, precision or device",
                hint="make both float32 (or both float64) arrays of one library",
            )
        if any(p > s for p, s in zip(psf.shape[-2:], self.shape[-2:], strict=True)):
            raise ConfigError(
                f"PSF of {tuple(psf.shape[-2:])} is larger than the scenes {self.shape[-2:]}",
                hint="crop the PSF, or use larger scenes",
            )
        return self._spectrum(psf) * self._turn(psf, self._back)

    def _to_psf(self, spectrum: Array, psf: Array) -> Array:
        turned = spectrum * self._turn(psf, self._back).conj()
        return self._picture(turned)[..., : psf.shape[-2], : psf.shape[-1]]

    def _turn(self, psf: Array, back: Backend) -> Array:
        """Phase that puts the PSF's axis at the origin."""
        kernel = (int(psf.shape[-2]), int(psf.shape[-1]))
        if kernel not in self._turns:
            height, width = self.shape[-2:]
            rows = np.arange(height) * (kernel[0] // 2) / height
            columns = np.arange(width // 2 + 1) * (kernel[1] // 2) / width
            turn = np.exp(2j * np.pi * (rows[:, None] + columns[None, :]))
            self._turns[kernel] = back.complex(turn)
        return self._turns[kernel]

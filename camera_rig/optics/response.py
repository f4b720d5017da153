"""Camera response and noise, differentiable where torch needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics._xp import Array, backend_of

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class CameraResponse:
    """How a camera's three channels answer linear light.

    Args:
        matrix: Row per output channel, column per light colour (dimensionless):
            crosstalk of the colour filters. Identity by default.
        gain: Output per unit of light (dimensionless).
        srgb: Encode for display; off for the linear response of the paper.
    """

    matrix: tuple[tuple[float, float, float], ...] = IDENTITY
    gain: float = 1.0
    srgb: bool = False

    def __call__(self, light: Array) -> Array:
        """Return the camera's picture of ``(..., 3, height, width)`` linear light."""
        back = backend_of(light)
        picture = light
        if self.matrix != IDENTITY or self.gain != 1.0:
            mix = back.real(np.asarray(self.matrix) * self.gain)
            flat = light.reshape((*light.shape[:-2], -1))
            picture = (mix @ flat).reshape(light.shape)
        return encode_srgb(picture) if self.srgb else picture


@dataclass(frozen=True)
class SensorNoise:
    """Gaussian read noise and, with a full well, shot noise.

    Args:
        read: Standard deviation as a share of full scale (0.003 is a decent camera).
        full_well_e: Electrons at full scale; None leaves shot noise out.
    """

    read: float = 0.0
    full_well_e: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible noise."""
        if not self.read >= 0.0 or (self.full_well_e is not None and not self.full_well_e > 0.0):
            raise ConfigError(
                f"noise read={self.read!r}, full_well_e={self.full_well_e!r} is impossible",
                hint="read must be 0 or more (share of full scale), full_well_e above 0",
            )

    def sample(self, picture: Any, random: np.random.Generator) -> Any:
        """Return a numpy picture (share of full scale) with exact Poisson and read noise.

        Args:
            picture: Linear light, 1 is full scale.
            random: The caller's generator, so that pictures can be repeated.
        """
        noisy = np.asarray(picture)
        if self.full_well_e is not None:
            noisy = random.poisson(np.maximum(noisy, 0.0) * self.full_well_e) / self.full_well_e
        if self.read:
            noisy = noisy + self.read * random.standard_normal(noisy.shape)
        return noisy.astype(picture.dtype, copy=False)

    def apply(self, picture: Array, normal: Array) -> Array:
        """Return ``picture`` plus noise of the right variance, differentiable.

        Shot noise is taken as Gaussian, which holds above some twenty electrons.

        Args:
            picture: Linear light, 1 is full scale.
            normal: Independent standard normal numbers of the same shape.
        """
        if self.full_well_e is None:
            return picture + self.read * normal
        shot = picture.clip(min=0.0) / self.full_well_e
        # The tiny floor keeps the slope of the root finite in the dark.
        return picture + (shot + (self.read**2 + 1e-12)) ** 0.5 * normal


def encode_srgb(linear: Array) -> Array:
    """Encode linear light for display; values beyond 0 … 1 follow the curve's ends."""
    xp = backend_of(linear).xp
    bright = 1.055 * linear.clip(min=0.0031308) ** (1.0 / 2.4) - 0.055
    return xp.where(linear <= 0.0031308, 12.92 * linear, bright)


def decode_srgb(encoded: Array) -> Array:
    """Return linear light of display values (0 … 1 is the usual range)."""
    xp = backend_of(encoded).xp
    bright = ((encoded.clip(min=0.04045) + 0.055) / 1.055) ** 2.4
    return xp.where(encoded <= 0.04045, encoded / 12.92, bright)

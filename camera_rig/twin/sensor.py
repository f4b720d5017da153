"""From light on pixels to numbers in a file: a sensor with its own flaws.

Live view is what such a camera sends: white-balanced, gamma-coded, 8 bit, JPEG. Stills
can be had raw: linear, 12 or 14 bit, with black level, exact Poisson shot noise, and a
Bayer mosaic if wished.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.twin import _random

__all__ = ["Exposure", "Sensor", "SensorOptions", "srgb_tone"]

Floats32 = NDArray[np.float32]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

_TONE_ENTRIES = 1 << 14
# Colour of each place of the 2x2 mosaic, rows first: red, green / green, blue.
_BAYER = ((0, 1), (1, 2))


class SensorOptions(BaseModel):
    """One camera's sensor and how it is set when found.

    Args:
        size: Width and height of live view and stills, px.
        exposure_s: Exposure time found at the start, s.
        iso: ISO found at the start.
        isos: ISO values offered.
        quantum_efficiency: Electrons per photon in red, green, blue.
        bits: Depth of raw numbers.
        gain_e_per_dn: Electrons per raw step at the lowest ISO.
        full_well_e: Electrons a pixel can hold.
        black_level_dn: Raw number of no light.
        read_noise_e: Standard deviation of the read noise, electrons.
        dark_e_per_s: Dark current, electrons per second.
        response_spread: Standard deviation of the pixels' sensitivity, relative.
        vignetting: Light lost in the corners, share.
        hot_pixels: Number of pixels with a hundred times the dark current and more.
        bayer: Whether raw stills are a mosaic (RGGB) instead of three full planes.
        readout_s: Time from the first to the last row, s.
        jpeg_quality: Of live view and coded stills.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] = (960, 640)
    exposure_s: Positive = 1 / 40
    iso: int = 800
    isos: tuple[int, ...] = (100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1600, 3200, 6400)
    quantum_efficiency: tuple[Share, Share, Share] = (0.45, 0.55, 0.50)
    bits: Literal[12, 14] = 14
    gain_e_per_dn: Positive = 1.5
    full_well_e: Positive = 24_000.0
    black_level_dn: Annotated[int, Field(ge=0)] = 512
    read_noise_e: NonNegative = 2.5
    dark_e_per_s: NonNegative = 0.5
    response_spread: Annotated[float, Field(ge=0, le=0.1)] = 0.004
    vignetting: Share = 0.08
    hot_pixels: Annotated[int, Field(ge=0)] = 12
    bayer: bool = False
    readout_s: NonNegative = 0.014
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 92


@dataclass(frozen=True, slots=True)
class Exposure:
    """Light that fell on the pixels in one exposure.

    Args:
        pictures: One or two (3, H, W) pictures of relative light.
        row_weight: For each picture, the share of the exposure that each row saw it,
            times the brightness of the light meanwhile, shape (pictures, H).
        exposure_s: Exposure time, s.
        iso: ISO speed.
        state: Random key of this exposure.
    """

    pictures: tuple[Floats32, ...]
    row_weight: Floats32
    exposure_s: float
    iso: int
    state: int


def srgb_tone(entries: int = _TONE_ENTRIES) -> NDArray[np.uint8]:
    """Return 8-bit sRGB for linear light 0 … 1 in ``entries`` even steps."""
    x = np.linspace(0.0, 1.0, entries)
    coded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.rint(255.0 * coded).astype(np.uint8)


class Sensor:
    """Turns :class:`Exposure` into live-view or raw pixels. Thread-safe.

    Args:
        options: What kind of sensor it is.
        electrons_per_s: Electrons per pixel and second of light 1 in red, green and
            blue, before the sensor's own vignetting.
        state: Random key of this body: fixes its pixels' flaws.
    """

    def __init__(
        self, options: SensorOptions, electrons_per_s: NDArray[np.float64], state: int
    ) -> None:
        self.options = options
        self.electrons_per_s = np.asarray(electrons_per_s, dtype=np.float64)
        self._state = state
        self._tone = srgb_tone()

    def gain_e_per_dn(self, iso: int) -> float:
        """Return electrons per raw step at an ISO."""
        return self.options.gain_e_per_dn * min(self.options.isos) / iso

    @property
    def _top_dn(self) -> int:
        return (1 << self.options.bits) - 1

    def saturation_e(self, iso: int) -> float:
        """Return electrons above the black level at which a pixel saturates."""
        steps = self._top_dn - self.options.black_level_dn
        return min(self.options.full_well_e, steps * self.gain_e_per_dn(iso))

    @cached_property
    def flat(self) -> Floats32:
        """Relative sensitivity of each pixel, vignetting included, shape (H, W)."""
        width, height = self.options.size
        random = _random.generator(_random.mix(self._state, 1))
        spread = 1.0 + self.options.response_spread * random.standard_normal((height, width))
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        square = (x * x + y * y) / ((width**2 + height**2) / 4)
        return (spread * (1.0 - self.options.vignetting * square)).astype(np.float32)

    @cached_property
    def dark_e_per_s(self) -> Floats32:
        """Dark current of each pixel, electrons per second, shape (H, W)."""
        width, height = self.options.size
        random = _random.generator(_random.mix(self._state, 2))
        dark = np.full((height, width), self.options.dark_e_per_s, dtype=np.float32)
        count = min(self.options.hot_pixels, dark.size)
        place = random.choice(dark.size, size=count, replace=False)
        dark.ravel()[place] = 100.0 * (self.options.dark_e_per_s + 1.0) * 10 ** random.random(count)
        return dark

    def live(self, exposure: Exposure, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the 8-bit picture in **BGR** order, as the JPEG coder wants it.

        Shot noise is drawn as a normal variable here, from a table in which each row
        starts at a random place: exact to the 8-bit step for more than ten electrons.
        Stills use true Poisson counts.
        """
        from camera_rig.twin import _kernels

        width, height = self.options.size
        picture = np.empty((height, width, 3), np.uint8) if out is None else out
        pictures, weights = exposure.pictures, exposure.row_weight
        _kernels.develop(
            pictures[0],
            pictures[-1],
            weights if len(pictures) == 2 else np.vstack([weights, np.zeros_like(weights)]),
            self.flat,
            (self.electrons_per_s * exposure.exposure_s).astype(np.float32),
            self._levels(exposure.iso),
            self._noise,
            self._tone,
            np.uint64(exposure.state),
            picture,
        )
        return picture

    def raw(self, exposure: Exposure) -> NDArray[np.uint16]:
        """Return linear numbers, (H, W, 3), or (H, W) for a Bayer sensor."""
        random = _random.generator(exposure.state)
        electrons = self.expected_e(exposure)
        counted = random.poisson(electrons).astype(np.float32)
        np.minimum(counted, np.float32(self.options.full_well_e), out=counted)
        noise = random.standard_normal(counted.shape, dtype=np.float32)
        counted += np.float32(self.options.read_noise_e) * noise
        numbers = counted / self.gain_e_per_dn(exposure.iso) + self.options.black_level_dn
        limited: NDArray[np.uint16] = np.rint(numbers).clip(0, self._top_dn).astype(np.uint16)
        return limited

    def expected_e(self, exposure: Exposure) -> Floats32:
        """Return the electrons expected in each pixel, noise-free and unlimited."""
        total: Floats32 = np.zeros_like(exposure.pictures[0])
        for picture, weight in zip(exposure.pictures, exposure.row_weight, strict=True):
            total += picture * weight[None, :, None]
        total *= (self.electrons_per_s * exposure.exposure_s).astype(np.float32)[:, None, None]
        np.maximum(total, 0.0, out=total)
        planes = total * self.flat + self.dark_e_per_s * np.float32(exposure.exposure_s)
        if not self.options.bayer:
            return np.ascontiguousarray(planes.transpose(1, 2, 0))
        mosaic = np.empty(planes.shape[1:], np.float32)
        for row, colours in enumerate(_BAYER):
            for column, colour in enumerate(colours):
                mosaic[row::2, column::2] = planes[colour, row::2, column::2]
        return mosaic

    def _levels(self, iso: int) -> Floats32:
        """Per colour: electrons to table entries with white balance, read variance, full."""
        full = self.saturation_e(iso)
        balance = self.electrons_per_s[1] / self.electrons_per_s
        levels = np.empty((3, 3), np.float32)
        levels[:, 0] = balance * (_TONE_ENTRIES - 1) / full
        levels[:, 1] = self.options.read_noise_e**2
        levels[:, 2] = full
        return levels

    @cached_property
    def _noise(self) -> Floats32:
        from camera_rig.twin import _kernels

        random = _random.generator(_random.mix(self._state, 3))
        length = _kernels.NOISE_LENGTH + self.options.size[0]
        return random.standard_normal(length, dtype=np.float32)

"""Incoherent image formation: each colour of the scene blurred by its own PSF.

``y = C(H * x) + noise``: convolution here, response C and noise in
:mod:`camera_rig.optics.response`. The transfer function is kept, so a frame costs
its own transforms and one product.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from camera_rig.errors import ConfigError
from camera_rig.optics._xp import Array, Backend, backend_of, fast_length, to_numpy


class Padding(StrEnum):
    """What lies beyond the edge of the scene (linear light, no unit).

    ``zero``: darkness. ``edge``: the rim goes on. ``reflect``: the scene is
    mirrored about its rim. ``wrap``: the scene repeats (circular convolution,
    the cheapest when the size is a quick transform length).
    """

    ZERO = "zero"
    EDGE = "edge"
    REFLECT = "reflect"
    WRAP = "wrap"


class Imager:
    """Blurs pictures of one size with one set of PSFs, colour by colour.

    The PSF is the same over the whole field. Not thread-safe while a new PSF is
    set; otherwise safe to share. Differentiable in torch with respect to the
    picture and to the PSF.

    Args:
        psf: ``(colours, height, width)``, or ``(..., colours, h, w)`` for one PSF
            per picture of a batch; axis at ``(height // 2, width // 2)``; energy
            share per pixel.
        shape: Height and width of the pictures, pixels.
        padding: What lies beyond the edge.
    """

    def __init__(
        self, psf: Array, shape: tuple[int, int], padding: Padding | str = Padding.ZERO
    ) -> None:
        try:
            self.padding = Padding(padding)
        except ValueError:
            known = ", ".join(item.value for item in Padding)
            raise ConfigError(f"unknown padding {padding!r}", hint=f"use one of: {known}") from None
        self.shape = (int(shape[0]), int(shape[1]))
        self.set_psf(psf)

    def set_psf(self, psf: Array) -> None:
        """Take a new PSF (energy share per pixel) and compute its transfer function."""
        self._back = backend_of(psf)
        self._kernel = (int(psf.shape[-2]), int(psf.shape[-1]))
        self._before = (self._kernel[0] // 2, self._kernel[1] // 2)
        self._after = (self._kernel[0] - 1 - self._before[0], self._kernel[1] - 1 - self._before[1])
        self._check_kernel()
        self._length = (self._transform(0), self._transform(1))
        self.otf = self._spectrum_of_psf(psf)

    def __call__(self, scene: Array) -> Array:
        """Return the blurred scene, same shape, linear light in the scene's unit.

        Args:
            scene: ``(..., colours, height, width)``, linear light, float32 or
                float64, same array library as the PSF.
        """
        back = self._check_scene(scene)
        padded, first = self._extend(scene, back)
        height, width = self.shape
        half = back.rfft(padded, self._length[1], -1)
        spectrum = back.fft(half, self._length[0], -2)
        if back.torch:
            spectrum = spectrum * self.otf
        else:
            spectrum = np.multiply(
                spectrum, self.otf, out=spectrum if self.otf.ndim <= spectrum.ndim else None
            )
        rows = back.ifft(spectrum, self._length[0], -2)[..., first[0] : first[0] + height, :]
        return back.irfft(rows, self._length[1], -1)[..., first[1] : first[1] + width]

    def frame(self, scene_hwc: Array) -> Array:
        """Blur one ``(height, width, colours)`` picture (linear light), same layout."""
        planar = self(scene_hwc.swapaxes(-1, -2).swapaxes(-2, -3))
        return planar.swapaxes(-3, -2).swapaxes(-2, -1)

    def _check_kernel(self) -> None:
        for name, reach, extent in zip(("height", "width"), self._before, self.shape, strict=True):
            if self.padding is Padding.REFLECT and reach >= extent:
                raise ConfigError(
                    f"PSF reaches {reach} pixels beyond a picture of {name} {extent}",
                    hint="mirror padding needs a picture larger than half the PSF; "
                    "use padding='edge' or 'zero'",
                )
        if self.padding is Padding.WRAP and any(
            k > s for k, s in zip(self._kernel, self.shape, strict=True)
        ):
            raise ConfigError(
                f"PSF of {self._kernel} is larger than the repeating picture {self.shape}",
                hint="crop the PSF to the picture, or use another padding",
            )

    def _check_scene(self, scene: Array) -> Backend:
        back = backend_of(scene)
        if back != self._back:
            raise ConfigError(
                "scene and PSF differ in array library, precision or device",
                hint="make both float32 (or both float64) arrays of one library",
            )
        if tuple(scene.shape[-2:]) != self.shape or scene.shape[-3] != self.otf.shape[-3]:
            raise ConfigError(
                f"scene of shape {tuple(scene.shape)} does not fit colours x height x width = "
                f"{(self.otf.shape[-3], *self.shape)}",
                hint="build an Imager for this size, colours first; .frame() takes colours last",
            )
        return back

    def _transform(self, axis: int) -> int:
        """Transform length: what wraps around lands outside the part that is kept."""
        extent, before, after = self.shape[axis], self._before[axis], self._after[axis]
        if self.padding is Padding.WRAP:
            return extent
        if self.padding is Padding.ZERO:
            return fast_length(max(extent + max(before, after), self._kernel[axis]))
        return fast_length(extent + before + after)

    def _extend(self, scene: Array, back: Backend) -> tuple[Array, tuple[int, int]]:
        """Return the picture with its surroundings, and where it starts in them."""
        if self.padding in (Padding.ZERO, Padding.WRAP):
            return scene, (0, 0)
        rows = back.xp.asarray(self._places(0))
        columns = back.xp.asarray(self._places(1))
        # An output pixel needs the scene `after` the PSF's axis to its left.
        return scene[..., rows, :][..., columns], (self._after[0], self._after[1])

    def _places(self, axis: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Index of the scene pixel that stands at each place of the extended scene."""
        extent = self.shape[axis]
        place = np.arange(-self._after[axis], extent + self._before[axis])
        if self.padding is Padding.EDGE:
            return np.clip(place, 0, extent - 1)
        period = max(2 * (extent - 1), 1)
        folded = np.abs(place) % period
        return np.where(folded < extent, folded, period - folded)

    def _spectrum_of_psf(self, psf: Array) -> Array:
        """Transfer function with the PSF's axis at the origin, kept for all frames."""
        back = self._back
        half = back.rfft(psf, self._length[1], -1)
        spectrum = back.fft(half, self._length[0], -2)
        turn_y = self._shift(self._length[0], self._before[0], self._length[0])
        turn_x = self._shift(self._length[1], self._before[1], self._length[1] // 2 + 1)
        return spectrum * back.complex(turn_y[:, None] * turn_x[None, :])

    @staticmethod
    def _shift(length: int, by: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
        whole = (np.arange(count) * by) % length
        result: np.ndarray[tuple[int], np.dtype[np.complex128]] = np.exp(
            2j * np.pi * whole / length
        )
        return result


class PreviewImager:
    """Image formation at half resolution: a quarter of the work, for live views.

    Pixels are averaged two by two and the PSF is decimated with the matching
    triangle weights, so the result is the average of what :class:`Imager`
    would have given, to well below one 8-bit step.

    Args:
        psf: ``(colours, h, w)`` at full resolution, energy share per pixel.
        shape: Height and width of the full pictures, both even, pixels.
        padding: What lies beyond the edge.
    """

    def __init__(
        self, psf: Array, shape: tuple[int, int], padding: Padding | str = Padding.ZERO
    ) -> None:
        if shape[0] % 2 or shape[1] % 2:
            raise ConfigError(
                f"half resolution needs even sizes, not {shape}",
                hint="crop one row or column first",
            )
        self.shape = (int(shape[0]), int(shape[1]))
        self._imager = Imager(half_psf(psf), (shape[0] // 2, shape[1] // 2), padding)

    def __call__(self, scene: Array) -> Array:
        """Return the blurred scene at half size, linear light.

        Args:
            scene: ``(..., colours, height, width)`` at full size, linear light.
        """
        return self._imager(half_scene(scene))


def half_scene(scene: Array) -> Array:
    """Average a picture (linear light) over blocks of two by two pixels."""
    return backend_of(scene).halve(scene)


def half_psf(psf: Array) -> Array:
    """Decimate a PSF (energy share per pixel) by two, axis kept in the middle."""
    host = to_numpy(psf)
    for axis in (-2, -1):
        host = _half_along(np.moveaxis(host, axis, -1))
        host = np.moveaxis(host, -1, axis)
    return backend_of(psf).real(host)


def _half_along(
    psf: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Weights 1/2, 1, 1/2 around each even distance from the axis."""
    size = psf.shape[-1]
    reach = size // 2 // 2 + 1
    room = [(0, 0)] * (psf.ndim - 1) + [(2 * reach + 1, 2 * reach + 1)]
    wide = np.pad(psf, room)
    middle = size // 2 + 2 * reach + 1
    places = middle + 2 * np.arange(-reach, reach + 1)
    return 0.5 * wide[..., places - 1] + wide[..., places] + 0.5 * wide[..., places + 1]

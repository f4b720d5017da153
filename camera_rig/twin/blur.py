"""The cheapest exact-enough way to blur one picture by one point spread function.

Small kernels are applied directly. Large ones go through a Fourier transform, on a
grid of half (or quarter) the resolution where the transfer function passes nothing that
the coarse grid could not hold. All transforms are kept until the shape changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.geometry import Grid

__all__ = ["Blur", "DirectBlur", "FourierBlur", "blur_for"]

Floats32 = NDArray[np.float32]

_DIRECT_REACH_PX = 3
_DIRECT_ENERGY = 0.92
# Share of a natural picture's variance that may be lost by a coarse grid: with a
# standard deviation of a fifth of full scale this is 55 dB, leaving room for the
# interpolation on the way back above the promised 48 dB.
_COARSE_LOSS = 6e-4


class Blur(Protocol):
    """A kept filter: say where to sample the scene, then filter the samples."""

    @property
    def grid(self) -> Grid:
        """Where to sample the scene."""
        ...

    def __call__(self, samples: Floats32, out: Floats32) -> None:
        """Filter ``samples`` on :attr:`grid` into ``out`` (3, H, W) on the sensor."""
        ...


@dataclass(frozen=True)
class DirectBlur:
    """Correlation with a small kernel.

    Args:
        kernels: (3, k, k), already turned around for correlation.
        grid: The sensor's own pixels and a rim.
    """

    kernels: Floats32
    grid: Grid

    def __call__(self, samples: Floats32, out: Floats32) -> None:
        """Filter each colour by its kernel."""
        from camera_rig.twin import _kernels

        _kernels.correlate(samples, self.kernels, out)


class FourierBlur:
    """Product with a kept transfer function on a grid that is wider than the sensor.

    A quarter grid is fed with the means of four samples each, so that detail which it
    cannot hold does not fold back; the transfer function makes up for that mean.

    Args:
        kernel: (3, n, n) energy shares on sensor pixels, axis at ``n // 2``.
        size: Width and height of the sensor, px.
        factor: 1, 2 or 4: sensor pixels per grid point and axis.
    """

    def __init__(self, kernel: Floats32, size: tuple[int, int], factor: int) -> None:
        import cv2

        self.factor = factor
        rim = math.ceil(kernel.shape[-1] / 2 / factor) + 1
        rows, columns = (_even_length(length // factor + 2 * rim) for length in (size[1], size[0]))
        # Points per grid cell and axis at which the scene is looked up.
        self._means = 2 if factor == 4 else 1
        step = factor / self._means
        start = -factor * rim + (step - 1) / 2
        self.grid = Grid(rows * self._means, columns * self._means, (start, start), step)
        self._crop = (slice(rim, rim + size[1] // factor), slice(rim, rim + size[0] // factor))
        self._size = size
        shape = (rows, columns)
        self._transfer = [
            cv2.dft(_coarse_kernel(plane, shape, factor, step if self._means > 1 else 0.0))
            for plane in kernel
        ]
        self._work = np.empty(shape, np.float32)

    def __call__(self, samples: Floats32, out: Floats32) -> None:
        """Filter each colour; samples are used as work space."""
        import cv2

        flags = cv2.DFT_REAL_OUTPUT | cv2.DFT_SCALE
        for plane, transfer, target in zip(samples, self._transfer, out, strict=True):
            work = plane
            if self._means > 1:
                work = self._work
                cv2.resize(plane, work.shape[::-1], work, interpolation=cv2.INTER_AREA)
            cv2.dft(work, dst=work)
            cv2.mulSpectrums(work, transfer, 0, work)
            cv2.idft(work, dst=work, flags=flags)
            if self.factor == 1:
                target[:] = work[self._crop]
            else:
                cv2.resize(work[self._crop], self._size, target, interpolation=cv2.INTER_CUBIC)


def blur_for(kernel: NDArray[np.floating], size: tuple[int, int], *, exact: bool = False) -> Blur:
    """Return the cheapest filter that shows ``kernel`` faithfully on this sensor.

    Args:
        kernel: (3, n, n) energy shares on sensor pixels, axis at ``n // 2``, n even.
        size: Width and height of the sensor, px.
        exact: Never use a coarse grid: for stills that are measured, and for points,
            whose own spectrum is flat.
    """
    shares = np.asarray(kernel, dtype=np.float32)
    # What fell outside the window comes back from elsewhere in an even scene.
    shares = shares / shares.sum(axis=(1, 2), keepdims=True)
    reach = _reach(shares)
    if reach <= _DIRECT_REACH_PX and not exact:
        middle = shares.shape[-1] // 2
        cut = shares[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
        cut = cut / cut.sum(axis=(1, 2), keepdims=True)
        turned = np.ascontiguousarray(cut[:, ::-1, ::-1])
        rim = Grid(size[1] + 2 * reach, size[0] + 2 * reach, (float(-reach), float(-reach)))
        return DirectBlur(turned, rim)
    return FourierBlur(shares, size, 1 if exact else _factor(shares, size))


def _reach(shares: Floats32) -> int:
    """Half-width of the smallest square that holds nearly all light of every colour."""
    middle: int = shares.shape[-1] // 2
    for reach in range(_DIRECT_REACH_PX + 1):
        square = shares[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
        if square.sum(axis=(1, 2)).min() >= _DIRECT_ENERGY:
            return reach
    return middle


def _factor(shares: Floats32, size: tuple[int, int]) -> int:
    """Coarsest grid whose band holds all but a trace of what the kernel passes."""
    import scipy.fft

    length = max(128, shares.shape[-1])
    passed = np.abs(scipy.fft.rfft2(shares, s=(length, length))).max(axis=0) ** 2
    fy = np.abs(scipy.fft.fftfreq(length))[:, None]
    fx = scipy.fft.rfftfreq(length)[None, :]
    # Natural pictures carry power as 1 / f^2 in each direction.
    weight = passed / np.maximum(fx**2 + fy**2, 0.25 / length**2)
    total = (weight / np.maximum(passed, 1e-30)).sum()
    best = 1
    for factor in (2, 4):
        beyond = np.maximum(fy, fx) > 0.45 / factor
        if any(length % factor for length in size) or weight[beyond].sum() > _COARSE_LOSS * total:
            break
        best = factor
    return best


def _coarse_kernel(
    plane: Floats32, shape: tuple[int, int], factor: int, mean_step_px: float
) -> Floats32:
    """Return the kernel on the coarse grid, axis at (0, 0), by cutting its spectrum.

    ``mean_step_px``: distance of the two points per axis whose mean feeds the grid, or 0.
    """
    import scipy.fft

    n = plane.shape[-1]
    if factor > 1:
        spectrum = scipy.fft.rfft2(np.fft.ifftshift(plane))
        n //= factor
        low, half = n // 2, n // 2
        cut = np.concatenate([spectrum[:low], spectrum[-low:]])[:, : half + 1]
        fy = scipy.fft.fftfreq(n, factor)[:, None]
        fx = scipy.fft.rfftfreq(n, factor)[None, :]
        cut /= np.cos(np.pi * fy * mean_step_px) * np.cos(np.pi * fx * mean_step_px)
        # Sums, not densities: a coarse cell takes the light of all its pixels.
        plane = np.fft.fftshift(scipy.fft.irfft2(cut, s=(n, n)))
    whole = np.zeros(shape, np.float32)
    whole[:n, :n] = plane
    return np.roll(whole, (-(n // 2), -(n // 2)), axis=(0, 1))


def _even_length(minimum: int) -> int:
    import cv2

    return 2 * int(cv2.getOptimalDFTSize((minimum + 1) // 2))

"""How good a picture is: PSNR, SSIM, Fréchet distance of features."""

from __future__ import annotations

from typing import Any

import numpy as np

from camera_rig.errors import ConfigError

Floats = np.ndarray[Any, np.dtype[np.float64]]

SSIM_SIGMA_PX = 1.5
_SSIM_REACH = 3.5  # sigmas
SSIM_WINDOW_PX = 2 * int(_SSIM_REACH * SSIM_SIGMA_PX + 0.5) + 1
"""Smallest picture, height and width."""
_K1, _K2 = 0.01, 0.03


def psnr_db(first: Floats, second: Floats, *, full_scale: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite for equal pictures.

    Args:
        first: Any shape.
        second: The same shape.
        full_scale: Value of white: 1 for floats, 255 for 8 bit.
    """
    a, b = _pair(first, second)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else float(10.0 * np.log10(full_scale**2 / error))


def ssim(first: Floats, second: Floats, *, full_scale: float = 1.0) -> float:
    """Return the structural similarity (Wang 2004), Gaussian window of 1.5 pixels.

    Args:
        first: ``(h, w)`` or ``(h, w, channels)``; channels are averaged.
        second: The same shape.
        full_scale: Value of white.
    """
    from scipy.ndimage import gaussian_filter

    a, b = _pair(first, second)
    if a.ndim == 2:
        a, b = a[..., None], b[..., None]
    reach = int(_SSIM_REACH * SSIM_SIGMA_PX + 0.5)
    if min(a.shape[:2]) < SSIM_WINDOW_PX:
        raise ConfigError(
            f"pictures of {a.shape[:2]} are smaller than the SSIM window",
            hint=f"at least {SSIM_WINDOW_PX} pixels each way",
        )

    def blur(values: Floats) -> Floats:
        return gaussian_filter(values, (SSIM_SIGMA_PX, SSIM_SIGMA_PX, 0), truncate=_SSIM_REACH)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * full_scale) ** 2, (_K2 * full_scale) ** 2
    table = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return float(table[reach:-reach, reach:-reach].mean())


def frechet_distance(first: Floats, second: Floats) -> float:
    """Return the Fréchet distance of two sets of features, as if both were Gaussian.

    It is "FID" only with Inception features; name the network with the figure.

    Args:
        first: ``(n, d)`` features.
        second: ``(m, d)`` features.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ConfigError(
            f"feature sets of shapes {a.shape} and {b.shape}",
            hint="two sets of at least two rows of the same length",
        )
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cov_a, cov_b = np.atleast_2d(cov_a), np.atleast_2d(cov_b)
    root = _root(cov_a)
    # trace sqrt(A B) = trace sqrt(sqrt(A) B sqrt(A)), which stays symmetric.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0.0)).sum()
    away = a.mean(0) - b.mean(0)
    return float(away @ away + np.trace(cov_a) + np.trace(cov_b) - 2.0 * cross)


def kernel_distance(first: Floats, second: Floats) -> float:
    """Return the kernel distance of two sets of features: like a Fréchet distance, but unbiased.

    The squared maximum mean discrepancy with the kernel ``(a·b / d + 1)³``, times 1000;
    around 0 (also below) for two draws from the same set. "KID" only with Inception
    features.

    Args:
        first: ``(n, d)`` features.
        second: ``(m, d)`` features.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ConfigError(
            f"feature sets of shapes {a.shape} and {b.shape}",
            hint="two sets of at least two rows of the same length",
        )

    def kernel(x: Floats, y: Floats) -> Floats:
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def within(x: Floats) -> float:
        table = kernel(x, x)
        return float((table.sum() - np.trace(table)) / (len(x) * (len(x) - 1)))

    return 1000.0 * (within(a) + within(b) - 2.0 * float(kernel(a, b).mean()))


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _pair(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape:
        raise ConfigError(
            f"pictures of shapes {a.shape} and {b.shape}", hint="compare pictures of one size"
        )
    return a, b

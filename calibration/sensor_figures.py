"""Figures of the sensor report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from calibration.plots import BLUE, ORANGE

__all__ = ["pictures"]


def pictures(
    arrays: Mapping[str, Any],
    figures: Mapping[str, float],
    departure: Any,
    kept: Any,
    held: int,
    limit: float,
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of photon transfer, linearity, flat, tone curve.

    Args:
        arrays: What the artifact keeps.
        figures: Its figures.
        departure: Of each level that was fitted from the line, relative.
        kept: Which levels were fitted.
        held: Number of the level that the check was made on.
        limit: Departure that PSF work bears, relative.
    """
    return [
        (
            "Photon transfer",
            "Variance against mean of picture pairs; the slope is one over the gain. The level in "
            "orange was not fitted: the check is made on it.",
            partial(_transfer, arrays, figures, held),
        ),
        (
            "Linearity",
            f"Departure from a straight line through the origin; PSF work bears {limit:.0%}.",
            partial(_linearity, arrays, departure, kept),
        ),
        (
            "Flat field",
            "Sensitivity and light of each pixel over the median; every fourth pixel is drawn.",
            partial(_flat, arrays),
        ),
        (
            "Tone curve of live view",
            "8-bit code against linear light; the dashed line is a camera that codes linearly.",
            partial(_tone, arrays),
        ),
    ]


def _transfer(
    arrays: Mapping[str, Any], figures: Mapping[str, float], held: int, figure: Any
) -> None:
    axes = figure.add_subplot()
    mean, variance = arrays["mean_dn"], arrays["variance_dn2"]
    read = figures["read_noise_e"] / figures["gain_e_per_dn"]
    line = np.linspace(0, mean.max(), 50)
    axes.plot(line, read**2 + line / figures["gain_e_per_dn"], "-", color="0.6", label="fit")
    axes.plot(mean, variance, "o", color=BLUE, label="measured")
    axes.plot(mean[held], variance[held], "o", color=ORANGE, label="held out")
    axes.set(xlabel="mean, raw steps", ylabel="variance, raw steps²")
    axes.legend()


def _linearity(arrays: Mapping[str, Any], departure: Any, kept: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.axhline(0.0, color="0.7")
    axes.plot(arrays["mean_dn"][kept], 100.0 * departure, "o-", color=BLUE)
    axes.set(xlabel="mean, raw steps", ylabel="departure, %")


def _flat(arrays: Mapping[str, Any], figure: Any) -> None:
    axes = figure.add_subplot()
    flat = arrays["flat"][::4, ::4]
    low, high = np.percentile(flat, [1, 99])
    shown = axes.imshow(flat, vmin=low, vmax=high, cmap="cividis")
    figure.colorbar(shown, ax=axes, label="relative sensitivity")
    axes.set_axis_off()


def _tone(arrays: Mapping[str, Any], figure: Any) -> None:
    axes = figure.add_subplot()
    light, code = arrays["tone_light"], arrays["tone_code"]
    axes.plot([0.0, 1.0], [0.0, 255.0], "--", color="0.7", linewidth=1)
    axes.plot(light, code, "o-", color=BLUE)
    axes.set(xlabel="light, share of full range", ylabel="code", xlim=(0, 1), ylim=(0, 260))
    axes.grid(color="0.9")

"""Figures of the sensor report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

__all__ = ["pictures"]


def pictures(
    arrays: Mapping[str, Any], figures: Mapping[str, float], departure: Any, kept: Any
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of photon transfer, linearity, flat, tone curve."""
    return [
        (
            "Photon transfer",
            "Variance against mean of picture pairs (raw steps); the slope is one over the gain.",
            partial(_transfer, arrays, figures),
        ),
        (
            "Linearity",
            "Departure from a straight line through the origin.",
            partial(_linearity, arrays, departure, kept),
        ),
        ("Flat field", "Relative sensitivity of each pixel.", partial(_flat, arrays)),
        ("Live view", "8-bit code against linear light.", partial(_tone, arrays)),
    ]


def _transfer(arrays: Mapping[str, Any], figures: Mapping[str, float], figure: Any) -> None:
    axes = figure.add_subplot()
    mean, variance = arrays["mean_dn"], arrays["variance_dn2"]
    axes.plot(mean, variance, "o", label="measured")
    read = figures["read_noise_e"] / figures["gain_e_per_dn"]
    line = np.linspace(0, mean.max(), 50)
    axes.plot(line, read**2 + line / figures["gain_e_per_dn"], "-", label="fit")
    axes.set(xlabel="mean, raw steps", ylabel="variance, raw steps²")
    axes.legend()


def _linearity(arrays: Mapping[str, Any], departure: Any, kept: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.axhline(0.0, color="0.7")
    axes.plot(arrays["mean_dn"][kept], 100.0 * departure, "o-")
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
    axes.plot(arrays["tone_light"], arrays["tone_code"], "o-")
    axes.set(xlabel="light, share of saturation", ylabel="live-view code")

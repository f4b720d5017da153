"""Figures of PSF reports: pictures on a log scale, residuals, transfer, mode bars."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from calibration.retrieval import Retrieval
from calibration.stack import PsfStack
from camera_rig.optics import Order, from_mode

__all__ = ["mode_bars", "pictures"]


def pictures(found: Retrieval, stack: PsfStack) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of a retrieval."""
    return [
        (
            "Measured and fitted PSFs",
            "Logarithmic scale; below, the difference in units of its noise. Bar: 20 px.",
            partial(_planes, found, stack),
        ),
        (
            "Modes",
            "Coefficients in waves RMS, Noll order, with one standard deviation.",
            partial(mode_bars, found.modes, found.values, found.sigmas, None),
        ),
        (
            "Modulation transfer",
            "Of the last plane, against an ideal lens of the same pupil.",
            partial(_transfer, found, stack),
        ),
    ]


def mode_bars(listed: Any, values: Any, sigmas: Any, wanted: Any, figure: Any) -> None:
    """Draw coefficients (waves RMS) as bars with error bars, and wanted values as marks."""
    axes = figure.add_subplot()
    numbers = [from_mode(Order.NOLL, mode) for mode in listed]
    axes.bar(numbers, values, yerr=sigmas, color="#3b6ea5", capsize=2, label="found")
    if wanted is not None:
        axes.plot(numbers, wanted, "D", color="#d98c1f", label="wanted")
        axes.legend()
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="Noll index", ylabel="waves RMS")


def _planes(found: Retrieval, stack: PsfStack, figure: Any) -> None:
    grid = figure.subplots(3, stack.planes, squeeze=False)
    for p in range(stack.planes):
        level = found.background_e[p]
        top = float((stack.images_e[p] - level).max())
        for row, image in enumerate((stack.images_e[p], found.expected_e[p])):
            shown = np.log10(np.maximum((image - level) / top, 1e-5))
            grid[row, p].imshow(shown, vmin=-4, vmax=0, cmap="cividis", origin="lower")
        sigma = np.sqrt(stack.variance_e2(found.expected_e))[p]
        gap = (stack.images_e[p] - found.expected_e[p]) / sigma
        grid[2, p].imshow(gap, vmin=-4, vmax=4, cmap="RdBu", origin="lower")
        for row in range(3):
            axes = grid[row, p]
            axes.set_xticks([])
            axes.set_yticks([])
            axes.plot([6, 26], [6, 6], color="white" if row < 2 else "black", linewidth=2)
    for row, label in enumerate(("measured", "fitted", "difference / noise")):
        grid[row, 0].set_ylabel(label)


def _transfer(found: Retrieval, stack: PsfStack, figure: Any) -> None:
    from calibration.forward import PlaneModel, PointSource

    axes = figure.add_subplot()
    model = PlaneModel(stack.pupil, stack.size, found.modes, PointSource())
    frequency = np.fft.fftfreq(stack.size)[: stack.size // 2]
    for waves, label in ((np.zeros(len(found.modes)), "ideal lens"), (found.values, "as found")):
        image = model.evaluate(waves).image
        transfer = np.abs(np.fft.fft2(image))
        transfer /= transfer[0, 0]
        axes.plot(frequency, transfer[0, : stack.size // 2], label=f"{label}, across")
        axes.plot(frequency, transfer[: stack.size // 2, 0], "--", label=f"{label}, up")
    axes.set(xlabel="cycles per pixel", ylabel="modulation", ylim=(0, 1))
    axes.legend()

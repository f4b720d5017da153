"""What the figures of all reports share: colours, PSFs on a log scale, mode bars, wavefronts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.optics import Mode, Order, from_mode, zernike

__all__ = [
    "BLUE",
    "ORANGE",
    "bare",
    "lit",
    "log_image",
    "mode_bars",
    "scale_bar",
    "wavefront",
]

BLUE, ORANGE = "#3b6ea5", "#d98c1f"
DECADES = 4
"""Decades of brightness that a PSF is shown over."""
Floats = npt.NDArray[np.floating[Any]]


def log_image(axes: Any, light: Floats, peak: float) -> Any:
    """Draw light over its ``peak`` as a logarithm; return the mappable for a colour bar."""
    shown = np.log10(np.maximum(light / peak, 10.0 ** -(DECADES + 1)))
    bare(axes)
    return axes.imshow(shown, vmin=-DECADES, vmax=0, cmap="cividis", origin="lower")


def bare(axes: Any) -> None:
    """Take the ticks off a picture."""
    axes.set_xticks([])
    axes.set_yticks([])


def scale_bar(axes: Any, width_px: int, pixel_um: float) -> None:
    """Draw a bar of a round length in the lower left of a picture, with its length in µm."""
    longest_um = 0.35 * width_px * pixel_um
    decade = 10.0 ** math.floor(math.log10(longest_um))
    bar_um = max(step * decade for step in (1.0, 2.0, 5.0) if step * decade <= longest_um)
    left, low = 0.06 * width_px, 0.06 * width_px
    right = left + bar_um / pixel_um
    axes.plot([left, right], [low, low], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(left, low + 0.03 * width_px, f"{bar_um:g} µm", color="white", fontsize=8)


def lit(light: Floats) -> tuple[slice, slice]:
    """Return the square of a picture around what is brighter than a thousandth of its peak."""
    rows, columns = np.nonzero(light > 1e-3 * light.max())
    middle = (rows.min() + rows.max() + 1) // 2, (columns.min() + columns.max() + 1) // 2
    half = int(1.15 * max(np.ptp(rows), np.ptp(columns)) / 2) + 4
    half = min(half, *(min(m, n - m) for m, n in zip(middle, light.shape, strict=True)))
    return tuple(slice(m - half, m + half) for m in middle)  # type: ignore[return-value]


def _mode_axis(axes: Any, numbers: Sequence[int]) -> None:
    """Mark Noll numbers along x, whole ones only and not too many."""
    step = 1 if len(numbers) <= 20 else 4
    axes.set_xticks([j for j in numbers if (j - numbers[0]) % step == 0])
    axes.set_xlim(numbers[0] - 0.8, numbers[-1] + 0.8)
    axes.axhline(0.0, color="0.6", linewidth=0.8)


def mode_bars(
    listed: Sequence[Mode],
    values: Floats,
    sigmas: Floats,
    marks: Floats | None,
    words: tuple[str, str],
    figure: Any,
) -> None:
    """Draw coefficients (waves RMS at 550 nm) with error bars, and marks beside them.

    With marks, what the two differ by is drawn below, where the error bars can be seen.

    Args:
        listed: The modes.
        values: Bars, waves RMS.
        sigmas: One standard deviation of each.
        marks: What the bars should be, or None.
        words: What bars and marks are called.
        figure: Drawn on.
    """
    numbers = [from_mode(Order.NOLL, mode) for mode in listed]
    if marks is None:
        axes = figure.add_subplot()
    else:
        figure.set_size_inches(8.0, 5.4)
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        axes.plot(numbers, marks, "D", color=ORANGE, label=words[1], zorder=3)
        gap = 1e3 * (np.asarray(values) - marks)
        below.errorbar(numbers, gap, yerr=1e3 * np.asarray(sigmas), fmt="o", color=BLUE, capsize=2)
        _mode_axis(below, numbers)
        below.set(ylabel="difference,\nthousandths")
    axes.bar(numbers, values, yerr=sigmas, color=BLUE, capsize=2, label=words[0])
    _mode_axis(axes, numbers)
    axes.set_ylabel("waves RMS")
    (axes if marks is None else below).set_xlabel("Noll number")
    axes.legend()


def wavefront(
    axes: Any, listed: Sequence[Mode], waves: Floats, title: str, top: float | None = None
) -> Any:
    """Draw a wavefront (waves) over the pupil, y up; return the mappable for a colour bar.

    Colours go to ``top``, or to the largest value.
    """
    rho, theta = zernike.polar_grid(96)
    shape = np.tensordot(np.asarray(waves), zernike.basis(tuple(listed), rho, theta), axes=1)
    inside = rho <= 1.0
    rms, span = float(np.linalg.norm(waves)), float(np.ptp(shape[inside]))
    top = top or float(np.abs(shape[inside]).max())
    shape[~inside] = np.nan
    bare(axes)
    axes.set_frame_on(False)
    axes.set_title(f"{title}\n{rms:.3g} RMS, {span:.3g} peak to valley", fontsize=9)
    return axes.imshow(shape, vmin=-top, vmax=top, cmap="RdBu", origin="lower")

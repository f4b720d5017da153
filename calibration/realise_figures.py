"""Figures of the closed loop's report: PSF wanted, before and after; wavefronts; modes; steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.plots import BLUE, bare, lit, log_image, mode_bars, scale_bar, wavefront
from calibration.psf_figures import transfer
from camera_rig.optics import Mode, Pupil

__all__ = ["pictures"]

KINDS = ("wanted", "before", "after")
Floats = npt.NDArray[np.floating[Any]]


def pictures(
    listed: Sequence[Mode], wanted: Floats, loop: Mapping[str, Any], pupil: Pupil, target: float
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of a closed loop.

    Args:
        listed: Modes with a wanted value.
        wanted: Those values, waves RMS at 550 nm.
        loop: What the loop kept: ``light_before``, ``light_after`` and ``light_wanted`` (share
            of the light per pixel), ``values``, ``covariance``, ``residual_waves``.
        pupil: Of the pixels of these pictures.
        target: Residual at which the loop stops, waves RMS.
    """
    values, sigma = np.asarray(loop["values"]), np.sqrt(np.diag(loop["covariance"][-1]))
    return [
        (
            "PSF wanted, before and after",
            "Green light, logarithm of brightness over the brightest place of the wanted PSF. "
            "Before: the first attempt, by the model of the mirror. After: as it stands now. "
            "Below: measured minus wanted, in per cent of that brightest place.",
            partial(_spots, loop, pupil),
        ),
        (
            "Wavefronts",
            "Over the pupil as the upright picture shows it, y up; the difference is drawn on a "
            "scale of its own.",
            partial(_wavefronts, listed, wanted, values[-1]),
        ),
        (
            "Wanted and shown",
            "Coefficients after calibration with one standard deviation, and the wanted, waves "
            "RMS at 550 nm.",
            partial(mode_bars, listed, values[-1], sigma, wanted, ("shown", "wanted")),
        ),
        (
            "Modulation transfer",
            "Of the optics, without pinhole and pixel: what is left of a picture's detail. An "
            "ideal lens of the same pupil beside it.",
            partial(
                transfer,
                pupil,
                int(np.shape(loop["light_after"])[0]),
                tuple(listed),
                [
                    ("ideal lens", np.zeros(len(listed))),
                    ("wanted", wanted),
                    ("shown", values[-1]),
                ],
            ),
        ),
        (
            "Convergence",
            "What is left after each correction, with one standard deviation.",
            partial(_steps, loop, target),
        ),
    ]


def _spots(loop: Mapping[str, Any], pupil: Pupil, figure: Any) -> None:
    figure.set_size_inches(8.0, 5.6)
    part = lit(np.asarray(loop["light_wanted"]))
    kinds = [(name, np.asarray(loop[f"light_{name}"])[part]) for name in KINDS]
    grid, wanted = figure.subplots(2, 3), kinds[0][1]
    peak = float(wanted.max())
    for axes, (title, light) in zip(grid[0], kinds, strict=True):
        bright = log_image(axes, light, peak)
        axes.set_title(title, fontsize=10)
        scale_bar(axes, len(wanted), pupil.pixel_um)
    grid[1, 0].set_axis_off()
    for axes, (_, light) in zip(grid[1, 1:], kinds[1:], strict=True):
        gap = 100.0 * (light - wanted) / peak
        left = axes.imshow(gap, vmin=-20, vmax=20, cmap="RdBu", origin="lower")
        bare(axes)
        axes.set_title(f"minus wanted: {np.sqrt(np.mean(gap**2)):.2g} % RMS", fontsize=9)
    figure.colorbar(bright, ax=grid[0].tolist(), label="log10 of brightness")
    figure.colorbar(left, ax=grid[1].tolist(), label="% of the peak", extend="both")


def _wavefronts(listed: Sequence[Mode], wanted: Floats, shown: Floats, figure: Any) -> None:
    figure.set_size_inches(8.0, 3.2)
    row = figure.subplots(1, 3)
    seen = wavefront(row[0], listed, wanted, "wanted, waves")
    wavefront(row[1], listed, shown, "shown, waves", seen.norm.vmax)
    gap = 1e3 * (np.asarray(shown) - wanted)
    left = wavefront(row[2], listed, gap, "difference, mwaves")
    figure.colorbar(seen, ax=row[:2].tolist(), label="waves at 550 nm", shrink=0.8)
    figure.colorbar(left, ax=row[2], label="thousandths of a wave", shrink=0.8)


def _steps(loop: Mapping[str, Any], target: float, figure: Any) -> None:
    from matplotlib.ticker import ScalarFormatter

    residual = 1e3 * np.asarray(loop["residual_waves"])
    sigma = 1e3 * np.sqrt([np.trace(one) for one in loop["covariance"]])
    axes = figure.add_subplot()
    axes.errorbar(np.arange(len(residual)), residual, yerr=sigma, fmt="o-", color=BLUE, capsize=3)
    axes.axhline(1e3 * target, color="0.6", linewidth=0.8, label="target")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks(np.arange(len(residual)))
    axes.grid(color="0.9", which="both")
    axes.set(xlabel="correction", ylabel="left, thousandths of a wave RMS")
    axes.legend()

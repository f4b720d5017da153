"""Figures of the PSF report: before and after on a log scale, residuals, wavefront, MTF."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.forward import PlaneModel, PointSource
from calibration.plots import BLUE, ORANGE, bare, log_image, mode_bars, scale_bar, wavefront
from calibration.retrieval import Retrieval
from calibration.spot import bin_pixels
from calibration.stack import PsfStack
from camera_rig.optics import Coefficients, Mode

__all__ = ["expected", "pictures", "transfer"]

Floats = npt.NDArray[np.floating[Any]]
TILTS: tuple[Mode, Mode] = ((1, 1), (1, -1))
ROWS = ("before: ideal lens", "measured", "after: as fitted", "measured - fitted")


def pictures(
    found: Retrieval, stack: PsfStack, source: PointSource, planes: tuple[str, ...]
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of a retrieval.

    Args:
        found: The fit.
        stack: What was fitted.
        source: Size of source and pixel.
        planes: What to call each plane.
    """
    bars = partial(
        mode_bars, found.modes, found.values, found.sigmas, None, ("found, one sigma", "")
    )
    return [
        (
            "PSFs before and after",
            "Green light, logarithm of brightness over the peak. Above: what a perfect lens would "
            "show at these offsets of the mirror; then what the camera saw and what the fitted "
            "shape explains. Below: what is left, in units of its noise.",
            partial(_planes, found, stack, source, planes),
        ),
        (
            "Wavefront with the mirror at rest",
            "Over the pupil as the upright picture shows it, y up, without tilt.",
            partial(_wavefront, found),
        ),
        (
            "Modes",
            f"Coefficients in Noll order at {stack.wavelength_nm:g} nm, with one standard "
            "deviation.",
            bars,
        ),
        (
            "Modulation transfer",
            "Of the optics with the mirror at rest, without pinhole and pixel, up to what the "
            "pixels can sample; against an ideal lens of the same pupil.",
            partial(
                transfer,
                stack.pupil,
                stack.size,
                found.modes,
                [("ideal lens", np.zeros(len(found.modes))), ("as found", found.values)],
            ),
        ),
    ]


def expected(
    stack: PsfStack, found: Retrieval, source: PointSource, shape: Coefficients
) -> list[Floats]:
    """Return the light (electrons above the background) that a shape would give in each plane.

    Where the spot lies and how much light it has are as fitted.
    """
    offsets = stack.diversity_modes()
    listed = (*TILTS, *dict.fromkeys((*offsets, *shape.values)))
    # Room for light that leaves the window: it must not come back on its other side.
    model = PlaneModel(stack.pupil, stack.size, listed, source, reach_px=float(stack.size))
    base = shape.array(listed)
    diversity = stack.diversity_waves(listed)
    images = []
    for plane in range(stack.planes):
        waves = base + diversity[plane]
        waves[:2] = found.tilts_waves[plane]
        images.append(found.flux_e[plane] * _camera(model.evaluate(waves).image, model))
    return images


def transfer(
    pupil: Any, size: int, modes: Any, shapes: list[tuple[str, Floats]], figure: Any
) -> None:
    """Draw the modulation transfer of shapes (waves RMS) across and up, cycles per mm."""
    axes = figure.add_subplot()
    model = PlaneModel(pupil, size, modes, PointSource())
    frequency = np.fft.fftfreq(size)[: size // 2] * 1000.0 / pupil.pixel_um
    # One under the other may be hidden by it: the last is the thinnest.
    styles = (("0.45", 1.5), (BLUE, 1.8) if len(shapes) == 2 else (ORANGE, 3.5), (BLUE, 1.5))
    for (label, waves), (colour, width) in zip(shapes, styles, strict=False):
        found = np.abs(np.fft.fft2(_camera(model.evaluate(waves).image, model)))
        found /= found[0, 0]
        for dash, values, way in (("-", found[0], "across"), ("--", found[:, 0], "up")):
            shown = values[: size // 2]
            axes.plot(frequency, shown, dash, color=colour, lw=width, label=f"{label}, {way}")
    axes.set(
        xlabel="cycles per mm on the sensor", ylabel="modulation", ylim=(0, 1.02), xlim=(0, None)
    )
    axes.grid(color="0.9")
    axes.legend()


def _camera(fine: Floats, model: PlaneModel) -> Floats:
    """Return a picture in camera pixels."""
    return np.asarray(bin_pixels(fine, model.oversample))


def _planes(
    found: Retrieval, stack: PsfStack, source: PointSource, planes: tuple[str, ...], figure: Any
) -> None:
    figure.set_size_inches(8.0, 9.4)
    grid = figure.subplots(4, stack.planes, squeeze=False)
    nothing = Coefficients({}, found.shape.unit, stack.wavelength_nm)
    ideal = expected(stack, found, source, nothing)
    noise = np.sqrt(stack.variance_e2(found.expected_e))
    for p in range(stack.planes):
        level = float(found.background_e[p])
        seen = stack.images_e[p] - level
        for row, light in enumerate((ideal[p], seen, found.expected_e[p] - level)):
            # Each row over its own brightest place: the ideal lens would burn all others out.
            bright = log_image(grid[row, p], light, float(light.max()))
        good = True if stack.valid is None else stack.valid[p]
        gap = np.where(good, (stack.images_e[p] - found.expected_e[p]) / noise[p], np.nan)
        bare(grid[3, p])
        left = grid[3, p].imshow(gap, vmin=-10, vmax=10, cmap="RdBu", origin="lower")
        grid[0, p].set_title(planes[p], fontsize=10)
        scale_bar(grid[0, p], stack.size, stack.pupil.pixel_um)
    for row, label in enumerate(ROWS):
        grid[row, 0].set_ylabel(label)
    figure.colorbar(bright, ax=grid[:3].ravel().tolist(), label="log10 of brightness over the peak")
    figure.colorbar(left, ax=grid[3].tolist(), label="standard deviations", extend="both")


def _wavefront(found: Retrieval, figure: Any) -> None:
    figure.set_size_inches(5.2, 4.2)
    axes = figure.add_subplot()
    shown = wavefront(axes, found.modes, found.values, "waves")
    figure.colorbar(shown, ax=axes, label=f"waves at {found.shape.wavelength_nm:g} nm")

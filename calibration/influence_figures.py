"""Figures of the influence report: actuator map, matrix, loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from calibration.layout import Layout
from calibration.loop import Loop
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.optics import zernike

__all__ = ["pictures"]


def pictures(
    matrix: InfluenceMatrix, layout: Layout, loop: Loop | None
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of an influence run."""
    found: list[tuple[str, str, Callable[[Any], None]]] = [
        (
            "Influence functions",
            "Wavefront of each electrode over the pupil as the picture sees it (y up), one "
            "common scale; electrode 0 top left.",
            partial(_maps, matrix),
        ),
        (
            "Influence matrix",
            "µm RMS per unit of response; rows Zernike modes, columns electrodes.",
            partial(_matrix, matrix),
        ),
        (
            "Strength of each electrode",
            "Over the plate model's, after the layout was found.",
            partial(_gains, layout),
        ),
    ]
    if loop is not None:
        found.append(
            (
                "Hysteresis",
                "Response of all electrodes in a pattern of high order, and the play model.",
                partial(_loop, loop),
            )
        )
    return found


def _maps(matrix: InfluenceMatrix, figure: Any) -> None:
    rho, theta = zernike.polar_grid(32)
    basis = zernike.basis(matrix.modes, rho, theta)
    maps = np.tensordot(matrix.um_per_unit.T, basis, axes=1)
    maps[:, rho > 1.0] = np.nan
    top = np.nanmax(np.abs(maps))
    rows = int(np.ceil(matrix.actuators / 10))
    for place, axes in enumerate(figure.subplots(rows, 10, squeeze=False).ravel()):
        axes.set_axis_off()
        if place < matrix.actuators:
            axes.imshow(maps[place], vmin=-top, vmax=top, cmap="RdBu", origin="lower")


def _matrix(matrix: InfluenceMatrix, figure: Any) -> None:
    axes = figure.add_subplot()
    top = np.abs(matrix.um_per_unit).max()
    shown = axes.imshow(matrix.um_per_unit, vmin=-top, vmax=top, cmap="RdBu", aspect="auto")
    figure.colorbar(shown, ax=axes, label="µm RMS per unit")
    axes.set(xlabel="electrode", ylabel="row (tilts, then Noll 4 …)")


def _gains(layout: Layout, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.bar(np.arange(layout.projection.size), layout.projection, color="#3b6ea5")
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="electrode", ylabel="strength over the model's")


def _loop(loop: Loop, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.plot(loop.levels, loop.response, "o", label="measured, creep taken off")
    axes.plot(loop.levels, loop.modelled, "-", label="play model")
    axes.set(xlabel="height of the pattern, normalised volts", ylabel="response, normalised")
    axes.legend()

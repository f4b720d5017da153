"""Figures of the registration report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from calibration.plane_map import PlaneMap, Points
from calibration.plots import BLUE, ORANGE

__all__ = ["pictures"]

ENLARGED = 100.0
"""How much longer an error is drawn than it is."""


def pictures(
    mapped: PlaneMap, privacy: Points, error: Points, held: Any
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of the error map and the map's own uncertainty."""
    return [
        (
            "Error map",
            "What is left at each place, in the privacy picture. The frame is the whole picture: "
            "where no place was seen, the map is drawn on from its neighbours.",
            partial(_errors, mapped, privacy, error, held),
        ),
        (
            "Uncertainty over the field",
            "One standard deviation of the map, privacy pixels; best where places were measured.",
            partial(_sigma, mapped),
        ),
    ]


def _errors(mapped: PlaneMap, privacy: Points, error: Points, held: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    for chosen, colour, label in ((~held, BLUE, "fitted"), (held, ORANGE, "held out")):
        arrows = axes.quiver(
            privacy[chosen, 0],
            privacy[chosen, 1],
            error[chosen, 0],
            error[chosen, 1],
            angles="xy",
            scale_units="xy",
            scale=1.0 / ENLARGED,
            width=0.003,
            color=colour,
            label=label,
        )
    _frame(mapped, axes)
    axes.quiverkey(arrows, 0.7, 1.04, 0.5, "0.5 px", labelpos="E", color="0.3")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)


def _sigma(mapped: PlaneMap, figure: Any) -> None:
    axes = figure.add_subplot()
    across, down = 37, 25
    grid = mapped.grid(across, down)
    size = np.linalg.norm(mapped.sigma_px(grid), axis=-1).reshape(down, across)
    place = mapped(grid).reshape(down, across, 2)
    shown = axes.contourf(place[..., 0], place[..., 1], size, 12, cmap="cividis")
    figure.colorbar(shown, ax=axes, label="uncertainty, px")
    _frame(mapped, axes)


def _frame(mapped: PlaneMap, axes: Any) -> None:
    width, height = mapped.privacy_size
    axes.set(xlim=(0, width), ylim=(height, 0), xlabel="x, px", ylabel="y, px")
    axes.set_aspect("equal")

"""Voltages as a picture of the electrodes: for the terminal and as a PNG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera_rig.bench import MirrorGeometry

_STOPS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=float
)
"""Five stops of a colour-blind safe map that also reads in grey."""


def electrode_grid(geometry: MirrorGeometry, samples: int) -> NDArray[np.int64]:
    """Return which electrode lies under each cell, -1 for none; row 0 is at the top.

    Args:
        geometry: Electrode layout.
        samples: Cells across the disc.
    """
    edge = geometry.disc_diameter_mm / 2.0
    line = (2.0 * np.arange(samples) + 1.0 - samples) / samples * edge
    x, y = np.meshgrid(line, line[::-1])
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    grid = np.full(radius.shape, -1, dtype=np.int64)
    first, inner = 0, 0.0
    sense = 1.0 if geometry.counter_clockwise else -1.0
    start = math.radians(geometry.segment0_angle_deg)
    for count, outer in zip(geometry.ring_segments, geometry.ring_radii_mm, strict=True):
        width = 2.0 * math.pi / count
        number = np.floor((sense * (angle - start) + width / 2.0) / width).astype(int) % count
        inside = (radius >= inner) & (radius < outer)
        grid[inside] = first + number[inside]
        first, inner = first + count, outer
    return grid


def colours(command_v: NDArray[np.float64], limits_v: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return red, green, blue per electrode for voltages (V) within limits (V)."""
    low, high = float(limits_v[:, 0].min()), float(limits_v[:, 1].max())
    place = np.clip((np.asarray(command_v) - low) / (high - low), 0.0, 1.0) * (len(_STOPS) - 1)
    left = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - left)[:, None]
    mixed = _STOPS[left] * (1.0 - share) + _STOPS[left + 1] * share
    return np.asarray(mixed.round(), dtype=np.uint8)


def terminal_map(
    geometry: MirrorGeometry,
    command_v: NDArray[np.float64],
    limits_v: NDArray[np.float64],
    width: int = 40,
) -> Any:
    """Return the electrodes as coloured half-blocks, a ``rich.text.Text``.

    Args:
        geometry: Electrode layout.
        command_v: Voltages, V.
        limits_v: Limits, V, the ends of the colour map.
        width: Characters across.
    """
    from rich.text import Text

    grid = electrode_grid(geometry, width)
    paint = colours(command_v, limits_v)
    names = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in paint.tolist()]
    text = Text()
    for upper, lower in zip(grid[0::2], grid[1::2], strict=False):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            if top < 0 and bottom < 0:
                text.append(" ")
            elif top < 0:
                text.append("▄", style=names[bottom])
            elif bottom < 0:
                text.append("▀", style=names[top])
            else:
                text.append("▀", style=f"{names[top]} on {names[bottom]}")
        text.append("\n")
    low, high = float(limits_v[:, 0].min()), float(limits_v[:, 1].max())
    text.append(f"{low:.0f} V ")
    for share in np.linspace(low, high, 24):
        red, green, blue = colours(np.array([share]), limits_v)[0].tolist()
        text.append("█", style=f"#{red:02x}{green:02x}{blue:02x}")
    text.append(f" {high:.0f} V\n")
    return text


def draw_map(
    axes: Any,
    geometry: MirrorGeometry,
    command_v: NDArray[np.float64],
    limits_v: NDArray[np.float64],
) -> Any:
    """Draw numbered electrodes with their voltages (V) on matplotlib axes; return them."""
    from matplotlib.patches import Wedge

    paint = colours(command_v, limits_v) / 255.0
    sense = 1.0 if geometry.counter_clockwise else -1.0
    first, inner = 0, 0.0
    for count, outer in zip(geometry.ring_segments, geometry.ring_radii_mm, strict=True):
        half = 180.0 / count
        for k in range(count):
            middle = geometry.segment0_angle_deg + sense * 360.0 * k / count
            fill = paint[first + k]
            wedge = Wedge(
                (0.0, 0.0), outer, middle - half, middle + half, width=outer - inner,
                facecolor=fill, edgecolor="white", linewidth=0.8,
            )  # fmt: skip
            axes.add_patch(wedge)
            at_mm, angle = (inner + outer) / 2.0, math.radians(middle)
            dark = float(fill @ np.array([0.3, 0.6, 0.1])) < 0.5
            axes.text(
                at_mm * math.cos(angle), at_mm * math.sin(angle),
                f"{first + k}\n{command_v[first + k]:.0f}",
                ha="center", va="center", fontsize=6, color="white" if dark else "black",
            )  # fmt: skip
        first, inner = first + count, outer
    edge_mm = geometry.disc_diameter_mm / 2.0
    axes.set(xlim=(-edge_mm, edge_mm), ylim=(-edge_mm, edge_mm), aspect="equal")
    axes.set(xlabel="x on the mirror, mm", ylabel="y, mm", title="electrode number and volts")
    return axes


def save_map(
    path: Path,
    geometry: MirrorGeometry,
    command_v: NDArray[np.float64],
    limits_v: NDArray[np.float64],
) -> None:
    """Write the electrode picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 6.2), layout="constrained")
    draw_map(figure.subplots(), geometry, command_v, limits_v)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=150)


def terminal_psf(pixels: NDArray[np.float64], width: int = 24) -> Any:
    """Return a PSF (colours, rows, columns) as grey half-blocks, a ``rich.text.Text``.

    Shown as the square root of its brightness, so that faint arms can be seen.

    Args:
        pixels: Energy shares, row 0 at the bottom (y grows with the row).
        width: Characters across.
    """
    from rich.text import Text

    plane = np.asarray(pixels).sum(axis=0)[::-1]
    side = (len(plane) // width) * width
    cut = (len(plane) - side) // 2
    cell = side // width
    small = plane[cut : cut + side, cut : cut + side]
    small = small.reshape(width, cell, width, cell).sum(axis=(1, 3))
    grey = np.round(np.sqrt(small / max(float(small.max()), 1e-30)) * 255).astype(int)
    text = Text()
    for upper, lower in zip(grey[0::2], grey[1::2], strict=False):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append(
                "▀", style=f"#{top:02x}{top:02x}{top:02x} on #{bottom:02x}{bottom:02x}{bottom:02x}"
            )
        text.append("\n")
    return text


def _grey(level: int) -> str:
    return "#" + 3 * f"{level:02x}"

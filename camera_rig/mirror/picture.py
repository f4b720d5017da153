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
_RAMP = " .:-=+*#%@"


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
    *,
    width: int = 40,
    colour: bool = True,
) -> Any:
    """Return the electrodes as a ``rich.text.Text``: coloured half-blocks, or characters.

    Args:
        geometry: Electrode layout.
        command_v: Voltages, V.
        limits_v: Limits, V, the ends of the scale.
        width: Characters across.
        colour: False for a terminal without colours: darker characters mean more volts.
    """
    from rich.text import Text

    grid = electrode_grid(geometry, width)
    low, high = float(limits_v[:, 0].min()), float(limits_v[:, 1].max())
    if not colour:
        share = (np.asarray(command_v) - low) / (high - low)
        cells = np.where(grid >= 0, share[grid], np.nan)
        return Text(f"{_characters(cells)}{low:.0f} V {_RAMP} {high:.0f} V\n")
    paint = colours(command_v, limits_v)
    text = _half_blocks(np.where((grid >= 0)[..., None], paint[grid], -1))
    text.append(f"{low:.0f} V ")
    for red, green, blue in colours(np.linspace(low, high, 24), limits_v).tolist():
        text.append("█", style=f"#{red:02x}{green:02x}{blue:02x}")
    text.append(f" {high:.0f} V\n")
    return text


def terminal_psf(pixels: NDArray[np.float64], *, width: int = 24, colour: bool = True) -> Any:
    """Return a PSF (colours, rows, columns) as a small ``rich.text.Text``.

    Shown as the square root of its brightness, so that faint arms can be seen.

    Args:
        pixels: Energy shares, row 0 at the bottom (y grows with the row).
        width: Characters across.
        colour: False for a terminal without colours.
    """
    from rich.text import Text

    plane = np.asarray(pixels).sum(axis=0)[::-1]
    side = (len(plane) // width) * width
    cut, cell = (len(plane) - side) // 2, side // width
    small = plane[cut : cut + side, cut : cut + side]
    small = small.reshape(width, cell, width, cell).sum(axis=(1, 3))
    bright = np.sqrt(small / max(float(small.max()), 1e-30))
    if not colour:
        return Text(_characters(bright))
    grey = np.round(bright * 255).astype(int)
    return _half_blocks(np.repeat(grey[..., None], 3, axis=2))


def _half_blocks(rgb: NDArray[Any]) -> Any:
    """Two rows of cells in each line of text; a negative cell is left empty."""
    from rich.text import Text

    text = Text()
    for upper, lower in zip(rgb[0::2].tolist(), rgb[1::2].tolist(), strict=False):
        for top, bottom in zip(upper, lower, strict=True):
            if top[0] < 0 and bottom[0] < 0:
                text.append(" ")
            elif top[0] < 0:
                text.append("▄", style=_hex(bottom))
            elif bottom[0] < 0:
                text.append("▀", style=_hex(top))
            else:
                text.append("▀", style=f"{_hex(top)} on {_hex(bottom)}")
        text.append("\n")
    return text


def _characters(share: NDArray[np.float64]) -> str:
    """Every second row as characters of growing darkness; NaN is left empty."""
    lines = []
    for row in share[0::2]:
        place = np.nan_to_num(row * (len(_RAMP) - 1)).round().astype(int)
        place = np.clip(place, 0, len(_RAMP) - 1)
        marks = (_RAMP[p] if v == v else " " for p, v in zip(place, row, strict=True))
        lines.append("".join(marks))
    return "\n".join(lines) + "\n"


def _hex(rgb: list[int]) -> str:
    red, green, blue = (int(value) for value in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


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
    psf: NDArray[np.float64] | None = None,
) -> None:
    """Write the electrodes as a PNG, with the predicted PSF beside them if given.

    Args:
        path: File.
        geometry: Electrode layout.
        command_v: Voltages, V.
        limits_v: Limits, V.
        psf: (colours, rows, columns), energy shares, one pixel per wavelength times
            f-number.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 if psf is None else 2
    figure = Figure(figsize=(6.0 * columns, 6.2), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    draw_map(panels[0], geometry, command_v, limits_v)
    if psf is not None:
        plane = np.sqrt(np.asarray(psf).sum(axis=0))
        half = plane.shape[0] / 2.0
        panels[1].imshow(plane, origin="lower", cmap="gray", extent=(-half, half, -half, half))
        panels[1].set(
            title="predicted PSF, square root of brightness",
            xlabel="wavelength × f-number",
            ylabel="wavelength × f-number",
        )
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=120)

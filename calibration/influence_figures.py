"""Figures of the influence report: actuator map, influence functions, matrix, check, loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.influence_checks import Foretold
from calibration.layout import Layout
from calibration.loop import Loop
from calibration.plots import BLUE, ORANGE, mode_bars
from calibration.poke_fits import WAVE_UM
from camera_rig.bench import Bench
from camera_rig.mirror.influence import InfluenceMatrix
from camera_rig.optics import Mode, zernike

__all__ = ["Seen", "pictures"]

Floats = npt.NDArray[np.floating[Any]]
PER_ROW = 10
CAPTIONS = {
    "small_pattern": "Change of the wavefront by random pushes of all electrodes, small enough to "
    "leave the hysteresis alone: found in the pictures, and predicted by the matrix.",
    "strong_shape": "Change of the wavefront by a command that moves some electrodes over half of "
    "their way: found in the pictures, and predicted by matrix and hysteresis.",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """Shapes of one run to draw with error bars, waves RMS at 550 nm.

    Args:
        modes: Modes of all that follows.
        rest: Shape with the mirror at rest.
        rest_sigma: One standard deviation of it.
        checks: Changes that no fit had seen.
    """

    modes: Sequence[Mode]
    rest: Floats
    rest_sigma: Floats
    checks: Sequence[Foretold]


def pictures(
    bench: Bench, matrix: InfluenceMatrix, layout: Layout, loop: Loop | None, seen: Seen
) -> list[tuple[str, str, Callable[[Any], None]]]:
    """Return (title, caption, drawing) of an influence run."""
    found: list[tuple[str, str, Callable[[Any], None]]] = [
        (
            "Actuator map",
            "The electrodes as the picture sees them (y up), each with its number; the circle is "
            "the beam. Colour: strength over the plate model's; a dead electrode is hatched.",
            partial(_map, bench, layout),
        ),
        (
            "Influence functions",
            "Wavefront of each electrode over the pupil (y up), one common scale.",
            partial(_functions, matrix),
        ),
        (
            "Influence matrix",
            "Rows: both tilts, then Noll 4 upward. Columns: electrodes. Colours are strained so "
            "that weak elements show.",
            partial(_matrix, matrix),
        ),
        *(
            (
                f"A {check.name.replace('_', ' ')} that no fit had seen",
                CAPTIONS[check.name],
                partial(
                    mode_bars,
                    seen.modes,
                    check.measured_um / WAVE_UM,
                    check.sigma_um / WAVE_UM,
                    check.foretold_um / WAVE_UM,
                    ("found", "predicted"),
                ),
            )
            for check in seen.checks
        ),
        (
            "Shape at rest",
            "Mirror and bench together with every electrode in mid-range, one standard deviation.",
            partial(mode_bars, seen.modes, seen.rest, seen.rest_sigma, None, ("found", "")),
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


def _map(bench: Bench, layout: Layout, figure: Any) -> None:
    from matplotlib.patches import Circle, Polygon

    figure.set_size_inches(8.0, 6.0)
    axes = figure.add_subplot()
    scale = _strengths(layout)
    for number, (outline, middle) in enumerate(_electrodes(bench)):
        gain = float(layout.projection[number])
        dead = layout.gain[number] < 0.5
        axes.add_patch(
            Polygon(
                _as_seen(outline, bench, layout),
                facecolor="0.9" if dead else scale.to_rgba(gain),
                edgecolor="white",
                hatch="///" if dead else None,
                linewidth=1.2,
            )
        )
        x, y = _as_seen(middle[None], bench, layout)[0]
        pale = dead or abs(gain - 1.0) < 0.65 * (scale.norm.vmax - 1.0)
        colour = "black" if pale else "white"
        axes.text(x, y, str(number), ha="center", va="center", fontsize=8, color=colour)
    axes.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor="black", linewidth=1.5))
    figure.colorbar(scale, ax=axes, label="strength over the plate model's")
    reach = 1.12 * max(bench.mirror.ring_radii_mm) / (0.5 * bench.mirror_pupil_mm * layout.scale)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="x, pupil radii")
    axes.set_ylabel("y, pupil radii")
    axes.set_aspect("equal")


def _strengths(layout: Layout) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    off = np.abs(layout.projection - 1.0)[layout.gain >= 0.5]
    half = max(0.05, float(off.max()) if off.size else 0.05)
    return ScalarMappable(Normalize(1.0 - half, 1.0 + half), "RdBu")


def _electrodes(bench: Bench) -> list[tuple[Floats, Floats]]:
    """Return outline (n, 2) and middle of each electrode on the mirror, mm."""
    mirror, inner = bench.mirror, 0.0
    found: list[tuple[Floats, Floats]] = []
    turn = 1.0 if mirror.counter_clockwise else -1.0
    for count, outer in zip(mirror.ring_segments, mirror.ring_radii_mm, strict=True):
        half = math.pi / count
        for segment in range(count):
            at = math.radians(mirror.segment0_angle_deg) + turn * 2.0 * half * segment
            arc = at + np.linspace(-half, half, 24)
            rims = [
                radius * np.stack([np.cos(t), np.sin(t)], axis=1)
                for radius, t in ((outer, arc), (inner, arc[::-1]))
            ]
            radius = (2.0 / 3.0) * outer if inner == 0.0 else (inner + outer) / 2.0
            found.append((np.concatenate(rims), radius * np.array([math.cos(at), math.sin(at)])))
        inner = outer
    return found


def _as_seen(places_mm: Floats, bench: Bench, layout: Layout) -> Floats:
    """Return places on the mirror (mm) as the picture sees them, pupil radii."""
    radius_mm = bench.mirror_pupil_mm * layout.scale / 2.0
    slant = math.cos(math.radians(bench.incidence_deg))
    x = (places_mm[:, 0] - layout.decentre_mm[0]) * slant / radius_mm
    y = (places_mm[:, 1] - layout.decentre_mm[1]) / radius_mm
    angle = math.radians(layout.rotation_deg)
    across = math.cos(angle) * x - math.sin(angle) * y
    up = math.sin(angle) * x + math.cos(angle) * y
    return np.stack([-across if layout.flipped else across, up], axis=1)


def _functions(matrix: InfluenceMatrix, figure: Any) -> None:
    rho, theta = zernike.polar_grid(48)
    basis = zernike.basis(matrix.modes, rho, theta)
    maps = np.tensordot(matrix.um_per_unit.T, basis, axes=1)
    maps[:, rho > 1.0] = np.nan
    top = np.nanmax(np.abs(maps))
    rows = int(np.ceil(matrix.actuators / PER_ROW))
    figure.set_size_inches(8.0, 0.4 + 1.0 * rows)
    grid = figure.subplots(rows, PER_ROW, squeeze=False)
    for place, axes in enumerate(grid.ravel()):
        axes.set_axis_off()
        if place < matrix.actuators:
            shown = axes.imshow(maps[place], vmin=-top, vmax=top, cmap="RdBu", origin="lower")
            axes.set_title(str(place), fontsize=8, pad=1)
    figure.colorbar(shown, ax=grid.ravel().tolist(), label="µm of wavefront per unit", shrink=0.8)


def _matrix(matrix: InfluenceMatrix, figure: Any) -> None:
    from matplotlib.colors import SymLogNorm

    axes = figure.add_subplot()
    top = float(np.abs(matrix.um_per_unit).max())
    norm = SymLogNorm(top / 100.0, vmin=-top, vmax=top)
    shown = axes.imshow(matrix.um_per_unit, norm=norm, cmap="RdBu", aspect="auto")
    figure.colorbar(shown, ax=axes, label="µm RMS per unit of response")
    noll = [j for j in (4, 15, 28, 45, 66) if j - 2 < len(matrix.modes)]
    axes.set_yticks([0, *(j - 2 for j in noll)], ["tilts", *(str(j) for j in noll)])
    axes.set(xlabel="electrode", ylabel="Noll number")


def _loop(loop: Loop, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.plot(loop.levels, loop.modelled, "-", color=ORANGE, label="play model")
    axes.plot(loop.levels, loop.response, "o", color=BLUE, label="measured, creep taken off")
    axes.set(xlabel="height of the pattern, normalised volts", ylabel="response, normalised")
    axes.grid(color="0.9")
    axes.legend()

"""How the mirror stands against the picture: turned, mirrored, decentred, scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camera_rig.bench import Bench, MirrorGeometry
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.optics import Mode
from camera_rig.optics.zernike import basis

__all__ = ["Layout", "find_layout", "harmonic_signs"]

RADII, ANGLES, RIM = 72, 144, 8
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the electrodes are, as the picture sees them.

    Args:
        rotation_deg: Turn of the mirror, counter-clockwise with y up, degrees.
        flipped: Whether it is seen mirrored left to right (before the turn).
        decentre_mm: Middle of the beam on the mirror, mm.
        scale: Beam over its nominal diameter.
        misfit: What of the measured matrix the layout leaves unexplained, relative.
        gain: Strength of each electrode over the model's, dimensionless.
        projection: The same with its sign.
    """

    rotation_deg: float
    flipped: bool
    decentre_mm: tuple[float, float]
    scale: float
    misfit: float
    gain: Vector
    projection: Vector


def find_layout(bench: Bench, measured_um: Vector, listed: Sequence[Mode]) -> Layout:
    """Fit turn, flip, decentre and scale of the plate model to a measured matrix.

    Args:
        bench: Nominal electrode layout and beam.
        measured_um: µm RMS per unit, (modes, electrodes), no piston and tilts.
        listed: Modes of the rows.
    """
    from scipy.optimize import least_squares

    seen = _Seen(bench, tuple(listed))
    starts = []
    for flipped in (False, True):
        for eighth in range(8):
            turn = 45.0 * eighth
            model = seen.matrix(turn, flipped, (0.0, 0.0), 1.0)
            starts.append((_residual(model, measured_um)[1], turn, flipped))
    starts.sort()
    best: tuple[float, Any, bool] | None = None
    for _, turn, flipped in starts[:2]:

        def gap(p: Vector, flipped: bool = flipped) -> Vector:
            model = seen.matrix(p[0], flipped, (p[1], p[2]), p[3])
            return _residual(model, measured_um)[0]

        found = least_squares(
            gap, [turn, 0.0, 0.0, 1.0], x_scale=[3.0, 0.2, 0.2, 0.02], diff_step=1e-3, max_nfev=12
        )
        if best is None or found.cost < best[0]:
            best = (float(found.cost), found.x, flipped)
    assert best is not None  # noqa: S101 - two starts are always tried
    _, p, flipped = best
    model = seen.matrix(p[0], flipped, (p[1], p[2]), p[3])
    projection = np.sum(model * measured_um, axis=0) / np.sum(model**2, axis=0)
    return Layout(
        rotation_deg=math.remainder(float(p[0]), 360.0),
        flipped=flipped,
        decentre_mm=(float(p[1]), float(p[2])),
        scale=float(p[3]),
        misfit=_residual(model, measured_um)[1],
        gain=np.abs(projection),
        projection=projection,
    )


def harmonic_signs(geometry: MirrorGeometry, order: int = 4) -> Vector:
    """Return ±1 per electrode, alternating ``order`` times around each ring.

    A pattern of high order moves every electrode through its range while the wavefront
    stays small. Needs the numbering along each ring, not where it begins.
    """
    signs = []
    for ring, count in enumerate(geometry.ring_segments):
        turn = 2.0 * np.pi * order * (np.arange(count) + 0.5) / count
        # Neighbouring rings against each other: their curvatures cancel in part.
        signs.append(np.sign(np.sin(turn)) * (-1.0) ** ring)
    return np.concatenate(signs)


class _Seen:
    """The plate model through a beam that stands anywhere."""

    def __init__(self, bench: Bench, listed: tuple[Mode, ...]) -> None:
        self.bench = bench
        self._tabulate(InfluenceModel(bench.mirror, bench.mirror_pupil_mm))
        nodes, gauss = np.polynomial.legendre.leggauss(16)
        rho = np.sqrt((nodes + 1.0) / 2.0)
        theta = 2.0 * np.pi * np.arange(40) / 40
        self.x = np.outer(rho, np.cos(theta)).ravel()
        self.y = np.outer(rho, np.sin(theta)).ravel()
        weight = np.repeat(gauss / 2.0, 40) / 40
        modes = basis(listed, np.hypot(self.x, self.y), np.arctan2(self.y, self.x))
        self.project = modes * weight

    def matrix(
        self, rotation_deg: float, flipped: bool, decentre_mm: tuple[float, float], scale: float
    ) -> Vector:
        """Return µm RMS per unit, (modes, electrodes)."""
        angle = math.radians(rotation_deg)
        cosine, sine = math.cos(angle), math.sin(angle)
        across = -self.x if flipped else self.x
        turned_x = cosine * across + sine * self.y
        turned_y = cosine * self.y - sine * across
        radius_mm = self.bench.mirror_pupil_mm * scale / 2.0
        slant = math.cos(math.radians(self.bench.incidence_deg))
        x_mm = radius_mm / slant * turned_x + decentre_mm[0]
        y_mm = radius_mm * turned_y + decentre_mm[1]
        heights = self._heights(x_mm, y_mm)
        return np.asarray(self.project @ heights.T * slant)

    def _tabulate(self, model: InfluenceModel) -> None:
        """Keep the plate's shapes on a polar grid: looking them up is quick, solving is not."""
        from scipy.ndimage import spline_filter

        self._radius_mm = self.bench.mirror.disc_diameter_mm / 2.0
        radius = np.linspace(0.0, self._radius_mm, RADII)
        theta = 2.0 * np.pi * (np.arange(ANGLES + 2 * RIM) - RIM) / ANGLES
        maps = model.at(
            radius[:, None] * np.cos(theta)[None, :], radius[:, None] * np.sin(theta)[None, :]
        )
        self._tables = [spline_filter(table, order=3) for table in maps]

    def _heights(self, x_mm: Vector, y_mm: Vector) -> Vector:
        from scipy.ndimage import map_coordinates

        r = np.minimum(np.hypot(x_mm, y_mm) / self._radius_mm, 1.0) * (RADII - 1)
        t = np.mod(np.arctan2(y_mm, x_mm), 2.0 * np.pi) / (2.0 * np.pi) * ANGLES + RIM
        places = np.stack([r, t])
        return np.stack([map_coordinates(t_, places, prefilter=False) for t_ in self._tables])


def _residual(model: Vector, measured: Vector) -> tuple[Vector, float]:
    """Return (what one gain per electrode leaves, its share of the measured)."""
    gain = np.sum(model * measured, axis=0) / np.sum(model**2, axis=0)
    # Strengths differ by some per cent and may be nil, but none pulls the wrong way.
    gap = measured - model * np.maximum(gain, 0.0)
    return gap.ravel(), float(np.linalg.norm(gap) / np.linalg.norm(measured))

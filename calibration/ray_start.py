"""Cheap first guesses: fit ray slopes to coarse histograms of the pictures.

Without diffraction a PSF is the histogram of the wavefront's slopes, and slopes are
linear in the coefficients. A few thousand rays in soft bins make a fit of a few
milliseconds a step, so many starts can be ranked before one transform is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import _kernels
from calibration.least_squares import Problem
from calibration.spot import clear_light
from camera_rig.optics import chebyshev

__all__ = ["RayFit"]

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

RAYS = 44
ROUNDS = 14


class RayFit:
    """Least squares on soft slope histograms of all planes of a problem.

    Args:
        problem: The retrieval it makes starts for.
        bins: Histogram bins across the window.
    """

    def __init__(self, problem: Problem, bins: int = 16) -> None:
        self.problem, self.bins = problem, bins
        self.width = problem.stack.size / bins
        u = problem.unknowns
        line = (2.0 * np.arange(RAYS) + 1.0 - RAYS) / RAYS
        x, y = (g.ravel() for g in np.meshgrid(line, line))
        inside = np.hypot(x, y) < 1.0
        x, y = x[inside], y[inside]
        parts = chebyshev.tensor(u.modes)
        degree = parts.shape[-1] - 1
        tx, ty = chebyshev.matrix(x, degree), chebyshev.matrix(y, degree)
        sx, sy = chebyshev.slope_matrix(x, degree), chebyshev.slope_matrix(y, degree)
        # One wave of slope per radius moves a ray by half the tilt's two; in bins.
        per_wave = problem.model.tilt_px_per_wave / 2.0 / self.width
        self.to_x = per_wave * np.einsum("pa,jab,pb->pj", ty, parts, sx, optimize=True)
        self.to_y = per_wave * np.einsum("pa,jab,pb->pj", sy, parts, tx, optimize=True)
        self.rays = len(x)
        free = [0, 1, *range(u.shape_places.start, u.shape_places.stop)]
        self.free_x = np.ascontiguousarray(self.to_x[:, free])
        self.free_y = np.ascontiguousarray(self.to_y[:, free])
        self.data = [self._histogram(image) for image in problem.images]
        self.weights = [1.0 / (data + 0.02 * data.max()) for data in self.data]

    def fit(self, shape: Vector) -> tuple[float, Vector]:
        """Return (misfit, shape in waves RMS) from a first guess of the shape."""
        u = self.problem.unknowns
        theta = self.problem.start(shape)
        damping = 1e-2
        cost, parts = self._cost(theta), None
        for _ in range(ROUNDS):
            parts = self._normal(theta) if parts is None else parts
            matrix, right, places = parts
            diagonal = np.diag(matrix).copy() + 1e-12
            step = np.linalg.solve(matrix + damping * np.diag(diagonal), right)
            trial = theta.copy()
            trial[places] += step
            new = self._cost(trial)
            if new < cost:
                fallen, theta, cost, parts = cost - new, trial, new, None
                damping = max(damping / 5.0, 1e-6)
                if fallen < 1e-3 * cost:
                    break
            else:
                damping *= 6.0
                if damping > 1e4:
                    break
        return cost, theta[u.shape].copy()

    def _histogram(self, image: Floats) -> Vector:
        """Return the light of a picture in soft bins, its sum 1."""
        size = self.problem.stack.size
        place = self._in_bins((np.arange(size) - size // 2) / self.width)
        spread = np.zeros((size, self.bins))
        for shift in (-1, 0, 1):
            middle = np.floor(place + 0.5)
            bin_, f = (middle + shift).astype(int), place - middle
            share = 0.75 - f * f if shift == 0 else 0.5 * (0.5 + shift * f) ** 2
            inside = (bin_ >= 0) & (bin_ < self.bins)
            spread[np.flatnonzero(inside), bin_[inside]] += share[inside]
        soft = spread.T @ clear_light(image) @ spread
        return np.asarray(np.maximum(soft, 0.0) / max(float(soft.sum()), 1e-12))

    def _in_bins(self, place: Vector) -> Vector:
        """Return places (bins from the axis) as bins from the middle of the first."""
        return np.asarray(place + 0.5 / self.width + self.bins / 2.0 - 0.5)

    def _rays(self, waves: Vector) -> tuple[Vector, Vector]:
        return self._in_bins(self.to_x @ waves), self._in_bins(self.to_y @ waves)

    def _gap(self, p: int, x: Vector, y: Vector) -> Vector:
        """Return what a plane has beyond the rays, over its noise."""
        made = np.zeros((self.bins, self.bins))
        _kernels.histogram(x, y, made)
        return np.asarray((self.data[p] - made / self.rays) * np.sqrt(self.weights[p]))

    def _cost(self, theta: Vector) -> float:
        u = self.problem.unknowns
        gaps = [self._gap(p, *self._rays(u.waves(theta, p))) for p in range(u.planes)]
        return float(sum(np.vdot(gap, gap) for gap in gaps))

    def _normal(self, theta: Vector) -> tuple[Vector, Vector, list[int]]:
        u = self.problem.unknowns
        shape = [*range(u.shape.start, u.shape.stop)]
        tilts = [i for part in u.tilt for i in range(part.start, part.stop)]
        places = [*shape, *tilts]
        matrix, right = np.zeros((len(places),) * 2), np.zeros(len(places))
        for p in range(u.planes):
            x, y = self._rays(u.waves(theta, p))
            slopes = np.zeros((self.bins, self.bins, self.free_x.shape[1]))
            _kernels.histogram_slopes(x, y, self.free_x, self.free_y, slopes)
            slopes *= (np.sqrt(self.weights[p]) / self.rays)[..., None]
            stack = slopes.reshape(-1, slopes.shape[-1])
            at = [len(shape) + 2 * p, len(shape) + 2 * p + 1, *range(len(shape))]
            matrix[np.ix_(at, at)] += stack.T @ stack
            right[at] += self._gap(p, x, y).ravel() @ stack
        return matrix, right, places

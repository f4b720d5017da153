"""Cheap first guesses: fit ray slopes to coarse histograms of the pictures.

Without diffraction a PSF is the histogram of the wavefront's slopes, and slopes are
linear in the coefficients. A few thousand rays in soft bins make a fit of a few
milliseconds a step, so many starts can be ranked before one transform is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
        # One wave of slope per radius moves a ray by half the tilt's two.
        px = problem.model.tilt_px_per_wave / 2.0
        self.to_x = px * np.einsum("pa,jab,pb->pj", ty, parts, sx, optimize=True)
        self.to_y = px * np.einsum("pa,jab,pb->pj", sy, parts, tx, optimize=True)
        self.rays = len(x)
        self.free = [0, 1, *range(u.shape_places.start, u.shape_places.stop)]
        self.data = [self._histogram(image) for image in problem.images]

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

    def _histogram(self, image: Floats) -> Floats:
        axis = np.arange(self.problem.stack.size) - self.problem.stack.size // 2
        kernel, _ = self._kernel(axis.astype(float))
        soft = kernel.T @ clear_light(image) @ kernel
        return np.asarray(np.maximum(soft, 0.0) / max(float(soft.sum()), 1e-12))

    def _kernel(self, at_px: Floats) -> tuple[Floats, Floats]:
        """Quadratic spline share of each point in each bin, and its slope per px."""
        centres = (np.arange(self.bins) + 0.5 - self.bins / 2.0) * self.width - 0.5
        t = (at_px[:, None] - centres[None, :]) / self.width
        a = np.abs(t)
        value = np.where(a < 0.5, 0.75 - t * t, np.where(a < 1.5, 0.5 * (1.5 - a) ** 2, 0.0))
        slope = np.where(a < 0.5, -2.0 * t, np.where(a < 1.5, -(1.5 - a) * np.sign(t), 0.0))
        return value.astype(np.float32), (slope / self.width).astype(np.float32)

    def _cost(self, theta: Vector) -> float:
        u, total = self.problem.unknowns, 0.0
        for p in range(u.planes):
            waves = u.waves(theta, p)
            kx, _ = self._kernel(self.to_x @ waves)
            ky, _ = self._kernel(self.to_y @ waves)
            gap = self.data[p] - ky.T @ kx / self.rays
            total += float(np.sum(gap * gap * self._weight(p)))
        return total

    def _weight(self, p: int) -> Floats:
        return np.asarray(1.0 / (self.data[p] + 0.02 * self.data[p].max()))

    def _normal(self, theta: Vector) -> tuple[Vector, Vector, list[int]]:
        u = self.problem.unknowns
        shape = [*range(u.shape.start, u.shape.stop)]
        tilts = [i for part in u.tilt for i in range(part.start, part.stop)]
        places = [*shape, *tilts]
        matrix, right = np.zeros((len(places),) * 2), np.zeros(len(places))
        for p in range(u.planes):
            waves = u.waves(theta, p)
            kx, dx = self._kernel(self.to_x @ waves)
            ky, dy = self._kernel(self.to_y @ waves)
            root = np.sqrt(self._weight(p))
            columns = []
            for mode in self.free:
                sx = self.to_x[:, mode, None].astype(np.float32)
                sy = self.to_y[:, mode, None].astype(np.float32)
                moved = ky.T @ (dx * sx) + (dy * sy).T @ kx
                columns.append((moved / self.rays * root).ravel())
            gap = ((self.data[p] - ky.T @ kx / self.rays) * root).ravel()
            at = [len(shape) + 2 * p, len(shape) + 2 * p + 1, *range(len(shape))]
            stack = np.array(columns)
            matrix[np.ix_(at, at)] += stack @ stack.T
            right[at] += stack @ gap
        return matrix, right, places

"""Levenberg-Marquardt on binned PSF stacks: the normal equations, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.forward import PlaneModel, PlaneState
from calibration.spot import Spot, bin_pixels
from calibration.stack import PsfStack
from calibration.unknowns import RetrievalOptions, Unknowns

__all__ = ["Problem", "Stage", "fit_stage"]

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

KEPT_PROMISE = 0.7
"""Share of the promised fall of chi-squared for which old derivatives are good enough."""
STALE = 100.0
"""Fall of chi-squared since derivatives were made beyond which they end no fit."""
PATIENCE = 4.0
"""Further steps with old derivatives beyond which new ones are cheaper."""
FREE = 1e-9
"""Damping of a step that is as good as free."""


@dataclass(frozen=True)
class Stage:
    """Where one stage of a fit ended.

    Args:
        theta: Parameters.
        cost: Chi-squared with priors.
        chi2: Chi-squared over the degrees of freedom, pictures only.
        moved: How far the expected pictures moved in this stage: fall of chi-squared over
            the degrees of freedom.
        normal: Matrix of the normal equations at the last derivative, priors included.
    """

    theta: Vector
    cost: float
    chi2: float
    moved: float
    normal: Vector


@dataclass(frozen=True, eq=False)
class Linear:
    """Derivatives at one place.

    Args:
        matrix: Of the normal equations, priors included.
        places: Per plane, the parameters of its rows.
        columns: Per plane, derivatives over the noise, one row a parameter.
    """

    matrix: Vector
    places: list[list[int]]
    columns: list[Floats]


class Problem:
    """Expected pictures, residuals and normal equations of one stack.

    Args:
        stack: The pictures.
        options: What is fitted.
        reach_waves: Steepest slope to make room for, waves per pupil radius; that of a
            shape known to be near needs not be told.
    """

    def __init__(
        self, stack: PsfStack, options: RetrievalOptions, reach_waves: float = 0.0
    ) -> None:
        self.stack, self.options = stack, options
        self.unknowns = u = Unknowns(stack, options)
        if options.start is not None:
            near = u.blank()
            near[u.shape] = u.near
            reach_waves = max(reach_waves, self.steepest_waves(near))
        # A wave of slope per radius moves a ray by two wavelengths times the f-number.
        reach_px = 2.0 * reach_waves * stack.pupil.pixels_per_airy(stack.wavelength_nm)
        self.model = PlaneModel(stack.pupil, stack.size, u.modes, options.source, reach_px)
        self.prior_mean, self.prior_weight = self.unknowns.prior()
        self.images = np.asarray(stack.images_e, dtype=np.float32)
        self.spots = [Spot.of(image) for image in self.images]
        self.valid = None
        if stack.valid is not None:
            self.valid = np.broadcast_to(stack.valid, stack.images_e.shape)
        self.bins = [b for b in options.bins if stack.size % b == 0 and b <= stack.size // 8]

    def steepest_waves(self, theta: Vector) -> float:
        """Return half the span of the slopes of the widest plane, waves per pupil radius."""
        from camera_rig.optics import chebyshev

        u = self.unknowns
        along = chebyshev.slope_points(u.modes)
        slopes = [part @ u.waves(theta, p) for p in range(u.planes) for part in along]
        return float(max(np.ptp(slope) for slope in slopes)) / 2.0

    def states(self, theta: Vector) -> list[PlaneState]:
        """Evaluate every plane."""
        u, scale = self.unknowns, self.unknowns.scale_of(theta)
        diameter = u.diameter_of(theta) if u.source is not None else None
        return [
            self.model.evaluate(u.waves(theta, p), scale, diameter)
            for p in range(self.stack.planes)
        ]

    def expected(self, theta: Vector, states: list[PlaneState], size: int = 1) -> list[Floats]:
        """Return the expected pictures, electrons per bin of ``size`` px."""
        u = self.unknowns
        return [
            np.float32(theta[u.flux[p]]) * self._bin(state.image, p, size)
            + np.float32(theta[u.background[p]]) * self._bin_flat(p, size)
            for p, state in enumerate(states)
        ]

    def measured(self, size: int) -> list[Floats]:
        """Return the pictures, electrons per bin of ``size`` px."""
        return [
            bin_pixels(
                self.images[p] if self.valid is None else self.images[p] * self.valid[p], size
            )
            for p in range(self.stack.planes)
        ]

    def weights(self, expected: Floats, size: int) -> list[Floats]:
        """Return one over the variance of each bin, for expected full pictures (electrons)."""
        variance = np.asarray(self.stack.variance_e2(expected), dtype=np.float32)
        result = []
        for p in range(self.stack.planes):
            if self.valid is None:
                result.append(1.0 / bin_pixels(variance[p], size))
                continue
            summed = bin_pixels(variance[p] * self.valid[p], size)
            seen = summed > 0
            result.append(np.where(seen, 1.0 / np.where(seen, summed, 1.0), 0.0))
        return result

    def start(self, shape: Vector) -> Vector:
        """Return parameters for a first guess of the shape (waves): tilt, flux, background."""
        u, theta = self.unknowns, self.unknowns.blank()
        theta[u.shape] = shape
        states = self.states(theta)
        for p, state in enumerate(states):
            found = self.spots[p]
            model = bin_pixels(state.image, self.model.oversample)
            there = Spot.of(model)
            theta[u.background[p]] = found.background
            theta[u.flux[p]] = max(found.light, 1.0)
            shift = np.array([found.x_px - there.x_px, found.y_px - there.y_px])
            theta[u.tilt[p]] = shift / self.model.tilt_px_per_wave
        return theta

    def linearise(
        self, theta: Vector, states: list[PlaneState], weights: list[Floats], size: int
    ) -> Linear:
        """Return derivatives and normal matrix at ``theta``, for bins of ``size`` px."""
        self._fine = [self.columns(theta, state, p, 1) for p, state in enumerate(states)]
        return self.relinearised(weights, size)

    def relinearised(self, weights: list[Floats], size: int) -> Linear:
        """Return the last derivatives for other bins or weights: where they were made."""
        matrix, places, columns = np.diag(self.prior_weight), [], []
        for (where, fine), weight in zip(self._fine, weights, strict=True):
            across = self.stack.size
            rows = bin_pixels(fine.reshape(-1, across, across), size).reshape(len(fine), -1)
            rows = rows * np.sqrt(weight).ravel()
            matrix[np.ix_(where, where)] += rows @ rows.T
            places.append(where)
            columns.append(rows)
        return Linear(matrix, places, columns)

    def right_side(
        self,
        linear: Linear,
        theta: Vector,
        states: list[PlaneState],
        weights: list[Floats],
        size: int,
    ) -> Vector:
        """Return the right-hand side of the normal equations, priors included."""
        right: Vector = self.prior_weight * (self.prior_mean - theta)
        expected, measured = self.expected(theta, states, size), self.measured_kept(size)
        for p, where in enumerate(linear.places):
            gap = ((measured[p] - expected[p]) * np.sqrt(weights[p])).ravel()
            right[where] += linear.columns[p] @ gap.astype(np.float32)
        return right

    def cost(
        self, theta: Vector, states: list[PlaneState], weights: list[Floats], size: int
    ) -> tuple[float, float]:
        """Return (chi-squared with priors, chi-squared of the pictures alone)."""
        expected, measured = self.expected(theta, states, size), self.measured_kept(size)
        total = 0.0
        for data, model, weight in zip(measured, expected, weights, strict=True):
            difference = data - model
            total += float(np.vdot(difference * weight, difference))
        gap = theta - self.prior_mean
        return total + float(np.sum(self.prior_weight * gap * gap)), total

    def measured_kept(self, size: int) -> list[Floats]:
        """Return :meth:`measured`, remembered for the present bin size."""
        if getattr(self, "_kept_size", None) != size:
            self._kept, self._kept_size = self.measured(size), size
        return self._kept

    def sane(self, theta: Vector) -> bool:
        """Return whether parameters are such that the window could hold the spot at all."""
        u, reach = self.unknowns, self.model.reach_waves
        tilts = max(float(np.abs(theta[part]).max()) for part in u.tilt)
        return bool(
            np.abs(theta[u.shape]).max() < reach
            and tilts < reach
            and theta[u.flux].min() > 0.0
            and 0.5 < u.scale_of(theta) <= min(2.0, self.model.largest_scale)
            and abs(u.gain_of(theta)) < 20.0
        )

    def degrees_of_freedom(self, weights: list[Floats]) -> int:
        """Return data minus parameters."""
        return sum(int(np.count_nonzero(w)) for w in weights) - self.unknowns.count

    def columns(
        self, theta: Vector, state: PlaneState, p: int, size: int
    ) -> tuple[list[int], Floats]:
        """Return (parameters, derivatives of plane p by them), one row each."""
        u, model = self.unknowns, self.model
        count = 2 + len(self.options.modes)
        sharp = model.along_modes(state, slice(0, count))
        places = [*range(u.tilt[p].start, u.tilt[p].stop), *range(u.shape.start, u.shape.stop)]
        blocks = [sharp]
        if u.scale is not None:
            blocks.append(model.along_scale(state, sharp[0], sharp[1])[None])
            places.append(u.scale)
        extra, rows = u.directions(theta, p)
        if extra:
            blocks.append(model.along(state, rows))
            places.extend(extra)
        offset = u.offset[p]
        if offset.stop > offset.start:
            blocks.append(model.along_modes(state, u.offset_places))
            places.extend(range(offset.start, offset.stop))
        diameter = u.diameter_of(theta)
        blurred = [model.blurred(b, diameter if u.source is not None else None) for b in blocks]
        if u.source is not None:
            blurred.append(model.along_diameter(state, diameter)[None])
            places.append(u.source)
        flux = np.float32(theta[u.flux[p]])
        rows_list = [flux * self._bin(b, p, size).reshape(len(b), -1) for b in blurred]
        rows_list.append(self._bin(state.image, p, size).reshape(1, -1))
        rows_list.append(self._bin_flat(p, size).reshape(1, -1))
        places.extend([u.flux[p], u.background[p]])
        return places, np.concatenate(rows_list)

    def _bin(self, fine: Floats, p: int, size: int) -> Floats:
        if self.valid is None:
            return bin_pixels(fine, size * self.model.oversample)
        return bin_pixels(bin_pixels(fine, self.model.oversample) * self.valid[p], size)

    def _bin_flat(self, p: int, size: int) -> Floats:
        if self.valid is None:
            return np.full((self.stack.size // size,) * 2, size * size, dtype=np.float32)
        return bin_pixels(self.valid[p].astype(np.float32), size)


def fit_stage(
    problem: Problem,
    theta: Vector,
    weights: list[Floats],
    size: int,
    rounds: int,
    *,
    kept_derivatives: bool = False,
) -> Stage:
    """Run Levenberg-Marquardt at one bin size until it no longer pays.

    Derivatives cost as much as dozens of pictures, so they are kept as long as chi-squared
    falls about as they promise; ``rounds`` is how often they may be made, and with
    ``kept_derivatives`` the first are those of the stage before. Coarse stages
    stop when chi-squared falls by less than a hundredth. At the finest the steps are
    quadratic: after a fall below 3 the next would be far below sigma.
    """
    damping, states, made = 1e-3, problem.states(theta), 0
    cost, data_cost = problem.cost(theta, states, weights, size)
    began = cost
    freedom = max(problem.degrees_of_freedom(weights), 1)
    linear = problem.relinearised(weights, size) if kept_derivatives else None
    fresh, made_at, before = False, np.inf, np.inf
    normal = np.zeros((0, 0)) if linear is None else linear.matrix
    while True:
        if linear is None:
            if made == rounds:
                break
            linear, fresh, made = problem.linearise(theta, states, weights, size), True, made + 1
            made_at, before = cost, np.inf
            normal = linear.matrix
        right = problem.right_side(linear, theta, states, weights, size)
        enough = 3.0 if size == 1 else max(0.01 * cost, 3.0)
        moved = False
        for _ in range(8 if fresh else 1):
            step = _solve(normal, right, damping)
            trial = theta + step
            if not problem.sane(trial):
                damping *= 8.0
                continue
            trial_states = problem.states(trial)
            new_cost, new_data = problem.cost(trial, trial_states, weights, size)
            moved = new_cost < cost
            if moved or float(right @ step) < 0.3:
                break
            damping *= 8.0
        if not moved:
            if fresh:
                break
            linear = None
            continue
        fallen, promised = cost - new_cost, float(2.0 * step @ right - step @ normal @ step)
        theta, states, cost, data_cost = trial, trial_states, new_cost, new_data
        damping = max(damping / 6.0, FREE)
        kept = fallen > KEPT_PROMISE * promised and _steps_left(fallen, before, enough) < PATIENCE
        before = fallen
        if size == 1 and fallen < enough and made_at - cost > STALE:
            # Steps with derivatives of elsewhere end beside the minimum.
            linear = None
        elif fallen < enough and (fresh or kept):
            # Damping holds back what only a prior knows: is there more without it?
            right = problem.right_side(linear, theta, states, weights, size)
            if damping <= FREE or float(right @ _solve(normal, right, FREE)) < enough:
                break
            damping = FREE
        fresh = False
        if not kept:
            linear = None
    return Stage(theta, cost, data_cost / freedom, (began - cost) / freedom, normal)


def _steps_left(fallen: float, before: float, enough: float) -> float:
    """Return how many more steps it takes if each falls short of the last as this one did."""
    if fallen <= enough:
        return 0.0
    if fallen >= before:
        return np.inf
    return float(np.log(fallen / enough) / np.log(before / fallen))


def _solve(normal: Vector, right: Vector, damping: float) -> Vector:
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    scaled = normal / scale[:, None] / scale[None, :]
    scaled[np.diag_indices_from(scaled)] += damping
    step: Vector = np.linalg.solve(scaled, right / scale) / scale
    return step

"""From PSF pictures with mirror-applied diversity to Zernike coefficients with error bars.

Coarse-to-fine Levenberg-Marquardt: binned by 16 px a PSF is nearly the histogram of
ray slopes, which are linear in the coefficients; the fringes that make false minima
come back only when the phase is right to a fraction of a wave. At the finest bins the
chi-squared tells whether the answer is right, so further starts are made only when
it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.least_squares import Problem, Stage, fit_stage
from calibration.ray_start import RayFit
from calibration.stack import PsfStack
from calibration.unknowns import RetrievalOptions, even_part
from camera_rig.optics import Coefficients, Mode, Unit

__all__ = ["Retrieval", "RetrievalOptions", "Verdict", "cramer_rao", "retrieve"]

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

ROUNDS = {16: 12, 8: 10, 4: 8, 2: 8, 1: 12}
MANY_MODES, LOW_ORDER = 21, 4
"""More modes than this are fitted after those up to a low radial order."""
STRONG_SLOPE = 4.0
"""RMS slope, waves per pupil radius, above which rays describe a PSF well."""
FINE_BIN = 2
"""Bin from which on a stage begins so near its end that the last derivatives serve."""
RIGHT_CHI2 = 3.0
"""Reduced chi-squared of a coarser stage below which the shape is as good as found."""
SETTLED = 0.02
"""Fall of chi-squared, over the degrees of freedom, with which the weights stay right."""
WARM_BIN = 4
"""First bin of a fit that begins near its end."""
ROOM = 1.02
"""Slope over what the transform holds above which the fit is made again with more room."""
RAY_STARTS = 60
"""Ray fits before the best of them are tried: all cost less than one wrong descent."""
GOOD_RAY_MISFIT = 0.04
"""Misfit of slope histograms below which the ray fit was never a wrong one."""


class Verdict(StrEnum):
    """What a retrieval thinks of itself."""

    CONVERGED = "converged"
    AMBIGUOUS = "ambiguous"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Retrieval:
    """A shape found in a PSF stack, and how far to trust it.

    Args:
        verdict: ``converged``; ``ambiguous`` when the same pictures fit a twin with the
            even radial orders reversed; ``failed`` when the pictures do not fit.
        shape: Coefficients, waves RMS at the stack's wavelength.
        twin: The other answer of an ambiguous stack, else None.
        modes: Modes in the order of ``covariance``.
        covariance: Of the shape, waves squared; nuisances are marginalised.
        chi2: Reduced chi-squared of the pictures where there is light.
        gain: Fitted gain of the offsets (1 where not fitted), dimensionless.
        scale: Fitted pupil diameter over nominal (1 where not fitted).
        decentre: Fitted shift of the mirror, pupil radii (0 where not fitted).
        source_px: Diameter of the source, px.
        tilts_waves: ``(planes, 2)`` tilt of each plane, waves RMS.
        flux_e: Light of each plane, electrons.
        background_e: Background of each plane, electrons per px.
        offsets: Fitted offset error of each plane, waves RMS in ``offset_modes``.
        expected_e: Fitted pictures, electrons.
        starts: How many starts were made.
        sigma: One standard deviation of every parameter by name.
        notes: Sentences for a person.
    """

    verdict: Verdict
    shape: Coefficients
    twin: Coefficients | None
    modes: tuple[Mode, ...]
    covariance: Vector
    chi2: float
    gain: float
    scale: float
    decentre: tuple[float, float]
    source_px: float
    tilts_waves: Vector
    flux_e: Vector
    background_e: Vector
    offsets: Vector
    expected_e: Floats
    starts: int
    sigma: dict[str, float]
    notes: tuple[str, ...]

    @property
    def values(self) -> Vector:
        """Coefficients in the order of ``modes``, waves RMS."""
        return self.shape.array(self.modes)

    @property
    def sigmas(self) -> Vector:
        """One standard deviation of each coefficient, waves RMS."""
        return np.sqrt(np.diag(self.covariance))


def retrieve(stack: PsfStack, options: RetrievalOptions | None = None) -> Retrieval:
    """Find the shape behind a PSF stack.

    Args:
        stack: Pictures, known offsets, optics and noise.
        options: What to fit beside the shape; default: Noll 4-15 alone.
    """
    chosen = options or RetrievalOptions()
    if chosen.start is None and len(chosen.modes) > MANY_MODES:
        return _in_two_steps(stack, chosen)
    problem = Problem(stack, chosen)
    best: tuple[float, Stage] | None = None
    tried = repeats = 0
    for shape, first_bin in _starts(problem):
        tried += 1
        stage, chi2 = _descend(problem, shape, first_bin)
        if best is not None and _same(problem, stage, best[1]):
            repeats += 1
        if best is None or chi2 < best[0]:
            best = (chi2, stage)
        # A valley found three times is the best there is: it is the model that does not fit.
        if chi2 <= chosen.accept_chi2 or repeats == 2 or tried >= chosen.starts:
            break
    assert best is not None  # noqa: S101 - at least one start is always made
    steepest = problem.steepest_waves(best[1].theta)
    if steepest > ROOM * problem.model.reach_waves:
        # Its light came back on the other side of the transform: again, with more room.
        wide = Problem(stack, chosen, steepest)
        stage, chi2 = _descend(wide, best[1].theta[wide.unknowns.shape], WARM_BIN)
        if chi2 < best[0]:
            problem, best = wide, (chi2, stage)
    return _report(problem, best[1], best[0], tried)


def _in_two_steps(stack: PsfStack, options: RetrievalOptions) -> Retrieval:
    """Low orders first: coarse pictures do not tell sixty modes apart, and the fit runs away."""
    low = tuple(mode for mode in options.modes if mode[0] <= LOW_ORDER)
    first = retrieve(stack, replace(options, modes=low))
    known = replace(
        options, start=first.shape, shape_sigma_waves=min(options.shape_sigma_waves, 0.3)
    )
    found = retrieve(stack, known)
    if first.verdict is Verdict.AMBIGUOUS and found.verdict is Verdict.CONVERGED:
        return replace(found, verdict=first.verdict, twin=first.twin, notes=first.notes)
    return found


def cramer_rao(stack: PsfStack, options: RetrievalOptions, truth: Retrieval | Vector) -> Vector:
    """Return the least covariance any unbiased estimate can have, waves squared.

    Args:
        stack: Noise and optics; its pictures are not looked at.
        options: The unknowns that an estimate would have to fit too.
        truth: A retrieval, or the full parameter vector of :class:`~calibration.unknowns.Unknowns`.
    """
    problem = Problem(stack, options)
    theta = _theta_of(problem, truth) if isinstance(truth, Retrieval) else truth
    covariance = _covariance(problem, theta)
    return covariance[problem.unknowns.shape, problem.unknowns.shape]


def _same(problem: Problem, one: Stage, other: Stage) -> bool:
    gap = one.theta[problem.unknowns.shape] - other.theta[problem.unknowns.shape]
    return bool(np.linalg.norm(gap) < 0.02)


def _descend(problem: Problem, shape: Vector, first_bin: int) -> tuple[Stage, float]:
    """Run all bins from one start; return the end and its verdict chi-squared."""
    theta = problem.start(shape)
    stage: Stage | None = None
    smooth = _smooth(problem.images)
    right = False
    for size in (b for b in problem.bins if b <= first_bin):
        # Weights from the data favour what noise made dark; the model's do not.
        right = size == 1 and stage is not None and stage.chi2 <= RIGHT_CHI2
        weights = problem.weights(_full(problem, theta) if right else smooth, size)
        kept = stage is not None and size <= FINE_BIN
        rounds = ROUNDS.get(size, 8)
        stage = fit_stage(problem, theta, weights, size, rounds, kept_derivatives=kept)
        theta = stage.theta
        if size in (4, 2) and stage.chi2 > 30.0:
            # Nothing finer mends a start that is this wrong at this size.
            return stage, max(stage.chi2, 30.0)
    assert stage is not None  # noqa: S101 - there is always the one-pixel stage
    chi2 = _lit_chi2(problem, theta)
    settled = right and stage.moved < SETTLED
    if not settled and chi2 <= 2.0 * problem.options.accept_chi2:
        # What was weighted by pictures of elsewhere ends beside the minimum.
        weights = problem.weights(_full(problem, theta), 1)
        stage = fit_stage(problem, theta, weights, 1, 4, kept_derivatives=True)
        chi2 = _lit_chi2(problem, stage.theta)
    return stage, chi2


def _starts(problem: Problem) -> Iterator[tuple[Vector, int]]:
    """Yield (first guess, first bin), likeliest first.

    Weak shapes: flat, through all bins. Strong ones: ray fits from flat and from random
    shapes that spread light as the pictures do; rays that fit skip the coarsest bins.
    """
    if problem.options.start is not None:
        yield problem.unknowns.near, WARM_BIN
    flat = np.zeros(len(problem.options.modes))
    slope = _rms_slope(problem)
    strong = slope >= STRONG_SLOPE
    if not strong:
        yield flat, problem.bins[0]
    rays = RayFit(problem)
    rng = np.random.default_rng(problem.options.seed)
    guess, given = flat, list[Vector]()
    for _ in range(problem.options.starts):
        found: list[tuple[float, Vector]] = []
        for _ in range(RAY_STARTS):
            misfit, shape = rays.fit(guess)
            guess = _random_shape(problem, rng, slope)
            if any(np.linalg.norm(shape - other) < 0.1 for other in given):
                continue  # nothing new: its descent was in vain
            found = [(m, s) for m, s in found if np.linalg.norm(s - shape) > 0.1]
            found.append((misfit, shape))
            if misfit < GOOD_RAY_MISFIT:
                break
        if not found:
            return
        for misfit, shape in sorted(found, key=lambda pair: pair[0])[:3]:
            given.append(shape)
            yield shape, 4 if misfit < GOOD_RAY_MISFIT else problem.bins[0]


def _random_shape(problem: Problem, rng: np.random.Generator, slope: float) -> Vector:
    orders = np.array([n for n, _ in problem.options.modes], dtype=float)
    draw = rng.standard_normal(len(orders)) / orders
    # A mode of order n and 1 wave RMS has a slope of about 2 n waves per radius.
    size = np.sqrt(np.sum((2.0 * orders * draw) ** 2))
    u = problem.unknowns
    guess: Vector = draw * slope / size - u.diversity[:, u.shape_places].mean(axis=0)
    return guess


def _rms_slope(problem: Problem) -> float:
    """Estimate the RMS wavefront slope, waves per radius, from the width of the pictures."""
    px = math.sqrt(2.0 * float(np.mean([spot.rms_px**2 for spot in problem.spots])))
    return float(px / problem.model.tilt_px_per_wave * 2.0)


def _smooth(images: Floats) -> Floats:
    """Return 3 x 3 means: a first guess of the expected pictures."""
    from scipy.ndimage import uniform_filter

    return np.stack([uniform_filter(image, 3, mode="nearest") for image in images])


def _full(problem: Problem, theta: Vector) -> Floats:
    return np.stack(problem.expected(theta, problem.states(theta)))


def _lit_chi2(problem: Problem, theta: Vector) -> float:
    """Reduced chi-squared of the pixels where light, found or expected, stands out."""
    expected = _full(problem, theta)
    variance = problem.stack.variance_e2(expected)
    seen = np.maximum(_smooth(problem.images), expected)
    backgrounds = theta[problem.unknowns.background][:, None, None]
    lit = seen - backgrounds > np.sqrt(problem.stack.variance_e2(backgrounds + 0.0 * expected))
    if problem.valid is not None:
        lit &= problem.valid
    count = int(np.count_nonzero(lit))
    if count <= problem.unknowns.count:
        return float("inf")
    squares = (problem.images - expected) ** 2 / variance
    return float(squares[lit].sum() / (count - problem.unknowns.count))


def _covariance(problem: Problem, theta: Vector) -> Vector:
    states = problem.states(theta)
    weights = problem.weights(np.stack(problem.expected(theta, states)), 1)
    return _inverse(problem.linearise(theta, states, weights, 1).matrix)


def _inverse(normal: Vector) -> Vector:
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    inverse: Vector = np.linalg.pinv(normal / np.outer(scale, scale), hermitian=True)
    return np.asarray(inverse / np.outer(scale, scale))


def _report(problem: Problem, stage: Stage, chi2: float, tried: int) -> Retrieval:
    u, theta, options = problem.unknowns, stage.theta, problem.options
    full = _inverse(stage.normal)
    shape = theta[u.shape]
    twin_values = _twin(problem, theta, full)
    verdict, notes = Verdict.CONVERGED, []
    if chi2 > options.accept_chi2:
        verdict = Verdict.FAILED
        notes.append(f"the pictures do not fit the model (chi-squared {chi2:.2f})")
    elif twin_values is not None:
        verdict = Verdict.AMBIGUOUS
        notes.append("the same pictures fit a twin with even radial orders reversed; add a plane")
    reach = problem.steepest_waves(theta) / problem.model.window_waves
    if reach > 1.0:
        notes.append(f"rays leave the window ({reach:.0%} of it): take a larger one")
    names = ["gain"] * (u.gain is not None) + ["scale"] * (u.scale is not None)
    places = [i for i in (u.gain, u.scale) if i is not None]
    sigma = {k: float(np.sqrt(full[i, i])) for k, i in zip(names, places, strict=True)}
    if u.source is not None:
        sigma["source_px"] = float(np.sqrt(full[u.source, u.source]))
    decentre = (0.0, 0.0)
    if u.decentre is not None:
        decentre = (float(theta[u.decentre][0]), float(theta[u.decentre][1]))
        sigma["decentre"] = float(np.sqrt(np.diag(full)[u.decentre].mean()))
    offsets = np.zeros((u.planes, len(options.offset_modes)))
    for p, part in enumerate(u.offset):
        if part.stop > part.start:
            offsets[p] = theta[part]
    return Retrieval(
        verdict=verdict,
        shape=_coefficients(problem, shape),
        twin=None if twin_values is None else _coefficients(problem, twin_values),
        modes=options.modes,
        covariance=full[u.shape, u.shape],
        chi2=chi2,
        gain=u.gain_of(theta),
        scale=u.scale_of(theta),
        decentre=decentre,
        source_px=u.diameter_of(theta),
        tilts_waves=np.array([theta[s] for s in u.tilt]),
        flux_e=theta[u.flux],
        background_e=theta[u.background],
        offsets=offsets,
        expected_e=_full(problem, theta),
        starts=tried,
        sigma=sigma,
        notes=tuple(notes),
    )


def _theta_of(problem: Problem, result: Retrieval) -> Vector:
    u, theta = problem.unknowns, problem.unknowns.blank()
    theta[u.shape] = result.values
    for place, value in (
        (u.gain, result.gain),
        (u.scale, result.scale),
        (u.source, result.source_px),
    ):
        if place is not None:
            theta[place] = value
    if u.decentre is not None:
        theta[u.decentre] = result.decentre
    for p in range(u.planes):
        theta[u.tilt[p]] = result.tilts_waves[p]
        theta[u.flux[p]], theta[u.background[p]] = result.flux_e[p], result.background_e[p]
        if u.offset[p].stop > u.offset[p].start:
            theta[u.offset[p]] = result.offsets[p]
    return theta


def _twin(problem: Problem, theta: Vector, covariance: Vector) -> Vector | None:
    """Return the other shape that gives the same pictures, if there is one.

    A plane's picture stays when its whole even part changes sign. One shape can do that
    for all planes only if their offsets have the same even part.
    """
    u = problem.unknowns
    if problem.options.start is not None:
        return None
    even = even_part(u.modes)
    offsets = u.gain_of(theta) * u.diversity[:, even]
    if np.ptp(offsets, axis=0).max() > 1e-3:
        return None
    whole = np.zeros(len(u.modes))
    whole[u.shape_places] = theta[u.shape]
    whole += u.gain_of(theta) * u.diversity[0]
    mirrored = np.where(even, -whole, whole) - u.gain_of(theta) * u.diversity[0]
    outside = mirrored.copy()
    outside[u.shape_places] = 0.0
    outside[:2] = 0.0
    # A known offset in a mode that is not fitted cannot be undone by the fitted ones.
    if np.abs(outside).max() > 1e-3:
        return None
    twin: Vector = mirrored[u.shape_places]
    sigma = np.sqrt(np.maximum(np.diag(covariance)[u.shape], 1e-18))
    if np.all(np.abs(twin - theta[u.shape]) < 3.0 * sigma):
        return None
    return twin


def _coefficients(problem: Problem, values: Vector) -> Coefficients:
    return Coefficients(
        dict(zip(problem.options.modes, (float(v) for v in values), strict=True)),
        Unit.WAVES_RMS,
        problem.stack.wavelength_nm,
        source="phase retrieval from PSF pictures",
    )

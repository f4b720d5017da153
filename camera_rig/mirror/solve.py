"""From a wanted wavefront to actuator responses within limits: what fits, and how.

Three questions, each a small convex problem with one answer:

* :func:`nearest`: the shape of least wavefront error (bounded least squares);
* :func:`reach`: the modes asked for to within a tolerance, everything else as small as
  it can be (linear programme), or nothing;
* :func:`least_change` and :func:`largest_scale`: what must give way when nothing fits.

Never a pseudo-inverse: it knows no limits, and where one electrode saturates its
answer is wrong by as much as it would have been clipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from camera_rig.errors import RigError, SafetyError

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class ShapeProblem:
    """One wanted wavefront and what the mirror can do.

    Args:
        asked: µm RMS per unit of response, rows are the modes asked for.
        beyond: The same for modes that should stay zero.
        wanted_um: Wavefront wanted in the modes asked for, less the rest shape, µm RMS.
        beyond_um: The same in the other modes (minus the rest shape), µm RMS.
        low: Lowest response per actuator that its voltage limits allow.
        high: Highest response.
        tolerance_um: Error allowed in each mode asked for, µm RMS.
        beyond_tolerance_um: Error allowed in each other mode, µm RMS.
        beyond_left_um: Part of it that does not shrink with the shape: what even the flattest
            shape leaves there, µm RMS.
        caution: Strength with which least squares keeps responses small, relative to
            the strongest shape of the mirror.
    """

    asked: Array
    beyond: Array
    wanted_um: Array
    beyond_um: Array
    low: Array
    high: Array
    tolerance_um: float
    beyond_tolerance_um: float
    beyond_left_um: float = 0.0
    caution: float = 1e-3

    @property
    def actuators(self) -> int:
        """Number of actuators."""
        return int(self.low.size)

    def residual_um(self, response: Array) -> Array:
        """Return reached minus wanted in the modes asked for, µm RMS."""
        result: Array = self.asked @ response - self.wanted_um
        return result

    def beyond_residual_um(self, response: Array) -> Array:
        """Return reached minus wanted in the other modes, µm RMS."""
        result: Array = self.beyond @ response - self.beyond_um
        return result

    def fits(self, response: Array) -> bool:
        """Whether every mode is within its tolerance."""
        asked = np.abs(self.residual_um(response)).max(initial=0.0)
        beyond = np.abs(self.beyond_residual_um(response)).max(initial=0.0)
        return bool(asked <= self.tolerance_um and beyond <= self.beyond_tolerance_um)


def nearest(problem: ShapeProblem) -> Array:
    """Return the responses within limits of least wavefront error over all modes."""
    from scipy.optimize import lsq_linear

    matrix = np.vstack([problem.asked, problem.beyond])
    damp = problem.caution * float(np.linalg.norm(matrix, 2)) * np.eye(problem.actuators)
    found = lsq_linear(
        np.vstack([matrix, damp]),
        np.r_[problem.wanted_um, problem.beyond_um, np.zeros(problem.actuators)],
        bounds=(problem.low, problem.high),
        method="bvls",
    )
    if not found.success:
        raise _unsolved(found.message)
    # The solver holds its bounds to rounding; the mirror refuses even that much more.
    inside: Array = np.minimum(np.maximum(found.x, problem.low), problem.high)
    return inside


def reach(problem: ShapeProblem) -> Array | None:
    """Return responses that reach every mode asked for within tolerance, or None.

    Least squares when it does; else the linear programme that gives up as little as
    possible in the modes not asked for.
    """
    quiet = nearest(problem)
    if problem.fits(quiet):
        return quiet
    found = _least_beyond(problem)
    if found is None:
        return None
    inside = np.minimum(np.maximum(found[0], problem.low), problem.high)
    return inside if problem.fits(inside) else None


def least_beyond_um(problem: ShapeProblem) -> float:
    """Return what must be left in some mode not asked for, µm RMS.

    A rest shape has finer waves than electrodes can make: of those, some always stay. 0 where
    not even the modes asked for can be reached.
    """
    found = _least_beyond(problem)
    return 0.0 if found is None else found[1]


def least_change(problem: ShapeProblem, rest_um: Array) -> Array:
    """Return by how much each wanted mode must shrink (µm RMS, signed) until all fit.

    Smallest in the sum of absolute values: such a change is sparse, so it names the
    modes that ask too much instead of blaming all a little.

    Args:
        problem: A problem that does not fit.
        rest_um: Part of ``problem.wanted_um`` that corrects the rest shape, µm RMS.

    Raises:
        SafetyError: Not even the rest shape can be corrected within the limits.
    """
    shape = problem.wanted_um - rest_um
    shrink = np.vstack([np.diag(np.sign(shape)), np.zeros((len(problem.beyond), len(shape)))])
    found = _linear_programme(
        np.r_[np.zeros(problem.actuators), np.ones(len(shape))],
        *_within(problem, shrink),
        [*_bounds(problem), *((0.0, size) for size in np.abs(shape).tolist())],
    )
    if found is None:
        raise SafetyError(
            "no shape within the limits comes near the wanted one",
            hint="check the influence matrix and the limits: `rig mirror limits`",
        )
    change: Array = -np.sign(shape) * found[problem.actuators :]
    return change


def largest_scale(problem: ShapeProblem, rest_um: Array) -> float:
    """Return the largest common factor, at most 1, at which the wanted modes fit.

    Args:
        problem: The problem at factor 1.
        rest_um: Part of ``problem.wanted_um`` that does not scale (the correction of
            the rest shape), µm RMS.
    """
    shape = np.r_[problem.wanted_um - rest_um, np.zeros(len(problem.beyond))]
    matrix, at_most = _within(problem, shape[:, None])
    # A smaller shape has smaller tolerances: they shrink with the last unknown too.
    matrix[:, -1] += np.tile(_each(problem, *_shrinking(problem)), 2)
    found = _linear_programme(
        np.r_[np.zeros(problem.actuators), 1.0],
        matrix,
        at_most,
        [*_bounds(problem), (0.0, 1.0)],
    )
    return 0.0 if found is None else float(1.0 - found[-1])


def strokes(problem: ShapeProblem, row: int, beyond_share: float) -> tuple[float, float]:
    """Return how far one mode goes alone, down and up (µm RMS, both positive).

    Args:
        problem: Gives matrices and limits; its wanted values are not used.
        row: Which of the modes asked for.
        beyond_share: Largest share of the mode's amplitude allowed in any other mode
            that is not asked for (dimensionless).
    """
    reached = []
    for sign in (-1.0, 1.0):
        unit = np.zeros(len(problem.asked))
        unit[row] = sign
        loose = np.full((len(problem.beyond), 1), beyond_share)
        matrix = np.vstack(
            [
                np.hstack([problem.beyond, -loose]),
                np.hstack([-problem.beyond, -loose]),
            ]
        )
        found = _linear_programme(
            np.r_[np.zeros(problem.actuators), -1.0],
            matrix,
            np.zeros(len(matrix)),
            [*_bounds(problem), (0.0, None)],
            (np.hstack([problem.asked, -unit[:, None]]), np.zeros(len(unit))),
        )
        reached.append(0.0 if found is None else float(found[-1]))
    return reached[0], reached[1]


def scaled(problem: ShapeProblem, factor: float, rest_um: Array) -> ShapeProblem:
    """Return the problem with wanted modes and tolerances times ``factor`` (dimensionless)."""
    asked_um, beyond_um = _shrinking(problem)
    return replace(
        problem,
        wanted_um=(problem.wanted_um - rest_um) * factor + rest_um,
        tolerance_um=asked_um * factor,
        beyond_tolerance_um=beyond_um * factor + problem.beyond_left_um,
    )


def _least_beyond(problem: ShapeProblem) -> tuple[Array, float] | None:
    """Responses that reach the modes asked for, with the largest other mode (µm) least."""
    others = len(problem.beyond)
    cost = np.r_[np.zeros(problem.actuators), 1.0]
    none, ones = np.zeros((len(problem.asked), 1)), np.ones((others, 1))
    # Aim a hair inside the tolerance, so that rounding cannot push a fit outside.
    aim_um = problem.tolerance_um * (1.0 - 1e-6)
    found = _linear_programme(
        cost,
        np.vstack(
            [
                np.hstack([problem.asked, none]),
                np.hstack([-problem.asked, none]),
                np.hstack([problem.beyond, -ones]),
                np.hstack([-problem.beyond, -ones]),
            ]
        ),
        np.r_[
            problem.wanted_um + aim_um,
            aim_um - problem.wanted_um,
            problem.beyond_um,
            -problem.beyond_um,
        ],
        [*_bounds(problem), (0.0, None)],
    )
    return None if found is None else (found[:-1], float(found[-1]))


def _within(problem: ShapeProblem, relief: Array) -> tuple[Array, Array]:
    """Rows of "each mode within its tolerance" once ``relief`` times unknowns is taken off.

    Unknowns are the responses, then one for each column of ``relief``.
    """
    matrix = np.hstack([np.vstack([problem.asked, problem.beyond]), relief])
    wanted = np.r_[problem.wanted_um, problem.beyond_um]
    allowed = _each(problem, problem.tolerance_um, problem.beyond_tolerance_um)
    return np.vstack([matrix, -matrix]), np.r_[wanted + allowed, allowed - wanted]


def _shrinking(problem: ShapeProblem) -> tuple[float, float]:
    """Tolerances that shrink with the shape, of modes asked for and of others, µm RMS."""
    return problem.tolerance_um, problem.beyond_tolerance_um - problem.beyond_left_um


def _each(problem: ShapeProblem, asked_um: float, beyond_um: float) -> Array:
    # Aim a hair inside, so that rounding cannot push a fit outside.
    return (1.0 - 1e-6) * np.repeat(
        [asked_um, beyond_um], [len(problem.asked), len(problem.beyond)]
    )


def _bounds(problem: ShapeProblem) -> list[tuple[float, float | None]]:
    return list(zip(problem.low.tolist(), problem.high.tolist(), strict=True))


def _linear_programme(
    cost: Array,
    matrix: Array,
    at_most: Array,
    bounds: list[tuple[float, float | None]],
    equal: tuple[Array, Array] | None = None,
) -> Array | None:
    """Solve, or return None when nothing is feasible."""
    from scipy.optimize import linprog

    left, right = equal if equal is not None else (None, None)
    found = linprog(
        cost, A_ub=matrix, b_ub=at_most, A_eq=left, b_eq=right, bounds=bounds, method="highs"
    )
    if found.status == 2:
        return None
    if found.status != 0:
        raise _unsolved(found.message)
    return np.asarray(found.x, dtype=np.float64)


def _unsolved(message: str) -> RigError:
    return RigError(
        f"the solver gave up: {message}",
        hint="check the influence matrix for wild values, then calibrate it again",
    )

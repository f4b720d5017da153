"""Shapes that no fit of an influence run has seen: what was foretold, what the pictures show.

Two of them. A small pattern, within the slack of the hysteresis, asks the matrix alone, and
to a per cent. A strong shape, more than half of the range on some electrodes, asks matrix and
loop together: a loop that is bent where the mirror is straight shows there and nowhere else.
What no picture tells is a factor that the loop gives back to the matrix: the response at a
full swing, which no sweep reaches, is a unit and not a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.artifact import HeldOut
from camera_rig.bench import Bench
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceModel
from camera_rig.optics import Mode, Order, modes

__all__ = [
    "SMALL_LIMIT",
    "STRONG_LIMIT",
    "Foretold",
    "foretold_change",
    "held_out",
    "small_pattern",
    "strong_pattern",
]

Vector = npt.NDArray[np.float64]

STRONG_HIGHEST = 0.55
"""Largest excursion of the strong shape, normalised volts."""
STRONG: dict[Mode, float] = {(4, 0): 0.7, (4, 2): 0.5, (3, -3): 0.5}
"""Modes of the strong shape, up to a factor: weak ones need no volts, these do."""
SMALL_LIMIT = 0.04
"""Largest error of the small pattern, over its change: half a per cent to one is usual."""
STRONG_LIMIT = 0.15
"""The same of the strong shape, against gross errors of the loop: creep, and loops that differ from
electrode to electrode, leave three to ten per cent of it, for it is the small difference of
large strokes. (At a tenth, one right matrix of thirty was refused.)"""


@dataclass(frozen=True, eq=False)
class Foretold:
    """A change of shape that was foretold, and what the pictures show of it.

    Args:
        name: For a reader.
        measured_um: Change, µm RMS a mode.
        foretold_um: The same by matrix and loop.
        nominal_um: The same by the maker's drawing and a straight line.
        sigma_um: One standard deviation of ``measured_um``.
        limit: Largest error allowed, over the change.
    """

    name: str
    measured_um: Vector
    foretold_um: Vector
    nominal_um: Vector
    sigma_um: Vector
    limit: float

    @property
    def error(self) -> float:
        """What was foretold wrongly, over the change (dimensionless)."""
        return self._off(self.foretold_um)

    @property
    def nominal_error(self) -> float:
        """The same without any calibration."""
        return self._off(self.nominal_um)

    @property
    def error_in_sigmas(self) -> float:
        """RMS error in standard deviations of the measurement."""
        gap = (self.foretold_um - self.measured_um) / self.sigma_um
        return float(np.sqrt(np.mean(gap**2)))

    def _off(self, foretold: Vector) -> float:
        size = float(np.linalg.norm(self.measured_um))
        return float(np.linalg.norm(foretold - self.measured_um)) / size


def held_out(checks: Sequence[Foretold]) -> HeldOut:
    """Return the check that is nearest to its limit, or farthest beyond, as what decides."""
    worst = max(checks, key=lambda check: check.error / check.limit)
    return HeldOut(
        metric=f"error of a foretold change not fitted ({worst.name.replace('_', ' ')}), relative",
        before=worst.nominal_error,
        after=worst.error,
        limit=worst.limit,
    )


def small_pattern(actuators: int, height: float) -> Vector:
    """Return a pattern of ``height``, within the slack of the hysteresis, normalised volts."""
    return height * np.random.default_rng(12345).choice([-1.0, 1.0], actuators)


def strong_pattern(bench: Bench) -> Vector:
    """Return a pattern that swings electrodes far, normalised volts.

    By the drawing: on a mirror that is turned or flipped it makes another shape, as strong.
    """
    listed = modes(Order.NOLL, 4, 36)
    nominal = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix(listed)
    aim = np.array([STRONG.get(mode, 0.0) for mode in listed])
    volts = np.linalg.pinv(nominal.um_per_unit, rcond=1e-2) @ aim
    return np.asarray(volts * STRONG_HIGHEST / np.abs(volts).max())


def foretold_change(model: PlayModel, first: Vector, second: Vector) -> Vector:
    """Return how each electrode's response changes from a first command to a second.

    The first is given to a relaxed mirror; both in normalised volts.
    """
    play = PlayOperators(model)
    before = play.advance(first)
    return np.asarray(play.advance(second) - before)

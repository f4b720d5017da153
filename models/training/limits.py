"""What a deformable mirror lets a design do: which shapes, and how many in one exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from camera_rig.errors import ConfigError

if TYPE_CHECKING:
    from camera_rig.mirror.modal import ModalMirror
    from camera_rig.mirror.shape import ShapePlan
    from camera_rig.optics import Coefficients

STANDING_SHARE = 0.5
"""Least share of an exposure in which the mirror must stand in a designed shape.

The rest of the light falls in on the way from shape to shape and while it settles;
what it adds to the PSF is in no design.
"""


@dataclass(frozen=True)
class Pace:
    """How fast a mirror goes from shape to shape.

    Args:
        settle_s: Time after a command until the shape stands, s.
        slew_v_per_s: Fastest change of one electrode, V/s.
    """

    settle_s: float
    slew_v_per_s: float

    def move_s(self, step_v: float) -> float:
        """Return how long a step takes, settled, s.

        Args:
            step_v: Largest change of any electrode, V.
        """
        return step_v / self.slew_v_per_s + self.settle_s

    def shapes_within(
        self, exposure_s: float, step_v: float, *, standing: float = STANDING_SHARE
    ) -> int:
        """Return how many shapes one exposure holds; 1 is a mirror that stands still.

        Args:
            exposure_s: Length of the exposure, s.
            step_v: Largest change of any electrode from shape to shape, V.
            standing: Least share of the exposure spent in standing shapes.

        Raises:
            ConfigError: A share that leaves no time to move, or no exposure.
        """
        if not 0.0 <= standing < 1.0 or exposure_s <= 0.0:
            raise ConfigError(
                f"an exposure of {exposure_s} s with {standing:.0%} of it standing still",
                hint="give a time above zero and a share below one",
            )
        # A round comes back to its first shape, so K shapes are K moves.
        moves = int((1.0 - standing) * exposure_s / self.move_s(step_v) + 1e-9)
        return max(moves, 1)


class MirrorLimits:
    """What one mirror can do, asked of its own planner; it is not moved.

    Args:
        planner: The mirror with its influence matrix, measured or modelled.
    """

    def __init__(self, planner: ModalMirror) -> None:
        self._planner = planner

    @property
    def pace(self) -> Pace:
        """How fast it is, by its driver's options."""
        mirror = self._planner.mirror
        return Pace(mirror.settle_s, mirror.slew_v_per_s)

    def why_not(self, shape: Coefficients) -> list[str]:
        """Return why the mirror cannot make a shape; empty when it can."""
        plan = self._plan(shape)
        return [] if plan.feasible else [f"only {plan.scale_that_fits:.2f} of it fits"]

    def steps_v(self, shapes: Sequence[Coefficients]) -> list[float]:
        """Return the largest change of any electrode at each step of one round, V."""
        volts = [self._plan(shape).command_v for shape in shapes]
        ways = zip(volts, [*volts[1:], volts[0]], strict=True)
        return [float(np.abs(there - here).max()) for here, there in ways]

    def round_s(self, shapes: Sequence[Coefficients]) -> float:
        """Return how long one round through the shapes takes, settling at each, s."""
        return sum(self.pace.move_s(step_v) for step_v in self.steps_v(shapes))

    def _plan(self, shape: Coefficients) -> ShapePlan:
        bendable = {mode: value for mode, value in shape.values.items() if mode[0] > 1}
        return self._planner.plan(replace(shape, values=bendable))

"""What a live view needs of the calibrations: do those that shape its picture still hold?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from camera_rig.rig import Rig

__all__ = ["calibration_checks", "calibrations_in_force"]

_SHAPING = ("influence", "psf", "realise")
"""Calibrations that decide what the mirror does to the privacy camera's picture."""


def calibration_checks(rig: Rig) -> list[Callable[[], Sequence[str]]]:
    """Return the checks that blank a live view: calibrations in use that no longer hold.

    A calibration that was never made is no reason: the model of the bench stands in, and
    distorts as strongly.
    """
    from calibration.artifact import CalibrationStore
    from calibration.procedure import present

    store = CalibrationStore(rig.config.calibration.root)

    def stale() -> list[str]:
        now = present(rig)
        why = []
        for name in _SHAPING:
            active = store.active(name)
            if active is not None:
                why += [f"{name} is stale: {reason}" for reason in store.stale(active, now)]
        return why

    return [stale]


def calibrations_in_force(rig: Rig) -> tuple[str, ...]:
    """Return the ids of all calibrations in use, for bundles tuned under some."""
    from calibration.artifact import CalibrationStore
    from calibration.catalogue import ORDER

    store = CalibrationStore(rig.config.calibration.root)
    found = (store.active(name) for name in ORDER)
    return tuple(active.id for active in found if active is not None)

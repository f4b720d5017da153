"""All procedures in the order in which they make sense."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.artifact import CalibrationStore, Present
from calibration.influence import InfluenceProcedure
from calibration.procedure import Procedure
from calibration.psf import PsfProcedure
from calibration.realise import RealiseProcedure
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncBy, SyncProcedure
from camera_rig.config import coefficient_file
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients

__all__ = ["ORDER", "Choices", "build", "checked", "fresh"]

ORDER = ("sensor", "sync", "psf", "registration", "influence", "realise")
"""What ``rig calibrate all`` runs, in this order."""
PUBLISHED = "lopez2024"


@dataclass(frozen=True)
class Choices:
    """What a user may choose about the procedures.

    Args:
        coefficients: File with the shape to realise, or the name of one that ships; None takes
            the published set.
        sync_by: What both cameras look at to compare their clocks.
        natural_scene: Register by whatever stands there when no board is found.
    """

    coefficients: Path | None = None
    sync_by: SyncBy = SyncBy.AUTO
    natural_scene: bool = False


def build(name: str, choices: Choices = Choices()) -> Procedure:
    """Return a procedure by name, one of :data:`ORDER`.

    Raises:
        ConfigError: There is no such procedure.
    """
    makers: dict[str, Callable[[], Procedure]] = {
        "sensor": SensorProcedure,
        "sync": lambda: SyncProcedure(by=choices.sync_by),
        "psf": PsfProcedure,
        "registration": lambda: RegistrationProcedure(natural_scene=choices.natural_scene),
        "influence": InfluenceProcedure,
        "realise": lambda: RealiseProcedure(
            Coefficients.load(coefficient_file(choices.coefficients or PUBLISHED))
        ),
    }
    return makers[checked(name)]()


def checked(name: str) -> str:
    """Return the name of a procedure.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in ORDER:
        near = difflib.get_close_matches(name, ORDER, n=1)
        raise ConfigError(
            f"there is no calibration named {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            hint=f"one of: {', '.join(ORDER)}",
        )
    return name


def fresh(store: CalibrationStore, now: Present, name: str) -> bool:
    """Return whether a procedure has an accepted result in use that still holds."""
    active = store.active(name)
    return active is not None and not store.stale(active, now)

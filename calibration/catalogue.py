"""All procedures in the order in which they make sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.artifact import CalibrationStore
from calibration.influence import InfluenceProcedure
from calibration.procedure import Procedure, present
from calibration.psf import PsfProcedure
from calibration.realise import RealiseProcedure
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncBy, SyncProcedure
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients
from camera_rig.rig import Rig

__all__ = ["ORDER", "Choices", "build", "fresh"]

ORDER = ("sensor", "sync", "psf", "registration", "influence", "realise")
"""What ``rig calibrate all`` runs, in this order."""


@dataclass(frozen=True)
class Choices:
    """What a user may choose about the procedures.

    Args:
        coefficients: File with the shape to realise; None takes the published set.
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
            Coefficients.load(choices.coefficients or _published())
        ),
    }
    if name not in makers:
        raise ConfigError(
            f"there is no calibration named {name!r}", hint=f"one of: {', '.join(ORDER)}"
        )
    return makers[name]()


def fresh(store: CalibrationStore, rig: Rig, name: str) -> bool:
    """Return whether a procedure has an accepted result in use that still holds."""
    active = store.active(name)
    return active is not None and not store.stale(active, present(rig))


def _published() -> Path:
    from camera_rig.config import coefficient_file

    return coefficient_file("lopez2024")

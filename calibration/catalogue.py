"""All procedures in the order in which they make sense."""

from __future__ import annotations

from pathlib import Path

from calibration.artifact import CalibrationStore
from calibration.influence import InfluenceProcedure
from calibration.procedure import Procedure, present
from calibration.psf import PsfProcedure
from calibration.realise import RealiseProcedure
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncProcedure
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients
from camera_rig.rig import Rig

__all__ = ["ORDER", "build", "fresh"]

ORDER = ("sensor", "sync", "psf", "registration", "influence", "realise")
"""What ``rig calibrate all`` runs, in this order."""


def build(name: str, coefficients: Path | None = None) -> Procedure:
    """Return a procedure by name.

    Args:
        name: One of :data:`ORDER`.
        coefficients: File with the shape to realise; None takes the published set.

    Raises:
        ConfigError: There is no such procedure.
    """
    if name == "realise":
        return RealiseProcedure(Coefficients.load(coefficients or _published()))
    simple: dict[str, type[Procedure]] = {
        "sensor": SensorProcedure,
        "sync": SyncProcedure,
        "registration": RegistrationProcedure,
        "psf": PsfProcedure,
        "influence": InfluenceProcedure,
    }
    if name not in simple:
        raise ConfigError(
            f"there is no calibration named {name!r}", hint=f"one of: {', '.join(ORDER)}"
        )
    return simple[name]()


def fresh(store: CalibrationStore, rig: Rig, name: str) -> bool:
    """Return whether a procedure has an accepted result in use that still holds."""
    active = store.active(name)
    return active is not None and not store.stale(active, present(rig))


def _published() -> Path:
    from camera_rig.config import embedded_configs

    folder = embedded_configs()["simulated"].parent
    return folder / "coefficients" / "lopez2024.yaml"

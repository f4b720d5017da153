"""What is known of one mirror, by its serial number: matrix, hysteresis, named shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camera_rig.contracts import Mirror, Volts
from camera_rig.errors import ConfigError, StorageError
from camera_rig.mirror._store import read_json, write_json
from camera_rig.mirror.creep import CreepModel
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceMatrix

SAFE_NAME = "safe"
"""Name of the kept shape that a device host takes as its safe shape when it starts."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, eq=False)
class Reference:
    """A named shape.

    Args:
        name: Its name.
        serial: Serial number of the mirror it belongs to.
        command_v: Voltages, V.
        made_at: Date and time, ISO 8601.
        note: What it is, for a person.
    """

    name: str
    serial: str
    command_v: Volts
    made_at: str
    note: str = ""


class MirrorFolder:
    """Files of one mirror, under ``ROOT/mirror/SERIAL/``.

    Not offered: shapes shared between mirrors. The same voltages are another shape on
    another mirror.

    Args:
        root: Storage root of the rig.
        serial: Serial number; a mirror without one is kept as ``unnamed``.
    """

    def __init__(self, root: Path, serial: str) -> None:
        self.serial = serial
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", serial).lstrip(".") or "unnamed"
        self.path = root / "mirror" / safe

    @property
    def journal(self) -> Path:
        """Folder of the command journal."""
        return self.path / "journal"

    @property
    def memory(self) -> Path:
        """File of the hysteresis memory."""
        return self.path / "hysteresis-memory.json"

    def influence(self) -> InfluenceMatrix | None:
        """Return the accepted influence matrix, or None before a calibration."""
        path = self.path / "influence.json"
        return InfluenceMatrix.load(path) if path.exists() else None

    def keep_influence(self, matrix: InfluenceMatrix) -> None:
        """Make ``matrix`` the one in use.

        Raises:
            ConfigError: It was measured on another mirror.
        """
        origin = matrix.provenance.serial
        if origin and origin != self.serial:
            raise ConfigError(
                f"this matrix was measured on mirror {origin}, not on {self.serial}",
                hint="calibrate this mirror",
            )
        matrix.save(self.path / "influence.json")

    def hysteresis(self) -> PlayModel | None:
        """Return the fitted hysteresis model, or None when there is none."""
        path = self.path / "hysteresis.json"
        return PlayModel.from_dict(read_json(path)) if path.exists() else None

    def keep_hysteresis(self, model: PlayModel) -> None:
        """Make ``model`` the one in use."""
        write_json(self.path / "hysteresis.json", model.to_dict())

    def creep(self) -> CreepModel | None:
        """Return the fitted creep, or None when there is none."""
        path = self.path / "creep.json"
        return CreepModel(float(read_json(path)["per_decade"])) if path.exists() else None

    def keep_creep(self, model: CreepModel) -> None:
        """Make ``model`` the one in use."""
        write_json(self.path / "creep.json", {"per_decade": model.per_decade})

    def references(self) -> list[str]:
        """Return the names of the kept shapes, sorted."""
        return sorted(path.stem for path in (self.path / "references").glob("*.json"))

    def reference(self, name: str) -> Reference:
        """Return a kept shape.

        Raises:
            ConfigError: There is none of that name.
            StorageError: Its file is damaged or belongs to another mirror.
        """
        path = self._file(name)
        if not path.exists():
            known = ", ".join(self.references()) or "none yet"
            raise ConfigError(
                f"mirror {self.serial} has no shape named {name!r}",
                hint=f"`rig mirror save NAME` keeps the present one; kept are: {known}",
            )
        return _reference(path, read_json(path), self.serial)

    def restore_safe(self, mirror: Mirror) -> bool:
        """Make the kept shape named ``safe`` the safe shape of ``mirror``; False without one.

        A host that starts again knows nothing of the shape that hid faces before; kept
        under this name it does.

        Raises:
            SafetyError: The shape is outside the mirror's limits.
        """
        if SAFE_NAME not in self.references():
            return False
        mirror.set_safe_command(self.reference(SAFE_NAME).command_v)
        return True

    def keep_reference(self, reference: Reference, *, replace: bool = False) -> Path:
        """Write a named shape; return its file.

        Raises:
            StorageError: The name is taken and ``replace`` is False.
        """
        path = self._file(reference.name)
        if path.exists() and not replace:
            raise StorageError(
                f"mirror {self.serial} has a shape named {reference.name!r} already",
                hint="choose another name, or replace it with --replace",
            )
        data = {**vars(reference), "command_v": np.asarray(reference.command_v).tolist()}
        write_json(path, data)
        return path

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no good name for a shape",
                hint="use letters, digits, dot, dash and underscore, at most 64",
            )
        return self.path / "references" / f"{name}.json"


def _reference(path: Path, data: Mapping[str, Any], serial: str) -> Reference:
    try:
        found = Reference(**{**data, "command_v": np.asarray(data["command_v"], dtype=float)})
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path} is damaged: {error}", hint="save the shape anew") from error
    if found.serial != serial:
        raise StorageError(
            f"{path} belongs to mirror {found.serial}, not to {serial}",
            hint="shapes are kept per mirror: save it on this one",
        )
    return found

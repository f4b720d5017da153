"""Calibrations on disk: never overwritten, stamped with all they hang on, stale by rule.

One folder per artifact, ``ROOT/PROCEDURE/ID/``: ``artifact.json`` (the record),
``data.npz`` (arrays), further files of the procedure, ``report.html``. ``ROOT/active.json``
says which artifact of each procedure is in use. A run that was interrupted leaves
``ROOT/PROCEDURE/.partial/`` and is taken up from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from camera_rig.config import RigConfig
from camera_rig.errors import ConfigError, StorageError

__all__ = ["Artifact", "CalibrationStore", "HeldOut", "Present", "config_hash"]

Reasons: TypeAlias = list[str]
Differences: TypeAlias = list[tuple[str, float | None, float | None]]

MAX_WARMER_C = 4.0
"""Change of the mirror's temperature that makes a calibration of it stale, °C."""


class HeldOut(BaseModel):
    """Proof that a calibration helps: one figure on data that the fit did not see.

    Args:
        metric: What was measured, with its unit.
        before: Its value without this calibration.
        after: Its value with it; smaller is better.
        limit: What it must not exceed, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    before: float
    after: float
    limit: float | None = None

    @property
    def why_rejected(self) -> str:
        """Return the reason not to accept, empty when there is none."""
        if not self.after < self.before:
            return (
                f"{self.metric} did not improve: {self.before:.4g} before, {self.after:.4g} after"
            )
        if self.limit is not None and self.after > self.limit:
            return f"{self.metric} is {self.after:.4g}, above the limit {self.limit:.4g}"
        return ""


class Artifact(BaseModel):
    """The record of one run of one procedure.

    Args:
        id: Time and a short random part; unique.
        procedure: Name of the procedure.
        status: ``accepted`` or ``rejected``.
        reason: Why it was rejected, empty when accepted.
        advice: What to do next when it was rejected.
        made_at: UTC by the rig's clock, ISO 8601.
        config_hash: Of the bench and the devices it was made with.
        serials: Serial number by role of the devices used.
        software: Version of the toolkit.
        inputs: Artifacts it was made with, by procedure.
        figures: Results as numbers, the unit in the key.
        uncertainty: One standard deviation of some figures, same keys.
        held_out: The check on data that the fit did not see.
        mirror_c: Temperature of the mirror, °C, or None.
        payload: Everything else, JSON-able.
        files: Names of the files in the artifact's folder.
        notes: Sentences for a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    id: str
    procedure: str
    status: Literal["accepted", "rejected"]
    reason: str = ""
    advice: str = ""
    made_at: str
    config_hash: str
    serials: dict[str, str] = {}
    software: str = ""
    inputs: dict[str, str] = {}
    figures: dict[str, float] = {}
    uncertainty: dict[str, float] = {}
    held_out: HeldOut | None = None
    mirror_c: float | None = None
    payload: dict[str, Any] = {}
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Present(BaseModel):
    """What the rig is now, to judge whether a calibration still holds.

    Args:
        now: UTC, ISO 8601.
        config_hash: Of the bench and devices now.
        serials: Serial numbers by role, of devices that are open.
        mirror_c: Temperature of the mirror, °C, or None.
        max_age_h: Hours after which a calibration is stale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    now: str
    config_hash: str
    serials: dict[str, str] = {}
    mirror_c: float | None = None
    max_age_h: float = 168.0


class CalibrationStore:
    """Reads and writes artifacts under one folder. Not thread-safe.

    Not offered: deleting. A calibration that takes was made with must stay readable.

    Args:
        root: Folder; made when the first artifact is saved.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def save(self, artifact: Artifact, arrays: Mapping[str, Any], texts: Mapping[str, str]) -> Path:
        """Write an artifact and its files, aside and renamed; return its folder.

        Raises:
            StorageError: The folder exists already, or cannot be written.
        """
        folder = self.folder(artifact)
        if folder.exists():
            raise StorageError(f"{folder} exists already", hint="run the procedure again")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            np.savez_compressed(aside / "data.npz", **dict(arrays))
            for name, text in texts.items():
                (aside / name).write_text(text, encoding="utf-8")
            record = artifact.model_copy(update={"files": ("data.npz", *texts)})
            (aside / "artifact.json").write_text(record.model_dump_json(indent=1) + "\n")
            aside.chmod(0o755)
            aside.rename(folder)
        except OSError as error:
            raise StorageError(
                f"cannot write {folder}: {error}", hint="check permissions and disk space"
            ) from error
        return folder

    def folder(self, artifact: Artifact) -> Path:
        """Return where an artifact lies."""
        return self.root / artifact.procedure / artifact.id

    def list(self, procedure: str | None = None) -> list[Artifact]:
        """Return all artifacts, oldest first; torn ones raise StorageError."""
        pattern = f"{procedure or '*'}/*/artifact.json"
        found = [self._read(path) for path in sorted(self.root.glob(pattern))]
        return sorted(found, key=lambda artifact: artifact.id)

    def load(self, ref: str) -> Artifact:
        """Return one artifact by its id, or the start of it, or the name of a procedure.

        Raises:
            ConfigError: None, or more than one, fits.
        """
        known = self.list()
        active = self.active(ref)
        if active is not None:
            return active
        fits = [a for a in known if a.id == ref] or [a for a in known if a.id.startswith(ref)]
        if len(fits) != 1:
            told = f"{len(fits)} calibrations are called {ref!r}"
            if not fits:
                told = f"no calibration {ref!r}: no id begins so, and none of that name is in use"
            raise ConfigError(
                told,
                hint="`rig calibrate list` shows their ids, the start of one is enough; "
                "`rig calibrate all` makes what is missing",
            )
        return fits[0]

    def arrays(self, artifact: Artifact) -> dict[str, Any]:
        """Return the arrays of an artifact."""
        with np.load(self.folder(artifact) / "data.npz") as data:
            return {name: data[name] for name in data.files}

    def active(self, procedure: str) -> Artifact | None:
        """Return the artifact of a procedure that is in use, or None."""
        ref = self._active().get(procedure)
        if ref is None:
            return None
        return self._read(self.root / procedure / ref / "artifact.json")

    def use(self, artifact: Artifact, *, even_rejected: bool = False) -> None:
        """Take an artifact into use.

        Raises:
            ConfigError: It was rejected, and ``even_rejected`` was not given.
        """
        if artifact.status == "rejected" and not even_rejected:
            raise ConfigError(
                f"{artifact.id} was rejected: {artifact.reason}",
                hint="run the procedure again, or insist with --even-rejected",
            )
        _write_json(self.root / "active.json", {**self._active(), artifact.procedure: artifact.id})

    def stale(self, artifact: Artifact, present: Present) -> Reasons:
        """Return every reason why an artifact no longer holds; empty when it does."""
        why = []
        age = datetime.fromisoformat(present.now) - datetime.fromisoformat(artifact.made_at)
        hours = age.total_seconds() / 3600.0
        if hours > present.max_age_h:
            why.append(f"{hours:.0f} h old, the limit is {present.max_age_h:g} h")
        # A clock set back must not make an old calibration young again.
        if hours < -present.max_age_h:
            why.append(f"dated {-hours:.0f} h ahead of now: this machine's clock was set back")
        if artifact.config_hash != present.config_hash:
            why.append("the bench or a device in the configuration was changed since")
        for role, serial in artifact.serials.items():
            now = present.serials.get(role)
            if now is not None and now != serial:
                why.append(f"the {role} is another one: {serial} then, {now} now")
        if artifact.mirror_c is not None and present.mirror_c is not None:
            warmer = present.mirror_c - artifact.mirror_c
            if abs(warmer) > MAX_WARMER_C:
                why.append(f"the mirror is {warmer:+.1f} °C from then")
        for procedure, used in artifact.inputs.items():
            active = self.active(procedure)
            if active is not None and active.id != used:
                why.append(f"its input {procedure} was replaced: {used} then, {active.id} now")
        return why

    def diff(self, old: Artifact, new: Artifact) -> Differences:
        """Return (figure, old value, new value) for every figure of either."""
        names = dict.fromkeys([*old.figures, *new.figures])
        return [(name, old.figures.get(name), new.figures.get(name)) for name in names]

    def partial(self, procedure: str) -> Partial:
        """Return the notebook of the running or interrupted run of a procedure."""
        return Partial(self.root / procedure / ".partial")

    def _active(self) -> dict[str, str]:
        path = self.root / "active.json"
        if not path.exists():
            return {}
        try:
            data: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"cannot read {path}: {error}", hint="take calibrations into use again"
            ) from error
        return data

    def _read(self, path: Path) -> Artifact:
        try:
            return Artifact.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path} is no calibration record: {error}", hint="move its folder away"
            ) from error


class Partial:
    """Measured steps of a run, kept so that an interrupted run need not start again.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, key: str) -> bool:
        """Open for a run described by ``key``; True if steps of the same run are there."""
        marker = self.folder / "run.json"
        if self._key(marker) == key:
            return bool(self.steps())
        self.clear()
        _write_json(marker, {"key": key})
        return False

    def _key(self, marker: Path) -> str | None:
        try:
            key: str | None = json.loads(marker.read_text(encoding="utf-8")).get("key")
        except (OSError, ValueError):  # none, or torn by a power cut: begin anew
            return None
        return key

    def steps(self) -> set[str]:
        """Return the names of the steps that are done."""
        # A file that a killed run left half written begins with a dot.
        return {p.stem for p in self.folder.glob("*.npz") if not p.name.startswith(".")}

    def put(self, step: str, arrays: Mapping[str, Any]) -> None:
        """Keep the data of one step."""
        aside = self.folder / f".{step}.tmp.npz"
        try:
            np.savez(aside, **dict(arrays))
            aside.replace(self.folder / f"{step}.npz")
        except OSError as error:
            raise StorageError(
                f"cannot keep what was measured in {self.folder}: {error}",
                hint="make room on the disk; the same command then goes on from there",
            ) from error

    def get(self, step: str) -> dict[str, Any]:
        """Return the data of one step."""
        with np.load(self.folder / f"{step}.npz") as data:
            return {name: data[name] for name in data.files}

    def clear(self) -> None:
        """Forget all steps."""
        if self.folder.exists():
            for path in self.folder.iterdir():
                path.unlink()


def new_id(now: datetime) -> str:
    """Return a fresh identifier: UTC time and six random hex digits."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def config_hash(config: RigConfig) -> str:
    """Return a hash of all that a calibration hangs on: the bench, the devices, a twin's glass."""
    data = config.model_dump(mode="json", by_alias=True)
    parts = {"bench": data["bench"], "devices": data["devices"]}
    if config.twin is not None:
        # What stands before a twin and what fails on it changes; the rest is its hardware.
        hidden = {k: v for k, v in data["twin"].items() if k not in ("scene", "faults")}
        parts["twin"] = hidden
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error}",
            hint="check that `calibration.root` of the configuration may be written, and the disk",
        ) from error

"""What stands in a take's own files: the manifest written first, the seal written last."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from camera_rig.errors import StorageError
from camera_rig.recording._files import read_json
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.vault import SealedKeys

__all__ = [
    "SCHEMA",
    "Anchor",
    "CameraRecord",
    "ConsentRef",
    "FinishReason",
    "Seal",
    "TakeManifest",
    "TakeTotals",
    "new_take_id",
    "read_model",
]

M = TypeVar("M", bound=BaseModel)

SCHEMA = 1
_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From schema number to the step that makes the next one; files are never rewritten."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FinishReason(StrEnum):
    """Why a take ended."""

    DURATION = "duration reached"
    STOPPED = "stopped by the operator"
    DISK_FULL = "disk full"
    CAMERA_LOST = "camera lost"
    EXPOSED = "mirror no longer hides faces"
    OVERLOAD = "buffers full"
    FAILED = "failed"
    RECOVERED = "recovered after a crash"


class Anchor(_Stored):
    """One moment in both times; ties the take's monotonic stamps to civil time.

    Args:
        monotonic_ns: Rig clock, ns.
        wall_ns: Civil time, ns since 1970 UTC.
    """

    monotonic_ns: int
    wall_ns: int


class CameraRecord(_Stored):
    """Who a camera was and how it was set."""

    model: str
    serial: str
    driver: str
    firmware: str = ""
    settings: dict[str, Any] = {}
    encrypted: bool = True


class ConsentRef(_Stored):
    """The consent that a take rests on, copied so that the take carries its own limits."""

    record: str
    form_id: str
    form_version: str
    form_sha256: str
    scopes: tuple[str, ...]
    retention_until: str
    operator: str


class TakeManifest(_Stored):
    """Everything known before the first frame.

    Args:
        schema_version: Version of this form.
        take: Identifier, unique, sortable by start.
        subject: Pseudonym.
        simulated: True for takes of the digital twin, which need no consent.
        consent: What the subject agreed to; None only when simulated.
        keys: Sealed data keys.
        anchor: Start in both times.
        cameras: Role to camera.
        tolerance_ns: Largest skew of a good pair, ns.
        software: Version of camera-rig.
        config: The rig's configuration as it was.
        config_sha256: Hash of it.
        mirror: Device, coefficients and commands as read back at the start.
        calibrations: Name to identifier of the calibrations in use.
        plan: The operator's settings: duration, policy and so on.
        series: Name of the series and number within it, if any.
        prompt: What the subject was asked to do.
    """

    schema_version: int = SCHEMA
    take: str
    subject: str
    simulated: bool
    consent: ConsentRef | None
    keys: SealedKeys
    anchor: Anchor
    cameras: dict[str, CameraRecord]
    tolerance_ns: int
    software: str
    config: dict[str, Any] = {}
    config_sha256: str = ""
    mirror: dict[str, Any] = {}
    calibrations: dict[str, str] = {}
    plan: dict[str, Any] = {}
    series: tuple[str, int] | None = None
    prompt: str = ""

    @property
    def scopes(self) -> frozenset[str]:
        """What the take may be used for; a simulated one for anything."""
        if self.consent is None:
            return (
                frozenset({"train", "evaluate", "share", "publish"})
                if self.simulated
                else (frozenset())
            )
        return frozenset(self.consent.scopes)


class TakeTotals(_Stored):
    """Counts, all derived from the journal.

    Args:
        groups: Groups stored.
        pairs: Groups with both cameras.
        over_tolerance: Pairs further apart than the tolerance.
        unpaired: Role to frames stored without a partner.
        frames: Role to frames stored.
        lost: Role to frames that the camera itself skipped.
        dropped: Role to frames that arrived and were not stored.
        repeated: Role to frames that showed the same picture again.
        stored_bytes: Bytes of all frames.
        first_ns: First capture time, ns; 0 without frames.
        last_ns: Last capture time, ns.
    """

    groups: int = 0
    pairs: int = 0
    over_tolerance: int = 0
    unpaired: dict[str, int] = {}
    frames: dict[str, int] = {}
    lost: dict[str, int] = {}
    dropped: dict[str, int] = {}
    repeated: dict[str, int] = {}
    stored_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0

    @property
    def duration_s(self) -> float:
        """From the first to the last frame, s."""
        return (self.last_ns - self.first_ns) * 1e-9


class Seal(_Stored):
    """What is known after the last frame; its presence marks the take as closed.

    Args:
        take: Identifier.
        reason: Why it ended.
        totals: Counts.
        clock_model: The model that the index's skews are from.
        journal_lines: Length of the journal.
        journal_chain: Hash of its last line.
        index_sha256: Hash of the index.
        report: Figures of the run: queue depth, stalls, rates.
    """

    schema_version: int = SCHEMA
    take: str
    reason: FinishReason
    totals: TakeTotals
    clock_model: ClockModel
    journal_lines: int
    journal_chain: str
    index_sha256: str
    report: dict[str, Any] = {}


def new_take_id(subject: str, wall_ns: int) -> str:
    """Return a name that sorts by time and never repeats."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(wall_ns // 1_000_000_000))
    return f"{stamp}-{subject}-{secrets.token_hex(3)}"


def read_model(path: Path, model: type[M]) -> M:
    """Read a manifest or a seal, of any schema up to ours.

    Raises:
        StorageError: Absent, damaged, or written by a newer version.
    """
    try:
        return model.model_validate(upgrade(read_json(path), path))
    except ValidationError as error:
        raise StorageError(f"{path} is damaged: {error}", hint="restore a backup") from error


def upgrade(
    data: Mapping[str, Any],
    path: Path,
    steps: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = _UPGRADES,
    newest: int = SCHEMA,
) -> dict[str, Any]:
    """Return ``data`` in the newest form, in memory only.

    Raises:
        StorageError: It was written by a newer version.
    """
    found = dict(data)
    version = int(found.get("schema_version", 0))
    if version > newest:
        raise StorageError(
            f"{path} has schema {version}, this software knows up to {newest}",
            hint="update camera-rig",
        )
    while version < newest:
        if version not in steps:
            raise StorageError(f"{path} has unknown schema {version}", hint="restore a backup")
        found = steps[version](found)
        version = found["schema_version"] = version + 1
    return found

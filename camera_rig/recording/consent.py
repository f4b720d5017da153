"""Consent: who agreed to what, until when. No consent, no sharp frame.

A record is a file that is never changed. A withdrawal is a second file. What a take
may be used for (its scopes) is copied into its manifest and goes with every set and
export made from it; a wider use is refused.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from camera_rig.contracts import Clock, DeviceInfo
from camera_rig.errors import ConfigError, PrivacyError
from camera_rig.recording._files import make_private_dir, write_json
from camera_rig.recording.key_pairs import SubjectKey, check_pseudonym
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.manifest import ConsentRef, read_model

__all__ = [
    "SIMULATED_DRIVERS",
    "ConsentRecord",
    "ConsentStore",
    "RecordingPermit",
    "Scope",
    "need_scope",
    "permit_recording",
]

SIMULATED_DRIVERS = frozenset({"twin", "playback-simulated"})
"""Drivers whose pictures show nobody: only these may record without consent."""


class Scope(StrEnum):
    """What a subject's frames may be used for."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    SHARE = "share"
    PUBLISH = "publish"


class ConsentRecord(BaseModel):
    """One signed form.

    Args:
        id: Identifier of the record.
        pseudonym: The subject; the list of names is kept elsewhere, on paper.
        form_id: Which form.
        form_version: Its version.
        form_sha256: Hash of the form's text as it was signed.
        scopes: Uses the subject agreed to.
        retention_until: Last day the frames may be kept, ISO date.
        operator: Who took the consent.
        site: Where.
        legal_basis: For example ``consent, GDPR Art. 9(2)(a)``.
        purpose: Why the frames are collected.
        given_wall_ns: When, ns since 1970 UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    id: str
    pseudonym: str
    form_id: str = Field(min_length=1)
    form_version: str = Field(min_length=1)
    form_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...]
    retention_until: dt.date
    operator: str = Field(min_length=1)
    site: str = ""
    legal_basis: str = "consent"
    purpose: str = ""
    given_wall_ns: int

    @field_validator("pseudonym")
    @classmethod
    def _pseudonym(cls, name: str) -> str:
        return check_pseudonym(name)

    @property
    def ref(self) -> ConsentRef:
        """The part that goes into manifests."""
        return ConsentRef(
            record=self.id,
            form_id=self.form_id,
            form_version=self.form_version,
            form_sha256=self.form_sha256,
            scopes=tuple(map(str, self.scopes)),
            retention_until=self.retention_until.isoformat(),
            operator=self.operator,
        )


class ConsentStore:
    """Consent records as files, one folder per subject."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root, self._clock = root, clock

    def add(self, record: ConsentRecord) -> Path:
        """File a record.

        Raises:
            PrivacyError: The subject has withdrawn; a new consent needs a new pseudonym.
        """
        if self.is_withdrawn(record.pseudonym):
            raise PrivacyError(
                f"subject {record.pseudonym} has withdrawn",
                hint="the old frames are gone; use a new pseudonym for a new consent",
            )
        folder = make_private_dir(self.root / record.pseudonym)
        path = folder / f"{record.id}.json"
        if path.exists():
            raise PrivacyError(f"{path} exists already", hint="records are never changed")
        write_json(path, record.model_dump(mode="json"))
        return path

    def new_id(self) -> str:
        """Return an identifier for a new record."""
        return f"{self.today():%Y%m%d}-{secrets.token_hex(4)}"

    def today(self) -> dt.date:
        """Return the day by civil time, UTC."""
        return dt.datetime.fromtimestamp(self._clock.wall_ns() / 1e9, dt.UTC).date()

    def subjects(self) -> list[str]:
        """Return all pseudonyms with a record."""
        return sorted(p.name for p in self.root.iterdir()) if self.root.is_dir() else []

    def records(self, pseudonym: str) -> list[ConsentRecord]:
        """Return a subject's records, oldest first."""
        folder = self.root / check_pseudonym(pseudonym)
        paths = [p for p in folder.glob("*.json") if p.name != "withdrawn.json"]
        found = [read_model(path, ConsentRecord) for path in paths]
        return sorted(found, key=lambda record: record.given_wall_ns)

    def is_withdrawn(self, pseudonym: str) -> bool:
        """Whether the subject has taken the consent back."""
        return (self.root / check_pseudonym(pseudonym) / "withdrawn.json").exists()

    def withdraw(self, pseudonym: str, operator: str) -> None:
        """Note that the subject has taken the consent back."""
        folder = make_private_dir(self.root / check_pseudonym(pseudonym))
        write_json(
            folder / "withdrawn.json",
            {
                "schema_version": 1,
                "pseudonym": pseudonym,
                "operator": operator,
                "withdrawn_wall_ns": self._clock.wall_ns(),
            },
        )

    def active(self, pseudonym: str) -> ConsentRecord:
        """Return the newest consent that is in force today.

        Raises:
            PrivacyError: There is none, it has run out, or it was withdrawn.
        """
        if self.is_withdrawn(pseudonym):
            raise PrivacyError(
                f"subject {pseudonym} has withdrawn the consent",
                hint="do not record this person; the pseudonym stays closed",
            )
        records = self.records(pseudonym)
        if not records:
            raise PrivacyError(
                f"there is no consent of subject {pseudonym}; the side camera stays off",
                hint=f"file the signed form: `rig data consent add {pseudonym} --form FILE …`",
            )
        if records[-1].retention_until < self.today():
            raise PrivacyError(
                f"the consent of subject {pseudonym} ran out on {records[-1].retention_until}",
                hint="ask for a new consent, and `rig data purge` the old takes",
            )
        return records[-1]


def form_digest(path: Path) -> str:
    """Return the SHA-256 of a consent form's file, hex.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="give the form's file") from error


@dataclass(frozen=True, slots=True)
class RecordingPermit:
    """The leave to record one subject; made by :func:`permit_recording` alone.

    Args:
        subject: Whose key the frames are sealed for.
        consent: What the subject agreed to; None only when simulated.
        simulated: Whether the pictures show nobody.
    """

    subject: SubjectKey
    consent: ConsentRef | None
    simulated: bool

    def check(self, cameras: Mapping[str, DeviceInfo]) -> None:
        """Refuse when the cameras are not those the permit is for.

        Raises:
            PrivacyError: A real camera would record without consent.
        """
        real = sorted(r for r, info in cameras.items() if info.driver not in SIMULATED_DRIVERS)
        if self.consent is None and (real or not self.simulated):
            raise PrivacyError(
                f"no consent, and {' and '.join(real) or 'nothing'} is a real camera",
                hint="--simulated is for the digital twin alone; file a consent first",
            )
        if self.subject.simulated != self.simulated:
            raise PrivacyError(
                f"the key of {self.subject.pseudonym} is not for this kind of take",
                hint="use different pseudonyms for people and for simulated subjects",
            )


def permit_recording(
    pseudonym: str, keys: KeyStore, consents: ConsentStore, *, simulated: bool
) -> RecordingPermit:
    """Return the leave to record ``pseudonym``, or refuse.

    A simulated subject needs no consent. Its lab key is made if there is none, with
    the file's mode as only protection: it guards pictures of nobody.

    Raises:
        PrivacyError: No consent in force, no lab key, or a burnt pseudonym.
    """
    if simulated:
        if not keys.is_initialised:
            keys.init(None)
        return RecordingPermit(keys.ensure_subject(pseudonym, simulated=True), None, True)
    record = consents.active(pseudonym)
    return RecordingPermit(keys.ensure_subject(pseudonym, simulated=False), record.ref, False)


def need_scope(scopes: Iterable[str], wanted: Scope, what: str) -> None:
    """Refuse a use that the subjects did not agree to.

    Raises:
        PrivacyError: ``wanted`` is not among ``scopes``.
    """
    allowed = sorted(map(str, scopes))
    if str(wanted) not in allowed:
        raise PrivacyError(
            f"{what} may not be used to {wanted}: the consent covers "
            + (", ".join(allowed) or "nothing"),
            hint="ask the subjects for a wider consent, or leave these takes out",
        )

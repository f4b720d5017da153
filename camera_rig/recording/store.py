"""The data folder as one thing: takes, consents, keys, audit log and catalogue."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from camera_rig.clock import SystemClock
from camera_rig.config import StorageConfig
from camera_rig.contracts import Clock
from camera_rig.errors import ConfigError, StateError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.catalog import Catalog
from camera_rig.recording.consent import ConsentStore
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.reading import Take
from camera_rig.recording.recovery import Recovery, recover
from camera_rig.recording.take import MANIFEST
from camera_rig.recording.vault import KeyAccess

__all__ = ["DataStore", "Unlock"]


@dataclass(frozen=True, slots=True)
class Unlock:
    """How to reach the lab's private key.

    Args:
        passphrase: For a key file that has one.
        key_file: Where it is; None: in the key folder.
    """

    passphrase: str | None = None
    key_file: Path | None = None


class DataStore:
    """Everything under the data folder.

    Args:
        root: The folder (``storage.root``).
        keys: The key folder (``storage.keys``).
        clock: Time for records; the machine's own when not given.
        operator: Who works; the login name when not given.
    """

    def __init__(
        self, root: Path, keys: Path, clock: Clock | None = None, operator: str | None = None
    ) -> None:
        self.root = root
        self.clock = clock or SystemClock()
        self.takes = root / "takes"
        self.sets = root / "sets"
        self.keys = KeyStore(keys)
        self.consents = ConsentStore(root / "consent", self.clock)
        self.audit = AuditLog(root / "audit.jsonl", self.clock, operator)
        self.catalog = Catalog(root / "catalog.sqlite")

    @classmethod
    def of(cls, config: StorageConfig, clock: Clock | None = None) -> DataStore:
        """Return the store of a configuration's ``storage`` section."""
        return cls(config.root, config.keys, clock)

    def take(self, name: str) -> Take:
        """Return a take by folder, by id, by a unique beginning of its id, or ``last``.

        Raises:
            ConfigError: Nothing or several match.
        """
        if (Path(name) / MANIFEST).is_file():
            return Take(Path(name))
        if name == "last":
            rows = self.catalog.rows(limit=1)
            if not rows:
                raise ConfigError("there is no take yet", hint="record one: `rig take record`")
            name = rows[0].take
        if (self.takes / name / MANIFEST).is_file():
            return Take(self.takes / name)
        found = self.catalog.matching(name)
        if len(found) == 1:
            return Take(self.takes / found[0])
        raise ConfigError(
            f"no take {name!r}" if not found else f"{name!r} fits {len(found)} takes",
            hint="see `rig take list`; give the id, or enough of its beginning",
        )

    def recover(self, take: Take) -> Recovery:
        """Make a take whole again and catalogue it."""
        found = recover(take.folder)
        self.catalog.put(Take(take.folder))
        return found

    def delete(self, take: Take, why: str) -> None:
        """Delete a take's files for good; the audit log keeps that it was.

        Raises:
            StateError: It is not in this store.
        """
        if take.folder.resolve().parent != self.takes.resolve():
            raise StateError(
                f"{take.folder} is not in {self.takes}", hint="delete it by hand if you must"
            )
        self.audit.append("take-deleted", take=take.id, subject=take.manifest.subject, why=why)
        # Renamed first: a deletion cut short leaves nothing that looks like a take.
        going = self.takes / f".deleting-{take.id}"
        take.folder.rename(going)
        self.catalog.remove(take.id)
        shutil.rmtree(going)

    def access(self, purpose: str, unlock: Unlock | None = None) -> KeyAccess:
        """Return what is needed to open keys, for ``purpose`` (goes to the audit log)."""
        how = unlock or Unlock()
        lab = self.keys.lab_private(how.passphrase, how.key_file)
        return KeyAccess(self.keys, lab, self.audit, purpose)

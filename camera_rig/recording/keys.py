"""Keys at rest: the key folder with the lab's key pair and one key per subject."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from camera_rig.errors import ConfigError, PrivacyError, StateError, StorageError
from camera_rig.recording._files import make_private_dir, read_json, write_json
from camera_rig.recording.key_pairs import (
    SCRYPT_N,
    LabPrivateKey,
    SubjectKey,
    check_pseudonym,
    from_base64,
    key_id,
    to_base64,
)

__all__ = ["KeyStore"]


class KeyStore:
    """The key folder: the lab's public key, its private key if kept here, subjects.

    Args:
        root: Folder, mode 0700. On a recording host it holds no private key.

    Not offered: two keys for one pseudonym, or a new key for a destroyed one. Both
    would make "withdrawn" mean less than it says.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._public_path = root / "lab-public.json"
        self.private_path = root / "lab-private.json"
        self._subjects = root / "subjects"

    @property
    def is_initialised(self) -> bool:
        """Whether there is a lab key to write for."""
        return self._public_path.exists()

    def init(self, passphrase: str | None, scrypt_n: int = SCRYPT_N) -> LabPrivateKey:
        """Make the lab's key pair. Without passphrase only the file mode protects it.

        Raises:
            StateError: There is a lab key already.
        """
        if self.is_initialised or self.private_path.exists():
            raise StateError(
                f"{self.root} has a lab key already", hint="`rig data keys rotate` makes a new one"
            )
        make_private_dir(self.root)
        key = LabPrivateKey(X25519PrivateKey.generate())
        key.save(self.private_path, passphrase, scrypt_n)
        self._write_public(key.public)
        return key

    def adopt_public(self, public: bytes) -> str:
        """Set the public key of a host that only writes; return its fingerprint."""
        if self.is_initialised:
            raise StateError(f"{self.root} has a lab key already", hint="remove it by hand first")
        if len(public) != 32:
            raise ConfigError("a public key has 32 bytes", hint="copy the value of 'public'")
        make_private_dir(self.root)
        self._write_public(public)
        return key_id(public)

    def adopt_public_file(self, path: Path) -> str:
        """Set the public key from another host's ``lab-public.json``; return its fingerprint."""
        try:
            return self.adopt_public(from_base64(read_json(path)["public"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path} holds no public key", hint="copy lab-public.json of the reading host"
            ) from error

    @property
    def lab_public(self) -> bytes:
        """The lab's public key, 32 bytes.

        Raises:
            PrivacyError: There is none: nothing can be recorded.
        """
        if not self.is_initialised:
            raise PrivacyError(
                f"there is no lab key in {self.root}", hint="make one: `rig data keys init`"
            )
        return from_base64(read_json(self._public_path)["public"])

    def lab_private(self, passphrase: str | None = None, path: Path | None = None) -> LabPrivateKey:
        """Open the lab's private key, from ``path`` or from this folder."""
        where = path or self.private_path
        if not where.exists():
            raise PrivacyError(
                f"the lab's private key is not at {where}",
                hint="this host can write only; read on the host that holds the private key",
            )
        return LabPrivateKey.load(where, passphrase)

    def subjects(self) -> list[str]:
        """Return the pseudonyms that have a key."""
        if not self._subjects.is_dir():
            return []
        return sorted(p.stem for p in self._subjects.glob("*.json") if ".destroyed" not in p.name)

    def is_destroyed(self, pseudonym: str) -> bool:
        """Whether the key of this subject was destroyed."""
        return self._tombstone(pseudonym).exists()

    def subject(self, pseudonym: str) -> SubjectKey:
        """Return the key of a subject.

        Raises:
            PrivacyError: There is none, or it was destroyed: its takes are unreadable.
        """
        path = self._subject_path(pseudonym)
        if self.is_destroyed(pseudonym):
            raise PrivacyError(
                f"the key of subject {pseudonym} was destroyed; the frames are gone for good",
                hint="nothing can be done, by design; use another subject's takes",
            )
        if not path.exists():
            raise PrivacyError(
                f"there is no key for subject {pseudonym} in {self.root}",
                hint="record a consent first (`rig data consent add`), or copy its key file here",
            )
        data = read_json(path)
        try:
            return SubjectKey(
                pseudonym=data["pseudonym"],
                public=from_base64(data["public"]),
                sealed_private=from_base64(data["sealed_private"]),
                lab=data["lab"],
                simulated=bool(data["simulated"]),
            )
        except (KeyError, ValueError) as error:
            raise StorageError(
                f"{path} is damaged: {error}", hint="restore it from a backup of the key folder"
            ) from error

    def ensure_subject(self, pseudonym: str, *, simulated: bool) -> SubjectKey:
        """Return the subject's key, making one the first time.

        Raises:
            PrivacyError: A real and a simulated subject would share one pseudonym.
        """
        path = self._subject_path(pseudonym)
        if not path.exists() and not self.is_destroyed(pseudonym):
            key = SubjectKey.new(pseudonym, self.lab_public, simulated=simulated)
            self._write_subject(key)
        key = self.subject(pseudonym)
        if key.simulated != simulated:
            kind = "the digital twin" if key.simulated else "a person"
            raise PrivacyError(
                f"pseudonym {pseudonym} belongs to {kind}",
                hint="use different pseudonyms for people and for simulated subjects",
            )
        return key

    def destroy_subject(self, pseudonym: str) -> str:
        """Overwrite and remove a subject's key; return its fingerprint. No way back.

        The overwrite cannot reach copies: backups, snapshots, spare blocks of a flash
        disk. Keep the key folder on its own encrypted volume (docs/privacy.md).
        """
        key = self.subject(pseudonym)
        path = self._subject_path(pseudonym)
        write_json(
            self._tombstone(pseudonym),
            {
                "schema": 1,
                "pseudonym": pseudonym,
                "id": key.id,
                "destroyed_wall_ns": time.time_ns(),
            },
        )
        with path.open("r+b", buffering=0) as file:
            file.write(bytes(path.stat().st_size))
            os.fsync(file.fileno())
        path.unlink()
        return key.id

    def rotate_lab(
        self, old: LabPrivateKey, passphrase: str | None, scrypt_n: int = SCRYPT_N
    ) -> LabPrivateKey:
        """Make a new lab key and seal every subject for it; takes are not rewritten.

        Safe to repeat after an interruption: the new private key is on disk before
        the first subject changes, and the old file is kept beside it by fingerprint.
        """
        keys = [self.subject(name) for name in self.subjects()]
        waiting = self.root / "lab-private.next.json"
        if waiting.exists():
            new = LabPrivateKey.load(waiting, passphrase)
        else:
            new = LabPrivateKey(X25519PrivateKey.generate())
            new.save(waiting, passphrase, scrypt_n)
        for key in keys:
            if key.lab != new.id:
                self._write_subject(key.resealed(old, new.public))
        if self.private_path.exists():
            self.private_path.replace(self.root / f"lab-private.{old.id}.json")
        waiting.replace(self.private_path)
        self._write_public(new.public)
        return new

    def _write_public(self, public: bytes) -> None:
        write_json(
            self._public_path, {"schema": 1, "id": key_id(public), "public": to_base64(public)}
        )

    def _write_subject(self, key: SubjectKey) -> None:
        make_private_dir(self._subjects)
        write_json(
            self._subject_path(key.pseudonym),
            {
                "schema": 1,
                "pseudonym": key.pseudonym,
                "id": key.id,
                "public": to_base64(key.public),
                "sealed_private": to_base64(key.sealed_private),
                "lab": key.lab,
                "simulated": key.simulated,
            },
        )

    def _subject_path(self, pseudonym: str) -> Path:
        return self._subjects / f"{check_pseudonym(pseudonym)}.json"

    def _tombstone(self, pseudonym: str) -> Path:
        return self._subjects / f"{check_pseudonym(pseudonym)}.destroyed.json"

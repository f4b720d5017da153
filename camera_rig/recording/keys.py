"""Keys at rest: the lab's key pair and one key pair per subject.

The chain is: a take's data keys are sealed for the subject's public key; the
subject's private key is sealed for the lab's public key. A host that holds only
public keys can therefore write and never read, and destroying one subject's file
makes all takes of that subject unreadable, wherever copies of them lie.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from camera_rig.errors import ConfigError, PrivacyError, StateError, StorageError
from camera_rig.recording._files import make_private_dir, read_json, write_json

__all__ = [
    "KeyStore",
    "LabPrivateKey",
    "SubjectKey",
    "check_pseudonym",
    "open_box",
    "seal_box",
]

_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
SCRYPT_N = 2**16


def check_pseudonym(name: str) -> str:
    """Return ``name`` if it can stand in file names: letters, digits, ``_`` and ``-``."""
    if not _PSEUDONYM.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no pseudonym",
            hint="use up to 32 letters, digits, '_' or '-', and never a real name",
        )
    return name


def key_id(public: bytes) -> str:
    """Return the short fingerprint of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def seal_box(public: bytes, secret: bytes, context: str) -> bytes:
    """Encrypt ``secret`` so that only the holder of the private key can read it.

    X25519 with a fresh key, HKDF-SHA256, AES-256-GCM; ``context`` binds the box to its
    place, so that it cannot be moved to another subject or take.
    """
    fresh = X25519PrivateKey.generate()
    shared = fresh.exchange(X25519PublicKey.from_public_bytes(public))
    mine = fresh.public_key().public_bytes_raw()
    key = _box_key(shared, mine, public, context)
    return mine + AESGCM(key).encrypt(bytes(12), secret, context.encode())


def open_box(private: X25519PrivateKey, box: bytes, context: str) -> bytes:
    """Return the secret inside ``box``.

    Raises:
        PrivacyError: This key does not open it, or it was moved or altered.
    """
    mine, sealed = box[:32], box[32:]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(mine))
        key = _box_key(shared, mine, private.public_key().public_bytes_raw(), context)
        return AESGCM(key).decrypt(bytes(12), sealed, context.encode())
    except (InvalidTag, ValueError) as error:
        raise PrivacyError(
            f"the wrapped key of {context} does not open: wrong private key, or it was altered",
            hint="use the private key that was in force when it was written (`rig data keys show`)",
        ) from error


def _box_key(shared: bytes, mine: bytes, theirs: bytes, context: str) -> bytes:
    info = b"camera-rig box " + context.encode()
    return HKDF(hashes.SHA256(), 32, salt=mine + theirs, info=info).derive(shared)


@dataclass(frozen=True, slots=True)
class LabPrivateKey:
    """The lab's private key, opened. Keep it out of variables that live long."""

    key: X25519PrivateKey

    @property
    def public(self) -> bytes:
        """The public half, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        """Fingerprint of the public half."""
        return key_id(self.public)

    @staticmethod
    def needs_passphrase(path: Path) -> bool:
        """Whether the key file at ``path`` is there and locked by a passphrase."""
        return path.exists() and read_json(path).get("protection") == "passphrase"

    @classmethod
    def load(cls, path: Path, passphrase: str | None = None) -> LabPrivateKey:
        """Open a private key file.

        Raises:
            PrivacyError: The passphrase is missing or wrong, or others may read the file.
        """
        data = read_json(path)
        if path.stat().st_mode & 0o077:
            raise PrivacyError(
                f"{path} can be read by others", hint=f"run: chmod 600 {path}, and rotate the key"
            )
        if data.get("protection") == "file":
            return cls(X25519PrivateKey.from_private_bytes(_unb64(data["private"])))
        if passphrase is None:
            raise PrivacyError(
                f"{path} needs a passphrase", hint="set RIG_PASSPHRASE or give it when asked"
            )
        kdf = _scrypt(_unb64(data["salt"]), passphrase, int(data["scrypt_n"]))
        try:
            raw = AESGCM(kdf).decrypt(bytes(12), _unb64(data["sealed"]), data["id"].encode())
        except InvalidTag as error:
            raise PrivacyError(
                f"the passphrase does not open {path}", hint="try again; there is no recovery"
            ) from error
        return cls(X25519PrivateKey.from_private_bytes(raw))

    def save(self, path: Path, passphrase: str | None, scrypt_n: int = SCRYPT_N) -> None:
        """Write the key file, encrypted by ``passphrase`` or protected by its mode alone."""
        data: dict[str, Any] = {"schema": 1, "id": self.id}
        raw = self.key.private_bytes_raw()
        if passphrase is None:
            data |= {"protection": "file", "private": _b64(raw)}
        else:
            salt = os.urandom(16)  # fresh per file, so the fixed nonce never meets its key twice
            sealed = AESGCM(_scrypt(salt, passphrase, scrypt_n)).encrypt(
                bytes(12), raw, self.id.encode()
            )
            data |= {
                "protection": "passphrase",
                "scrypt_n": scrypt_n,
                "salt": _b64(salt),
                "sealed": _b64(sealed),
            }
        write_json(path, data)


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """What the recording host knows of one subject: enough to write, not to read.

    Args:
        pseudonym: Name of the subject in all files.
        public: X25519 public key, 32 bytes.
        sealed_private: The private key, sealed for the lab.
        lab: Fingerprint of the lab key that opens it.
        simulated: True for a subject of the digital twin.
    """

    pseudonym: str
    public: bytes
    sealed_private: bytes
    lab: str
    simulated: bool

    @property
    def id(self) -> str:
        """Fingerprint of the public key."""
        return key_id(self.public)

    @classmethod
    def new(cls, pseudonym: str, lab_public: bytes, *, simulated: bool) -> SubjectKey:
        """Make a key pair and forget the private half after sealing it for the lab."""
        private = X25519PrivateKey.generate()
        return cls(
            pseudonym=check_pseudonym(pseudonym),
            public=private.public_key().public_bytes_raw(),
            sealed_private=seal_box(lab_public, private.private_bytes_raw(), _context(pseudonym)),
            lab=key_id(lab_public),
            simulated=simulated,
        )

    def open(self, lab: LabPrivateKey) -> X25519PrivateKey:
        """Return the subject's private key.

        Raises:
            PrivacyError: It was sealed for another lab key.
        """
        if lab.id != self.lab:
            raise PrivacyError(
                f"wrong key: subject {self.pseudonym} is sealed for lab key {self.lab}, "
                f"this is {lab.id}",
                hint="load the private key with that fingerprint, or `rig data keys rotate`",
            )
        raw = open_box(lab.key, self.sealed_private, _context(self.pseudonym))
        return X25519PrivateKey.from_private_bytes(raw)

    def resealed(self, old: LabPrivateKey, new_public: bytes) -> SubjectKey:
        """Return the same subject key, sealed for another lab key."""
        raw = self.open(old).private_bytes_raw()
        box = seal_box(new_public, raw, _context(self.pseudonym))
        return SubjectKey(self.pseudonym, self.public, box, key_id(new_public), self.simulated)


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
            return self.adopt_public(_unb64(read_json(path)["public"]))
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
        return _unb64(read_json(self._public_path)["public"])

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
                public=_unb64(data["public"]),
                sealed_private=_unb64(data["sealed_private"]),
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
        write_json(self._public_path, {"schema": 1, "id": key_id(public), "public": _b64(public)})

    def _write_subject(self, key: SubjectKey) -> None:
        make_private_dir(self._subjects)
        write_json(
            self._subject_path(key.pseudonym),
            {
                "schema": 1,
                "pseudonym": key.pseudonym,
                "id": key.id,
                "public": _b64(key.public),
                "sealed_private": _b64(key.sealed_private),
                "lab": key.lab,
                "simulated": key.simulated,
            },
        )

    def _subject_path(self, pseudonym: str) -> Path:
        return self._subjects / f"{check_pseudonym(pseudonym)}.json"

    def _tombstone(self, pseudonym: str) -> Path:
        return self._subjects / f"{check_pseudonym(pseudonym)}.destroyed.json"


def _context(pseudonym: str) -> str:
    return f"subject {pseudonym}"


def _scrypt(salt: bytes, passphrase: str, n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(passphrase.encode())


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)

"""Key pairs: the lab's, each subject's, and boxes sealed for a public key.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from camera_rig.errors import ConfigError, PrivacyError
from camera_rig.recording._files import read_json, write_json

__all__ = [
    "SCRYPT_N",
    "LabPrivateKey",
    "SubjectKey",
    "check_pseudonym",
    "from_base64",
    "key_id",
    "open_box",
    "seal_box",
    "to_base64",
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
            return cls(X25519PrivateKey.from_private_bytes(from_base64(data["private"])))
        if passphrase is None:
            raise PrivacyError(
                f"{path} needs a passphrase", hint="set RIG_PASSPHRASE or give it when asked"
            )
        kdf = _scrypt(from_base64(data["salt"]), passphrase, int(data["scrypt_n"]))
        try:
            raw = AESGCM(kdf).decrypt(bytes(12), from_base64(data["sealed"]), data["id"].encode())
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
            data |= {"protection": "file", "private": to_base64(raw)}
        else:
            salt = os.urandom(16)  # fresh per file, so the fixed nonce never meets its key twice
            sealed = AESGCM(_scrypt(salt, passphrase, scrypt_n)).encrypt(
                bytes(12), raw, self.id.encode()
            )
            data |= {
                "protection": "passphrase",
                "scrypt_n": scrypt_n,
                "salt": to_base64(salt),
                "sealed": to_base64(sealed),
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


def _context(pseudonym: str) -> str:
    return f"subject {pseudonym}"


def _scrypt(salt: bytes, passphrase: str, n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(passphrase.encode())


def to_base64(data: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Return the bytes of base64 text; ValueError if it is none."""
    return base64.b64decode(text, validate=True)

"""Frames at rest: AES-256-GCM each, under keys that the recording host cannot reopen.

A take has one data key per class of frame (privacy, side) and one that signs its
journal. They are born in memory, sealed for the subject's public key, and gone with
the process. Opening them again needs the lab's private key and is written to the
audit log first.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from camera_rig.errors import PrivacyError, StorageError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.key_pairs import LabPrivateKey, SubjectKey, open_box, seal_box
from camera_rig.recording.keys import KeyStore

__all__ = [
    "FrameClass",
    "FrameOpener",
    "FrameSealer",
    "OpenKeys",
    "SealedKeys",
    "new_keys",
    "open_keys",
]

_MAGIC = b"RIGF"
_VERSION = 1
_HEADER = struct.Struct(">4sBB8s12s8s8sQ")
"""magic, version, class, key id, nonce, take tag, camera tag, sequence."""
_MAX_BYTES_PER_KEY = 350_000_000_000  # the library authors' advice for one AES-GCM key
JOURNAL = "journal"


class FrameClass(StrEnum):
    """How sensitive a frame is; each class has its own key."""

    PRIVACY = "privacy"
    SIDE = "side"


_CLASS_BYTE = {FrameClass.PRIVACY: 1, FrameClass.SIDE: 2}


def _tag(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:8]


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"camera-rig key id" + key).digest()[:8]


def _associated(header: bytes, take: str, camera: str, sequence: int) -> bytes:
    # Lengths first, so that no two triples give the same bytes.
    return header + b"".join(
        struct.pack(">I", len(part)) + part
        for part in (take.encode(), camera.encode(), str(sequence).encode())
    )


class FrameSealer:
    """Encrypts the frames of one class of one take; any thread may call it.

    The nonce is a counter that never repeats under this key: the key lives in one
    process only and is never loaded for writing again.
    """

    def __init__(self, take: str, frame_class: FrameClass, key: bytes) -> None:
        self._take, self._class = take, frame_class
        self._id, self._cipher = _key_id(key), AESGCM(key)
        self._lock = threading.Lock()
        self._count = self._bytes = 0

    def seal(self, camera: str, sequence: int, payload: bytes) -> bytes:
        """Return header and ciphertext of one frame.

        Raises:
            StorageError: The key has encrypted as much as one key should.
        """
        with self._lock:
            count, self._count = self._count, self._count + 1
            self._bytes += len(payload)
            if self._bytes > _MAX_BYTES_PER_KEY:
                raise StorageError(
                    f"take {self._take} has reached the byte limit of one key",
                    hint="end this take and start another; each has its own key",
                )
        nonce = struct.pack(">IQ", 0, count)
        header = _HEADER.pack(
            _MAGIC, _VERSION, _CLASS_BYTE[self._class], self._id, nonce,
            _tag(self._take), _tag(camera), sequence,
        )  # fmt: skip
        data = _associated(header, self._take, camera, sequence)
        return header + self._cipher.encrypt(nonce, payload, data)


class FrameOpener:
    """Decrypts the frames of one class of one take, and says why when it cannot."""

    def __init__(self, take: str, frame_class: FrameClass, key: bytes) -> None:
        self._take, self._class = take, frame_class
        self._id, self._cipher = _key_id(key), AESGCM(key)
        self.opened = 0

    def open(self, camera: str, sequence: int, blob: bytes) -> bytes:
        """Return the frame's bytes as the camera sent them.

        Raises:
            StorageError: It was altered, or moved here from another place.
            PrivacyError: It was encrypted under another key.
        """
        what = f"frame {sequence} of camera {camera} in take {self._take}"
        if len(blob) < _HEADER.size + 16 or not blob.startswith(_MAGIC):
            raise StorageError(f"{what} is no encrypted frame", hint="`rig take recover` the take")
        header = blob[: _HEADER.size]
        _, version, kind, key, nonce, take, cam, number = _HEADER.unpack(header)
        if version != _VERSION:
            raise StorageError(
                f"{what} has format {version}, this software reads {_VERSION}",
                hint="update camera-rig",
            )
        for there, here, thing in (
            (take, _tag(self._take), "another take"),
            (cam, _tag(camera), "another camera"),
            (kind, _CLASS_BYTE[self._class], "another class"),
            (number, sequence, f"another place (it is frame {number})"),
        ):
            if there != here:
                raise StorageError(
                    f"{what} was swapped: it belongs to {thing}",
                    hint="the take was tampered with; restore it from a backup",
                )
        if key != self._id:
            raise PrivacyError(
                f"wrong key: {what} needs key {key.hex()}, this is {self._id.hex()}",
                hint="open the take with the keys in its own manifest",
            )
        try:
            plain = self._cipher.decrypt(
                nonce, blob[_HEADER.size :], _associated(header, self._take, camera, sequence)
            )
        except InvalidTag as error:
            raise StorageError(
                f"{what} was altered: its authentication fails",
                hint="the take was tampered with or the disk is failing; restore a backup",
            ) from error
        self.opened += 1
        return plain


@dataclass(frozen=True, slots=True)
class SealedKeys:
    """The data keys of a take as they lie on disk: sealed for the subject.

    Args:
        subject: Pseudonym.
        subject_key: Fingerprint of the subject's public key.
        boxes: Class name (or ``journal``) to sealed key, base64.
    """

    subject: str
    subject_key: str
    boxes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WritingKeys:
    """The data keys of a take being written: sealers, and the key that signs the journal."""

    sealers: Mapping[FrameClass, FrameSealer]
    journal: bytes = field(repr=False)


def new_keys(
    take: str, subject: SubjectKey, classes: Iterable[FrameClass] = tuple(FrameClass)
) -> tuple[WritingKeys, SealedKeys]:
    """Make fresh data keys for ``take``: one set to write with, one to store."""
    raw = {str(c): os.urandom(32) for c in classes} | {JOURNAL: os.urandom(32)}
    boxes = {name: _seal(subject.public, key, take, name) for name, key in raw.items()}
    sealers = {FrameClass(n): FrameSealer(take, FrameClass(n), k) for n, k in raw.items()
               if n != JOURNAL}  # fmt: skip
    return WritingKeys(sealers, raw[JOURNAL]), SealedKeys(subject.pseudonym, subject.id, boxes)


class OpenKeys:
    """Opened keys of one take; a context that notes in the audit log what was read."""

    def __init__(self, take: str, raw: Mapping[str, bytes], audit: AuditLog) -> None:
        self._take, self._audit = take, audit
        self._openers = {
            FrameClass(name): FrameOpener(take, FrameClass(name), key)
            for name, key in raw.items()
            if name != JOURNAL
        }
        self.journal = raw.get(JOURNAL)

    def opener(self, frame_class: FrameClass) -> FrameOpener:
        """Return the opener of a class.

        Raises:
            PrivacyError: That class was not asked for when the keys were opened.
        """
        if frame_class not in self._openers:
            raise PrivacyError(
                f"the {frame_class} frames of take {self._take} were not opened",
                hint=f"ask for class {frame_class} when opening the keys",
            )
        return self._openers[frame_class]

    def close(self) -> None:
        """Note how many frames were decrypted and drop the keys."""
        counts = {str(name): opener.opened for name, opener in self._openers.items()}
        if self._openers:
            self._audit.append("keys-closed", take=self._take, frames_decrypted=counts)
        self._openers, self.journal = {}, None

    def __enter__(self) -> Self:
        """Return the open keys."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened inside."""
        self.close()


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """All that is needed to open keys: the store, the lab's private key, the log, the reason.

    Args:
        store: Key folder with the subjects.
        lab: The lab's private key.
        audit: Log that every opening is written to.
        purpose: Why, in a few words; goes to the log.
    """

    store: KeyStore
    lab: LabPrivateKey
    audit: AuditLog
    purpose: str


def open_keys(
    take: str,
    sealed: SealedKeys,
    access: KeyAccess,
    classes: Iterable[FrameClass] = tuple(FrameClass),
) -> OpenKeys:
    """Open the data keys of ``take``, after noting it in the audit log.

    Raises:
        PrivacyError: Wrong lab key, destroyed subject key, or a moved box.
        StorageError: The audit log cannot be written, so no key is opened.
    """
    subject = access.store.subject(sealed.subject)
    _same_subject_key(take, sealed, subject)
    wanted = [*map(str, classes), JOURNAL]
    names = [name for name in wanted if name in sealed.boxes]
    access.audit.append(
        "keys-opened", take=take, subject=sealed.subject, classes=names, purpose=access.purpose
    )
    private = subject.open(access.lab)
    raw = {n: open_box(private, base64.b64decode(sealed.boxes[n]), f"{take} {n}") for n in names}
    return OpenKeys(take, raw, access.audit)


def _seal(public: bytes, key: bytes, take: str, name: str) -> str:
    return base64.b64encode(seal_box(public, key, f"{take} {name}")).decode()


def _same_subject_key(take: str, sealed: SealedKeys, subject: SubjectKey) -> None:
    if subject.id != sealed.subject_key:
        raise PrivacyError(
            f"wrong key: take {take} is sealed for subject key {sealed.subject_key}, "
            f"the store has {subject.id} for {subject.pseudonym}",
            hint="restore the subject's key file that belongs to this take",
        )

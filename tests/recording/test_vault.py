"""The vault: what is sealed opens only in its place, with its key, and leaves a trace."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camera_rig.clock import ManualClock
from camera_rig.errors import ConfigError, PrivacyError, StateError, StorageError
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.key_pairs import LabPrivateKey, open_box, seal_box
from camera_rig.recording.keys import KeyStore
from camera_rig.recording.vault import (
    FrameClass,
    FrameOpener,
    FrameSealer,
    KeyAccess,
    new_keys,
    open_keys,
)
from tests.recording.conftest import FAST_SCRYPT

KEY = bytes(range(32))


def sealer(take: str = "take-a", kind: FrameClass = FrameClass.SIDE) -> FrameSealer:
    return FrameSealer(take, kind, KEY)


def opener(take: str = "take-a", kind: FrameClass = FrameClass.SIDE) -> FrameOpener:
    return FrameOpener(take, kind, KEY)


@given(
    payload=st.binary(max_size=4096),
    camera=st.text(min_size=1, max_size=20),
    sequence=st.integers(0, 2**40),
)
def test_what_is_sealed_opens_unchanged(payload: bytes, camera: str, sequence: int) -> None:
    blob = sealer().seal(camera, sequence, payload)
    assert opener().open(camera, sequence, blob) == payload


@given(payload=st.binary(min_size=1, max_size=300), data=st.data())
def test_any_flipped_bit_is_refused(payload: bytes, data: st.DataObject) -> None:
    blob = bytearray(sealer().seal("cam", 7, payload))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((StorageError, PrivacyError)):
        opener().open("cam", 7, bytes(blob))


@given(payload=st.binary(max_size=300), cut=st.integers(1, 400))
def test_a_cut_frame_is_refused(payload: bytes, cut: int) -> None:
    blob = sealer().seal("cam", 7, payload)
    with pytest.raises(StorageError):
        opener().open("cam", 7, blob[: max(0, len(blob) - cut)])


def test_nonces_never_repeat_and_ciphertexts_differ() -> None:
    one = sealer()
    blobs = [one.seal("cam", 1, b"same picture") for _ in range(500)]
    nonces = {blob[14:26] for blob in blobs}
    assert len(nonces) == len(set(blobs)) == 500


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda blob: opener("take-b").open("cam", 7, blob), "belongs to another take"),
        (lambda blob: opener().open("other", 7, blob), "belongs to another camera"),
        (lambda blob: opener().open("cam", 8, blob), "it is frame 7"),
        (
            lambda blob: opener(kind=FrameClass.PRIVACY).open("cam", 7, blob),
            "belongs to another class",
        ),
    ],
)
def test_a_swapped_frame_is_refused_with_its_own_message(attempt, words) -> None:
    with pytest.raises(StorageError, match=words):
        attempt(sealer().seal("cam", 7, b"x"))


def test_wrong_key_and_altered_bytes_have_their_own_messages() -> None:
    blob = sealer().seal("cam", 7, b"picture")
    with pytest.raises(PrivacyError, match="wrong key"):
        FrameOpener("take-a", FrameClass.SIDE, bytes(32)).open("cam", 7, blob)
    with pytest.raises(StorageError, match="was altered"):
        opener().open("cam", 7, blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(StorageError, match="no encrypted frame"):
        opener().open("cam", 7, b"\xff\xd8 a jpeg")


def test_tags_rewritten_with_the_swap_still_fail_authentication() -> None:
    # An attacker can rewrite the open header; the ciphertext is bound to the true place.
    blob = sealer("take-b").seal("cam", 7, b"picture")
    here = sealer("take-a").seal("cam", 7, b"picture")
    forged = here[:26] + here[26:34] + blob[34:]
    with pytest.raises(StorageError, match="was altered"):
        opener("take-a").open("cam", 7, forged)


@given(secret=st.binary(max_size=64), context=st.text(max_size=20))
def test_boxes_open_only_with_key_and_context(secret: bytes, context: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private = X25519PrivateKey.generate()
    box = seal_box(private.public_key().public_bytes_raw(), secret, context)
    assert open_box(private, box, context) == secret
    with pytest.raises(PrivacyError):
        open_box(private, box, context + "!")
    with pytest.raises(PrivacyError):
        open_box(X25519PrivateKey.generate(), box, context)


def access(keys: KeyStore, audit: AuditLog, lab: LabPrivateKey | None = None) -> KeyAccess:
    return KeyAccess(keys, lab or keys.lab_private(), audit, "test")


def test_the_recording_host_writes_but_cannot_read(
    tmp_path: Path, keys: KeyStore, audit: AuditLog
) -> None:
    host = KeyStore(tmp_path / "host")
    host.adopt_public(keys.lab_public)
    writing, sealed = new_keys("take-a", host.ensure_subject("S01", simulated=False))
    blob = writing.sealers[FrameClass.SIDE].seal("cam", 0, b"face")
    with pytest.raises(PrivacyError, match="private key is not at"):
        host.lab_private()
    # The reading host gets the subject's file and has the private key.
    shutil.copytree(host.root / "subjects", keys.root / "subjects")
    with open_keys("take-a", sealed, access(keys, audit)) as opened:
        assert opened.opener(FrameClass.SIDE).open("cam", 0, blob) == b"face"
        assert opened.journal == writing.journal
    events = [entry.event for entry in audit.verify()]
    assert events == ["keys-opened", "keys-closed"]
    assert audit.verify()[-1].facts["frames_decrypted"] == {"side": 1, "privacy": 0}


def test_privacy_class_opens_without_the_side_class(keys: KeyStore, audit: AuditLog) -> None:
    _, sealed = new_keys("take-a", keys.ensure_subject("S01", simulated=False))
    opened = open_keys("take-a", sealed, access(keys, audit), [FrameClass.PRIVACY])
    opened.opener(FrameClass.PRIVACY)
    with pytest.raises(PrivacyError, match="were not opened"):
        opened.opener(FrameClass.SIDE)


def test_destroying_a_subject_key_is_for_good(keys: KeyStore, audit: AuditLog) -> None:
    _, sealed = new_keys("take-a", keys.ensure_subject("S01", simulated=False))
    keys.destroy_subject("S01")
    with pytest.raises(PrivacyError, match="destroyed"):
        open_keys("take-a", sealed, access(keys, audit))
    with pytest.raises(PrivacyError, match="destroyed"):
        keys.ensure_subject("S01", simulated=False)
    assert keys.subjects() == []


def test_keys_moved_between_takes_do_not_open(keys: KeyStore, audit: AuditLog) -> None:
    _, sealed = new_keys("take-a", keys.ensure_subject("S01", simulated=False))
    with pytest.raises(PrivacyError, match="does not open"):
        open_keys("take-b", sealed, access(keys, audit))


def test_rotation_opens_old_takes_with_the_new_key_only(keys: KeyStore, audit: AuditLog) -> None:
    _, sealed = new_keys("take-a", keys.ensure_subject("S01", simulated=False))
    old = keys.lab_private()
    new = keys.rotate_lab(old, None)
    assert new.id != old.id
    assert keys.lab_public == new.public
    open_keys("take-a", sealed, access(keys, audit)).close()
    with pytest.raises(PrivacyError, match="wrong key"):
        open_keys("take-a", sealed, access(keys, audit, old))


def test_interrupted_rotation_is_finished_by_the_next(
    keys: KeyStore, audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = [new_keys(f"t-{n}", keys.ensure_subject(n, simulated=False))[1] for n in ("A", "B")]
    old = keys.lab_private()
    write, calls = keys._write_subject, []

    def failing(key) -> None:
        if calls:
            raise StorageError("power cut", hint="-")
        calls.append(key)
        write(key)

    monkeypatch.setattr(keys, "_write_subject", failing)
    with pytest.raises(StorageError, match="power cut"):
        keys.rotate_lab(old, None)
    monkeypatch.undo()
    keys.rotate_lab(old, None)
    for name, one in zip(("A", "B"), sealed, strict=True):
        open_keys(f"t-{name}", one, access(keys, audit)).close()


def test_people_and_simulated_subjects_never_share_a_key(keys: KeyStore) -> None:
    keys.ensure_subject("S01", simulated=True)
    with pytest.raises(PrivacyError, match="digital twin"):
        keys.ensure_subject("S01", simulated=False)


def test_passphrase_protects_the_private_key(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "k")
    made = store.init("correct horse", scrypt_n=FAST_SCRYPT)
    assert store.lab_private("correct horse").id == made.id
    with pytest.raises(PrivacyError, match="does not open"):
        store.lab_private("wrong")
    with pytest.raises(PrivacyError, match="needs a passphrase"):
        store.lab_private()
    with pytest.raises(StateError):
        store.init("again")
    raw = made.key.private_bytes_raw()
    import base64

    text = store.private_path.read_text()
    assert base64.b64encode(raw).decode() not in text
    assert raw.hex() not in text


def test_key_files_are_private(keys: KeyStore) -> None:
    keys.ensure_subject("S01", simulated=False)
    for path in [keys.root, *keys.root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    keys.private_path.chmod(0o644)
    with pytest.raises(PrivacyError, match="read by others"):
        keys.lab_private()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 33, "Ann Lee"])
def test_names_that_could_leave_the_folder_are_refused(keys: KeyStore, name: str) -> None:
    with pytest.raises(ConfigError):
        keys.ensure_subject(name, simulated=False)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25
)
@given(data=st.data(), count=st.integers(2, 8))
def test_any_edit_of_the_audit_log_is_found(
    tmp_path: Path, data: st.DataObject, count: int
) -> None:
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "audit.jsonl"
    log = AuditLog(path, ManualClock(), "tester")
    for number in range(count):
        log.append("keys-opened", take=f"t{number}")
    assert len(log.verify()) == count
    lines = path.read_text().splitlines(keepends=True)
    index = data.draw(st.integers(0, count - 1))
    edit = data.draw(st.sampled_from(["change", "remove", "duplicate"]))
    if edit == "change":
        entry = json.loads(lines[index])
        entry["operator"] = "somebody else"
        lines[index] = json.dumps(entry) + "\n"
    elif edit == "remove":
        del lines[index]
    else:
        lines.insert(index, lines[index])
    path.write_text("".join(lines))
    with pytest.raises(StorageError, match=r"altered|gone at the end"):
        log.verify()


def test_a_rewritten_log_is_found_against_the_noted_head(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "a.jsonl", ManualClock(), "tester")
    noted = [log.append("keys-opened", take=f"t{n}") for n in range(3)][-1].digest
    log.verify(head=noted)
    for path in tmp_path.iterdir():
        path.unlink()
    log.append("keys-opened", take="innocent")
    log.verify()
    with pytest.raises(StorageError, match="noted head"):
        log.verify(head=noted)

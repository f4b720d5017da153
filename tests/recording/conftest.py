from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from camera_rig.clock import ManualClock
from camera_rig.recording.audit import AuditLog
from camera_rig.recording.keys import KeyStore

FAST_SCRYPT = 2**4

# A busy machine makes no property false: examples have no time limit of their own.
settings.register_profile("recording", deadline=None)
settings.load_profile("recording")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_ns=1_000_000_000)


@pytest.fixture
def audit(tmp_path: Path, clock: ManualClock) -> AuditLog:
    return AuditLog(tmp_path / "data" / "audit.jsonl", clock, "tester")


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys")
    store.init(None)
    return store

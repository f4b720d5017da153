"""A lock between programs: the operating system frees it even after a crash."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from camera_rig.errors import StateError

__all__ = ["RigLock"]


class RigLock:
    """Only one program at a time may hold the lock of the same devices.

    Args:
        identity: What the rig is made of (drivers and serials); two configuration
            files with the same devices share one lock.
    """

    def __init__(self, identity: str) -> None:
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.path = Path(tempfile.gettempdir()) / f"camera-rig-{digest}.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StateError: Another program drives these devices; its process id is named.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        file = os.fdopen(descriptor, "r+", encoding="utf-8")
        try:
            _lock(file)
        except OSError as error:
            holder = file.read().strip() or "unknown"
            file.close()
            raise StateError(
                f"another program drives this rig (process {holder})",
                hint="close it, or wait until it ends; the lock frees itself when it dies",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


if sys.platform == "win32":  # pragma: no cover - exercised on Windows only
    import msvcrt

    def _lock(file: IO[str]) -> None:
        # A byte far behind the text, so that others can still read who holds it.
        file.seek(1024)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

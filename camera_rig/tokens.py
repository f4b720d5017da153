"""The bearer token: a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from camera_rig.errors import ConfigError, StorageError

_SHORTEST = 24
_LONGEST = 512


def read_token(path: Path) -> str:
    """Return the token in ``path``.

    On Windows the folder's access list is the owner's matter: file modes say nothing
    there.

    Raises:
        ConfigError: Absent, readable by others, empty or too short.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the token file {path} cannot be read: {error}",
            hint="make one with `rig serve token FILE` and copy it to the other host",
        ) from error
    if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"the token file {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}, and make a new token if others may have seen it",
        )
    if not _SHORTEST <= len(text) <= _LONGEST or not text.isprintable() or " " in text:
        raise ConfigError(
            f"the token in {path} is no token ({len(text)} characters)",
            hint=f"{_SHORTEST} to {_LONGEST} characters; `rig serve token FILE` makes one",
        )
    return text


def make_token(path: Path) -> None:
    """Write a new random token to a new file with mode 0600.

    Raises:
        StorageError: The file exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise StorageError(
            f"cannot write the token file {path}: {error.strerror}",
            hint="choose a file that does not exist, in a folder you may write",
        ) from error

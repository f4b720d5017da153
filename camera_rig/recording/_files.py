"""Private files: modes 0600 and 0700, written aside, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camera_rig.errors import StorageError

__all__ = [
    "canonical_json",
    "make_private_dir",
    "open_private",
    "read_json",
    "storage_error",
    "sync_dir",
    "write_aside",
    "write_json",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def canonical_json(data: Any) -> bytes:
    """Return ``data`` as JSON with sorted keys and no spaces: the form that is hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def make_private_dir(path: Path) -> Path:
    """Create ``path`` with mode 0700, parents too; return it."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
    return path


def open_private(path: Path, *, append: bool = False) -> int:
    """Create ``path`` with mode 0600 for writing and return its descriptor.

    Raises:
        StorageError: It exists already (unless ``append``), or the disk refuses.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    flags |= os.O_APPEND if append else os.O_EXCL
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise storage_error(error, path) from error


def sync_dir(path: Path) -> None:
    """Make renames and creations inside ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_aside(path: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write a temporary neighbour of ``path``, sync it, rename it into place.

    The neighbour has mode 0600 before a byte is in it and is removed when ``fill`` fails.

    Raises:
        StorageError: The disk refuses; the old file, if any, is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    try:
        os.close(open_private(aside))
        fill(aside)
        descriptor = os.open(aside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(path)
        sync_dir(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as readable JSON, aside and renamed, mode 0600."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_aside(path, lambda aside: _write_text(aside, text))


def read_json(path: Path) -> Any:
    """Return the parsed file.

    Raises:
        StorageError: It is absent or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist", hint="check the path") from error
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path} cannot be read: {error}", hint="restore it from a backup"
        ) from error


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the toolkit's error for a system one, with what to do about it."""
    if error.errno in _FULL:
        hint = "free space on this disk, or set storage.root to another one"
    elif error.errno == errno.EEXIST:
        hint = "nothing is overwritten here; choose another name"
    else:
        hint = "check the folder's owner and permissions"
    return StorageError(f"{path}: {error.strerror or error}", hint=hint)


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)

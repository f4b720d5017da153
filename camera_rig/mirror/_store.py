"""Small JSON files that survive a crash: written aside, synced, renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camera_rig.errors import StorageError


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write ``data`` to ``path``; a crash leaves the old file or the new, never half.

    Raises:
        StorageError: The file cannot be written.
    """
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as aside:
            aside.write(text)
            aside.flush()
            os.fsync(aside.fileno())
        Path(aside.name).replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error}", hint="check the folder, permissions and disk space"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        StorageError: The file is absent, unreadable or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}: {error}", hint="check the path, or make the file anew"
        ) from error
    if not isinstance(data, dict):
        raise StorageError(f"{path} is no JSON object", hint="make the file anew")
    return data

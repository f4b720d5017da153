"""One JSON-lines log per run: event names and fields, never pictures, never keys.

The library logs to ``logging.getLogger("camera_rig")`` as
``log.info("mirror_applied", extra={"reason": ...})`` and is silent until a program
calls :func:`start_run_log`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from camera_rig.errors import StorageError

__all__ = ["JsonLines", "run_log", "start_run_log", "stop_run_log"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_WORDS = ("key", "token", "passphrase", "password", "secret")
_LONGEST_TEXT = 500


class JsonLines(logging.Formatter):
    """Format a record as one JSON object; arrays and bytes are named, not shown."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for ``record``, without a line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = _withheld(name) or _plain(value)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        return json.dumps(line, ensure_ascii=False)


@contextmanager
def run_log(folder: Path, name: str) -> Iterator[None]:
    """Log the events of a block to a file of its own in ``folder``."""
    handler = start_run_log(folder, name)
    try:
        yield
    finally:
        stop_run_log(handler)


def start_run_log(folder: Path, name: str, *, level: int = logging.INFO) -> logging.Handler:
    """Write this run's events to ``folder/TIME-name-PID.jsonl`` (mode 0600).

    Returns:
        The handler, to be given to :func:`stop_run_log`.

    Raises:
        StorageError: The folder cannot be made or written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"{stamp}-{name}-{os.getpid()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot write the run log {path}: {error.strerror}",
            hint="set storage.root in the configuration to a folder you may write",
        ) from error
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("camera_rig")
    logger.addHandler(handler)
    logger.setLevel(level)
    return handler


def stop_run_log(handler: logging.Handler) -> None:
    """Take the handler away and close its file."""
    logging.getLogger("camera_rig").removeHandler(handler)
    handler.close()


def _withheld(name: str) -> str | None:
    lowered = name.lower()
    return "(withheld)" if any(word in lowered for word in _SECRET_WORDS) else None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return str(value)[:_LONGEST_TEXT]
    if isinstance(value, (list, tuple)) and len(value) <= 64:
        return [_plain(item) for item in value]
    if isinstance(value, dict) and len(value) <= 64:
        return {str(key): _withheld(str(key)) or _plain(item) for key, item in value.items()}
    return f"<{type(value).__name__}>"

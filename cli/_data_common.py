"""What the commands on takes and data sets share: the store, the key, small tables."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from camera_rig.recording.store import DataStore, Unlock

__all__ = [
    "LabKeyOption",
    "YesOption",
    "confirmed",
    "new_passphrase",
    "open_store",
    "read_settings",
    "table",
    "unlock",
]

LabKeyOption = Annotated[
    Path | None,
    typer.Option("--lab-key", help="The lab's private key, if it is not in the key folder."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def open_store(config: str) -> DataStore:
    """Return the data store of a configuration."""
    from camera_rig.config import load_config
    from camera_rig.recording.store import DataStore

    return DataStore.of(load_config(config).storage)


def unlock(store: DataStore, key_file: Path | None) -> Unlock:
    """Return how to open the lab's key; asks for the passphrase where one is needed."""
    from camera_rig.recording.key_pairs import LabPrivateKey
    from camera_rig.recording.store import Unlock

    path = key_file or store.keys.private_path
    phrase = os.environ.get("RIG_PASSPHRASE")
    if phrase is None and sys.stdin.isatty() and LabPrivateKey.needs_passphrase(path):
        phrase = typer.prompt("Passphrase of the lab key", hide_input=True)
    return Unlock(phrase, key_file)


def new_passphrase() -> str:
    """Return a passphrase for a new key: from the environment, or asked twice."""
    from camera_rig.errors import ConfigError

    phrase = os.environ.get("RIG_PASSPHRASE")
    if phrase is None:
        if not sys.stdin.isatty():
            raise ConfigError(
                "there is no passphrase", hint="set RIG_PASSPHRASE, or give --no-passphrase"
            )
        phrase = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True)
    if len(str(phrase)) < 10:
        raise ConfigError("the passphrase is too short", hint="use ten characters or more")
    return str(phrase)


def confirmed(question: str, yes: bool) -> bool:
    """Ask before something that cannot be undone; refuse where nobody can answer."""
    from camera_rig.errors import StateError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise StateError("this needs a confirmation", hint="look with --dry-run, then give --yes")
    return typer.confirm(question)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the keys of a small YAML file."""
    import yaml

    from camera_rig.errors import ConfigError

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="give a YAML file") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no settings", hint="write one 'key: value' a line")
    return found


def table(headers: list[str], rows: list[list[Any]]) -> None:
    """Print a table in plain columns: whole ids, so that they can be copied and cut."""
    texts = [headers, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(headers))]
    for row in texts:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())

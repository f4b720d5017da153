"""A series of takes: one prompt each, resumable, derived from the takes on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camera_rig.errors import ConfigError
from camera_rig.recording.catalog import Catalog

__all__ = ["Series", "read_prompts"]

_BUILT_IN = Path(__file__).with_name("prompts.txt")
_WHOLE = "duration reached"


def read_prompts(path: Path | None) -> list[str]:
    """Return the prompts of a text file, one a line, ``#`` starts a comment.

    Raises:
        ConfigError: It cannot be read or holds none.
    """
    try:
        lines = (path or _BUILT_IN).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="give a text file") from error
    prompts = [text for line in lines if (text := line.split("#")[0].strip())]
    if not prompts:
        raise ConfigError(f"{path} holds no prompt", hint="write one instruction a line")
    return prompts


@dataclass(frozen=True, slots=True)
class Series:
    """Name, length and prompts of a series; what is done is read from the catalogue.

    Args:
        name: Name; running again under the same name goes on where it stopped.
        total: Number of takes.
        prompts: Used in turn.
    """

    name: str
    total: int
    prompts: tuple[str, ...] = ()

    def prompt(self, number: int) -> str:
        """Return what the subject does in take ``number`` (from 1)."""
        return self.prompts[(number - 1) % len(self.prompts)] if self.prompts else ""

    def missing(self, catalog: Catalog) -> list[int]:
        """Return the numbers still to be recorded, ascending."""
        done = {row.number for row in catalog.rows(series=self.name) if row.state == _WHOLE}
        return [number for number in range(1, self.total + 1) if number not in done]

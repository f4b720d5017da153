"""YAML that remembers where each key stood, so that errors can name file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from camera_rig.errors import ConfigError

__all__ = ["Located", "read_located"]

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """Plain data of a YAML file and the line (from 1) of every key in it."""

    path: Path
    data: Any
    lines: dict[Loc, int]

    def line(self, loc: Loc) -> int:
        """Return the line of ``loc``, or of the nearest parent that has one."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.lines:
                return self.lines[loc[:end]]
        return 1


def read_located(path: Path) -> Located:
    """Read a YAML file with the safe loader.

    Raises:
        ConfigError: Missing, unreadable or not UTF-8; bad YAML; a key given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no file {path}", hint="check the path; `rig config list` shows what ships"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read {path}: {reason}", hint="check that it is a text file you may read"
        ) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_walk(root, (), path)) if root is not None else {}
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(
            f"{path}{where}: {problem}", hint="check indentation, colons and quotes on that line"
        ) from error
    return Located(path, {} if data is None else data, lines)


def _walk(node: yaml.Node, loc: Loc, path: Path) -> Iterator[tuple[Loc, int]]:
    yield loc, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise ConfigError(
                    f"{path}:{line}: {name!r} is given twice (first on line {seen[name]})",
                    hint="keep one of the two",
                )
            seen[name] = line
            yield from _walk(value, (*loc, name), path)
            yield (*loc, name), line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*loc, index), path)

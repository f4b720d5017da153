"""Coefficient files, YAML or JSON: strict to read, safe to write.

Reading goes through the YAML node tree rather than plain dictionaries, so that
an error can name the line, and a key given twice is refused instead of the last
one winning in silence.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from camera_rig.errors import ConfigError, StorageError
from camera_rig.optics import zernike
from camera_rig.optics.coefficients import BASIS, Coefficients, unit_named

Named = TypeVar("Named")

_REQUIRED = ("basis", "order", "unit", "values")
_OPTIONAL = ("wavelength_nm", "source", "notes")


def load(path: str | Path) -> Coefficients:
    """Read a coefficient file; values are in the unit that the file states.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong; the
            message names file, line and key.
    """
    file = Path(path)
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read coefficient file {file}: {error}",
            hint="check the path and that the file is UTF-8 text",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{file} is neither YAML nor JSON: {error}",
            hint="compare with hw_configs/coefficients/lopez2024.yaml",
        ) from error
    return _Reader(file).read(root)


class _Reader:
    """One file being read: knows its name, for errors."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self, root: yaml.Node | None) -> Coefficients:
        entries = self._mapping(root, "the file")
        for key, node in entries.items():
            if key not in _REQUIRED + _OPTIONAL:
                self._refuse(
                    node, f"unknown key {key!r}", "allowed: " + ", ".join(_REQUIRED + _OPTIONAL)
                )
        missing = [key for key in _REQUIRED if key not in entries]
        if missing:
            self._refuse(
                root,
                f"missing key {missing[0]!r}",
                "unit, order and basis are never guessed: add them",
            )
        order = self._within(entries, "order", zernike.order_named)
        unit = self._within(entries, "unit", unit_named)
        wave_node = entries.get("wavelength_nm")
        wave = None if wave_node is None else self._number(wave_node, "wavelength_nm")
        values = {}
        for key, node in self._mapping(entries["values"], "values").items():
            if not key.isascii() or not key.isdigit():
                self._refuse(
                    node, f"values: {key!r} is no index", f"use {order.value} indices: 4: 0.1"
                )
            try:
                mode = zernike.to_mode(order, int(key))
            except ConfigError as error:
                self._refuse(node, f"values.{key}: {error.message}", error.hint)
            if mode in values:
                self._refuse(node, f"values.{key}: index {int(key)} is given twice", "keep one")
            values[mode] = self._number(node, f"values.{key}")
        texts = {k: self._text(entries[k], k) for k in ("source", "notes") if k in entries}
        basis = self._text(entries["basis"], "basis")
        if basis != BASIS:
            self._refuse(entries["basis"], f"basis: unknown basis {basis!r}", f"use {BASIS}")
        try:
            return Coefficients(values, unit, wave, order, **texts)
        except ConfigError as error:
            self._refuse(entries["values"], error.message, error.hint)

    def _mapping(self, node: yaml.Node | None, name: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, f"{name} is not a mapping", "write 'key: value' lines")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            text = self._text(key, "a key")
            if text in found:
                self._refuse(key, f"key {text!r} is given twice", "keep one of them")
            found[text] = value
        return found

    def _within(
        self, entries: dict[str, yaml.Node], key: str, convert: Callable[[str], Named]
    ) -> Named:
        try:
            return convert(self._text(entries[key], key))
        except ConfigError as error:
            self._refuse(entries[key], f"{key}: {error.message}", error.hint)

    def _text(self, node: yaml.Node, name: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, f"{name} is not a single value", "write one plain value")
        return str(node.value)

    def _number(self, node: yaml.Node, name: str) -> float:
        text = self._text(node, name)
        try:
            return float(text)
        except ValueError:
            self._refuse(node, f"{name}: {text!r} is no number", "write a plain number")

    def _refuse(self, node: yaml.Node | None, message: str, hint: str) -> NoReturn:
        line = 1 if node is None else node.start_mark.line + 1
        raise ConfigError(f"{self.file}, line {line}: {message}", hint=hint)


def save(coefficients: Coefficients, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a coefficient file, JSON when the suffix is ``.json``, else YAML.

    Args:
        coefficients: What to write, in its own unit and order.
        path: File to create.
        overwrite: Replace an existing file.

    Raises:
        StorageError: The file exists, or cannot be written.
    """
    file = Path(path)
    if file.exists() and not overwrite:
        raise StorageError(
            f"{file} exists already", hint="choose another name, or pass overwrite=True"
        )
    content = {
        "basis": coefficients.basis,
        "order": coefficients.order.value,
        "unit": coefficients.unit.value,
        "wavelength_nm": coefficients.wavelength_nm,
        "source": coefficients.source,
        "notes": coefficients.notes,
        "values": coefficients.numbers,
    }
    content = {key: value for key, value in content.items() if value not in (None, "")}
    if file.suffix == ".json":
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as aside:
            aside.write(text)
            aside.flush()
            os.fsync(aside.fileno())
        Path(aside.name).replace(file)
    except OSError as error:
        raise StorageError(
            f"cannot write {file}: {error}", hint="check the folder, permissions and disk space"
        ) from error

"""Evaluations side by side: what changed, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from camera_rig.errors import ConfigError
from models.evaluation.meanings import label, meaning
from models.evaluation.run import Evaluation, load
from models.evaluation.statistics import Figure


@dataclass(frozen=True)
class Row:
    """One figure in every run.

    Args:
        figure: Its full name.
        label: Its name for people.
        values: One per run; None where a run lacks it.
        marks: One per run: ``+`` better than the first beyond both intervals, ``-`` worse,
            ``~`` different where neither is better, empty otherwise.
        told: Value and mark as text.
    """

    figure: str
    label: str
    values: tuple[float | None, ...]
    marks: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """Runs side by side.

    Args:
        names: Folder names of the runs.
        rows: Their figures.
        warnings: Why they should not be compared at all.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def compared(folders: Sequence[str | Path], system: str = "bundle", only: str = "*") -> Compared:
    """Compare evaluations; the first is the base.

    Args:
        folders: Folders of finished evaluations.
        system: Which system of each.
        only: Pattern of figures.

    Raises:
        ConfigError: Fewer than two, or one lacks the system.
    """
    if len(folders) < 2:
        raise ConfigError("one evaluation has nothing to be compared with", hint="give two folders")
    runs = [load(folder) for folder in folders]
    tables = [_figures(run, Path(f), system) for run, f in zip(runs, folders, strict=True)]
    names = list(dict.fromkeys(n for table in tables for n in table if fnmatchcase(n, only)))
    return Compared(
        names=tuple(Path(folder).name for folder in folders),
        rows=tuple(_row(name, [table.get(name) for table in tables]) for name in names),
        warnings=tuple(_warnings(runs)),
    )


def _figures(run: Evaluation, folder: Path, system: str) -> dict[str, Figure]:
    found = {s.name: s.figures for s in run.systems}
    if system not in found:
        raise ConfigError(
            f"{folder} judged no {system}", hint=f"it has: {', '.join(found)}; choose with --system"
        )
    return found[system]


def _warnings(runs: Sequence[Evaluation]) -> list[str]:
    found = []
    if len({run.set["key"] for run in runs}) > 1:
        found.append("the runs judged different sets: differences may be the sets'")
    if len({tuple(s.references for s in run.systems if s.name == "bundle") for run in runs}) > 1:
        found.append("the runs painted in different numbers of styles")
    return found


def _row(name: str, figures: Sequence[Figure | None]) -> Row:
    tell, base = meaning(name), figures[0]
    marks = ["" if number == 0 else _mark(base, f, tell.sign) for number, f in enumerate(figures)]
    values = tuple(None if f is None else f.value for f in figures)
    told = tuple(f"{tell.text(v)} {m}".rstrip() for v, m in zip(values, marks, strict=True))
    unit = f" ({tell.unit})" if tell.unit else ""
    return Row(name, f"{label(name)}{unit}", values, tuple(marks), told)


def _mark(base: Figure | None, other: Figure | None, sign: int) -> str:
    """Say that a figure changed only when neither interval reaches into the other."""
    if base is None or other is None or base.low is None or base.high is None:
        return ""
    if other.low is None or other.high is None:
        return ""
    up, down = other.low > base.high, other.high < base.low
    if not (up or down):
        return ""
    if sign == 0:
        return "~"
    return "+" if up == (sign > 0) else "-"

"""``rig compare``: evaluations side by side, with what changed beyond chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli._common import JsonOption, emit


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of `rig evaluate`; the first is the base.")
    ],
    system: Annotated[str, typer.Option(help="System to compare.")] = "bundle",
    only: Annotated[str, typer.Option(help="Only figures like this, as identity.*.rank1.")] = "*",
    as_json: JsonOption = False,
) -> None:
    """Compare evaluations of the same set figure by figure.

    A change is marked when the intervals do not overlap: + is better, - is worse.

    Example: rig compare runs/evaluation-1 runs/evaluation-2
    """
    from cli._data_common import table
    from models.evaluation.compare import compared

    found = compared(runs, system, only)

    def render() -> None:
        for warning in found.warnings:
            typer.echo(f"note: {warning}")
        rows = [[row.label, *row.told] for row in found.rows]
        table(["figure", *found.names], rows)

    emit(found, as_json, render)

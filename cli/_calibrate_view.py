"""How ``rig calibrate`` shows its results to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from calibration.artifact import Artifact, CalibrationStore

__all__ = ["print_plans", "print_short", "print_status", "print_whole"]


def print_status(rows: Sequence[dict[str, Any]], config: str) -> None:
    """Print what is fresh, stale, missing, and what to do about it."""
    for row in rows:
        typer.echo(f"{row['procedure']:<13} {row['state']:<8} {row['id']}".rstrip())
        for reason in row["why"]:
            typer.echo(f"{'':<22} {reason}")
        if row["begun"]:
            steps = "step" if row["begun"] == 1 else "steps"
            typer.echo(f"{'':<22} an interrupted run of {row['begun']} {steps} waits to go on")
    todo = [row["procedure"] for row in rows if row["state"] != "fresh"]
    if todo:
        what = "all" if len(todo) > 1 else f"run {todo[0]}"
        typer.echo(f"next: rig calibrate {what} --config {config}")


def print_whole(artifact: Artifact, store: CalibrationStore) -> None:
    """Print one calibration: verdict, figures with uncertainty, check, notes, folder."""
    typer.echo(f"{artifact.procedure} {artifact.id}: {artifact.status} {artifact.reason}".rstrip())
    if artifact.advice:
        typer.echo(f"  → {artifact.advice}")
    for name, value in artifact.figures.items():
        sigma = artifact.uncertainty.get(name)
        error = "" if sigma is None else f" ± {sigma:.2g}"
        typer.echo(f"  {name:<28} {value:.6g}{error}")
    if artifact.held_out is not None:
        check = artifact.held_out
        typer.echo(f"  check: {check.metric}: {check.before:.4g} → {check.after:.4g}")
    for note in artifact.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"  files: {store.folder(artifact)}")


def print_short(artifact: Artifact, store: CalibrationStore) -> None:
    """Print a run that has just ended: verdict, check, where the report lies."""
    check = artifact.held_out
    told = "" if check is None else f"  check {check.before:.3g} → {check.after:.3g}"
    typer.echo(f"{artifact.procedure:<13} {artifact.status}{told}")
    typer.echo(f"{'':<13} {store.folder(artifact) / 'report.html'}")


def print_plans(done: list[dict[str, Any]]) -> None:
    """Print what each procedure would do, and all together."""
    todo = [row for row in done if row.get("status") != "fresh"]
    for row in done:
        if row.get("status") == "fresh":
            typer.echo(f"{row['procedure']:<13} fresh, nothing to do")
            continue
        typer.echo(f"{row['procedure']:<13} {_amount([row])}")
        typer.echo(f"{'':<13} {row['scene']}")
        for reason in row["why_not"]:
            typer.echo(f"{'':<13} cannot run now: {reason}")
        for note in row["notes"]:
            typer.echo(f"{'':<13} note: {note}")
    typer.echo(f"{'together':<13} {_amount(todo)}")


def _amount(rows: list[dict[str, Any]]) -> str:
    moves, exposures, minutes = (sum(r[k] for r in rows) for k in ("moves", "exposures", "minutes"))
    return f"{moves} moves, {exposures} pictures, about {minutes:.0f} min"

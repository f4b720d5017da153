"""What every command shares: options, the error door, output for people and programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from camera_rig.errors import GatheredError, RigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from camera_rig.rig import Rig

__all__ = [
    "ConfigOption",
    "ErrorDoor",
    "JsonOption",
    "console",
    "emit",
    "make_app",
    "opened",
    "progress",
]

DEFAULT_CONFIG = "simulated"
INTERRUPTED_EXIT_CODE = 130
SAY_EVERY_S = 30.0
"""How often progress is written where it cannot be drawn: to a file, under nohup, in a queue."""


def _remember_json(context: typer.Context, value: bool) -> bool:
    if value:
        context.find_root().ensure_object(dict)["json"] = True
    return value


ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        envvar="RIG_CONFIG",
        help="Configuration file, or the name of one that ships.",
        show_default=True,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for programs.", callback=_remember_json, is_eager=True),
]


class ErrorDoor(TyperGroup):
    """The one place where errors become words on the terminal and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; report a RigError with its hint, never with a traceback."""
        try:
            return super().invoke(ctx)
        except RigError as error:
            as_json = isinstance(ctx.obj, dict) and ctx.obj.get("json", False)
            _report(error, as_json=as_json)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("stopped; everything is closed", err=True)
            raise typer.Exit(INTERRUPTED_EXIT_CODE) from error


def make_app(help_text: str) -> typer.Typer:
    """Return a sub-app: help when called bare, no shell-completion noise."""
    return typer.Typer(help=help_text, no_args_is_help=True, add_completion=False)


def emit(data: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Print ``data`` as JSON, or let ``render`` show it to a person."""
    if as_json:
        typer.echo(json.dumps(data, default=_jsonable, ensure_ascii=False, indent=2))
    else:
        render()


def console(*, stderr: bool = False) -> Console:
    """Return a rich console; plain where the output is no terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextmanager
def progress(*, plain: bool = False) -> Iterator[Progress]:
    """Show progress with rate and time left on stderr, so that stdout stays clean."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    drawn = sys.stderr.isatty()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        disable=plain or not drawn,
    ) as shown:
        if plain or drawn:
            yield shown
        else:
            with _said_now_and_then(shown):
                yield shown


@contextmanager
def _said_now_and_then(shown: Progress) -> Iterator[None]:
    over = threading.Event()

    def say() -> None:
        while not over.wait(SAY_EVERY_S):
            for task in shown.tasks:
                if task.started and not task.finished:
                    of = "" if task.total is None else f" {task.completed:.0f}/{task.total:.0f}"
                    left = task.time_remaining
                    eta = "" if left is None else f", about {left:.0f} s left"
                    told = f"{task.description}{of} {task.fields['rate']}".rstrip()
                    typer.echo(f"{told}, {task.elapsed or 0.0:.0f} s{eta}", err=True)

    speaker = threading.Thread(target=say, name="progress", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


@contextmanager
def opened(config: str, only: Collection[str] | None = None) -> Iterator[Rig]:
    """Open the rig of ``--config`` for the length of a command, with a log of its run."""
    from camera_rig.config import load_config
    from camera_rig.rig import Rig
    from camera_rig.runlog import run_log

    loaded = load_config(config)
    with run_log(loaded.storage.root / "logs", loaded.name), Rig.open(loaded, only=only) as rig:
        yield rig


def _report(error: RigError, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": _error_data(error)}, ensure_ascii=False, indent=2))
        return
    typer.secho(f"{error.kind} error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(str(error), err=True)


def _error_data(error: RigError) -> dict[str, Any]:
    data: dict[str, Any] = {
        "kind": error.kind,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, GatheredError):
        data["errors"] = [{"where": where, **_error_data(one)} for where, one in error.errors]
    return data


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, RigError):
        return _error_data(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value.items())
    return str(value)

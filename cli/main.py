"""The command ``rig``: one noun per file, nothing heavy imported before it is used."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import config, data, doctor, take
from cli._common import ErrorDoor

app = typer.Typer(
    cls=ErrorDoor,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"obj": {}, "help_option_names": ["-h", "--help"]},
    help="Drive, calibrate and use an optical privacy camera, real or simulated.\n\n"
    "Example: rig doctor --config simulated",
)

app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(take.app, name="take")
app.add_typer(data.app, name="data")


def _version(value: bool) -> None:
    if value:
        from camera_rig import __version__

        typer.echo(f"camera-rig {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


def main() -> None:
    """Run the command line."""
    app(prog_name="rig")


if __name__ == "__main__":
    main()

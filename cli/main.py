"""The command ``rig``: one noun per file, nothing heavy imported before it is used."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import (
    attack,
    bundle,
    calibrate,
    camera,
    compare,
    config,
    data,
    deidentify,
    demo,
    design,
    doctor,
    evaluate,
    finetune,
    light,
    mirror,
    peer,
    preview,
    serve,
    stage,
    study,
    take,
    train,
    twin,
)
from cli._common import ErrorDoor

app = typer.Typer(
    cls=ErrorDoor,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Drive, calibrate and use an optical privacy camera, real or simulated.\n\n"
    "Example: rig doctor --config simulated",
)

_RIG, _PEOPLE, _LEARN, _HELP = "The instrument", "People", "Learning", "Without a lab, across hosts"

app.command("doctor", rich_help_panel=_RIG)(doctor.doctor)
app.add_typer(config.app, name="config", rich_help_panel=_RIG)
app.add_typer(mirror.app, name="mirror", rich_help_panel=_RIG)
app.add_typer(camera.app, name="camera", rich_help_panel=_RIG)
app.add_typer(stage.app, name="stage", rich_help_panel=_RIG)
app.add_typer(light.app, name="light", rich_help_panel=_RIG)
app.add_typer(calibrate.app, name="calibrate", rich_help_panel=_RIG)
app.add_typer(twin.app, name="twin", rich_help_panel=_RIG)
app.add_typer(take.app, name="take", rich_help_panel=_PEOPLE)
app.add_typer(data.app, name="data", rich_help_panel=_PEOPLE)
app.command("design", rich_help_panel=_LEARN)(design.design)
app.command("train", rich_help_panel=_LEARN)(train.train)
app.command("finetune", rich_help_panel=_LEARN)(finetune.finetune)
app.command("deidentify", rich_help_panel=_PEOPLE)(deidentify.deidentify)
app.add_typer(bundle.app, name="bundle", rich_help_panel=_LEARN)
app.command("evaluate", rich_help_panel=_LEARN)(evaluate.evaluate)
app.command("compare", rich_help_panel=_LEARN)(compare.compare)
app.command("attack", rich_help_panel=_LEARN)(attack.attack)
app.add_typer(study.app, name="study", rich_help_panel=_LEARN)
app.command("fetch", rich_help_panel=_LEARN)(evaluate.fetch)
app.add_typer(serve.app, name="serve", rich_help_panel=_HELP)
app.add_typer(peer.app, name="peer", rich_help_panel=_HELP)
app.command("preview", rich_help_panel=_PEOPLE)(preview.preview)
app.command("demo", rich_help_panel=_HELP)(demo.demo)


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

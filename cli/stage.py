"""``rig stage``: ask and move the linear stage."""

from __future__ import annotations

from typing import Annotated

import typer

from cli._common import ConfigOption, JsonOption, emit, make_app, opened

app = make_app("Ask and move the linear stage. Ctrl-C halts it.")

TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Longest time to wait, s.")]


@app.command()
def info(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Tell who the stage is, where it is, and how far it may go. Moves nothing.

    Example: rig stage info --config lab
    """
    with opened(config, only=("stage",)) as rig:
        stage = rig.stage
        health = stage.health()
        data = {
            "model": stage.info.model,
            "serial": stage.info.serial,
            "position_mm": stage.position_mm,
            "limits_mm": list(stage.limits_mm),
            "ok": health.ok,
            "readings": dict(health.readings),
            "warnings": list(health.warnings),
        }

    def render() -> None:
        low, high = data["limits_mm"]
        typer.echo(f"{data['model']} {data['serial']}")
        typer.echo(f"at {data['position_mm']:.4f} mm, range {low:g} to {high:g} mm")
        for warning in data["warnings"]:
            typer.secho(warning, fg="yellow")

    emit(data, as_json, render)


@app.command(context_settings={"ignore_unknown_options": True})
def move(
    position_mm: Annotated[float, typer.Argument(help="Where to, mm.")],
    config: ConfigOption = "simulated",
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Move to a position, wait until it is there, and read the position back.

    Example: rig stage move 12.5
    """
    with opened(config, only=("stage",)) as rig:
        got_mm = rig.stage.move_to(position_mm, timeout)
    data = {"asked_mm": position_mm, "position_mm": got_mm}
    emit(data, as_json, lambda: typer.echo(f"at {got_mm:.4f} mm"))


@app.command()
def home(
    config: ConfigOption = "simulated", timeout: TimeoutOption = 120.0, as_json: JsonOption = False
) -> None:
    """Drive to the reference switch. Look first: the stage crosses its whole travel.

    Example: rig stage home
    """
    with opened(config, only=("stage",)) as rig:
        rig.stage.home(timeout)
        got_mm = rig.stage.position_mm
    emit({"position_mm": got_mm}, as_json, lambda: typer.echo(f"homed, at {got_mm:.4f} mm"))


@app.command()
def halt(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Stop whatever motion is under way.

    Example: rig stage halt
    """
    with opened(config, only=("stage",)) as rig:
        rig.stage.halt()
        got_mm = rig.stage.position_mm
    emit({"position_mm": got_mm}, as_json, lambda: typer.echo(f"halted at {got_mm:.4f} mm"))

"""``rig twin``: a simulated rig like the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli._common import ConfigOption, JsonOption, emit, make_app

app = make_app("Rebuild a simulated rig that is like the one that was measured.")


@app.callback()
def twin() -> None:
    """Rebuild a simulated rig that is like the one that was measured."""


@app.command("from-calibration")
def from_calibration(
    out: Annotated[Path, typer.Option("--out", help="New folder for twin.yaml and its files.")],
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Write a simulated rig with what the calibrations in use found.

    Mirror, hysteresis, static aberration, mounting, clocks and sensor become hidden facts
    of the twin. What was not measured keeps the simulator's default and is listed.

    Example: rig twin from-calibration --config lab.yaml --out my-twin
    """
    from calibration.artifact import CalibrationStore
    from calibration.rebuild import rebuild
    from camera_rig.config import load_config

    loaded = load_config(config)
    made = rebuild(loaded, CalibrationStore(loaded.calibration.root), out)

    def render() -> None:
        for name, used in made.used.items():
            typer.echo(f"{name:<13} {used}")
        for name in made.missing:
            typer.echo(f"{name:<13} not measured: the simulator's default")
        for note in made.notes:
            typer.echo(f"note: {note}")
        typer.echo(f"try it: rig doctor --config {made.path}")

    emit(made, as_json, render)

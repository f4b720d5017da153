"""``rig light``: ask and switch the lamp and its shutter."""

from __future__ import annotations

from typing import Annotated

import typer

from cli._common import ConfigOption, JsonOption, emit, make_app, opened

app = make_app("Ask and switch the lamp. It is dark again when the command ends.")


@app.command()
def info(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Tell who the lamp is and how it feels. It stays dark.

    Example: rig light info --config lab
    """
    with opened(config, only=("light",)) as rig:
        light = rig.light
        health = light.health()
        data = {
            "model": light.info.model,
            "serial": light.info.serial,
            "firmware": light.info.firmware,
            "ok": health.ok,
            "readings": dict(health.readings),
            "warnings": list(health.warnings),
        }

    def render() -> None:
        typer.echo(f"{data['model']} {data['serial']} firmware {data['firmware']}")
        for name, value in data["readings"].items():
            typer.echo(f"  {name:16} {value:.4g}")

    emit(data, as_json, render)


@app.command()
def on(
    level: Annotated[float, typer.Argument(help="Brightness, 0 to 1.")],
    seconds: Annotated[float, typer.Option(min=0.0, help="How long, s.")] = 5.0,
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Light up for some seconds with the shutter open. Ctrl-C ends it.

    Example: rig light on 0.5 --seconds 10
    """
    with opened(config, only=("light",)) as rig:
        rig.light.set(level)
        rig.light.shutter(True)
        rig.light.clock.sleep(seconds)
    data = {"level": level, "seconds": seconds}
    emit(data, as_json, lambda: typer.echo(f"lit at {level:g} for {seconds:g} s, dark again"))


@app.command()
def pulse(
    seconds: Annotated[float, typer.Argument(help="Length of the flash, s.")],
    level: Annotated[float, typer.Option(help="Brightness, 0 to 1.")] = 1.0,
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Flash once and tell when.

    Example: rig light pulse 0.02 --level 0.8
    """
    with opened(config, only=("light",)) as rig:
        rig.light.set(level)
        start_ns = rig.light.pulse(seconds)
        rig.light.clock.sleep(seconds)
    data = {"start_ns": start_ns, "seconds": seconds, "level": level}
    emit(data, as_json, lambda: typer.echo(f"flashed for {seconds:g} s"))

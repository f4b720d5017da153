"""``rig config``: look at configurations and check them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli._common import JsonOption, emit, make_app

app = make_app("Look at rig configurations and check them.")

FileArgument = Annotated[str, typer.Argument(help="A file, or the name of one that ships.")]


@app.command()
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a configuration without touching a device.

    Example: rig config check hw_configs/lab.yaml
    """
    from camera_rig.config import load_config

    config = load_config(file)
    data = {
        "ok": True,
        "file": str(config.source),
        "name": config.name,
        "devices": {role: entry.driver for role, entry in config.devices.items()},
    }

    def render() -> None:
        typer.echo(f"{config.source}: good; rig {config.name!r} with")
        for role, entry in config.devices.items():
            serial = entry.options.serial or "no serial"
            optional = "" if entry.required else ", optional"
            typer.echo(f"  {role:<8} {entry.driver} ({serial}{optional})")

    emit(data, as_json, render)


@app.command()
def show(file: FileArgument = "simulated", as_json: JsonOption = False) -> None:
    """Print a configuration with every default filled in.

    Example: rig config show simulated > my-rig.yaml
    """
    from camera_rig.config import load_config

    data = _as_file(load_config(file).model_dump(mode="json", by_alias=True))

    def render() -> None:
        import yaml

        typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)

    emit(data, as_json, render)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the configurations that ship with the toolkit.

    Example: rig config list
    """
    from camera_rig.config import embedded_configs

    found = embedded_configs()
    emit(
        {name: str(path) for name, path in found.items()},
        as_json,
        lambda: [typer.echo(f"{name:<20} {path}") for name, path in found.items()] and None,
    )


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration file, for editors.

    Example: rig config schema > rig.schema.json
    """
    from camera_rig.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _as_file(data: dict[str, object]) -> dict[str, object]:
    """Put each driver's options back beside ``driver``, as they stand in a file."""
    devices = data["devices"]
    if isinstance(devices, dict):
        data["devices"] = {
            role: {
                **{key: value for key, value in entry.items() if key != "options"},
                **entry["options"],
            }
            for role, entry in devices.items()
        }
    if data.get("twin") is None:
        data.pop("twin", None)
    return data

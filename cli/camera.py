"""``rig camera``: find, ask, set, look through and test the cameras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, console, emit, make_app, opened

if TYPE_CHECKING:
    from camera_rig.contracts import Camera, Frame
    from camera_rig.rig import Rig

app = make_app("Find, ask, set, look through and test the cameras.")

RoleOption = Annotated[
    str, typer.Option("--camera", help="privacy, side, or both where that makes sense.")
]
NoPersonOption = Annotated[
    bool,
    typer.Option("--no-person", help="I have looked: nobody is before the rig. Needed to save."),
]
PrivateOption = Annotated[
    bool,
    typer.Option("--private", help="Put the shape that hides faces on the mirror first."),
]


@app.command("list")
def list_(
    config: ConfigOption = "simulated",
    port: Annotated[
        list[str] | None, typer.Option(help="Where to look beside the configuration's ports.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the configured cameras and every Canon body that can be seen.

    Example: rig camera list --config lab --port ptpip:127.0.0.1:15740
    """
    from camera_rig.config import ROLES, load_config
    from camera_rig.contracts import DeviceKind

    entries = {
        role: entry
        for role, entry in load_config(config).devices.items()
        if ROLES[role] is DeviceKind.CAMERA
    }
    canons = [entry.options for entry in entries.values() if entry.driver == "canon"]
    ports = sorted({*(port or ()), *(p for options in canons for p in options.ports)})
    bodies = _bodies(tuple(ports)) if ports else []
    roles = {entry.options.serial: role for role, entry in entries.items()}
    rows = [{"role": roles.get(body["serial"], ""), **body} for body in bodies]
    found = {body["serial"] for body in bodies}
    rows += [
        {
            "role": role,
            "port": "",
            "model": entry.driver,
            "serial": entry.options.serial,
            "note": "not found" if entry.driver == "canon" else "configured",
        }
        for role, entry in entries.items()
        if entry.options.serial not in found
    ]
    emit(rows, as_json, lambda: _table(rows, ("role", "model", "serial", "port", "note")))


def _bodies(ports: tuple[str, ...]) -> list[dict[str, str]]:
    from camera_rig.drivers.canon import find_canons

    return find_canons(ports)


@app.command()
def info(
    config: ConfigOption = "simulated", camera: RoleOption = "both", as_json: JsonOption = False
) -> None:
    """Tell who the cameras are and how they feel.

    Example: rig camera info --config lab
    """
    with opened(config, only=_roles(camera)) as rig:
        data = [
            {
                "role": role,
                "model": one.info.model,
                "serial": one.info.serial,
                "driver": one.info.driver,
                "firmware": one.info.firmware,
                "ok": (health := one.health()).ok,
                "readings": dict(health.readings),
                "warnings": list(health.warnings),
            }
            for role, one in _cameras(rig)
        ]

    def render() -> None:
        _table(data, ("role", "model", "serial", "driver", "firmware", "ok"))
        for row in data:
            for name, value in row["readings"].items():
                typer.echo(f"  {row['role']:8} {name:28} {value:.4g}")
            for warning in row["warnings"]:
                typer.secho(f"  {row['role']:8} {warning}", fg="yellow")

    emit(data, as_json, render)


@app.command()
def settings(
    config: ConfigOption = "simulated", camera: RoleOption = "privacy", as_json: JsonOption = False
) -> None:
    """Show what is set, what can be set, and the body's own settings by name.

    Example: rig camera settings --camera side
    """
    with opened(config, only=_roles(camera)) as rig:
        data = {
            role: {
                "now": one.settings,
                "offered": one.capabilities,
                "body": one.all_settings() if hasattr(one, "all_settings") else {},
            }
            for role, one in _cameras(rig)
        }

    def render() -> None:
        from dataclasses import asdict

        for role, part in data.items():
            now, offered = asdict(part["now"]), asdict(part["offered"])
            typer.secho(role, bold=True)
            for name in now:
                typer.echo(f"  {name:24} {now[name]!s:24} {offered.get(name, '')}")
            for name, row in part["body"].items():
                mark = " (read-only)" if row["read_only"] else ""
                typer.echo(f"  {name:24} {row['value']!s:24} {' '.join(row['choices'])}{mark}")

    emit(data, as_json, render)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="exposure_s, iso, aperture, or a body's own name.")],
    value: Annotated[str, typer.Argument(help="The value.")],
    config: ConfigOption = "simulated",
    camera: RoleOption = "privacy",
    as_json: JsonOption = False,
) -> None:
    """Set one value and read it back.

    Example: rig camera set iso 400 --camera side
    """
    with opened(config, only=_roles(camera)) as rig:
        data = {role: _set_one(one, name, value) for role, one in _cameras(rig)}
    emit(data, as_json, lambda: [typer.echo(f"{r}: {name} = {v}") for r, v in data.items()])


def _set_one(camera: Camera, name: str, value: str) -> Any:
    from dataclasses import replace

    from camera_rig.contracts import CameraSettings
    from camera_rig.errors import ConfigError, UnsupportedError

    kinds = {"exposure_s": float, "iso": int, "gain": float, "aperture": float}
    if name not in kinds:
        if not hasattr(camera, "set_setting"):
            raise UnsupportedError(
                f"{camera.name} has no setting {name!r}", hint=f"use one of {', '.join(kinds)}"
            )
        return camera.set_setting(name, value)
    try:
        number = kinds[name](value)
    except ValueError as error:
        raise ConfigError(
            f"{name} needs a number, not {value!r}", hint="for example 0.008"
        ) from error
    return getattr(camera.configure(replace(CameraSettings(), **{name: number})), name)


@app.command()
def snap(
    config: ConfigOption = "simulated",
    camera: RoleOption = "both",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("snaps"),
    still: Annotated[
        bool, typer.Option("--still", help="A still instead of a live frame.")
    ] = False,
    linear: Annotated[bool, typer.Option("--linear", help="RAW, decoded linearly.")] = False,
    private: PrivateOption = False,
    no_person: NoPersonOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take one picture with each camera and save it as the camera sent it.

    A JSON file beside each picture has its time, exposure and origin.

    Example: rig camera snap --config hw_configs/simulated.yaml --out snaps
    """
    from camera_rig.contracts import CameraMode, CameraSettings

    mode = CameraMode.STILL if still or linear else CameraMode.LIVE
    with _looking(config, camera, private) as rig:
        _refuse_people(rig, no_person)
        rows = []
        for role, one in _cameras(rig):
            one.configure(CameraSettings(mode=mode, linear=linear))
            rows.append(_save(one.snap(), role, out))
    emit(rows, as_json, lambda: _table(rows, ("role", "file", "size", "mean", "exposure_s")))


@app.command()
def watch(
    config: ConfigOption = "simulated",
    camera: RoleOption = "both",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to watch, s.")] = 10.0,
    sheet: Annotated[
        Path | None, typer.Option(help="Save a contact sheet (PNG) instead of showing.")
    ] = None,
    columns: Annotated[int, typer.Option(min=8, max=200, help="Width of a picture.")] = 48,
    private: PrivateOption = False,
    no_person: NoPersonOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show live view of the cameras as small pictures, side by side.

    Example: rig camera watch --seconds 5 --sheet watch.png
    """
    from cli._camera_view import make_sheet, watch_cameras

    with _looking(config, camera, private) as rig:
        if sheet is not None:
            _refuse_people(rig, no_person)
            facts = make_sheet(_cameras(rig), seconds, sheet)
        else:
            facts = watch_cameras(_cameras(rig), seconds, columns, quiet=as_json)
    emit(facts, as_json, lambda: _table(facts, ("role", "frames", "fps", "lost", "size")))


@app.command()
def test(
    config: ConfigOption = "simulated",
    camera: RoleOption = "both",
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of the stream, s.")] = 10.0,
    out: Annotated[Path | None, typer.Option(help="Save a picture of the report (PNG).")] = None,
    no_person: NoPersonOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the acceptance test: exposure, stream, drops, restart, still. Exits 4 on failure.

    Example: rig camera test --config lab --camera side --out side-test.png --no-person
    """
    from camera_rig.acceptance import AcceptancePlan, accept_camera, draw_report

    reports = []
    with opened(config, only=_roles(camera)) as rig:
        if out is not None:
            _refuse_people(rig, no_person)
        for role, one in _cameras(rig):
            report = accept_camera(one, AcceptancePlan(stream_s=seconds))
            reports.append((role, report))
    if out is not None:
        for role, report in reports:
            name = out if len(reports) == 1 else out.with_stem(f"{out.stem}-{role}")
            name.parent.mkdir(parents=True, exist_ok=True)
            draw_report(report).savefig(name, dpi=110)

    def render() -> None:
        for role, report in reports:
            typer.secho(f"{role}: {report.model} {report.camera}", bold=True)
            for check in report.checks:
                mark, colour = ("pass", "green") if check.passed else ("FAIL", "red")
                typer.echo(
                    "  " + typer.style(f"{mark:5}", fg=colour) + f"{check.name:9} {check.found}"
                )
            word, colour = ("accepted", "green") if report.passed else ("NOT accepted", "red")
            typer.secho(f"  verdict: {word}", fg=colour, bold=True)

    emit([{"role": role, **report.facts()} for role, report in reports], as_json, render)
    if not all(report.passed for _, report in reports):
        raise typer.Exit(4)


@contextmanager
def _looking(config: str, camera: str, private: bool) -> Iterator[Rig]:
    """Open the cameras asked for, behind the private shape if that is wanted."""
    if not private:
        with opened(config, only=_roles(camera)) as rig:
            yield rig
        return
    from camera_rig.private_shape import private_shape

    with opened(config, only={*_roles(camera), "mirror"}) as rig, private_shape(rig):
        yield rig


def _roles(camera: str) -> tuple[str, ...]:
    from camera_rig.errors import ConfigError

    if camera == "both":
        return ("privacy", "side")
    if camera in ("privacy", "side"):
        return (camera,)
    raise ConfigError(f"there is no camera {camera!r}", hint="use privacy, side or both")


def _cameras(rig: Rig) -> list[tuple[str, Camera]]:
    found = [("privacy", "privacy"), ("side", "side")]
    return [(role, getattr(rig, name)) for role, name in found if rig.has(role)]


def _refuse_people(rig: Rig, no_person: bool) -> None:
    """Saved pictures are in the clear and outside the vault: nobody may be on them."""
    from camera_rig.errors import PrivacyError

    if not (rig.config.simulated or no_person):
        raise PrivacyError(
            "this would save pictures in the clear, without consent and without a key",
            hint="clear the view and add --no-person, or record people with `rig take record`",
        )


def _save(frame: Frame, role: str, out: Path) -> dict[str, Any]:
    import json
    from time import gmtime, strftime

    import cv2

    out.mkdir(parents=True, exist_ok=True)
    stem = f"{role}_{strftime('%Y%m%dT%H%M%S', gmtime())}_{frame.captured_ns}"
    if frame.encoded is not None:
        suffix = Path(str(frame.meta.get("camera_name", "x.jpg"))).suffix or ".jpg"
        path = out / f"{stem}{suffix}"
        path.write_bytes(frame.encoded)
    if frame.encoded is None or frame.linear:
        path = out / f"{stem}.png"
        pixels = frame.pixels if frame.pixels.ndim == 2 else frame.pixels[..., ::-1]
        cv2.imwrite(str(path), pixels)
    facts = {
        "role": role,
        "file": str(path),
        "camera": frame.camera,
        "size": list(frame.size),
        "mean": round(float(frame.pixels.mean()), 2),
        "captured_ns": frame.captured_ns,
        "uncertainty_ns": frame.uncertainty_ns,
        "exposure_s": frame.exposure_s,
        "linear": frame.linear,
        "meta": dict(frame.meta),
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return facts


def _table(rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(f"{row[name]}" for name in names))
    console().print(table)

"""``rig mirror``: from learned coefficients to voltages, looked at before they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, console, emit, make_app, progress

if TYPE_CHECKING:
    from camera_rig.mirror.modal import ModalMirror
    from camera_rig.mirror.reference import MirrorFolder
    from camera_rig.rig import Rig

app = make_app("Look at the deformable mirror and shape it.")

FileArgument = Annotated[
    str, typer.Argument(help="Coefficient file (YAML or JSON), or the name of one that ships.")
]
NameArgument = Annotated[str, typer.Argument(help="Name of a kept shape.")]
ModelOption = Annotated[
    bool, typer.Option("--model", help="While not calibrated, use the plate model of the bench.")
]


@dataclass(frozen=True)
class _Sitting:
    """What a command works with: the open rig, its mirror in modes, its files."""

    rig: Rig
    modal: ModalMirror
    folder: MirrorFolder


@contextmanager
def _sitting(config: str, *, model: bool = False) -> Iterator[_Sitting]:
    from camera_rig.mirror.influence import InfluenceModel
    from camera_rig.mirror.reference import MirrorFolder
    from camera_rig.mirror.session import modal_session
    from cli._common import opened

    with opened(config, only={"mirror"}) as rig:
        bench = rig.config.bench
        folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
        plate = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix() if model else None
        with modal_session(rig.mirror, folder, plate) as modal:
            yield _Sitting(rig, modal, folder)


@app.command()
def info(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Tell who the mirror is, how it is, and what is known of it.

    Example: rig mirror info --config simulated
    """
    with _sitting(config) as sitting:
        mirror, modal = sitting.rig.mirror, sitting.modal
        origin = modal.influence.provenance if modal.influence else None
        health = mirror.health()
        data = {
            "model": mirror.info.model,
            "serial": mirror.info.serial,
            "driver": mirror.info.driver,
            "firmware": mirror.info.firmware,
            "actuators": mirror.actuators,
            "temperatures_c": dict(mirror.temperatures_c()),
            "health_ok": health.ok,
            "warnings": list(health.warnings),
            "hysteresis": modal.hysteresis.value,
            "calibrated": origin is not None and origin.kind == "measured",
            "calibrated_at": origin.made_at if origin else None,
            "kept_shapes": sitting.folder.references(),
        }

    def render() -> None:
        for name, value in data.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            typer.echo(f"{name:<16} {'-' if shown in ('', None) else shown}")

    emit(data, as_json, render)


@app.command()
def limits(
    config: ConfigOption = "simulated", model: ModelOption = False, as_json: JsonOption = False
) -> None:
    """Tell the voltage limits, the slew, and how far each mode goes alone.

    Example: rig mirror limits --model
    """
    from camera_rig.mirror.names import mode_name, mode_numbers

    with _sitting(config, model=model) as sitting:
        mirror, modal = sitting.rig.mirror, sitting.modal
        span = mirror.limits
        strokes = modal.strokes_um() if modal.influence else {}
        data: dict[str, Any] = {
            "actuators": mirror.actuators,
            "lowest_v": float(span[:, 0].max()),
            "highest_v": float(span[:, 1].min()),
            "slew_v_per_s": mirror.slew_v_per_s,
            "settle_s": mirror.settle_s,
            "max_temperature_c": mirror.max_temperature_c,
            "strokes": [
                {"name": mode_name(mode), **mode_numbers(mode), "down_um_rms": a, "up_um_rms": b}
                for mode, (a, b) in strokes.items()
            ],
        }

    def render() -> None:
        for name, value in data.items():
            if name != "strokes":
                typer.echo(f"{name:<18} {value}")
        for row in data["strokes"]:
            typer.echo(
                f"Noll {row['noll']:>2}  Thorlabs Z{row['thorlabs']:<2}  {row['name']:<30}"
                f" -{row['down_um_rms']:.2f} … +{row['up_um_rms']:.2f} µm RMS"
            )
        if not data["strokes"]:
            typer.echo("strokes of the modes: not calibrated; --model tells the plate model's")

    emit(data, as_json, render)


@app.command()
def show(
    config: ConfigOption = "simulated", model: ModelOption = False, as_json: JsonOption = False
) -> None:
    """Read the present voltages and show them, with the wavefront they should give.

    Example: rig mirror show --model
    """
    with _sitting(config, model=model) as sitting:
        mirror, bench = sitting.rig.mirror, sitting.rig.config.bench
        command_v = mirror.read_back()
        shape_um = sitting.modal.shape_um(command_v) if sitting.modal.influence else {}
        span = mirror.limits
    data = {
        "command_v": command_v.tolist(),
        "modes": [{"n": n, "m": m, "um_rms": value} for (n, m), value in shape_um.items()],
    }

    def render() -> None:
        from camera_rig.mirror.picture import terminal_map
        from cli._mirror_view import show_shape

        colour = console().color_system is not None
        console().print(terminal_map(bench.mirror, command_v, span, colour=colour))
        if shape_um:
            show_shape(shape_um)

    emit(data, as_json, render)


@app.command()
def load(
    file: FileArgument,
    config: ConfigOption = "simulated",
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the closest shape that can be reached.")
    ] = False,
    scale: Annotated[
        bool, typer.Option("--scale", help="Shrink all modes by one factor until they fit.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop before applying.")] = False,
    png: Annotated[
        Path | None, typer.Option(help="Also write electrodes and PSF as a PNG.")
    ] = None,
    model: ModelOption = False,
    as_json: JsonOption = False,
) -> None:
    """Load learned coefficients: plan, show, apply, read back, verify.

    Refuses what cannot be reached, naming mode and excess. The loaded shape becomes the
    safe shape: what the mirror returns to on exit or when a link is lost.

    Example: rig mirror load lopez2024 --model --dry-run
    """
    from camera_rig.config import coefficient_file
    from camera_rig.mirror.picture import save_map
    from camera_rig.optics import Coefficients
    from cli._mirror_view import show_plan, thumbnail

    fit = _fit(nearest, scale)
    source = coefficient_file(file)
    wanted = Coefficients.load(source)
    with _sitting(config, model=model) as sitting:
        mirror, bench = sitting.rig.mirror, sitting.rig.config.bench
        plan = sitting.modal.plan(wanted, fit)
        if not as_json:
            show_plan(plan, bench, mirror, wanted.wavelength_nm)
        if png is not None:
            psf = thumbnail(plan.shape_um, bench) if plan.shape_um else None
            save_map(png, bench.mirror, plan.command_v, mirror.limits, psf)
        plan.require_reachable()
        data = {"file": str(source), "dry_run": dry_run, **plan.to_dict()}
        if not dry_run:
            found_v = sitting.modal.send(plan.command_v, reason=f"load {source.name}")
            data["read_back_v"] = found_v.tolist()
            data["deviation_v"] = float(abs(found_v - plan.command_v).max())

    def render() -> None:
        if dry_run:
            typer.echo("dry run: nothing was sent")
        else:
            typer.secho(
                f"loaded and verified: reads back within {data['deviation_v']:.2f} V", fg="green"
            )

    emit(data, as_json, render)


@app.command()
def flat(
    config: ConfigOption = "simulated", model: ModelOption = False, as_json: JsonOption = False
) -> None:
    """Make the mirror as flat as it goes. A flat mirror hides no face.

    Example: rig mirror flat
    """
    with _sitting(config, model=model) as sitting:
        plan = sitting.modal.flat()
        sitting.modal.send(plan.command_v, reason="flat")
    emit(
        {**plan.to_dict(), "hides_faces": False},
        as_json,
        lambda: typer.secho("flat: the camera now sees faces in the clear", fg="yellow"),
    )


@app.command()
def relax(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Erase hysteresis by swings that die out, then return. Shut the light first.

    Example: rig mirror relax
    """
    steps = 0
    with _sitting(config) as sitting, progress() as shown:
        task = None
        for step in sitting.rig.mirror.relax():
            if task is None:
                task = shown.add_task("relax", total=step.total, rate="")
            shown.advance(task)
            steps = step.index + 1
    emit({"steps": steps}, as_json, lambda: typer.echo(f"relaxed in {steps} steps, back in place"))


@app.command()
def poke(
    actuator: Annotated[int, typer.Argument(help="Actuator, from 0.", min=0)],
    volts: Annotated[float, typer.Argument(help="Its new voltage, V.")],
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Set one actuator and leave the others, to find out which is which.

    Example: rig mirror poke 8 200
    """
    from camera_rig.errors import ConfigError

    with _sitting(config) as sitting:
        count = sitting.rig.mirror.actuators
        if actuator >= count:
            raise ConfigError(
                f"there is no actuator {actuator}", hint=f"they are numbered 0 to {count - 1}"
            )
        command_v = sitting.rig.mirror.read_back()
        before_v = float(command_v[actuator])
        command_v[actuator] = volts
        found_v = sitting.modal.send(command_v, reason=f"poke {actuator}")
    data = {"actuator": actuator, "before_v": before_v, "now_v": float(found_v[actuator])}
    emit(
        data,
        as_json,
        lambda: typer.echo(f"actuator {actuator}: {before_v:.1f} V → {data['now_v']:.1f} V"),
    )


@app.command()
def save(
    name: NameArgument,
    config: ConfigOption = "simulated",
    note: Annotated[str, typer.Option(help="What it is, for a person.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace one of that name.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep the present voltages under a name, for this mirror only.

    Example: rig mirror save best-flat --note "after relax, 22 °C"
    """
    from datetime import UTC, datetime

    from camera_rig.mirror.reference import Reference

    with _sitting(config) as sitting:
        made_at = datetime.fromtimestamp(sitting.rig.clock.wall_ns() * 1e-9, UTC).isoformat()
        shape = Reference(
            name, sitting.folder.serial, sitting.rig.mirror.read_back(), made_at, note
        )
        path = sitting.folder.keep_reference(shape, replace=replace)
    emit(
        {"name": name, "file": str(path)},
        as_json,
        lambda: typer.echo(f"kept as {name!r} in {path}"),
    )


@app.command()
def recall(
    name: NameArgument, config: ConfigOption = "simulated", as_json: JsonOption = False
) -> None:
    """Return to a kept shape: the same voltages, so the same shape within hysteresis.

    Example: rig mirror recall best-flat
    """
    with _sitting(config) as sitting:
        shape = sitting.folder.reference(name)
        sitting.modal.send(shape.command_v, reason=f"recall {name}")
    emit(
        {"name": name, "made_at": shape.made_at, "note": shape.note},
        as_json,
        lambda: typer.echo(f"{name!r} of {shape.made_at} {shape.note}".rstrip()),
    )


@app.command()
def compare(first: FileArgument, second: FileArgument, as_json: JsonOption = False) -> None:
    """Compare two coefficient files mode by mode, whatever their units and orders.

    Example: rig mirror compare learned.yaml measured.yaml
    """
    from camera_rig.config import coefficient_file
    from camera_rig.optics import Coefficients
    from cli._mirror_view import compared, show_comparison

    data = compared(*(Coefficients.load(coefficient_file(one)) for one in (first, second)))
    emit(data, as_json, lambda: show_comparison(data))


def _fit(nearest: bool, scale: bool) -> Any:
    from camera_rig.errors import ConfigError
    from camera_rig.mirror.shape import Fit

    if nearest and scale:
        raise ConfigError("--nearest and --scale exclude each other", hint="choose one")
    return Fit.NEAREST if nearest else Fit.SCALE if scale else Fit.EXACT

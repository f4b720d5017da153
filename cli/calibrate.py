"""``rig calibrate``: find out what the instrument really is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camera_rig.errors import ConfigError
from cli._calibrate_view import print_plans, print_short, print_status, print_whole
from cli._common import ConfigOption, JsonOption, console, emit, make_app, progress

if TYPE_CHECKING:
    from calibration.artifact import Artifact, CalibrationStore
    from calibration.catalogue import Choices
    from calibration.procedure import Context, Procedure

app = make_app("Measure the instrument: sensor, clocks, geometry, PSF, mirror, wanted shape.")

CoefficientsOption = Annotated[
    Path | None,
    typer.Option(
        "--coefficients",
        help="Shape for `realise`, a file or a shipped name; the published set if not given.",
    ),
]
SyncByOption = Annotated[
    str,
    typer.Option("--sync-by", help="Compare the clocks by light, by motion, or auto."),
]
NaturalSceneOption = Annotated[
    bool,
    typer.Option("--natural-scene", help="Register by any scene when no board is found."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only tell what it would do.")]
RefArgument = Annotated[str, typer.Argument(help="Id (its start is enough) or procedure name.")]


@app.command()
def status(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Show what is calibrated, how old, and whether it still holds.

    Example: rig calibrate status --config lab.yaml
    """
    from calibration.catalogue import ORDER

    loaded, store = _store(config)
    now = _present_of(loaded, store)
    rows = []
    for name in ORDER:
        active = store.active(name)
        why = [] if active is None else store.stale(active, now)
        state = "missing" if active is None else "stale" if why else "fresh"
        rows.append(
            {
                "procedure": name,
                "state": state,
                "id": "" if active is None else active.id,
                "made_at": "" if active is None else active.made_at,
                "why": why,
                "begun": len(store.partial(name).steps()),
            }
        )
    emit(rows, as_json, lambda: print_status(rows, config))


@app.command("list")
def list_(
    procedure: Annotated[str | None, typer.Argument(help="Only this procedure.")] = None,
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """List every calibration ever made, oldest first.

    Example: rig calibrate list influence
    """
    from calibration.catalogue import checked

    _, store = _store(config)
    found = store.list(None if procedure is None else checked(procedure))

    def render() -> None:
        for artifact in found:
            active = store.active(artifact.procedure)
            used = "*" if active is not None and active.id == artifact.id else " "
            typer.echo(f"{used} {artifact.id}  {artifact.procedure:<13} {artifact.status}")
        if not found:
            typer.echo(f"no calibration yet: rig calibrate all --config {config}")

    emit([artifact.model_dump(mode="json") for artifact in found], as_json, render)


@app.command()
def show(ref: RefArgument, config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Show one calibration: figures with uncertainty, check, files.

    Example: rig calibrate show psf
    """
    _, store = _store(config)
    artifact = store.load(ref)
    emit(artifact.model_dump(mode="json"), as_json, lambda: print_whole(artifact, store))


@app.command()
def diff(
    old: RefArgument,
    new: RefArgument,
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Compare the figures of two calibrations.

    Example: rig calibrate diff 20260102T1000 psf
    """
    _, store = _store(config)
    first, second = store.load(old), store.load(new)
    rows = store.diff(first, second)

    def render() -> None:
        typer.echo(f"{'':<28} {first.id:>24} {second.id:>24}")
        for name, before, after in rows:
            shown = ["–" if v is None else f"{v:.6g}" for v in (before, after)]
            typer.echo(f"{name:<28} {shown[0]:>24} {shown[1]:>24}")

    emit([{"figure": n, "old": a, "new": b} for n, a, b in rows], as_json, render)


@app.command()
def use(
    ref: RefArgument,
    config: ConfigOption = "simulated",
    even_rejected: Annotated[
        bool, typer.Option("--even-rejected", help="Take it although its check failed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a calibration into use; the one before stays on disk.

    Example: rig calibrate use 20260102T1000
    """
    from calibration.mirror_files import keep_for_mirror

    loaded, store = _store(config)
    artifact = store.load(ref)
    store.use(artifact, even_rejected=even_rejected)
    if artifact.procedure == "influence":
        keep_for_mirror(store, artifact, loaded.storage.root)
    emit(
        {"procedure": artifact.procedure, "in_use": artifact.id},
        as_json,
        lambda: typer.echo(f"{artifact.procedure}: {artifact.id} is in use"),
    )


@app.command()
def run(
    names: Annotated[list[str], typer.Argument(help="Procedures, in this order.")],
    config: ConfigOption = "simulated",
    coefficients: CoefficientsOption = None,
    sync_by: SyncByOption = "auto",
    natural_scene: NaturalSceneOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run procedures one after the other; an interrupted one goes on where it stopped.

    Example: rig calibrate run psf influence --dry-run
    """
    _walk(_Wish(names, config, dry_run, as_json, _choices(coefficients, sync_by, natural_scene)))


@app.command("all")
def all_(
    config: ConfigOption = "simulated",
    coefficients: CoefficientsOption = None,
    sync_by: SyncByOption = "auto",
    natural_scene: NaturalSceneOption = False,
    dry_run: DryRunOption = False,
    again: Annotated[bool, typer.Option("--again", help="Run fresh ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run all that is missing or stale, in order, asking for each scene.

    Example: rig calibrate all --config simulated
    """
    from calibration.catalogue import ORDER

    names = list(ORDER) if again else None
    _walk(_Wish(names, config, dry_run, as_json, _choices(coefficients, sync_by, natural_scene)))


@dataclass(frozen=True)
class _Wish:
    """What the user asked for; names are None for all that is not fresh."""

    names: list[str] | None
    config: str
    dry_run: bool
    as_json: bool
    choices: Choices


def _choices(coefficients: Path | None, sync_by: str, natural_scene: bool) -> Choices:
    from calibration.catalogue import Choices
    from calibration.sync import SyncBy

    try:
        way = SyncBy(sync_by)
    except ValueError as error:
        raise ConfigError(
            f"clocks cannot be compared by {sync_by!r}",
            hint=f"one of: {', '.join(one.value for one in SyncBy)}",
        ) from error
    return Choices(coefficients, way, natural_scene)


def _walk(wish: _Wish) -> None:
    from calibration.catalogue import ORDER, build, fresh
    from calibration.procedure import present
    from camera_rig.interrupt import SafeInterrupt

    procedures = [build(name, wish.choices) for name in wish.names or ORDER]
    if wish.dry_run:
        _tell(wish, procedures)
        return
    rig, store = _open(wish.config)
    done: list[dict[str, Any]] = []
    # A broken line to the lab or a `kill` must leave mirror and lamp as safe as Ctrl-C does.
    with rig, SafeInterrupt(_say_stopping, also=("SIGTERM", "SIGHUP")) as stop:
        context = _context(rig, store, stop)
        for procedure in procedures:
            if wish.names is None and fresh(store, present(rig), procedure.name):
                done.append({"procedure": procedure.name, "status": "fresh"})
                if not wish.as_json:
                    typer.echo(f"{procedure.name:<13} fresh, skipped")
                continue
            artifact = _measure(procedure, context)
            done.append(artifact.model_dump(mode="json"))
            if not wish.as_json:
                print_short(artifact, store)
            _refuse_rejected(artifact, store)
    emit(done, wish.as_json, lambda: None)


def _tell(wish: _Wish, procedures: list[Procedure]) -> None:
    """Tell what a run would do on the rig as configured; no device is opened."""
    from calibration.catalogue import fresh

    loaded, store = _store(wish.config)
    now = _present_of(loaded, store)
    plans: list[dict[str, Any]] = []
    coming: list[str] = []
    for procedure in procedures:
        if wish.names is None and fresh(store, now, procedure.name):
            plans.append({"procedure": procedure.name, "status": "fresh"})
            continue
        why = procedure.why_not(loaded.devices, store, now, coming)
        plan = vars(procedure.plan(loaded))
        plans.append({"procedure": procedure.name, **plan, "why_not": why})
        coming.append(procedure.name)
    emit(plans, wish.as_json, lambda: print_plans(plans))


def _measure(procedure: Procedure, context: Context) -> Artifact:
    """Run one procedure with its progress shown."""
    from calibration.procedure import run as run_one

    minutes = procedure.plan(context.rig.config).minutes
    typer.echo(
        f"{procedure.name}: {procedure.title}, about {minutes:.0f} min of rig time", err=True
    )
    with progress() as shown:
        task = shown.add_task(procedure.name, total=None, rate="")

        def tell(label: str, done: int, total: int) -> None:
            text = f"{procedure.name}: {label}"[:48]
            shown.update(task, completed=done, total=total, description=text)

        context.progress = tell
        return run_one(procedure, context)


def _refuse_rejected(artifact: Artifact, store: CalibrationStore) -> None:
    if artifact.status == "rejected":
        from camera_rig.errors import StateError

        raise StateError(
            f"{artifact.procedure} was not accepted: {artifact.reason}",
            hint=f"{artifact.advice}; the figures are in {store.folder(artifact) / 'report.html'}",
        )


def _say_stopping() -> None:
    typer.echo("stopping after this step; the same command goes on from there …", err=True)


def _open(config: str) -> tuple[Any, CalibrationStore]:
    from camera_rig.clock import ManualClock
    from camera_rig.config import load_config
    from camera_rig.rig import Rig

    loaded = load_config(config)
    store = _store(config)[1]
    # A simulated rig waits for nobody: its time runs as fast as it can be computed.
    clock = ManualClock(wall_start_ns=_now_ns(loaded, store)) if loaded.simulated else None
    return Rig.open(loaded, clock=clock), store


def _now_ns(loaded: Any, store: CalibrationStore) -> int:
    """Return civil time, ns; on a simulated rig never before its newest calibration.

    A calibration of minutes is computed in seconds: the next run begins where it ended.
    """
    import time
    from datetime import datetime

    now_ns = time.time_ns()
    if not loaded.simulated:
        return now_ns
    made = [datetime.fromisoformat(artifact.made_at) for artifact in store.list()]
    return max([now_ns, *(round(1e9 * at.timestamp()) for at in made)])


def _context(rig: Any, store: CalibrationStore, stop: Any) -> Context:
    from calibration.operator import PersonOperator, TwinOperator
    from calibration.procedure import Context

    def ask(sentence: str) -> None:
        console(stderr=True).print(sentence)
        typer.prompt("Enter when done (Ctrl-C stops)", default="", show_default=False, err=True)

    operator = TwinOperator(rig.twin) if rig.config.simulated else PersonOperator(ask)
    return Context(rig, store, operator, interrupt=stop)


def _store(config: str) -> tuple[Any, CalibrationStore]:
    from calibration.artifact import CalibrationStore
    from camera_rig.config import load_config

    loaded = load_config(config)
    return loaded, CalibrationStore(loaded.calibration.root)


def _present_of(loaded: Any, store: CalibrationStore) -> Any:
    """Judge without opening the rig: age and configuration; serials are not asked."""
    from datetime import UTC, datetime

    from calibration.artifact import Present, config_hash

    return Present(
        now=datetime.fromtimestamp(_now_ns(loaded, store) * 1e-9, tz=UTC).isoformat(),
        config_hash=config_hash(loaded),
        max_age_h=loaded.calibration.max_age_h,
    )

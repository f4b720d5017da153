"""``rig calibrate``: find out what the instrument really is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camera_rig.errors import ConfigError
from cli._common import ConfigOption, JsonOption, console, emit, make_app, progress

if TYPE_CHECKING:
    from calibration.artifact import Artifact, CalibrationStore
    from calibration.catalogue import Choices
    from calibration.procedure import Context, Procedure

app = make_app("Measure the instrument: sensor, clocks, geometry, PSF, mirror, wanted shape.")

CoefficientsOption = Annotated[
    Path | None,
    typer.Option("--coefficients", help="Shape for `realise`; the published set if not given."),
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
            }
        )

    def render() -> None:
        for row in rows:
            typer.echo(f"{row['procedure']:<13} {row['state']:<8} {row['id']}")
            for reason in row["why"]:
                typer.echo(f"{'':<22} {reason}")
        todo = [row["procedure"] for row in rows if row["state"] != "fresh"]
        if todo:
            typer.echo(f"next: rig calibrate run {todo[0]} --config {config}")

    emit(rows, as_json, render)


@app.command("list")
def list_(
    procedure: Annotated[str | None, typer.Argument(help="Only this procedure.")] = None,
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """List every calibration ever made, oldest first.

    Example: rig calibrate list influence
    """
    _, store = _store(config)
    found = store.list(procedure)

    def render() -> None:
        for artifact in found:
            active = store.active(artifact.procedure)
            used = "*" if active is not None and active.id == artifact.id else " "
            typer.echo(f"{used} {artifact.id}  {artifact.procedure:<13} {artifact.status}")
        if not found:
            typer.echo("no calibration yet: rig calibrate all")

    emit([artifact.model_dump(mode="json") for artifact in found], as_json, render)


@app.command()
def show(ref: RefArgument, config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Show one calibration: figures with uncertainty, check, files.

    Example: rig calibrate show psf
    """
    _, store = _store(config)
    artifact = store.load(ref)
    emit(artifact.model_dump(mode="json"), as_json, lambda: _print(artifact, store))


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
    typer.echo(f"{artifact.procedure}: {artifact.id} is in use")


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
    from camera_rig.interrupt import SafeInterrupt

    procedures = [build(name, wish.choices) for name in wish.names or ORDER]
    rig, store = _open(wish.config)
    done: list[dict[str, Any]] = []
    with rig, SafeInterrupt(_say_stopping) as stop:
        context = _context(rig, store, stop)
        for procedure in procedures:
            if wish.names is None and fresh(store, rig, procedure.name):
                done.append({"procedure": procedure.name, "status": "fresh"})
                if not (wish.as_json or wish.dry_run):
                    typer.echo(f"{procedure.name:<13} fresh, skipped")
            elif wish.dry_run:
                why = [] if wish.names is None else procedure.why_not(rig, store)
                plan = vars(procedure.plan(rig))
                done.append({"procedure": procedure.name, **plan, "why_not": why})
            else:
                artifact = _measure(procedure, context)
                done.append(artifact.model_dump(mode="json"))
                if not wish.as_json:
                    _print_short(artifact, store)
                _refuse_rejected(artifact, store)
    emit(done, wish.as_json, lambda: _print_plans(done) if wish.dry_run else None)


def _measure(procedure: Procedure, context: Context) -> Artifact:
    """Run one procedure with its progress shown."""
    from calibration.procedure import run as run_one

    minutes = procedure.plan(context.rig).minutes
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


def _print(artifact: Artifact, store: CalibrationStore) -> None:
    typer.echo(f"{artifact.procedure} {artifact.id}: {artifact.status} {artifact.reason}".rstrip())
    if artifact.advice:
        typer.echo(f"  → {artifact.advice}")
    for name, value in artifact.figures.items():
        sigma = artifact.uncertainty.get(name)
        error = "" if sigma is None else f" ± {sigma:.2g}"
        typer.echo(f"  {name:<28} {value:.6g}{error}")
    if artifact.held_out is not None:
        check = artifact.held_out
        typer.echo(f"  check: {check.metric}: {check.before:.4g} → {check.after:.4g}")
    for note in artifact.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"  files: {store.folder(artifact)}")


def _print_short(artifact: Artifact, store: CalibrationStore) -> None:
    check = artifact.held_out
    told = "" if check is None else f"  check {check.before:.3g} → {check.after:.3g}"
    typer.echo(f"{artifact.procedure:<13} {artifact.status}{told}")
    typer.echo(f"{'':<13} {store.folder(artifact) / 'report.html'}")


def _print_plans(done: list[dict[str, Any]]) -> None:
    todo = [row for row in done if row.get("status") != "fresh"]
    for row in done:
        if row.get("status") == "fresh":
            typer.echo(f"{row['procedure']:<13} fresh, nothing to do")
            continue
        typer.echo(f"{row['procedure']:<13} {_amount([row])}")
        typer.echo(f"{'':<13} {row['scene']}")
        for reason in row["why_not"]:
            typer.echo(f"{'':<13} cannot run now: {reason}")
        for note in row["notes"]:
            typer.echo(f"{'':<13} note: {note}")
    typer.echo(f"{'together':<13} {_amount(todo)}")


def _amount(rows: list[dict[str, Any]]) -> str:
    moves, exposures, minutes = (sum(r[k] for r in rows) for k in ("moves", "exposures", "minutes"))
    return f"{moves} moves, {exposures} pictures, about {minutes:.0f} min"

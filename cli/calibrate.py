"""``rig calibrate``: find out what the instrument really is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, console, emit, make_app, progress

if TYPE_CHECKING:
    from calibration.artifact import Artifact, CalibrationStore
    from calibration.procedure import Context

app = make_app("Measure the instrument: sensor, clocks, geometry, PSF, mirror, wanted shape.")

CoefficientsOption = Annotated[
    Path | None,
    typer.Option("--coefficients", help="Shape for `realise`; the published set if not given."),
]
RefArgument = Annotated[str, typer.Argument(help="Id (its start is enough) or procedure name.")]


@app.command()
def status(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Show what is calibrated, how old, and whether it still holds.

    Example: rig calibrate status --config lab.yaml
    """
    from calibration.catalogue import ORDER

    loaded, store = _store(config)
    now = _present_of(loaded)
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
    _, store = _store(config)
    artifact = store.load(ref)
    store.use(artifact, even_rejected=even_rejected)
    typer.echo(f"{artifact.procedure}: {artifact.id} is in use")


@app.command()
def run(
    names: Annotated[list[str], typer.Argument(help="Procedures, in this order.")],
    config: ConfigOption = "simulated",
    coefficients: CoefficientsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what it would do.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run procedures one after the other; an interrupted one goes on where it stopped.

    Example: rig calibrate run psf influence --dry-run
    """
    _walk(names, config, coefficients, dry_run, as_json)


@app.command("all")
def all_(
    config: ConfigOption = "simulated",
    coefficients: CoefficientsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what it would do.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run fresh ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run all that is missing or stale, in order, asking for each scene.

    Example: rig calibrate all --config simulated
    """
    from calibration.catalogue import ORDER

    _walk(list(ORDER) if again else None, config, coefficients, dry_run, as_json)


def _walk(
    names: list[str] | None,
    config: str,
    coefficients: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    from calibration.catalogue import ORDER, build, fresh
    from calibration.procedure import run as run_one
    from camera_rig.errors import StateError
    from camera_rig.interrupt import SafeInterrupt

    rig, store = _open(config)
    done: list[dict[str, Any]] = []
    with rig, SafeInterrupt(lambda: typer.echo("stopping after this step …", err=True)) as stop:
        context = _context(rig, store, stop)
        for name in names if names is not None else ORDER:
            if names is None and fresh(store, rig, name):
                done.append({"procedure": name, "status": "fresh"})
                continue
            procedure = build(name, coefficients)
            if dry_run:
                plan = procedure.plan(rig)
                done.append({"procedure": name, **vars(plan)})
                continue
            with progress() as shown:
                task = shown.add_task(name, total=None, rate="")

                def tell(
                    label: str,
                    k: int,
                    total: int,
                    task: Any = task,
                    shown: Any = shown,
                    name: str = name,
                ) -> None:
                    shown.update(
                        task, completed=k, total=total, description=f"{name}: {label}"[:48]
                    )

                context.progress = tell
                artifact = run_one(procedure, context)
            done.append(artifact.model_dump(mode="json"))
            if not as_json:
                _print_short(artifact, store)
            if artifact.status == "rejected":
                raise StateError(
                    f"{name} was not accepted: {artifact.reason}",
                    hint=f"look at {store.folder(artifact) / 'report.html'}, then run it again",
                )
    emit(done, as_json, lambda: _print_plans(done) if dry_run else None)


def _open(config: str) -> tuple[Any, CalibrationStore]:
    import time

    from calibration.artifact import CalibrationStore
    from camera_rig.clock import ManualClock
    from camera_rig.config import load_config
    from camera_rig.rig import Rig

    loaded = load_config(config)
    # A simulated rig waits for nobody: its time runs as fast as it can be computed.
    clock = ManualClock(wall_start_ns=time.time_ns()) if loaded.simulated else None
    return Rig.open(loaded, clock=clock), CalibrationStore(loaded.calibration.root)


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


def _present_of(loaded: Any) -> Any:
    """Judge without opening the rig: age and configuration; serials are not asked."""
    from datetime import UTC, datetime

    from calibration.artifact import Present, config_hash

    return Present(
        now=datetime.now(UTC).isoformat(),
        config_hash=config_hash(loaded),
        max_age_h=loaded.calibration.max_age_h,
    )


def _print(artifact: Artifact, store: CalibrationStore) -> None:
    typer.echo(f"{artifact.procedure} {artifact.id}: {artifact.status} {artifact.reason}")
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
    for row in done:
        if row.get("status") == "fresh":
            typer.echo(f"{row['procedure']:<13} fresh, nothing to do")
            continue
        typer.echo(
            f"{row['procedure']:<13} {row['moves']} moves, {row['exposures']} pictures, "
            f"about {row['minutes']:.0f} min"
        )
        typer.echo(f"{'':<13} {row['scene']}")

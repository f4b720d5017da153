"""``rig take``: record pairs of the privacy and the side camera, and look after them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, emit, make_app
from cli._data_common import LabKeyOption, YesOption, confirmed, open_store, table, unlock

if TYPE_CHECKING:
    from camera_rig.recording.catalog import TakeRow

app = make_app("Record takes of frame pairs, and list, check, mend or delete them.")

TakeArgument = Annotated[str, typer.Argument(help="Id, the beginning of one, a folder, or 'last'.")]


@app.command()
def record(
    subject: Annotated[str, typer.Option(help="Pseudonym of the subject.")],
    config: ConfigOption = "simulated",
    duration: Annotated[float, typer.Option(help="Length of a take, s.")] = 20.0,
    repeat: Annotated[int, typer.Option(min=1, help="Takes in the series.")] = 1,
    prompt: Annotated[
        Path | None, typer.Option(help="Text file, one instruction a line; else built-in ones.")
    ] = None,
    series: Annotated[
        str, typer.Option(help="Name of the series; the same name goes on after a break.")
    ] = "",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The digital twin: needs no consent.")
    ] = False,
    countdown: Annotated[float, typer.Option(min=0, help="Pause before each take, s.")] = 3.0,
    plan: Annotated[
        Path | None, typer.Option(help="YAML file with further settings (docs/recording.md).")
    ] = None,
    sync: Annotated[Path | None, typer.Option(help="Clock model of `rig calibrate sync`.")] = None,
    virtual_time: Annotated[
        bool,
        typer.Option("--virtual-time", help="Twin only: its time waits for a slow computer."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, bytes and keys; record nothing.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record one take or a series.

    Example: rig take record --subject S01 --duration 20 --repeat 17 --prompt faces.txt
    """
    from cli._take_record import Request, run

    run(
        Request(
            config=config,
            subject=subject,
            duration_s=duration,
            repeat=repeat,
            prompts=prompt,
            series=series,
            simulated=simulated,
            countdown_s=countdown,
            plan_file=plan,
            sync_file=sync,
            dry_run=dry_run,
            interactive=sys.stdin.isatty() and not yes and not as_json,
            as_json=as_json,
            virtual_time=virtual_time,
        )
    )


@app.command("list")
def list_takes(
    config: ConfigOption = "simulated",
    subject: Annotated[str, typer.Option(help="Only this subject.")] = "",
    series: Annotated[str, typer.Option(help="Only this series.")] = "",
    limit: Annotated[int, typer.Option(help="Newest so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List takes, newest first.

    Example: rig take list --subject S01
    """
    rows = open_store(config).catalog.rows(subject=subject, series=series, limit=limit)
    emit(rows, as_json, lambda: _print_rows(rows))


@app.command()
def show(take: TakeArgument, config: ConfigOption = "simulated", as_json: JsonOption = False
         ) -> None:  # fmt: skip
    """Show a take's manifest and figures. Needs no key.

    Example: rig take show last
    """
    found = open_store(config).take(take)
    manifest = found.manifest.model_dump(mode="json", exclude={"config", "keys"})
    seal = found.seal.model_dump(mode="json") if found.seal else None
    data = {"folder": found.folder, "manifest": manifest, "seal": seal}
    emit(data, as_json, lambda: _print_take(manifest, seal))


@app.command()
def verify(
    take: TakeArgument,
    config: ConfigOption = "simulated",
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Check hashes only, not the encryption.")
    ] = False,
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every frame, the journal and the seal.

    Example: rig take verify last
    """
    from camera_rig.errors import StorageError
    from camera_rig.recording.recovery import verify as check
    from camera_rig.recording.vault import open_keys

    store = open_store(config)
    found = store.take(take)
    if without_key:
        report = check(found.folder)
    else:
        access = store.access("verify", unlock(store, lab_key))
        with open_keys(found.id, found.manifest.keys, access) as keys:
            report = check(found.folder, keys)
    if report.problems:
        raise StorageError(
            f"take {found.id}: " + "; ".join(report.problems),
            hint="recover an unsealed take with `rig take recover`; otherwise restore a backup",
        )
    emit(
        report,
        as_json,
        lambda: typer.echo(
            f"{found.id}: {report.groups} groups, {report.frames} frames, "
            f"{report.authenticated} authenticated; all is well"
        ),
    )


@app.command()
def recover(
    take: Annotated[str, typer.Argument(help="A take, or 'all' for every unsealed one.")] = "all",
    config: ConfigOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Close takes whose recorder died. Needs no key, loses no whole frame.

    Example: rig take recover all
    """
    from camera_rig.recording.reading import Take

    store = open_store(config)
    if take == "all":
        store.catalog.rebuild(store.takes)
        names = [row.take for row in store.catalog.rows() if row.state == "open"]
        found = [Take(store.takes / name) for name in names]
    else:
        found = [store.take(take)]
    results = {one.id: store.recover(one) for one in found}

    def render() -> None:
        for name, result in results.items():
            totals = result.seal.totals
            typer.echo(
                f"{name}: {'was whole' if result.was_sealed else 'recovered'}, "
                f"{totals.pairs} pairs, {len(result.missing)} groups never reached the disk, "
                f"{result.torn_bytes} torn bytes cut"
            )
        if not results:
            typer.echo("nothing to recover")

    emit(results, as_json, render)


@app.command()
def delete(
    take: TakeArgument,
    config: ConfigOption = "simulated",
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete a take's files for good.

    Example: rig take delete last
    """
    store = open_store(config)
    found = store.take(take)
    size = sum(path.stat().st_size for path in found.folder.iterdir())
    typer.echo(f"{found.id}: {len(found.pairs)} pairs, {size / 1e6:.1f} MB")
    if dry_run or not confirmed("Delete this take for good?", yes):
        typer.echo("nothing was deleted")
        return
    store.delete(found, "deleted by the operator")
    typer.echo("deleted")


def _print_rows(rows: list[TakeRow]) -> None:
    if not rows:
        typer.echo("no takes; record one: rig take record --subject S01 --simulated")
        return
    table(
        ["take", "subject", "state", "s", "pairs", "over", "dropped", "MB", "series"],
        [
            [
                row.take,
                row.subject + (" (sim)" if row.simulated else ""),
                row.state,
                f"{row.duration_s:.1f}",
                row.pairs,
                row.over_tolerance,
                row.dropped,
                f"{row.stored_bytes / 1e6:.1f}",
                f"{row.series} {row.number}" if row.series else "",
            ]
            for row in rows
        ],
    )


def _print_take(manifest: dict[str, Any], seal: dict[str, Any] | None) -> None:
    consent = manifest["consent"]
    uses = ", ".join(consent["scopes"]) if consent else "simulated: any use"
    typer.echo(f"take      {manifest['take']}")
    typer.echo(f"subject   {manifest['subject']} ({uses})")
    typer.echo(f"prompt    {manifest['prompt'] or '-'}")
    for role, camera in manifest["cameras"].items():
        kind = "encrypted" if camera["encrypted"] else "in the clear"
        typer.echo(f"{role:<9} {camera['model']} {camera['serial']}, {kind}")
    if seal is None:
        typer.echo("not sealed: being written, or `rig take recover` it")
        return
    totals, model = seal["totals"], seal["clock_model"]
    typer.echo(f"end       {seal['reason']}")
    typer.echo(
        f"pairs     {totals['pairs']}, {totals['over_tolerance']} over tolerance, "
        f"alone {totals['unpaired'] or 0}, lost {totals['lost'] or 0}, "
        f"dropped {totals['dropped'] or 0}"
    )
    typer.echo(
        f"clocks    {model['source']}: offset {model['offset_ns'] * 1e-6:.3f} ms "
        f"± {model['offset_uncertainty_ns'] * 1e-6:.3f}, drift {model['drift_ppm']:.2f} ppm"
    )
    for name, value in seal["report"].items():
        if value not in ("", {}, None):
            typer.echo(f"  {name} = {value}")

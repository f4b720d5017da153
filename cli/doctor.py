"""``rig doctor``: could this rig record now, and what to mend if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cli._common import ConfigOption, JsonOption, console, emit

if TYPE_CHECKING:
    from camera_rig.doctor import Finding
    from camera_rig.rig import Rig

_NOT_READY_EXIT_CODE = 4


def doctor(
    config: ConfigOption = "simulated",
    cameras: Annotated[
        bool, typer.Option("--cameras", help="Also stream and expose briefly with each camera.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine devices, libraries, disk, clock, keys and calibrations.

    Exits with 0 only when the rig could record now. Opens the devices and moves nothing;
    with --cameras it runs the short form of `rig camera test` as well.

    Example: rig doctor --config hw_configs/lab.yaml
    """
    from camera_rig.config import load_config
    from camera_rig.doctor import Verdict, examine

    loaded = load_config(config)
    more = (_calibrations, _acceptance) if cameras else (_calibrations,)
    findings = examine(loaded, *more)
    ready = all(finding.verdict is not Verdict.FAIL for finding in findings)

    def render() -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"rig {loaded.name!r} ({loaded.source})", title_justify="left")
        for heading in ("", "what", "found", "what to do"):
            table.add_column(heading, overflow="fold")
        marks = {Verdict.OK: "[green]ok[/]", Verdict.NOTE: "[yellow]note[/]"}
        for finding in findings:
            mark = marks.get(finding.verdict, "[red bold]FAIL[/]")
            table.add_row(mark, finding.area, Text(finding.text), Text(finding.hint))
        console().print(table)
        typer.secho(
            "Ready to record." if ready else "Not ready: mend what is marked FAIL.",
            fg="green" if ready else "red",
            bold=True,
        )

    emit({"ready": ready, "rig": loaded.name, "findings": findings}, as_json, render)
    if not ready:
        raise typer.Exit(_NOT_READY_EXIT_CODE)


def _calibrations(rig: Rig) -> Iterator[Finding]:
    """Tell which calibrations are in use and whether they are still fresh."""
    from calibration.artifact import CalibrationStore
    from calibration.procedure import present
    from camera_rig.doctor import Finding, Verdict

    store, now = CalibrationStore(rig.config.calibration.root), present(rig)
    procedures = sorted({artifact.procedure for artifact in store.list()})
    for name in procedures:
        active = store.active(name)
        if active is None:
            yield Finding("calibration", Verdict.NOTE, f"{name}: none accepted", "run it again")
        elif stale := store.stale(active, now):
            hint = f"`rig calibrate run {name}`"
            yield Finding("calibration", Verdict.NOTE, f"{name}: stale, {'; '.join(stale)}", hint)
        else:
            yield Finding("calibration", Verdict.OK, f"{name}: {active.id}")
    if not procedures:
        yield Finding("calibration", Verdict.NOTE, "none yet", "`rig calibrate all`")


def _acceptance(rig: Rig) -> Iterator[Finding]:
    """Try each camera for a moment, as `rig camera test` does at length."""
    from camera_rig.acceptance import AcceptancePlan, accept_camera
    from camera_rig.contracts import Camera
    from camera_rig.doctor import Finding, Verdict

    plan = AcceptancePlan(exposures=3, stream_s=2.0, stills=1)
    for role, device in rig.devices.items():
        if isinstance(device, Camera):
            for check in accept_camera(device, plan).checks:
                verdict = Verdict.OK if check.passed else Verdict.FAIL
                hint = "" if check.passed else f"look closer: `rig camera test --camera {role}`"
                yield Finding(role, verdict, f"{check.name}: {check.found}", hint)

"""``rig doctor``: could this rig record now, and what to mend if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from cli._common import ConfigOption, JsonOption, console, emit

if TYPE_CHECKING:
    from camera_rig.doctor import Finding
    from camera_rig.rig import Rig

_NOT_READY_EXIT_CODE = 4


def doctor(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Examine devices, libraries, disk, clock, keys and calibrations.

    Exits with 0 only when the rig could record now. Opens the devices, moves nothing.

    Example: rig doctor --config hw_configs/lab.yaml
    """
    from camera_rig.config import load_config
    from camera_rig.doctor import Verdict, examine

    loaded = load_config(config)
    findings = examine(loaded, _calibrations)
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

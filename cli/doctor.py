"""``rig doctor``: could this rig record now, and what to mend if not."""

from __future__ import annotations

import typer

from cli._common import ConfigOption, JsonOption, console, emit

_NOT_READY_EXIT_CODE = 4


def doctor(config: ConfigOption = "simulated", as_json: JsonOption = False) -> None:
    """Examine devices, libraries, disk, clock, keys and calibrations.

    Exits with 0 only when the rig could record now. Opens the devices, moves nothing.

    Example: rig doctor --config hw_configs/lab.yaml
    """
    from camera_rig.config import load_config
    from camera_rig.doctor import Verdict, examine

    loaded = load_config(config)
    findings = examine(loaded)
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

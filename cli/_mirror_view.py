"""What ``rig mirror`` shows: tables of modes, electrodes, point spread function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli._common import console

if TYPE_CHECKING:
    import numpy as np

    from camera_rig.bench import Bench
    from camera_rig.contracts import Mirror
    from camera_rig.mirror.shape import ShapePlan
    from camera_rig.optics import Coefficients, Mode

PSF_WIDTH = 96
"""Width of the thumbnail in wavelength times f-number."""


def show_plan(plan: ShapePlan, bench: Bench, mirror: Mirror, wavelength_nm: float | None) -> None:
    """Print a plan: modes in all four orders, electrodes, PSF, what to know."""
    from camera_rig.mirror.picture import terminal_map, terminal_psf

    console().print(_mode_table(plan, wavelength_nm))
    colour = console().color_system is not None
    console().print(terminal_map(bench.mirror, plan.command_v, mirror.limits, colour=colour))
    if plan.shape_um:
        console().print(f"PSF, {PSF_WIDTH} wavelengths times f-number across (square root):")
        console().print(terminal_psf(thumbnail(plan.shape_um, bench), colour=colour))
    console().print(
        f"{plan.method.value}; hysteresis: {plan.hysteresis.value}; "
        f"stroke used {plan.stroke_used:.0%}, most by actuator {plan.worst_actuator}; "
        f"{plan.move_s:.2f} s to get there"
    )
    if plan.scale != 1.0:
        console().print(f"[yellow]scaled: everything times {plan.scale:.3f}[/]")
    for note in plan.notes:
        console().print(f"[yellow]note:[/] {note}")


def thumbnail(shape_um: dict[Mode, float], bench: Bench) -> np.ndarray[Any, Any]:
    """Return the PSF of a predicted wavefront, (colours, rows, columns), energy shares."""
    from camera_rig.optics import Coefficients, Pupil, Unit, compute_psf

    optics = bench.privacy
    f_number = optics.focal_length_mm / optics.pupil_diameter_mm
    pitch_um = bench.wavelengths_nm[1] * 1e-3 * f_number
    pupil = Pupil(optics.pupil_diameter_mm, optics.focal_length_mm, pitch_um, bench.wavelengths_nm)
    bent = {mode: value for mode, value in shape_um.items() if mode[0] >= 2}
    pixels: np.ndarray[Any, Any] = compute_psf(
        Coefficients(bent, Unit.UM_RMS), pupil, PSF_WIDTH
    ).pixels
    return pixels


def _mode_table(plan: ShapePlan, wavelength_nm: float | None) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    unit, per_um = "µm RMS", 1.0
    if wavelength_nm is not None:
        unit, per_um = f"waves RMS at {wavelength_nm:g} nm", 1000.0 / wavelength_nm
    known = bool(plan.shape_um)
    title = f"wavefront, {unit}" if known else "share of the stroke"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("Noll", "OSA", "Fringe", "Thorlabs", "mode"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for heading in ("wanted", "reachable", "residual") if known else ("wanted",):
        table.add_column(heading, justify="right")
    for line in plan.lines:
        told = line.to_dict()
        cells = [str(told[order]) for order in ("noll", "osa", "fringe", "thorlabs")]
        cells.append(told["name"])
        if known:
            values = (line.wanted_um, line.reachable_um, line.residual_um)
            cells += [f"{value * per_um:+.4f}" for value in values]
        else:
            cells.append(f"{line.wanted_fraction:+.4f}")
        table.add_row(*cells, style="red" if line.excess_um else None)
    if known:
        table.caption = (
            f"in modes not asked for {plan.beyond_um * per_um:.4f}, "
            f"whole error {plan.residual_um * per_um:.4f}"
        )
    return table


def show_shape(shape_um: dict[Mode, float]) -> None:
    """Print the larger modes of a wavefront, µm RMS."""
    from rich.table import Table

    from camera_rig.mirror.names import mode_name, mode_numbers

    table = Table(title="predicted wavefront, µm RMS (above 0.005)")
    for heading in ("Noll", "Thorlabs", "mode", "value"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for mode, value in shape_um.items():
        if abs(value) > 0.005:
            told = mode_numbers(mode)
            table.add_row(
                str(told["noll"]), str(told["thorlabs"]), mode_name(mode), f"{value:+.3f}"
            )
    if not table.rows:
        console().print("predicted wavefront: flat within 0.005 µm RMS")
        return
    console().print(table)


def compared(first: Coefficients, second: Coefficients) -> dict[str, Any]:
    """Return two sets side by side, in µm RMS, or in fractions when both are such.

    Raises:
        ConfigError: One is in fractions of a stroke and the other is not.
    """
    from camera_rig.errors import ConfigError
    from camera_rig.mirror.names import mode_name, mode_numbers
    from camera_rig.optics import Unit

    fractions = [each.unit is Unit.STROKE_FRACTION for each in (first, second)]
    if any(fractions) and not all(fractions):
        raise ConfigError(
            "one file is in stroke fractions, the other in lengths: they cannot be compared",
            hint="fractions have a length only on a calibrated mirror: `rig mirror limits`",
        )
    unit = Unit.STROKE_FRACTION if all(fractions) else Unit.UM_RMS
    one, two = ((each if all(fractions) else each.to(unit=unit)) for each in (first, second))
    rows: list[dict[str, Any]] = [
        {
            "name": mode_name(mode),
            **mode_numbers(mode),
            "first": one.values.get(mode, 0.0),
            "second": two.values.get(mode, 0.0),
            "difference": two.values.get(mode, 0.0) - one.values.get(mode, 0.0),
        }
        for mode in sorted({*one.values, *two.values})
    ]
    rows = [row for row in rows if row["first"] or row["second"]]
    rms = sum(float(row["difference"]) ** 2 for row in rows) ** 0.5
    return {"unit": unit.value, "modes": rows, "rms_of_difference": rms}


def show_comparison(data: dict[str, Any]) -> None:
    """Print two sets side by side."""
    from rich.table import Table

    table = Table(title=data["unit"])
    for heading in ("Noll", "OSA", "Fringe", "Thorlabs", "mode", "first", "second", "difference"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for row in data["modes"]:
        numbers = [str(row[order]) for order in ("noll", "osa", "fringe", "thorlabs")]
        values = [f"{row[key]:+.4f}" for key in ("first", "second", "difference")]
        table.add_row(*numbers, row["name"], *values)
    table.caption = f"RMS of the difference {data['rms_of_difference']:.4f}"
    console().print(table)

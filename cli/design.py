"""``rig design``: Stage I, the coefficients and U together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import JsonOption
from cli._learning import (
    DataOption,
    DeviceOption,
    OutOption,
    PresetOption,
    SetOption,
    StepsOption,
    heads_folder,
    run_config,
    show_summary,
    trained,
)

if TYPE_CHECKING:
    from camera_rig.optics import Coefficients
    from models.training.config import RunConfig
    from models.training.limits import MirrorLimits
    from models.training.loop import Report, RunSummary
    from models.training.world import World

SWEPT = (0.0, 0.1, 0.3, 1.0)
"""Weights of the adversary in a Pareto sweep that names none."""
EXPOSURES_S = (1 / 30, 1 / 10, 1.0)
"""A video frame, the slowest one that still looks like video, a photograph."""

MirrorOption = Annotated[
    str,
    typer.Option(help="Configuration whose mirror sets the limits; empty designs a free lens."),
]


def design(
    out: OutOption,
    data: DataOption = "heads:200",
    preset: PresetOption = "live",
    steps: StepsOption = 2000,
    teacher: Annotated[str, typer.Option(help="Run or bundle with U*; empty trains one.")] = "",
    teacher_steps: Annotated[int, typer.Option(help="Updates of that training.")] = 3000,
    mirror: MirrorOption = "simulated",
    shapes: Annotated[int, typer.Option(help="Mirror shapes within one exposure.")] = 1,
    adversary: Annotated[
        list[float] | None,
        typer.Option(help="Weight of the deconvolution adversary; repeat for a sweep."),
    ] = None,
    heatmap_weight: Annotated[
        list[float] | None, typer.Option(help="Weight of the heatmaps (eq. 6); repeat for a sweep.")
    ] = None,
    pareto: Annotated[
        bool, typer.Option(help="Sweep, and write pareto.json and pareto.png.")
    ] = False,
    fixed: Annotated[
        list[str] | None,
        typer.Option(help="Coefficients that stay as they are: only U learns. Repeat for shapes."),
    ] = None,
    low_res: Annotated[int, typer.Option(help="Low-resolution camera instead: pixels.")] = 0,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the coefficients that hide a face and still show its heatmap.

    Writes coefficients.yaml for `rig mirror load`. Several weights make a sweep: one run
    each, and a table of heatmap error against what an attacker gets.

    Example: rig design --out runs/design --data heads:200 --mirror simulated
    """
    from camera_rig.errors import ConfigError
    from models.networks import preset as sizes_of

    if pareto and (low_res or fixed):
        raise ConfigError(
            "a camera that learns nothing has no weights to sweep",
            hint="leave out --pareto, or --low-res and --fixed",
        )
    weights = _weights(adversary, heatmap_weight, pareto)
    with trained(device) as (world, report), _limits(mirror) as limits:
        folder = heads_folder(data, sizes_of(preset).size_px, world)
        base = {"data": {"folder": folder}, "sizes": preset}
        if not teacher:
            teacher = str(out / "teacher")
            engine = {"steps": teacher_steps}
            first = run_config("heatmap", {**base, "engine": engine}, _for_teacher(settings))
            _train(first, Path(teacher), world, report, None)
        rows = []
        for weight in weights:
            place = out if len(weights) == 1 else out / _name(weight)
            tree = {
                **base,
                "engine": {"steps": steps, "validate_every": max(steps // 20, 1)},
                "design": {
                    "teacher": teacher,
                    "fixed": fixed or [],
                    "shapes": shapes,
                    "low_res": low_res,
                    **weight,
                },
            }
            config = run_config("design", tree, settings)
            summary = _train(config, place, world, report, limits)
            rows.append(_row(weight, place, limits) if world.first else {})
        if world.first:
            if pareto:
                _save_front(out, rows)
            _show(summary, rows, as_json)


def _weights(
    adversary: list[float] | None, heatmap: list[float] | None, pareto: bool
) -> list[dict[str, float]]:
    """Return every pair of weights asked for; what is not asked for keeps its default."""
    attacks = adversary or (SWEPT if pareto else [0.0])
    if not heatmap:
        return [{"adversary": a} for a in attacks]
    return [{"adversary": a, "alpha2": h} for a, h in product(attacks, heatmap)]


def _name(weight: Mapping[str, float]) -> str:
    words = {"adversary": "adversary", "alpha2": "heatmap"}
    return "-".join(f"{words[key]}-{value:g}" for key, value in weight.items())


def _train(
    config: RunConfig, folder: Path, world: World, report: Report, limits: MirrorLimits | None
) -> RunSummary:
    from models.training.start import train

    why_not = None if limits is None else limits.why_not
    return train(config, folder, world, report=report, why_not=why_not)


def _for_teacher(settings: list[str] | None) -> list[str]:
    """Settings that also hold for the training of U*: all but those of later stages."""
    later = ("design.", "optics.", "faces.", "distil.", "engine.steps", "engine.patience")
    return [s for s in settings or [] if not s.startswith(later)]


@contextmanager
def _limits(config: str) -> Iterator[MirrorLimits | None]:
    if not config:
        yield None
        return
    from camera_rig.mirror.influence import InfluenceModel
    from camera_rig.mirror.modal import ModalMirror
    from camera_rig.mirror.reference import MirrorFolder
    from cli._common import opened
    from models.training.limits import MirrorLimits

    with opened(config, only={"mirror"}) as rig:
        bench = rig.config.bench
        folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
        matrix = folder.influence()
        if matrix is None:
            matrix = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix()
        yield MirrorLimits(ModalMirror(rig.mirror, matrix))


def _row(weight: Mapping[str, float], folder: Path, limits: MirrorLimits | None) -> dict[str, Any]:
    """Save the coefficients of a run; return the held-out figures that belong to them."""
    import json

    from models.training.sources import open_trained

    shapes = open_trained(folder).coefficients
    names = (
        ["coefficients.yaml"]
        if len(shapes) == 1
        else [f"coefficients-{i:02d}.yaml" for i in range(len(shapes))]
    )
    for shape, name in zip(shapes, names, strict=True):
        shape.save(folder / name, overwrite=True)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    judged = [line for line in map(json.loads, lines) if "held-out/score" in line]
    best = min(judged, key=lambda line: line["held-out/score"], default={})
    figures = {k.split("/")[1]: v for k, v in best.items() if "/" in k}
    return {
        **weight,
        "folder": str(folder),
        "coefficients": [shape.numbers for shape in shapes],
        **(_pace(limits, shapes) if limits and len(shapes) > 1 else {}),
        **figures,
    }


def _pace(limits: MirrorLimits, shapes: tuple[Coefficients, ...]) -> dict[str, Any]:
    """How long a round takes, and how many shapes some exposures hold."""
    step_v = max(limits.steps_v(shapes))
    held = {f"{s:.3f}": limits.pace.shapes_within(s, step_v) for s in EXPOSURES_S}
    return {"round_s": limits.round_s(shapes), "shapes_within_s": held}


def _save_front(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the sweep as numbers and as a picture, and mark who is not beaten."""
    import json

    from models.training.pareto import DesignPoint, front, save_picture

    names = [Path(row["folder"]).name for row in rows]
    points = [
        DesignPoint(name, row["heatmap"], row["recovered_db"])
        for name, row in zip(names, rows, strict=True)
    ]
    best = front(points)
    for row, point in zip(rows, points, strict=True):
        row["beaten"] = point not in best
    (out / "pareto.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    save_picture(points, out / "pareto.png")


def _show(summary: RunSummary, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json or len(rows) == 1:
        show_summary(summary, as_json, {"designs": rows})
    if as_json:
        return
    for shape in rows[0]["coefficients"] if len(rows) == 1 else []:
        typer.echo("  Noll  waves RMS")
        for number, value in shape.items():
            typer.echo(f"  {number:>4}  {value:+.4f}")
    known = ("adversary", "alpha2", "heatmap", "landmarks_px", "frame_db", "recovered_db", "beaten")
    keys = [key for key in known if any(key in row for row in rows)]
    typer.echo("  ".join(f"{key:>12}" for key in keys))
    for row in rows:
        typer.echo("  ".join(f"{row[key]:>12.4g}" if key in row else f"{'-':>12}" for key in keys))
        if "round_s" in row:
            held = ", ".join(f"{s} s: {k}" for s, k in row["shapes_within_s"].items())
            typer.echo(f"one round takes {row['round_s']:.2f} s; shapes that an exposure of so")
            typer.echo(f"many seconds holds, standing half of the time: {held}")

"""``rig design``: Stage I, the coefficients and U together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    from camera_rig.mirror.modal import ModalMirror
    from camera_rig.mirror.shape import ShapePlan
    from camera_rig.optics import Coefficients
    from models.training.config import RunConfig
    from models.training.loop import Report, RunSummary
    from models.training.world import World

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
    low_res: Annotated[int, typer.Option(help="Low-resolution camera instead: pixels.")] = 0,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the coefficients that hide a face and still show its heatmap.

    Writes coefficients.yaml for `rig mirror load`. Several --adversary weights make a
    sweep: one run each, and a table of heatmap error against what an attacker gets.

    Example: rig design --out runs/design --data heads:200 --mirror simulated
    """
    from models.networks import preset as sizes_of

    weights = adversary or [0.0]
    size_px = sizes_of(preset).size_px
    with trained(device) as (world, report), _limits(mirror) as limits:
        folder = heads_folder(data, size_px, world)
        base = {"data": {"folder": folder}, "sizes": preset}
        if not teacher:
            teacher = str(out / "teacher")
            engine = {"steps": teacher_steps}
            first = run_config("heatmap", {**base, "engine": engine}, _for_teacher(settings))
            _train(first, Path(teacher), world, report, None)
        rows = []
        for weight in weights:
            place = out if len(weights) == 1 else out / f"adversary-{weight:g}"
            every = max(steps // 20, 1)
            tree = {
                **base,
                "engine": {"steps": steps, "validate_every": every},
                "design": {
                    "teacher": teacher,
                    "shapes": shapes,
                    "adversary": weight,
                    "low_res": low_res,
                },
            }
            config = run_config("design", tree, settings)
            summary = _train(config, place, world, report, limits)
            rows.append(_row(weight, place, limits) if world.first else {})
        if world.first:
            _show(summary, rows, as_json)


def _train(
    config: RunConfig, folder: Path, world: World, report: Report, limits: _Limits | None
) -> RunSummary:
    from models.training.start import train

    why_not = None if limits is None else limits.why_not
    return train(config, folder, world, report=report, why_not=why_not)


def _for_teacher(settings: list[str] | None) -> list[str]:
    """Settings that also hold for the training of U*: all but those of later stages."""
    later = ("design.", "optics.", "faces.", "distil.", "engine.steps", "engine.patience")
    return [s for s in settings or [] if not s.startswith(later)]


class _Limits:
    """What a mirror can do, asked of its own planner; it is not moved."""

    def __init__(self, planner: ModalMirror) -> None:
        self._planner = planner

    def why_not(self, shape: Coefficients) -> list[str]:
        """Return why the mirror cannot make a shape; empty when it can."""
        plan = self._plan(shape)
        return [] if plan.feasible else [f"only {plan.scale_that_fits:.2f} of it fits"]

    def round_s(self, shapes: Sequence[Coefficients]) -> float:
        """Return how long one round through the shapes takes, settling at each, s."""
        mirror = self._planner.mirror
        volts = [self._plan(shape).command_v for shape in shapes]
        moves = [abs(b - a).max() for a, b in zip(volts, [*volts[1:], volts[0]], strict=True)]
        return float(sum(v / mirror.slew_v_per_s + mirror.settle_s for v in moves))

    def _plan(self, shape: Coefficients) -> ShapePlan:
        from dataclasses import replace

        bendable = {mode: value for mode, value in shape.values.items() if mode[0] > 1}
        return self._planner.plan(replace(shape, values=bendable))


@contextmanager
def _limits(config: str) -> Iterator[_Limits | None]:
    if not config:
        yield None
        return
    from camera_rig.mirror.influence import InfluenceModel
    from camera_rig.mirror.modal import ModalMirror
    from camera_rig.mirror.reference import MirrorFolder
    from cli._common import opened

    with opened(config, only={"mirror"}) as rig:
        bench = rig.config.bench
        folder = MirrorFolder(rig.config.storage.root, rig.mirror.info.serial)
        matrix = folder.influence()
        if matrix is None:
            matrix = InfluenceModel(bench.mirror, bench.mirror_pupil_mm).matrix()
        yield _Limits(ModalMirror(rig.mirror, matrix))


def _row(weight: float, folder: Path, limits: _Limits | None) -> dict[str, Any]:
    """Save the coefficients of a run; return its last held-out figures."""
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
    figures = {k.split("/")[1]: v for k, v in (judged[-1] if judged else {}).items() if "/" in k}
    return {
        "adversary": weight,
        "folder": str(folder),
        "coefficients": [shape.numbers for shape in shapes],
        **({"round_s": limits.round_s(shapes)} if limits and len(shapes) > 1 else {}),
        **figures,
    }


def _show(summary: RunSummary, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json or len(rows) == 1:
        show_summary(summary, as_json, {"designs": rows})
    if as_json:
        return
    for shape in rows[0]["coefficients"]:
        typer.echo("  Noll  waves RMS")
        for number, value in shape.items():
            typer.echo(f"  {number:>4}  {value:+.4f}")
    keys = ("adversary", "heatmap", "landmarks_px", "frame_db", "recovered_db")
    typer.echo("  ".join(f"{key:>12}" for key in keys))
    for row in rows:
        cells = [f"{row[key]:>12.4g}" if key in row else f"{'-':>12}" for key in keys]
        typer.echo("  ".join(cells))
        if "round_s" in row:
            typer.echo(
                f"one round through the shapes takes {row['round_s']:.2f} s: expose several rounds"
            )

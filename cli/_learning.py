"""What the learning commands share: data, settings, the processes, what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import emit

if TYPE_CHECKING:
    from models.training.config import RunConfig
    from models.training.loop import RunSummary
    from models.training.world import World

__all__ = [
    "DataOption",
    "DeviceOption",
    "OutOption",
    "PresetOption",
    "SetOption",
    "StepsOption",
    "heads_folder",
    "run_config",
    "show_summary",
    "trained",
]

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Run folder; an old run goes on.")]
DataOption = Annotated[
    str,
    typer.Option(
        "--data", help="Image folder (CelebA-HQ or FFHQ layout), or heads:N for N rendered heads."
    ),
]
PresetOption = Annotated[str, typer.Option(help="Network sizes: paper, live or tiny.")]
StepsOption = Annotated[int, typer.Option(help="Updates.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of run.yaml, as engine.batch=16; repeat."),
]

_FRAMES_PER_HEAD = 12


def heads_folder(data: str, size_px: int, world: World, *, first_seed: int = 0) -> str:
    """Return the image folder meant by ``--data``, rendering heads when it asks for them.

    Args:
        data: A folder, or ``heads:N``.
        size_px: Height and width of rendered pictures.
        world: Only the first process renders; the others wait.
        first_seed: Identity the rendered heads start at.
    """
    from cli._heads import heads_named

    if (count := heads_named(data)) is None:
        return data
    from camera_rig.twin.head.cache import user_cache_dir
    from cli._common import progress
    from models.heads import HeadSetSettings, render_heads

    seeds = tuple(range(first_seed, first_seed + count))
    settings = HeadSetSettings(seeds, frames=_FRAMES_PER_HEAD, size_px=size_px)
    name = f"heads-{first_seed}-{count}x{_FRAMES_PER_HEAD}-{size_px}px"
    folder = user_cache_dir() / "training" / name
    if world.first:
        with progress() as shown:
            task = shown.add_task("rendering heads", total=len(seeds), rate="")
            render_heads(folder, settings, lambda n, _: shown.update(task, completed=n))
    world.wait()
    return str(folder)


def run_config(stage: str, tree: Mapping[str, Any], sets: list[str] | None) -> RunConfig:
    """Return the configuration of a run from options and ``--set`` pairs.

    Raises:
        ConfigError: A setting does not exist or has no such value.
    """
    import yaml
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from models.networks import preset
    from models.training.config import RunConfig

    whole: dict[str, Any] = {"stage": stage, **tree}
    whole["sizes"] = preset(whole["sizes"]).model_dump()
    for pair in sets or []:
        path, found, value = pair.partition("=")
        if not found:
            raise ConfigError(f"--set {pair!r} has no '='", hint="write engine.batch=16")
        place = whole
        *above, last = path.split(".")
        for key in above:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    try:
        return RunConfig.model_validate(whole)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"setting {where}: {first['msg']}", hint="see run.yaml of any run for all settings"
        ) from error


@contextmanager
def trained(device: str) -> Iterator[tuple[World, Callable[[int, int, Mapping[str, float]], None]]]:
    """Join the processes; give them and a report that draws progress."""
    from cli._common import progress
    from models.training.world import joined

    with joined(device) as world, progress(plain=not world.first) as shown:
        task = shown.add_task("training", total=None, rate="")

        def report(step: int, steps: int, figures: Mapping[str, float]) -> None:
            totals = [f"{k.split('/')[0]} {v:.4g}" for k, v in figures.items() if "/total" in k]
            changes = {"rate": ", ".join(totals)} if totals else {}
            shown.update(task, completed=step, total=steps, **changes)

        yield world, report


def show_summary(summary: RunSummary, as_json: bool, more: Mapping[str, Any]) -> None:
    """Print how a run ended."""
    data = {
        "folder": str(summary.folder),
        "step": summary.step,
        "reason": summary.reason,
        "best_score": summary.best_score,
        "wall_s": round(summary.wall_s, 1),
        **more,
    }

    def render() -> None:
        typer.echo(f"{summary.folder}: {summary.reason} after {summary.step} steps", nl=False)
        typer.echo(f", {summary.wall_s:.0f} s; best score {summary.best_score}")

    emit(data, as_json, render)

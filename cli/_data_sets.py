"""The commands ``rig data prepare``, ``export`` and ``sheet``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli._common import ConfigOption, JsonOption, emit, progress
from cli._data_common import LabKeyOption, open_store, read_settings, unlock

if TYPE_CHECKING:
    from camera_rig.recording.prepare import PrepareSettings
    from camera_rig.recording.reading import Take
    from camera_rig.recording.store import DataStore

__all__ = ["export", "prepare", "sheet"]


def prepare(
    takes: Annotated[list[str], typer.Argument(help="Takes, or 'series:NAME', or 'all'.")],
    out: Annotated[Path, typer.Option(help="New folder of the set.")],
    config: ConfigOption = "simulated",
    split: Annotated[
        str, typer.Option(help="Pairs for training / testing, or shares: 3000/700, 0.8/0.2.")
    ] = "0.8/0.2",
    by: Annotated[str, typer.Option(help="Split by whole 'take' or by 'time'.")] = "take",
    gap: Annotated[float, typer.Option(help="Time thrown away at a split by time, s.")] = 2.0,
    size: Annotated[int, typer.Option(help="Side of the crops, px.")] = 256,
    detector: Annotated[
        str, typer.Option(help="'truth' on the twin, 'dlib' on people; 'auto' decides.")
    ] = "auto",
    register: Annotated[
        Path | None,
        typer.Option(help="Registration file; else the calibration in use, or the twin's truth."),
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="YAML file with quality limits.")] = None,
    scope: Annotated[str, typer.Option(help="What the set is for: train or evaluate.")] = "train",
    every: Annotated[int, typer.Option(min=1, help="Look at every n-th pair.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides which takes are for testing.")] = 0,
    workers: Annotated[int, typer.Option(help="Takes at the same time; 0: one a core.")] = 0,
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a set of face crops from takes; encrypted again, the same for the same seed.

    Example: rig data prepare series:faces --out rig-data/sets/faces --split 3000/700
    """
    from camera_rig.recording.prepare import prepare as make
    from camera_rig.recording.registration import Registration

    store = open_store(config)
    found = _takes(store, takes)
    simulated = all(take.manifest.simulated for take in found)
    chosen = detector if detector != "auto" else ("truth" if simulated else "dlib")
    settings = _settings(
        rules,
        {"size_px": size, "detector": chosen, "every": every, "scope": scope},
        {**_split(split), "by": by, "gap_s": gap, "seed": seed},
    )
    if register is None and not simulated:
        register = _calibrated(config)
    registration = Registration.load(register) if register else None
    access = store.access(f"prepare {out.name}", unlock(store, lab_key))
    with progress(plain=as_json) as shown:
        task = shown.add_task("look", rate="")
        made = make(
            found,
            out,
            access,
            settings,
            registration=registration,
            workers=workers or os.cpu_count() or 1,
            progress=lambda step, done, total: shown.update(
                task, description=step, completed=done, total=total
            ),
        )

    def render() -> None:
        counts = made.manifest.counts
        typer.echo(f"{made.folder}: {counts['train']} pairs to train, {counts['test']} to test")
        for reason, count in sorted(made.manifest.rejected.items()):
            typer.echo(f"  left out {count:6d}  {reason}")
        typer.echo(f"  summary {made.folder / 'summary.html'}")

    emit(made.manifest, as_json, render)


def export(
    folder: Annotated[Path, typer.Argument(help="A prepared set.")],
    out: Annotated[Path, typer.Option(help="New folder for the export.")],
    form: Annotated[
        str, typer.Option("--format", help="webdataset, lerobot, folder or mp4.")
    ] = "webdataset",
    scope: Annotated[
        str, typer.Option(help="What it is for: train, evaluate, share or publish.")
    ] = "train",
    privacy_only: Annotated[
        bool, typer.Option("--privacy-only", help="Leave the sharp branch out.")
    ] = False,
    fps: Annotated[float, typer.Option(help="Rate of videos, 1/s.")] = 30.0,
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a prepared set IN THE CLEAR for another tool, within what was agreed to.

    Example: rig data export rig-data/sets/faces --out shared/faces --format folder --scope share
    """
    from camera_rig.recording.export import ExportSettings, export_set

    store = open_store(config)
    settings = ExportSettings.parse(form=form, scope=scope, privacy_only=privacy_only, fps=fps)
    access = store.access(f"export for {scope}", unlock(store, lab_key))
    made = export_set(folder, out, access, settings)
    emit(
        made,
        as_json,
        lambda: typer.echo(f"{made.out}: {made.pairs} pairs as {form}, in the clear: guard it"),
    )


def sheet(
    folder: Annotated[Path, typer.Argument(help="A prepared set.")],
    take: Annotated[str, typer.Argument(help="One of its takes.")],
    out: Annotated[Path, typer.Option(help="JPEG to write, in the clear.")],
    config: ConfigOption = "simulated",
    lab_key: LabKeyOption = None,
) -> None:
    """Decrypt the contact sheet of a take to look at it. Shows faces.

    Example: rig data sheet rig-data/sets/faces TAKE --out sheet.jpg
    """
    from camera_rig.recording.export import write_private
    from camera_rig.recording.prepared import PreparedSet

    store = open_store(config)
    access = store.access("look at a contact sheet", unlock(store, lab_key))
    with PreparedSet(folder, access) as found:
        write_private(out, found.sheet(take))
    typer.echo(f"{out}: shows faces in the clear; delete it after looking")


def _calibrated(config: str) -> Path | None:
    """Return the registration file of the calibration in use, if there is one."""
    from calibration.artifact import CalibrationStore
    from camera_rig.config import load_config

    store = CalibrationStore(load_config(config).calibration.root)
    artifact = store.active("registration")
    if artifact is None:
        return None
    typer.echo(f"registration {artifact.id} of {artifact.made_at}", err=True)
    return store.folder(artifact) / "registration.json"


def _takes(store: DataStore, names: list[str]) -> list[Take]:
    from camera_rig.errors import ConfigError
    from camera_rig.recording.reading import Take

    found: dict[str, Take] = {}
    for name in names:
        if name == "all" or name.startswith("series:"):
            rows = store.catalog.rows(series=name.removeprefix("series:") if name != "all" else "")
            ids = [row.take for row in rows if row.state != "open"]
            if not ids:
                raise ConfigError(f"{name!r} has no takes", hint="see `rig take list`")
            found |= {one: Take(store.takes / one) for one in ids}
        else:
            take = store.take(name)
            found[take.id] = take
    return list(found.values())


def _settings(
    rules: Path | None, settings: dict[str, Any], split: dict[str, Any]
) -> PrepareSettings:
    from pydantic import ValidationError

    from camera_rig.errors import ConfigError
    from camera_rig.recording.prepare import PrepareSettings

    quality = read_settings(rules) if rules is not None else {}
    try:
        return PrepareSettings.model_validate({**settings, "quality": quality, "split": split})
    except ValidationError as error:
        raise ConfigError(
            f"the settings are wrong: {error}", hint="see docs/recording.md"
        ) from error


def _split(text: str) -> dict[str, float]:
    from camera_rig.errors import ConfigError

    try:
        train, test = (float(part) for part in text.split("/"))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no split", hint="give 3000/700 or 0.8/0.2: training, then testing"
        ) from error
    return {"train": train, "test": test}

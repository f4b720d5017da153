"""``rig finetune``: adapt U and G to pairs that this instrument recorded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli._common import ConfigOption, JsonOption
from cli._data_common import LabKeyOption
from cli._learning import (
    DeviceOption,
    OutOption,
    SetOption,
    StepsOption,
    heads_folder,
    run_config,
    show_summary,
    trained,
)

if TYPE_CHECKING:
    from camera_rig.recording.prepared import PreparedSet

REFERENCE_SEED = 10_000


def finetune(
    start: Annotated[Path, typer.Argument(help="Bundle or run of `rig train` to start from.")],
    pairs: Annotated[str, typer.Argument(help="Prepared set, or folder of privacy/ and side/.")],
    out: OutOption,
    references: Annotated[
        str, typer.Option(help="Folder of public faces, or heads:N for synthetic ones.")
    ] = "heads:40",
    psf_bank: Annotated[str, typer.Option(help="Measured PSFs (.npy) to augment with.")] = "",
    steps: StepsOption = 2000,
    lab_key: LabKeyOption = None,
    config: ConfigOption = "simulated",
    device: DeviceOption = "auto",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune U and G on recorded pairs; styles come from public references only.

    Example: rig finetune bundles/default sets/S01 --out runs/tuned --psf-bank psf.npy
    """
    from models.training.sources import open_trained
    from models.training.start import train

    base = open_trained(start)
    with trained(device) as (world, report), ExitStack() as stack:
        prepared = None
        if (Path(pairs) / "set.json").exists() or "://" in pairs:
            prepared = stack.enter_context(_opened_set(pairs, config, lab_key))
        size_px = base.sizes.size_px
        public = heads_folder(references, size_px, world, first_seed=REFERENCE_SEED)
        tree = {
            "data": {
                "folder": pairs,
                "references": public,
                "sensitive": prepared is None or not prepared.manifest.simulated,
            },
            "sizes": base.sizes.name,
            "layout": base.layout,
            "optics": base.optics.model_dump(),
            "engine": {"steps": steps, "validate_every": max(steps // 20, 1)},
            "faces": {"start": str(start), "psf_bank": psf_bank, "diversity_steps": steps},
        }
        run = run_config("finetune", tree, settings).model_copy(update={"sizes": base.sizes})
        summary = train(run, out, world, report=report, prepared=prepared)
        if world.first:
            show_summary(summary, as_json, {})


def _opened_set(where: str, config: str, lab_key: Path | None) -> PreparedSet:
    from camera_rig.recording.prepared import PreparedSet
    from cli._data_common import open_store, unlock

    store = open_store(config)
    return PreparedSet(where, store.access("finetune", unlock(store, lab_key)))

"""``rig train``: Stage II, new faces from privacy frames."""

from __future__ import annotations

from typing import Annotated

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


def train(
    out: OutOption,
    design: Annotated[str, typer.Option(help="Run of `rig design`, or a bundle.")] = "",
    teacher: Annotated[
        str, typer.Option(help="Run of `rig train` to distil into a smaller preset instead.")
    ] = "",
    data: DataOption = "heads:200",
    preset: PresetOption = "live",
    steps: StepsOption = 20_000,
    low_res: Annotated[int, typer.Option(help="Low-resolution camera instead: pixels.")] = 0,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the networks that paint a new face.

    Many processes or machines: torchrun --nproc-per-node 2 -m cli.main train …

    With --teacher nothing is invented: a smaller preset learns what the teacher paints.

    Example: rig train --design runs/design --out runs/faces --data heads:200
    """
    from camera_rig.errors import ConfigError
    from models.networks import preset as sizes_of
    from models.training.sources import open_trained
    from models.training.start import train as run

    if bool(design) == bool(teacher):
        raise ConfigError(
            "give either --design or --teacher", hint="--design trains, --teacher distils"
        )
    before = open_trained(design or teacher)
    with trained(device) as (world, report):
        folder = heads_folder(data, sizes_of(preset).size_px, world)
        every = max(steps // 20, 1)
        tree = {
            "data": {"folder": folder},
            "sizes": preset,
            "layout": before.layout,
            "optics": before.optics.model_dump(),
            "engine": {"steps": steps, "validate_every": every, "sheet_every": every},
            "faces": {"design": design, "low_res": low_res, "diversity_steps": steps},
            "distil": {"teacher": teacher},
        }
        config = run_config("distil" if teacher else "faces", tree, settings)
        summary = run(config, out, world, report=report)
        if world.first:
            show_summary(summary, as_json, {})

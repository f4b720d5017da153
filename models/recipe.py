"""How the default bundle is made: one call from nothing to a folder that can be shipped.

Four runs, each resumable by itself: U reads (``read``), E and G paint beside it with
true landmarks (``paint``), paint on with U's own (``finish``), S learns the codes
(``style``); then weights, references and pictures are packed, and the fast form is made
beside them. About two hours on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.camera import OpticsSpec
from models.parallel import ParallelSettings
from models.training.config import DataConfig, EngineConfig, ParallelConfig, RunConfig
from models.training.sources import Trained, open_trained

__all__ = ["REFERENCES", "Recipe", "make", "packed"]

REFERENCES: Mapping[str, int] = {
    "Ash": 10000,
    "Birch": 10005,
    "Cedar": 10016,
    "Dogwood": 10029,
    "Elm": 10033,
    "Fir": 10039,
    "Ginkgo": 10043,
    "Hazel": 10048,
    "Ivy": 10051,
    "Juniper": 10056,
    "Larch": 10058,
    "Maple": 10063,
}
"""Names and identity seeds of the shipped references: people who do not exist, far apart
for two recognisers, of both sexes and every skin group, no eye behind hair."""

BENCH = OpticsSpec(
    pupil_mm=0.4,
    focal_mm=12.5786,
    pixel_um=6.0,
    psf_px=319,
    noise=0.006,
    light="linear",
)
"""The privacy arm of the simulated rig: a face picture is about 330 of its live view's pixels."""

DATA = (
    "600 synthetic heads, each moment repeated by 2 of 12 reference heads, rendered from CC0 data"
)


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Args:
        people: Source identities, from seed 0 on.
        read: Updates of U.
        paint: Updates of E and G on true landmarks.
        finish: Updates of E and G on U's landmarks.
        style: Updates of S.
        preset: Network sizes.
        optics: The camera.
        coefficients: The shape.
    """

    people: int = 600
    read: int = 1500
    paint: int = 1500
    finish: int = 300
    style: int = 300
    preset: str = "live"
    optics: OpticsSpec = BENCH
    coefficients: str = "lopez2024"

    def heads(self, size_px: int) -> ParallelSettings:
        """Return which heads to render: a quarter wider than a face picture."""
        return ParallelSettings(
            seeds=tuple(range(self.people)),
            references=tuple(REFERENCES.values()),
            size_px=size_px * 5 // 4,
        )

    def runs(self, heads: Path, runs: Path) -> dict[str, RunConfig]:
        """Return the runs by name, in an order in which each finds what it needs."""
        painting = ParallelConfig(coefficients=self.coefficients, rate=1.5e-3)
        common: dict[str, Any] = {
            "data": DataConfig(folder=str(heads), held_out=0.04, workers=1),
            "sizes": self.preset,
            "optics": self.optics,
        }
        finishing = painting.model_copy(
            update={"reader": str(runs / "read"), "start": str(runs / "paint"), "rate": 7e-4}
        )
        styling = painting.model_copy(update={"start": str(runs / "paint"), "rate": 1.5e-3})
        reading = painting.model_copy(update={"rate": 1.5e-3})
        stages = {
            "read": ("read", self.read, reading),
            "paint": ("paint", self.paint, painting),
            "finish": ("paint", self.finish, finishing),
            "style": ("style", self.style, styling),
        }
        return {
            name: RunConfig(stage=stage, engine=_engine(steps), parallel=parallel, **common)
            for name, (stage, steps, parallel) in stages.items()
        }


def _engine(steps: int) -> EngineConfig:
    every = max(steps // 6, 1)
    return EngineConfig(
        steps=steps,
        batch=8,
        precision="bf16",
        clip_norm=1.0,
        ema=0.995,
        log_every=25,
        validate_every=every,
        sheet_every=every,
        checkpoint_every=200,
    )


def make(
    out: str | Path,
    work: str | Path,
    recipe: Recipe = Recipe(),
    report: Callable[[str, int, int], None] | None = None,
    workers: int = 1,
    *,
    int8: bool = True,
) -> Path:
    """Make the default bundle; started again, it goes on where it stopped.

    Args:
        out: Folder of the bundle; must not exist.
        work: Folder for heads and runs.
        recipe: How much of everything.
        report: Called with the part's name, what is done, and what is to do.
        workers: Processes that render.
        int8: Whether the fast form is made and added.

    Raises:
        UnsupportedError: ``int8`` is wanted and what exports is not installed.
    """
    from models.networks import preset
    from models.parallel import render_parallel
    from models.runtime.bundle import open_bundle
    from models.runtime.export import export_bundle, require_exporter
    from models.runtime.gate_frames import frames_of_heads
    from models.training.start import train
    from models.training.world import World

    def told(part: str) -> Callable[[int, int], None]:
        return lambda done, total: report(part, done, total) if report else None

    if int8:
        require_exporter()
    place = Path(work)
    settings = recipe.heads(preset(recipe.preset).size_px)
    heads = render_parallel(place / "heads", settings, told("heads"), workers)
    for name, config in recipe.runs(heads, place / "runs").items():
        tell = told(name)
        train(
            config,
            place / "runs" / name,
            World(),
            report=lambda step, steps, _, tell=tell: tell(step, steps),
        )
    made = packed(place / "runs", out)
    if int8:
        export_bundle(made, frames_of_heads(open_bundle(made), told("int8")), fp32=False)
    return made


def packed(
    runs: str | Path,
    out: str | Path,
    data: str = DATA,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Put the runs of a recipe together into a bundle with its references.

    Args:
        runs: Folder of the runs ``read``, ``finish`` and ``style``.
        out: Folder of the bundle; must not exist.
        data: What it was trained on, in words.
        metrics: Figures for the card, with the set they belong to in their names.
    """
    import datetime as dt
    import tempfile

    from models.runtime.bundle import CardText, add_file, write_bundle

    place, target = Path(runs), Path(out)
    read, painted, styled = (open_trained(place / n) for n in ("read", "finish", "style"))
    parts = {
        "camera": painted.parts["camera"],
        "heat": read.parts["heat"],
        "encoder": painted.parts["encoder"],
        "generator": painted.parts["generator"],
        "style": styled.parts["style"],
    }
    trained = replace(painted, parts=parts, domains=1)
    text = CardText(
        name="default",
        data=data,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        scopes=("demonstration", "development", "evaluation on the simulated rig"),
    )
    write_bundle(trained, target, text, metrics)
    with tempfile.TemporaryDirectory() as aside:
        for file in _references(painted, Path(aside)):
            add_file(target, file.name, file)
    return target


def _references(painted: Trained, folder: Path) -> list[Path]:
    """Write the codes, and a plain portrait of every reference to choose by."""
    import cv2
    from safetensors.torch import save_file

    from camera_rig.twin.heads import HeadScene, HeadSettings, film_curve
    from camera_rig.twin.scene import Field
    from models.runtime.references import PICTURE_PREFIX, STYLES

    table = painted.parts["codes"]["table"]
    codes = {name: table[k].clone().contiguous() for k, name in enumerate(REFERENCES)}
    save_file(codes, folder / STYLES)
    files = [folder / STYLES]
    size = painted.sizes.size_px
    window = Field(height_px=size, width_px=size, width_mm=260.0)
    for name, seed in REFERENCES.items():
        scene = HeadScene(
            HeadSettings(identity_seed=seed, clip_seed=1, studio_seed=5, field=window)
        )
        portrait = np.ascontiguousarray(film_curve(scene.radiance(0.0))[..., ::-1])
        file = folder / f"{PICTURE_PREFIX}{name}.png"
        cv2.imwrite(str(file), portrait)
        files.append(file)
    return files

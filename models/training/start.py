"""From a run configuration to a task: the one way every command and test takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients
from models.camera import WhyNot
from models.data import FaceSource, open_folder, open_pairs
from models.parallel import open_parallel
from models.training.config import RunConfig
from models.training.distil import DistilTask
from models.training.finetune import FinetuneTask
from models.training.generator import FacesTask
from models.training.heatmap import HeatmapTask
from models.training.loop import Report, RunSummary, Trainer
from models.training.optics import DesignTask
from models.training.paint import PaintTask
from models.training.parallel import ParallelTask
from models.training.read import ReadTask
from models.training.sources import Trained, open_trained
from models.training.style import StyleTask
from models.training.task import Task
from models.training.world import World

if TYPE_CHECKING:
    from camera_rig.recording.prepared import PreparedSet

_PARALLEL: dict[str, type[ParallelTask]] = {
    "read": ReadTask,
    "paint": PaintTask,
    "style": StyleTask,
}


def build_task(
    config: RunConfig,
    world: World,
    *,
    why_not: WhyNot | None = None,
    start: Coefficients | None = None,
    prepared: PreparedSet | None = None,
) -> Task:
    """Return the task of a configuration with its data opened.

    Args:
        config: The run.
        world: The processes.
        prepared: Opened set of recorded pairs, for fine-tuning; None reads
            ``data.folder``.
        why_not: Mirror limits, for Stage I.
        start: Coefficients to start Stage I from; None starts from a perfect lens.

    Raises:
        ConfigError: Data or an earlier stage is missing or does not fit.
    """
    if config.stage in _PARALLEL:
        pairs = open_parallel(config.data.folder).split(config.data.held_out)
        return _PARALLEL[config.stage](config, *pairs, world)
    faces, held_out = _open_faces(config, prepared)
    if config.stage == "heatmap":
        return HeatmapTask(config, faces, held_out, world)
    if config.stage == "design":
        teacher = _needed(config.design.teacher, "a teacher U", "rig design --teacher RUN")
        return DesignTask(
            config, faces, held_out, world, teacher=teacher, why_not=why_not, start=start
        )
    if config.stage == "faces":
        design = _needed(config.faces.design, "a design", "rig train --design RUN")
        return FacesTask(config, faces, held_out, world, design=design)
    if config.stage == "distil":
        wide = _needed(config.distil.teacher, "a trained teacher", "rig train --teacher RUN")
        return DistilTask(config, faces, held_out, world, teacher=wide)
    base = _needed(config.faces.start, "a trained bundle", "rig finetune BUNDLE")
    if not config.data.references:
        raise ConfigError(
            "fine-tuning takes its styles from public references, and none are given",
            hint="give a folder of public or synthetic faces: --references FOLDER",
        )
    references = open_folder(config.data.references, config.sizes.size_px)
    return FinetuneTask(config, faces, held_out, world, start=base, references=references)


def train(
    config: RunConfig,
    folder: str | Path,
    world: World,
    *,
    report: Report | None = None,
    why_not: WhyNot | None = None,
    start: Coefficients | None = None,
    prepared: PreparedSet | None = None,
) -> RunSummary:
    """Run a configuration in a folder, from its newest checkpoint if it has one."""
    task = build_task(config, world, why_not=why_not, start=start, prepared=prepared)
    return Trainer(task, folder, report).run()


def _open_faces(config: RunConfig, prepared: PreparedSet | None) -> tuple[FaceSource, FaceSource]:
    data, size = config.data, config.sizes.size_px
    if prepared is not None:
        from models.prepared import open_prepared  # recording is not needed to train on folders

        return open_prepared(prepared, size)
    if config.stage == "finetune":
        whole = open_pairs(data.folder, size, sensitive=data.sensitive)
    else:
        whole = open_folder(data.folder, size)
    return whole.split(data.held_out, config.seed)


def _needed(path: str, what: str, how: str) -> Trained:
    if not path:
        raise ConfigError(f"this stage needs {what}", hint=f"for example: {how}")
    return open_trained(path)

"""Everything that decides a run, typed, frozen and saved beside its results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from camera_rig.errors import ConfigError, StorageError
from models.camera import OpticsSpec
from models.networks import NetworkSizes, preset

FILE = "run.yaml"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Frozen):
    """Where the faces come from.

    Args:
        folder: Image folder, or prepared pairs for fine-tuning.
        references: Public faces whose style is taken, for fine-tuning.
        sensitive: The pairs show real people: nothing sharp is written to the run
            folder. Only pairs of synthetic heads may set it to false.
        held_out: Share of identities (or pictures) kept for validation.
        changes: Turn, scale and shift faces a little.
        workers: Threads that read ahead; 0 reads in line.
    """

    folder: str
    references: str = ""
    sensitive: bool = True
    held_out: float = Field(0.1, ge=0.0, le=0.9)
    changes: bool = True
    workers: int = Field(0, ge=0)


class EngineConfig(_Frozen):
    """How the engine runs a stage.

    Args:
        steps: Updates in all.
        batch: Faces per update, over all processes.
        chunk: Faces per forward pass, over all processes; the rest is accumulated.
            None takes the whole batch. Results depend on ``batch`` and ``chunk``,
            not on the number of processes.
        precision: ``fp32``, ``bf16``, ``fp16`` (GPU only), or ``fp64`` for checks.
        clip_norm: Largest gradient norm of one network group; 0 switches it off.
        ema: Decay of the averaged weights; 0 switches it off.
        checkpoint_every: Steps between checkpoints.
        keep: Checkpoints kept; the best one is kept besides.
        log_every: Steps between lines of metrics.
        sheet_every: Steps between sample sheets; 0 makes none.
        validate_every: Steps between validations; 0 makes none.
        patience: Validations without a better score before the run stops early;
            0 never stops early.
    """

    steps: int = Field(1000, ge=1)
    batch: int = Field(8, ge=1)
    chunk: int | None = Field(None, ge=1)
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    clip_norm: float = Field(0.0, ge=0)
    ema: float = Field(0.999, ge=0, lt=1)
    checkpoint_every: int = Field(500, ge=1)
    keep: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1)
    sheet_every: int = Field(0, ge=0)
    validate_every: int = Field(0, ge=0)
    patience: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _divides(self) -> EngineConfig:
        if self.chunk is not None and self.batch % self.chunk:
            raise ValueError(f"batch {self.batch} is no multiple of chunk {self.chunk}")
        return self


class HeatmapConfig(_Frozen):
    """Pretraining of U on sharp faces.

    Args:
        rate: Learning rate.
        sigma_map: Width of the target spots, heatmap pixels.
    """

    rate: float = 1e-3
    sigma_map: float = 1.5


class DesignConfig(_Frozen):
    """Stage I.

    Args:
        teacher: Run or bundle whose U is U*.
        low_res: Pixels across the paper's low-resolution camera: nothing optical is
            learned, and U learns to read its frames (eq. 5 alone).
        fixed: Coefficient files (or shipped names) of a camera that is not to be
            changed: only U learns to read it (eq. 5). Several are the shapes of one
            exposure.
        shapes: Mirror shapes within one exposure; 1 is the paper's fixed shape.
        jitter_waves: Random start around the aberration-free lens, waves RMS per mode.
        alpha1: Weight of the distance to the fixed defocus PSF (eq. 4).
        alpha2: Weight of the heatmap loss (eq. 6).
        defocus_waves: H_f as waves RMS of defocus.
        adversary: Weight of the deconvolution adversary, ours; 0 is the paper's objective.
        adversary_noise: Noise the adversary has to live with, share of full scale.
        optics_rate: Learning rate of the coefficients, micrometres per step.
        heatmap_rate: Learning rate of U.
    """

    teacher: str = ""
    low_res: int = Field(0, ge=0)
    fixed: tuple[str, ...] = ()
    shapes: int = Field(1, ge=1)
    jitter_waves: float = Field(0.02, ge=0)
    alpha1: float = Field(0.1, ge=0)
    alpha2: float = Field(1.0, ge=0)
    defocus_waves: float = 1.0
    adversary: float = Field(0.0, ge=0)
    adversary_noise: float = Field(0.003, gt=0)
    optics_rate: float = 2e-3
    heatmap_rate: float = 1e-4


class DistilConfig(_Frozen):
    """A wide teacher's work taught to a small student.

    Args:
        teacher: Run or bundle of Stage II.
        faces: Weight of the painted faces' mean absolute difference.
        features: Weight of their difference in features (eq. 11's form).
        heatmaps: Weight of the heatmaps of U and U*.
        style: Weight of the style codes.
        rate: Learning rate.
    """

    teacher: str = ""
    faces: float = 1.0
    features: float = 1.0
    heatmaps: float = 10.0
    style: float = 1.0
    rate: float = 5e-4


class LossWeights(_Frozen):
    """Weights of eq. 13, and of our own terms (0 unless asked for).

    The published code's 2000 and 1000 belong to its own feature scales; these
    belong to the means used here.

    Args:
        adversarial: Eq. 7.
        style: Eq. 8.
        diversity: Eq. 9, falling to 0 over ``diversity_steps``.
        cycle: Eq. 10.
        perceptual: Eq. 11.
        expression: Eq. 12, in the form of ``expression_form``.
        heatmap: U* of the output against U* of the scene (published code).
        landmark: Ours: distance of landmarks of output and truth.
        identity: Ours: S must not find the source in the output, see ``identity_margin``.
        r1: Gradient penalty of D.
    """

    adversarial: float = 1.0
    style: float = 1.0
    diversity: float = 1.0
    cycle: float = 7.0
    perceptual: float = 1.0
    expression: float = 1.0
    heatmap: float = 100.0
    landmark: float = 0.0
    identity: float = 0.0
    r1: float = 1.0


class FaceConfig(_Frozen):
    """Stage II and fine-tuning.

    Args:
        design: Run or bundle with the coefficients, U and U*; empty with ``low_res``.
        start: Run or bundle with E, G, S, D to go on from (fine-tuning).
        low_res: Pixels across the paper's low-resolution camera instead of the optic.
        psf_bank: ``.npy`` of measured PSFs ``(n, 3, k, k)`` instead of the model.
        weights: Weights of the losses.
        expression_form: ``flow`` (motion), ``painted`` (eq. 12 on the painted face),
            ``printed`` (eq. 12 word by word; trains U only).
        identity_margin: Cosine of two style codes below which two faces count as two
            people, for ``weights.identity``.
        use_heatmap: False leaves the masks out (ablation H).
        latents: Also train with styles from random latents.
        diversity_steps: Steps over which diversity falls to 0.
        rate: Learning rate of E, G, S and D.
        mapping_rate: Learning rate of the mapping network.
        heatmap_rate: Learning rate of U, in fine-tuning.
        decay: Weight decay.
    """

    design: str = ""
    start: str = ""
    low_res: int = Field(0, ge=0)
    psf_bank: str = ""
    weights: LossWeights = LossWeights()
    expression_form: Literal["flow", "painted", "printed"] = "flow"
    identity_margin: float = Field(0.3, ge=-1, le=1)
    use_heatmap: bool = True
    latents: bool = False
    diversity_steps: int = Field(100_000, ge=1)
    rate: float = 1e-4
    mapping_rate: float = 1e-6
    heatmap_rate: float = 1e-5
    decay: float = 1e-4


class ParallelConfig(_Frozen):
    """Learning from heads that repeat a moment (stages read, paint and style).

    Args:
        coefficients: The shape the mirror will show: a shipped name or a file.
        shapes: PSFs near it that frames are drawn through.
        jitter_waves: How far these are off, waves RMS per mode.
        sharp_share: Share of sharp pictures U is also shown.
        empty_share: Share of rooms without anybody U is shown.
        reader: Run or bundle whose U gives the masks; empty takes true landmarks,
            off by ``reading_error_px``.
        reading_error_px: How well U will read, pixels.
        start: Run whose E, G and codes to go on from, or whose codes S learns.
        features_weight: Extra weight of eyes, nose and mouth.
        edges_weight: Weight of slopes against plain differences.
        rate: Largest learning rate.
    """

    coefficients: str = "lopez2024"
    shapes: int = Field(16, ge=1)
    jitter_waves: float = Field(0.04, ge=0)
    sharp_share: float = Field(0.15, ge=0, le=1)
    empty_share: float = Field(0.06, ge=0, le=1)
    reader: str = ""
    reading_error_px: float = Field(3.0, ge=0)
    start: str = ""
    features_weight: float = Field(2.0, ge=0)
    edges_weight: float = Field(1.0, ge=0)
    rate: float = 1.5e-3


class RunConfig(_Frozen):
    """One run.

    Args:
        stage: ``heatmap``, ``design``, ``faces``, ``finetune`` or ``distil``; or one of
            ``read``, ``paint`` and ``style``, which learn from heads that repeat a moment.
        data: Faces.
        seed: Decides weights, order, noise and changes.
        layout: Landmarks: ``ibug68`` or ``wflw98``.
        sizes: The networks, or the name of a preset.
        optics: The camera.
        engine: How it runs.
        heatmap: Settings of that stage.
        design: Settings of that stage.
        faces: Settings of Stage II and fine-tuning.
        distil: Settings of that stage.
        parallel: Settings of the stages that learn from repeated moments.
    """

    stage: Literal["heatmap", "design", "faces", "finetune", "distil", "read", "paint", "style"]
    data: DataConfig
    seed: int = Field(0, ge=0)
    layout: str = "ibug68"
    sizes: NetworkSizes = preset("live")
    optics: OpticsSpec = OpticsSpec()
    engine: EngineConfig = EngineConfig()
    heatmap: HeatmapConfig = HeatmapConfig()
    design: DesignConfig = DesignConfig()
    faces: FaceConfig = FaceConfig()
    distil: DistilConfig = DistilConfig()
    parallel: ParallelConfig = ParallelConfig()

    @field_validator("sizes", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return preset(value) if isinstance(value, str) else value

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read ``run.yaml`` of a run folder, or any such file.

        Raises:
            ConfigError: The file is missing or wrong.
        """
        file = Path(path)
        file = file / FILE if file.is_dir() else file
        try:
            return cls.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(
                f"{file} is no run configuration: {error}",
                hint="give a run folder or its run.yaml",
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``run.yaml`` into a run folder."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        aside = folder / f".{FILE}.{os.getpid()}"
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(folder / FILE)
        except OSError as error:
            raise StorageError(
                f"cannot write {folder / FILE}: {error}", hint="check the folder and disk space"
            ) from error

    def differences(self, other: RunConfig) -> list[str]:
        """Return which settings differ in a way that forbids going on.

        A run may be given more steps, other intervals and other threads.
        """
        free = {"engine.steps", "engine.checkpoint_every", "engine.keep", "engine.log_every",
                "engine.sheet_every", "data.workers"}  # fmt: skip
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        return [
            f"{key}: {mine.get(key)!r} here, {theirs.get(key)!r} there"
            for key in sorted(mine.keys() | theirs.keys())
            if key not in free and mine.get(key) != theirs.get(key)
        ]


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{above}{key}."))
        else:
            found[above + key] = value
    return found

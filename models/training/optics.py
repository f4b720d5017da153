"""Stage I: learn the coefficients together with U."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from camera_rig.config import coefficient_file
from camera_rig.errors import ConfigError
from camera_rig.optics import Coefficients
from models.camera import (
    LearnedCamera,
    LowResolutionCamera,
    PrivacyCamera,
    WhyNot,
    fixed_defocus,
)
from models.data import FaceSource
from models.evaluation.attacks.wiener import WIDE_STRENGTHS, best_wiener, psnr_db
from models.heatmaps import layout_named
from models.losses import design_loss, heatmap_loss, optics_loss
from models.networks import build_heatmap_network
from models.training.config import DesignConfig, RunConfig
from models.training.heatmap import JUDGED_FACES, SHOWN_FACES, landmark_error, shown_maps
from models.training.sources import Trained
from models.training.task import Batch, Group, Task, stacked, tiles
from models.training.world import World

_JUDGED_NOISE = 2**40
"""Place of the first held-out noise: far beyond any that training takes."""

_DB_PER_UNIT = 10.0
"""Ten decibels recovered by the adversary count as one unit of loss."""


class DesignObjective(nn.Module):
    """Eq. 6, and our deconvolution adversary when it has a weight.

    Args:
        camera: Learned, or fixed: then eq. 5 alone is left.
        heat: U, learned.
        teacher: U*, frozen.
        settings: Weights.
    """

    def __init__(
        self, camera: PrivacyCamera, heat: nn.Module, teacher: nn.Module, settings: DesignConfig
    ) -> None:
        super().__init__()
        self.camera, self.heat, self.settings = camera, heat, settings
        self._teacher = (teacher,)  # kept out of the parameters
        self.has_psf = isinstance(camera, LearnedCamera)
        self.learns_optics = self.has_psf and camera.coefficients_um.requires_grad
        if self.has_psf:
            fixed = fixed_defocus(camera.spec, settings.defocus_waves)
            self.register_buffer("fixed_psf", fixed, persistent=False)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the terms of Stage I on a batch."""
        scene, settings = batch["scene"], self.settings
        frame = self.camera(scene, batch["noise"])
        with torch.no_grad():
            wanted = self._teacher[0](scene)
        heat = heatmap_loss(self.heat(frame), wanted)
        if not self.learns_optics:
            return {"total": settings.alpha2 * heat, "heatmap": heat}
        psf = self.camera.psf()
        optics = optics_loss(scene, frame, psf, self.fixed_psf, settings.alpha1)
        terms = {"optics": optics, "heatmap": heat}
        total = design_loss(optics, heat, settings.alpha2)
        if settings.adversary:
            recovered = self.recovered_db(scene, frame)
            terms["recovered_db"] = recovered
            total = total + settings.adversary * recovered / _DB_PER_UNIT
        return {"total": total, **terms}

    def recovered_db(self, scene: Tensor, frame: Tensor) -> Tensor:
        """Return the mean PSNR of the best Wiener attack with the PSF known, dB."""
        psf = self.camera.whole_psf()
        border = min(psf.shape[-1] // 2, scene.shape[-1] - 1)
        noise = self.settings.adversary_noise
        # Narrow strengths would let a design win by the edges' error alone.
        found = best_wiener(scene, frame, psf, noise, border_px=border, strengths=WIDE_STRENGTHS)
        return found[1].mean()


class DesignTask(Task):
    """Coefficients and U, from an aberration-free lens and a pretrained U.

    Args:
        config: The run.
        faces: Training faces.
        held_out: Validation faces.
        world: The processes.
        teacher: Holds U*, under ``heat``.
        why_not: What the mirror cannot do; None for a free lens.
        start: Coefficients to start from instead of none.
    """

    def __init__(
        self,
        config: RunConfig,
        faces: FaceSource,
        held_out: FaceSource,
        world: World,
        *,
        teacher: Trained,
        why_not: WhyNot | None = None,
        start: Coefficients | None = None,
    ) -> None:
        super().__init__(config, faces, held_out, world)
        self.layout = layout_named(config.layout)
        if teacher.layout != config.layout:
            raise ConfigError(
                f"the teacher reads {teacher.layout} landmarks, this run {config.layout}",
                hint="use the teacher's layout",
            )
        settings = config.design
        self.camera = _front_end(config, start, why_not)
        self._limit()
        self.heat = build_heatmap_network(config.sizes, self.layout.points, config.seed)
        self.teacher = build_heatmap_network(config.sizes, self.layout.points, config.seed)
        teacher.into("heat", self.heat)
        teacher.into("heat", self.teacher)
        self.teacher.requires_grad_(False).eval()
        self.objective = DesignObjective(self.camera, self.heat, self.teacher, settings)
        optimiser = torch.optim.Adam(
            [
                {"params": list(self.camera.parameters()), "lr": settings.optics_rate},
                {"params": list(self.heat.parameters()), "lr": settings.heatmap_rate},
            ]
        )
        self._groups = [Group("design", self.objective, optimiser)]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Camera, U and U*."""
        return {"camera": self.camera, "heat": self.heat, "teacher": self.teacher}

    @property
    def averaged(self) -> Sequence[str]:
        """U only: the mirror shows the last coefficients, not a mean of many."""
        return ("heat",)

    @property
    def groups(self) -> Sequence[Group]:
        """Camera and U together."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return pictures and sensor noise."""
        faces = [self.face_at(p, flip=True) for p in positions]
        noise = torch.from_numpy(np.stack([self.noise_at(p) for p in positions]))
        return {"scene": stacked([f.picture for f in faces]), "noise": noise}

    def after_update(self, step: int) -> dict[str, float]:
        """Draw the coefficients back to what the mirror can do."""
        return self._limit()

    def _limit(self) -> dict[str, float]:
        camera = self.camera
        if not isinstance(camera, LearnedCamera) or not camera.coefficients_um.requires_grad:
            return {}
        met = camera.make_feasible()
        strength = max(shape.rms for shape in camera.coefficients)
        return {"camera/limits_met": float(len(met)), "camera/waves_rms": strength}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return eq. 6, frame and attack PSNR, and U's landmark error on held-out faces."""
        scene = self.placed([f.picture for f in self.held_out_faces(JUDGED_FACES)])
        noise = np.stack([self.noise_at(_JUDGED_NOISE + i) for i in range(len(scene))])
        rough = torch.from_numpy(noise).to(scene)
        sums: dict[str, float] = {}
        for one, grain in zip(scene.split(8), rough.split(8), strict=True):
            for name, value in self._judged(networks["heat"], one, grain).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(one) / len(scene)
        settings = self.config.design
        score = sums.get("objective", settings.alpha2 * sums["heatmap"])
        score += settings.adversary * sums.get("recovered_db", 0.0) / _DB_PER_UNIT
        return {**sums, **landmark_error(self, networks["heat"], self.camera), "score": score}

    def _judged(self, heat: nn.Module, scene: Tensor, noise: Tensor) -> dict[str, Tensor]:
        settings, frame = self.config.design, self.camera(scene, noise)
        found = {
            "heatmap": heatmap_loss(heat(frame), self.teacher(scene)),
            "frame_db": psnr_db((frame - scene).square().mean((1, 2, 3))).mean(),
        }
        if self.objective.has_psf:
            psf, fixed = self.camera.psf(), self.objective.fixed_psf
            optics = optics_loss(scene, frame, psf, fixed, settings.alpha1)
            found["objective"] = design_loss(optics, found["heatmap"], settings.alpha2)
            found["recovered_db"] = self.objective.recovered_db(scene, frame)
        return found

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return scene (unless sensitive), frame and heatmaps, one below another."""
        scene = self.placed([f.picture for f in self.held_out_faces(SHOWN_FACES)])
        frame = self.camera(scene)
        maps = shown_maps(networks["heat"](frame), scene.shape[-1])
        return tiles([frame, maps] if self.faces.sensitive else [scene, frame, maps])


def _front_end(
    config: RunConfig, start: Coefficients | None, why_not: WhyNot | None
) -> PrivacyCamera:
    settings, optics = config.design, config.optics
    if settings.low_res:
        return LowResolutionCamera(optics, settings.low_res)
    if settings.fixed:
        return _fixed_camera(config, why_not)
    return LearnedCamera(
        optics,
        start,
        shapes=settings.shapes,
        jitter_um=settings.jitter_waves * optics.reference_nm / 1000.0,
        seed=config.seed,
        why_not=why_not,
    )


def _fixed_camera(config: RunConfig, why_not: WhyNot | None) -> LearnedCamera:
    """Return the camera of given shapes; a shape that cannot be made is refused."""
    shapes = [Coefficients.load(coefficient_file(name)) for name in config.design.fixed]
    camera = LearnedCamera(config.optics, shapes, shapes=len(shapes), why_not=why_not)
    if reasons := camera.make_feasible():
        raise ConfigError(
            f"a given shape cannot be shown: {'; '.join(reasons)}",
            hint="raise optics.max_waves_rms where the sampling is in the way, or scale the shape",
        )
    camera.requires_grad_(False)
    return camera

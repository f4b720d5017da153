"""A wide teacher's work taught to a small student that runs at camera rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from camera_rig.errors import ConfigError
from models.data import FaceSource
from models.heatmaps import guide, layout_named
from models.losses import cycle_loss, heatmap_loss, perceptual_loss, style_loss
from models.networks import build_face_networks, build_heatmap_network
from models.perception import RandomFeatures
from models.training.config import DistilConfig, RunConfig
from models.training.heatmap import JUDGED_FACES, SHOWN_FACES
from models.training.sources import Trained, front_end, frozen_heat
from models.training.task import Batch, Group, Task, stacked, tiles
from models.training.world import World


class _Objective(nn.Module):
    """Every student network beside its teacher, on the same inputs.

    The painter is shown the teacher's masks and styles, so that its faults are its
    own; U and S learn these beside it.
    """

    def __init__(self, task: DistilTask) -> None:
        super().__init__()
        self.students = nn.ModuleDict({k: task.networks[k] for k in TAUGHT})
        self._aside = (task,)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        (task,), students = self._aside, self.students
        settings = task.config.distil
        with torch.no_grad():
            known = task.teach(batch)
        frame = known["frame"]
        latent, skips = students["encoder"](frame * 2.0 - 1.0)
        face = students["generator"](latent, skips, known["style"], known["masks"])
        style = students["style"](batch["reference"] * 2.0 - 1.0, batch["domain"])
        heat = heatmap_loss(students["heat"](frame), known["maps"])
        sharp = heatmap_loss(students["teacher"](batch["scene"]), known["sharp_maps"])
        terms = {
            "faces": cycle_loss(known["face"], face),
            "features": perceptual_loss(task.features(known["face"]), task.features(face)),
            "heatmaps": heat + sharp,
            "style": style_loss(known["style"], style),
        }
        total = sum(getattr(settings, name) * value for name, value in terms.items())
        return {"total": torch.as_tensor(total), **terms}


TAUGHT = ("encoder", "generator", "style", "heat", "teacher")
"""Networks of the student, all learned from the teacher's of the same name."""


class DistilTask(Task):
    """E, G, S, U and U* of a small preset, from a trained wide one.

    Args:
        config: The run; its sizes are the student's.
        faces: Training faces; each is also somebody's reference.
        held_out: Validation faces.
        world: The processes.
        teacher: Stage II's result.
    """

    def __init__(
        self,
        config: RunConfig,
        faces: FaceSource,
        held_out: FaceSource,
        world: World,
        *,
        teacher: Trained,
    ) -> None:
        super().__init__(config, faces, held_out, world)
        wide, sizes = teacher.sizes, config.sizes
        if (wide.size_px, wide.style_dim) != (sizes.size_px, sizes.style_dim):
            raise ConfigError(
                f"student of {sizes.size_px} px and {sizes.style_dim} style numbers, teacher of "
                f"{wide.size_px} and {wide.style_dim}",
                hint="give the student the teacher's size_px and style_dim",
            )
        self.layout = layout_named(teacher.layout)
        self.camera = front_end(config.faces, teacher, config.optics)
        self.features = RandomFeatures(seed=config.seed)
        self._wide = build_face_networks(wide, teacher.domains, seed=0)
        for name in ("encoder", "generator", "style"):
            teacher.into(name, self._wide.named()[name])
            self._wide.named()[name].requires_grad_(False).eval()
        star = "teacher" if "teacher" in teacher.parts else "heat"
        self._heat, self._star = frozen_heat(teacher, "heat"), frozen_heat(teacher, star)
        nets = build_face_networks(sizes, teacher.domains, config.seed)
        self._networks: dict[str, nn.Module] = {
            "encoder": nets.encoder,
            "generator": nets.generator,
            "style": nets.style,
            "heat": build_heatmap_network(sizes, self.layout.points, config.seed),
            "teacher": build_heatmap_network(sizes, self.layout.points, config.seed),
            "camera": self.camera,
        }
        self._domains = teacher.domains
        objective = _Objective(self)
        optimiser = torch.optim.Adam(objective.parameters(), config.distil.rate)
        self._groups = [Group("distil", objective, optimiser)]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The student, and the camera it belongs to."""
        return self._networks

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """The teacher, and Q."""
        wide = self._wide
        return (wide.encoder, wide.generator, wide.style, self._heat, self._star, self.features)

    @property
    def averaged(self) -> Sequence[str]:
        """All of the student."""
        return TAUGHT

    @property
    def groups(self) -> Sequence[Group]:
        """The student as a whole."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return scenes, noise, and the next place's face as reference."""
        faces = [self.face_at(p, flip=True) for p in positions]
        others = [self.face_at(p + self.config.engine.batch, flip=True) for p in positions]
        return {
            "scene": stacked([f.picture for f in faces]),
            "reference": stacked([f.picture for f in others]),
            "domain": torch.tensor([f.domain % self._domains for f in others]),
            "noise": torch.from_numpy(np.stack([self.noise_at(p) for p in positions])),
        }

    def teach(self, batch: Batch) -> dict[str, Tensor]:
        """Return what camera and teacher make of a batch."""
        frame = self.camera(batch["scene"], batch["noise"])
        maps = self._heat(frame)
        masks = guide(maps, self.layout)
        style = self._wide.style(batch["reference"] * 2.0 - 1.0, batch["domain"])
        return {
            "frame": frame,
            "maps": maps,
            "masks": masks,
            "style": style,
            "face": self._wide.paint(frame, style, masks),
            "sharp_maps": self._star(batch["scene"]),
        }

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return how far the student, on its own masks and styles, is from the teacher."""
        sums = {"faces": 0.0, "features": 0.0}
        faces = self.held_out_faces(JUDGED_FACES)
        for number, face in enumerate(faces):
            batch = self._shown([face.picture], faces[number - 1].picture)
            known, painted = self.teach(batch), self._paint(networks, batch)
            sums["faces"] += float(cycle_loss(known["face"], painted))
            features = self.features(known["face"]), self.features(painted)
            sums["features"] += float(perceptual_loss(*features))
        found = {name: value / len(faces) for name, value in sums.items()}
        settings: DistilConfig = self.config.distil
        score = settings.faces * found["faces"] + settings.features * found["features"]
        return {**found, "score": score}

    def _shown(self, pictures: Sequence[np.ndarray], reference: np.ndarray) -> Batch:
        scene = self.placed(pictures)
        return {
            "scene": scene,
            "reference": self.placed([reference]).expand_as(scene),
            "domain": torch.zeros(len(scene), dtype=torch.long, device=scene.device),
            "noise": torch.zeros_like(scene),
        }

    def _paint(self, networks: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        frame = self.camera(batch["scene"])
        style = networks["style"](batch["reference"] * 2.0 - 1.0, batch["domain"])
        latent, skips = networks["encoder"](frame * 2.0 - 1.0)
        masks = guide(networks["heat"](frame), self.layout)
        return networks["generator"](latent, skips, style, masks)

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return frames, the teacher's faces, the student's faces."""
        faces = self.held_out_faces(SHOWN_FACES)
        batch = self._shown([f.picture for f in faces], faces[0].picture)
        known, painted = self.teach(batch), self._paint(networks, batch)
        return tiles([known["frame"], known["face"] * 0.5 + 0.5, painted * 0.5 + 0.5])

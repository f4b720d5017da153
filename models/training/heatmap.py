"""Before Stage I: teach U landmarks and boundary on sharp faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from camera_rig.errors import ConfigError
from models.data import FaceSource
from models.heatmaps import LandmarkLayout, draw_targets, layout_named, read_landmarks
from models.losses import adaptive_wing_loss
from models.networks import build_heatmap_network
from models.training.config import RunConfig
from models.training.task import Batch, Group, Task, stacked, tiles
from models.training.world import World

JUDGED_FACES = 48
SHOWN_FACES = 6


class _Objective(nn.Module):
    def __init__(self, heat: nn.Module) -> None:
        super().__init__()
        self.heat = heat

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        found = self.heat.stages(batch["scene"])
        total = sum(adaptive_wing_loss(maps, batch["target"]) for maps in found)
        return {"total": torch.as_tensor(total)}


class HeatmapTask(Task):
    """Adaptive-wing regression of heatmaps on faces with known landmarks."""

    def __init__(
        self, config: RunConfig, faces: FaceSource, held_out: FaceSource, world: World
    ) -> None:
        super().__init__(config, faces, held_out, world)
        self.layout = layout_named(config.layout)
        check_labelled(faces, self.layout)
        self.heat = build_heatmap_network(config.sizes, self.layout.points, config.seed)
        optimiser = torch.optim.Adam(self.heat.parameters(), config.heatmap.rate)
        self._groups = [Group("heatmap", _Objective(self.heat), optimiser)]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """U."""
        return {"heat": self.heat}

    @property
    def averaged(self) -> Sequence[str]:
        """U."""
        return ("heat",)

    @property
    def groups(self) -> Sequence[Group]:
        """U alone."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return pictures and target maps."""
        faces = [self.face_at(p, flip=False) for p in positions]
        points = torch.from_numpy(np.stack([face.landmarks_px for face in faces]))
        size = self.config.sizes.size_px
        target = draw_targets(points, self.layout, size, self.config.heatmap.sigma_map)
        return {"scene": stacked([face.picture for face in faces]), "target": target}

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return the landmark error on sharp held-out faces."""
        error = landmark_error(self, networks["heat"], lambda scene: scene)
        return {**error, "score": error["landmarks_nme"]}

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return faces above their heatmaps."""
        scene = self.placed([f.picture for f in self.held_out_faces(SHOWN_FACES)])
        return tiles([scene, shown_maps(networks["heat"](scene), scene.shape[-1])])


def check_labelled(faces: FaceSource, layout: LandmarkLayout) -> None:
    """Refuse faces without landmarks of this layout."""
    first = faces[0].landmarks_px
    if first is None or len(first) != layout.points:
        raise ConfigError(
            f"the faces carry no {layout.points} landmarks",
            hint="train on rendered heads, or put a labels.json with landmarks beside them",
        )


def landmark_error(task: Task, heat: nn.Module, camera: object) -> dict[str, float]:
    """Return errors of U's landmarks on held-out faces seen through ``camera``.

    Returns:
        ``landmarks_px``: mean error of the inner points, pixels.
        ``landmarks_nme``: the same over the distance of the outer eye corners.
    """
    layout = layout_named(task.config.layout)
    faces = [f for f in task.held_out_faces(JUDGED_FACES) if f.landmarks_px is not None]
    if not faces or not callable(camera):
        return {}
    errors, shares = [], []
    for face in faces:
        scene = task.placed([face.picture])
        found = read_landmarks(heat(camera(scene)), layout)[0].float().cpu()
        truth = torch.from_numpy(np.asarray(face.landmarks_px))
        inner = list(layout.inner)
        error = (found[inner] - truth[inner]).norm(dim=-1).mean()
        eyes = (truth[layout.eyes[0]] - truth[layout.eyes[1]]).norm()
        errors.append(float(error))
        shares.append(float(error / eyes.clamp(min=1.0)))
    return {"landmarks_px": float(np.mean(errors)), "landmarks_nme": float(np.mean(shares))}


def shown_maps(maps: Tensor, size_px: int) -> Tensor:
    """Return heatmaps as pictures: landmarks in red, boundary in green."""
    spots = maps[:, :-1].amax(1, keepdim=True)
    colours = torch.cat([spots, maps[:, -1:], torch.zeros_like(spots)], 1)
    return nn.functional.interpolate(colours, size=(size_px, size_px), mode="nearest")

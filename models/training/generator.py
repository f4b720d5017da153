"""Stage II: new faces from privacy frames, heatmaps and public references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models import losses
from models.data import Face, FaceSource, changed
from models.draws import Purpose, draw
from models.heatmaps import layout_named, read_landmarks
from models.networks import build_face_networks
from models.perception import RandomFeatures
from models.training.config import FaceConfig, RunConfig
from models.training.heatmap import JUDGED_FACES
from models.training.objectives import CriticObjective, Frozen, PainterObjective, guiding
from models.training.sources import Trained, front_end, frozen_heat
from models.training.task import Batch, Group, Task, stacked, tiles
from models.training.world import World

_REFERENCES_SHOWN = 4
_SOURCES_SHOWN = 6
_RETRIES = 16


class FacesTask(Task):
    """E, G, S, mapping network and D; camera and U frozen.

    Args:
        config: The run.
        faces: Sources and references for training.
        held_out: Validation faces.
        world: The processes.
        design: Stage I's result: U (``heat``), U* (``teacher``) and the optic.
        references: Public faces whose style is taken; None takes ``faces``.
    """

    def __init__(
        self,
        config: RunConfig,
        faces: FaceSource,
        held_out: FaceSource,
        world: World,
        *,
        design: Trained,
        references: FaceSource | None = None,
    ) -> None:
        super().__init__(config, faces, held_out, world)
        settings = config.faces
        teacher = "teacher" if "teacher" in design.parts else "heat"
        self.frozen = Frozen(
            camera=front_end(settings, design, config.optics),
            heat=frozen_heat(design, "heat"),
            teacher=frozen_heat(design, teacher),
            features=RandomFeatures(seed=config.seed),
            layout=layout_named(design.layout),
            size_px=config.sizes.size_px,
        )
        self.references = faces if references is None else references
        domains = len(self.references.domains)
        self.nets = build_face_networks(config.sizes, domains, config.seed)
        self._members = [
            [i for i in range(len(self.references)) if self.references.domain_of(i) == d]
            for d in range(domains)
        ]
        self._groups = self._make_groups(settings)

    def _make_groups(self, settings: FaceConfig) -> list[Group]:
        nets, adam = self.nets, {"betas": (0.0, 0.99), "weight_decay": settings.decay}
        painters = [nets.encoder, nets.generator, nets.style]
        parts = [{"params": [p for net in painters for p in net.parameters()]}]
        if settings.latents:
            parts.append({"params": list(nets.mapping.parameters()), "lr": settings.mapping_rate})
        critic = CriticObjective(nets, self.frozen, settings)
        painter = PainterObjective(nets, self.frozen, settings)
        judge = torch.optim.Adam(nets.critic.parameters(), settings.rate, **adam)
        return [
            Group("critic", critic, judge),
            Group("painter", painter, torch.optim.Adam(parts, settings.rate, **adam)),
        ]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Everything, the frozen ones too: a run is complete by itself."""
        nets = self.nets.named()
        if not self.config.faces.latents:
            del nets["mapping"]
        frozen = self.frozen
        return {**nets, "camera": frozen.camera, "heat": frozen.heat, "teacher": frozen.teacher}

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Q."""
        return (self.frozen.features,)

    @property
    def averaged(self) -> Sequence[str]:
        """E, G, S and the mapping network."""
        names = ("encoder", "generator", "style", "mapping")
        return tuple(name for name in names if name in self.networks)

    @property
    def groups(self) -> Sequence[Group]:
        """D first, then the painters."""
        return self._groups

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return sources, noise, references and latents."""
        return self.batch_of(positions, [self.face_at(p, flip=True) for p in positions])

    def batch_of(self, positions: Sequence[int], sources: Sequence[Face]) -> Batch:
        """Return the inputs of some places whose sources are read already."""
        domains = [self._domain(p) for p in positions]
        places = list(zip(positions, domains, sources, strict=True))
        batch = {
            "scene": stacked([f.picture for f in sources]),
            "noise": torch.from_numpy(np.stack([self.noise_at(p) for p in positions])),
            "domain": torch.tensor(domains),
            "source_domain": torch.tensor([f.domain for f in sources]),
        }
        for key, purpose in (
            ("reference", Purpose.REFERENCE),
            ("second_reference", Purpose.SECOND_REFERENCE),
        ):
            batch[key] = stacked([self._reference(p, d, f.identity, purpose) for p, d, f in places])
        if self.config.faces.latents:
            for key, purpose in (
                ("latent", Purpose.LATENT),
                ("second_latent", Purpose.SECOND_LATENT),
            ):
                batch[key] = self._latents(positions, purpose)
        return batch

    def _domain(self, position: int) -> int:
        """The domain aimed at; every domain as often, however many pictures it has."""
        rng = draw(self.config.seed, Purpose.REFERENCE, position, 0)
        return int(rng.integers(len(self._members)))

    def _reference(
        self, position: int, domain: int, source: int | None, purpose: Purpose
    ) -> np.ndarray:
        """A picture of the domain, of another person where identities are known."""
        rng = draw(self.config.seed, purpose, position, 1)
        members = self._members[domain]
        chosen = members[int(rng.integers(len(members)))]
        for _ in range(_RETRIES):
            if source is None or self.references.identity_of(chosen) != source:
                break
            chosen = members[int(rng.integers(len(members)))]
        face = self.references[chosen]
        if self.config.data.changes:
            face = changed(face, rng, flip=True)
        return face.picture

    def _latents(self, positions: Sequence[int], purpose: Purpose) -> Tensor:
        length = self.config.sizes.latent_dim
        rows = [draw(self.config.seed, purpose, p).standard_normal(length) for p in positions]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def validate(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """Return landmark and heatmap agreement, and nearness to the reference."""
        frozen = self.frozen
        faces = self.held_out_faces(JUDGED_FACES)
        sums = {"heatmap": 0.0, "landmarks_px": 0.0, "perceptual": 0.0}
        for number, face in enumerate(faces):
            scene = self.placed([face.picture])
            reference = self.shown_reference(number)
            wanted = self.placed([reference.picture])
            shown = self.painted(networks, scene, wanted, reference.domain)
            truth, found = frozen.teacher(scene), frozen.teacher(shown)
            inner = list(frozen.layout.inner)
            away = read_landmarks(found, frozen.layout) - read_landmarks(truth, frozen.layout)
            sums["heatmap"] += float(losses.heatmap_loss(found, truth))
            sums["landmarks_px"] += float(away[:, inner].norm(dim=-1).mean())
            features = frozen.features(wanted * 2 - 1), frozen.features(shown * 2 - 1)
            sums["perceptual"] += float(losses.perceptual_loss(*features))
        found_mean = {name: value / len(faces) for name, value in sums.items()}
        weights = self.config.faces.weights
        score = (
            weights.heatmap * found_mean["heatmap"] + weights.perceptual * found_mean["perceptual"]
        )
        return {**found_mean, "score": score}

    def shown_reference(self, number: int) -> Face:
        """Another reference for each number, spread over the set."""
        count = len(self.references)
        return self.references[(count // 2 + number * max(1, count // 7)) % count]

    def painted(
        self, networks: Mapping[str, nn.Module], scene: Tensor, reference: Tensor, domain: int
    ) -> Tensor:
        """Faces in 0 … 1 for scenes, all in the style of one reference."""
        frame = self.frozen.camera(scene)
        masks = guiding(networks["heat"](frame), self.frozen, self.config.faces)
        number = torch.tensor([domain], device=scene.device)
        style = networks["style"](reference * 2.0 - 1.0, number).expand(len(scene), -1)
        latent, skips = networks["encoder"](frame * 2.0 - 1.0)
        return (networks["generator"](latent, skips, style, masks) * 0.5 + 0.5).clamp(0.0, 1.0)

    def sheet(self, networks: Mapping[str, nn.Module]) -> np.ndarray:
        """Return sources (unless sensitive), frames, then a row per reference."""
        sources = self.held_out_faces(_SOURCES_SHOWN)
        references = [self.shown_reference(n) for n in range(_REFERENCES_SHOWN)]
        scene = self.placed([f.picture for f in sources])
        blank = torch.ones_like(scene[:1])
        rows = [torch.cat([blank, self.frozen.camera(scene)])]
        if not self.faces.sensitive:
            rows.insert(0, torch.cat([blank, scene]))
        for reference in references:
            picture = self.placed([reference.picture])
            painted = self.painted(networks, scene, picture, reference.domain)
            rows.append(torch.cat([picture, painted]))
        return tiles(rows)

"""The objectives of Stage II and of fine-tuning: which network sees what, and its loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models import losses
from models.camera import PrivacyCamera
from models.heatmaps import LandmarkLayout, guide, read_landmarks, whole_mask
from models.networks import FaceNetworks, HeatmapNetwork
from models.perception import RandomFeatures
from models.training.config import FaceConfig
from models.training.task import Batch


@dataclass(frozen=True)
class Frozen:
    """What Stage II uses and does not train.

    Args:
        camera: The privacy camera.
        heat: U.
        teacher: U*.
        features: Q of eq. 11.
        layout: The landmarks.
        size_px: Size of a face.
    """

    camera: PrivacyCamera
    heat: HeatmapNetwork
    teacher: HeatmapNetwork
    features: RandomFeatures
    layout: LandmarkLayout
    size_px: int


@dataclass(frozen=True)
class Views:
    """One batch as the networks see it, pictures in 0 … 1.

    Args:
        scene: x.
        frame: y.
        maps: m = U(y).
        masks: The two masks of m that guide G.
    """

    scene: Tensor
    frame: Tensor
    maps: Tensor
    masks: Tensor


def look(frozen: Frozen, settings: FaceConfig, batch: Batch) -> Views:
    """Return what camera and U make of a batch; real frames come with it, for pairs."""
    scene = batch["scene"]
    frame = frozen.camera(scene, batch["noise"])
    if "privacy" in batch:
        real = batch["is_real"][:, None, None, None]
        frame = torch.where(real, batch["privacy"], frame)
    maps = frozen.heat(frame)
    return Views(scene, frame, maps, guiding(maps, frozen, settings))


def guiding(maps: Tensor, frozen: Frozen, settings: FaceConfig) -> Tensor:
    """Return the masks of some heatmaps; closed ones without heatmaps (ablation)."""
    masks = guide(maps, frozen.layout)
    return masks if settings.use_heatmap else torch.zeros_like(masks)


class PainterObjective(nn.Module):
    """Eqs. 7 to 13 for E, G, S and the mapping network.

    Args:
        nets: All networks of Stage II; D is used, not trained.
        frozen: Camera, U, U*, Q.
        settings: Weights and forms.
    """

    def __init__(self, nets: FaceNetworks, frozen: Frozen, settings: FaceConfig) -> None:
        super().__init__()
        self.encoder, self.generator, self.style = nets.encoder, nets.generator, nets.style
        self.settings = settings
        if settings.latents:
            self.mapping = nets.mapping
        self._aside = (nets, frozen)  # kept out of the parameters

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the weighted sum of eq. 13 as ``total``, and its terms."""
        nets, frozen = self._aside
        with held(nets.critic):
            with torch.no_grad():
                views = look(frozen, self.settings, batch)
            styles = [self._reference_styles(batch)]
            if self.settings.latents:
                styles.append(self._latent_styles(batch))
            faces = [nets.paint(views.frame, style, views.masks) for style, _ in styles]
            found = [
                self._terms(views, batch, face, *pair)
                for face, pair in zip(faces, styles, strict=True)
            ]
            terms = {k: torch.stack([f[k] for f in found]).mean() for k in found[0]}
            terms.update(self._referenced(views, batch, faces[0]))
        weights = self._weights(step)
        return {"total": losses.full_objective(terms, weights), **terms}

    def _weights(self, step: int) -> dict[str, float]:
        weights = self.settings.weights.model_dump()
        left = max(0.0, 1.0 - step / self.settings.diversity_steps)
        weights["diversity"] = weights["diversity"] * left
        return weights

    def _reference_styles(self, batch: Batch) -> tuple[Tensor, Tensor]:
        domain = batch["domain"]
        first = self.style(batch["reference"] * 2.0 - 1.0, domain)
        return first, self.style(batch["second_reference"] * 2.0 - 1.0, domain)

    def _latent_styles(self, batch: Batch) -> tuple[Tensor, Tensor]:
        domain = batch["domain"]
        return self.mapping(batch["latent"], domain), self.mapping(batch["second_latent"], domain)

    def _terms(
        self, views: Views, batch: Batch, face: Tensor, style: Tensor, other: Tensor
    ) -> dict[str, Tensor]:
        """Terms that every style has: eqs. 7, 8, 9 and 10."""
        nets, frozen = self._aside
        domain, weights = batch["domain"], self.settings.weights
        terms = {}
        if weights.adversarial:
            terms["adversarial"] = losses.painter_loss(nets.critic(face, domain))
        terms["style"] = losses.style_loss(style, self.style(face, domain))
        if weights.diversity:
            terms["diversity"] = losses.diversity(face, nets.paint(views.frame, other, views.masks))
        if weights.cycle:
            shown = face * 0.5 + 0.5
            own = self.style(views.frame * 2.0 - 1.0, batch["source_domain"])
            masks = guiding(frozen.teacher(shown), frozen, self.settings)
            again = nets.paint(shown, own, masks)
            terms["cycle"] = losses.cycle_loss(views.frame * 2.0 - 1.0, again)
        return terms

    def _referenced(self, views: Views, batch: Batch, face: Tensor) -> dict[str, Tensor]:
        """Terms against a reference or the scene: eqs. 11 and 12, and ours."""
        frozen = self._aside[1]
        weights, terms = self.settings.weights, {}
        shown = face * 0.5 + 0.5
        if weights.perceptual:
            with torch.no_grad():
                wanted = frozen.features(batch["reference"] * 2.0 - 1.0)
            terms["perceptual"] = losses.perceptual_loss(wanted, frozen.features(face))
        if weights.expression:
            terms["expression"] = self._expression(views, shown)
        if weights.heatmap or weights.landmark:
            with torch.no_grad():
                truth = frozen.teacher(views.scene)
            found = frozen.teacher(shown)
            if weights.heatmap:
                terms["heatmap"] = losses.heatmap_loss(found, truth)
            if weights.landmark:
                terms["landmark"] = losses.landmark_loss(
                    read_landmarks(found, frozen.layout),
                    read_landmarks(truth, frozen.layout),
                    frozen.size_px,
                )
        if weights.identity:
            terms["identity"] = likeness(self.style, views.scene, batch, face, self.settings)
        return terms

    def _expression(self, views: Views, shown: Tensor) -> Tensor:
        frozen = self._aside[1]
        with torch.no_grad():
            truth = whole_mask(frozen.teacher(views.scene), frozen.layout, frozen.size_px)
        if self.settings.expression_form == "flow":
            return losses.flow_expression_loss(views.scene, shown, truth)
        mask = whole_mask(views.maps, frozen.layout, frozen.size_px)
        seen = shown if self.settings.expression_form == "painted" else views.frame
        return losses.expression_loss(views.scene, seen, truth, mask)


class CriticObjective(nn.Module):
    """Eq. 7 and R1 for D: references are real, painted faces are not.

    Args:
        nets: All networks of Stage II; only D is trained.
        frozen: Camera and U.
        settings: Weights.
    """

    def __init__(self, nets: FaceNetworks, frozen: Frozen, settings: FaceConfig) -> None:
        super().__init__()
        self.critic, self.settings = nets.critic, settings
        self._aside = (nets, frozen)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return D's loss as ``total``, and its parts."""
        nets, frozen = self._aside
        domain = batch["domain"]
        with torch.no_grad():
            views = look(frozen, self.settings, batch)
            if self.settings.latents and step % 2:
                style = nets.mapping(batch["latent"], domain)
            else:
                style = nets.style(batch["reference"] * 2.0 - 1.0, domain)
            fake = nets.paint(views.frame, style, views.masks)
        real = (batch["second_reference"] * 2.0 - 1.0).requires_grad_()
        logits = self.critic(real, domain)
        loss = losses.critic_loss(logits, self.critic(fake, domain))
        penalty = losses.gradient_penalty(logits, real)
        weights = self.settings.weights
        total = weights.adversarial * loss + weights.r1 * penalty
        return {"total": total, "critic": loss, "r1": penalty}


@contextmanager
def held(network: nn.Module) -> Iterator[None]:
    """Keep a network from collecting gradients for a while."""
    learning = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def likeness(
    style: nn.Module, scene: Tensor, batch: Batch, face: Tensor, settings: FaceConfig
) -> Tensor:
    """Return how much S still finds the source's style in the output (ours).

    S is the judge here and is not moved by it. No recogniser takes part: those are
    kept for the evaluation, which would be worth nothing on a network trained against.

    Args:
        style: S.
        scene: x, 0 … 1.
        batch: Gives the sources' domains.
        face: The painted faces, -1 … 1.
        settings: The margin.
    """
    domain = batch["source_domain"]
    with held(style):
        with torch.no_grad():
            source = style(scene * 2.0 - 1.0, domain)
        return losses.identity_loss(style(face, domain), source, settings.identity_margin)


class FinetuneObjective(nn.Module):
    """Adapts U, E and G to what the instrument really shows.

    U is taught by U* on the sharp frame of each pair; E and G by style, diversity,
    cycle and heatmap terms, without an adversary, as the published code does.

    Args:
        nets: All networks of Stage II; E and G are trained.
        frozen: Camera, U (trained here), U*.
        settings: Weights.
    """

    def __init__(self, nets: FaceNetworks, frozen: Frozen, settings: FaceConfig) -> None:
        super().__init__()
        self.encoder, self.generator, self.heat = nets.encoder, nets.generator, frozen.heat
        self.settings = settings
        self._aside = (nets, frozen)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the weighted sum as ``total``, and its terms."""
        nets, frozen = self._aside
        weights, domain = self.settings.weights, batch["domain"]
        views = look(frozen, self.settings, batch)
        with torch.no_grad():
            truth = frozen.teacher(views.scene)
            first = nets.style(batch["reference"] * 2.0 - 1.0, domain)
            second = nets.style(batch["second_reference"] * 2.0 - 1.0, domain)
            own = nets.style(views.frame * 2.0 - 1.0, batch["source_domain"])
        # G must not bend the masks to please itself: U learns from U* alone.
        masks = views.masks.detach()
        face = nets.paint(views.frame, first, masks)
        other = nets.paint(views.frame, second, masks)
        shown = face * 0.5 + 0.5
        found = frozen.teacher(shown)
        again = nets.paint(shown, own, guiding(found, frozen, self.settings))
        terms = {
            "reading": losses.heatmap_loss(views.maps, truth),
            "style": losses.style_loss(first, nets.style(face, domain)),
            "diversity": losses.diversity(face, other),
            "cycle": losses.cycle_loss(views.frame * 2.0 - 1.0, again),
            "heatmap": losses.heatmap_loss(found, truth),
        }
        if weights.identity:
            terms["identity"] = likeness(nets.style, views.scene, batch, face, self.settings)
        table = {**weights.model_dump(), "reading": weights.heatmap}
        return {"total": losses.full_objective(terms, table), **terms}

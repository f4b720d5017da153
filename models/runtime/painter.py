"""A bundle at work: privacy frame and style in, new face out, as one network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heatmaps import guide, layout_named
from models.networks import build_face_networks
from models.runtime.bundle import Bundle
from models.training.sources import frozen_heat


class Painter(nn.Module):
    """U, masks, E and G behind one call.

    Args:
        bundle: Opened bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        trained = bundle.trained
        nets = build_face_networks(trained.sizes, max(trained.domains, 1), seed=0)
        for name in ("encoder", "generator"):
            trained.into(name, nets.named()[name])
        self.heat = frozen_heat(trained, "heat")
        self.encoder, self.generator = nets.encoder, nets.generator
        self.layout = layout_named(trained.layout)
        self.requires_grad_(False).eval()

    def forward(self, frames: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return faces and heatmaps.

        Args:
            frames: ``(batch, 3, size, size)`` in 0 … 1.
            style: ``(batch, style_dim)``, from :class:`StyleReader`.

        Returns:
            Faces ``(batch, 3, size, size)`` in 0 … 1, and the heatmaps of U.
        """
        maps = self.heat(frames)
        latent, skips = self.encoder(frames * 2.0 - 1.0)
        faces = self.generator(latent, skips, style, guide(maps, self.layout))
        return (faces * 0.5 + 0.5).clamp(0.0, 1.0), maps


class StyleReader(nn.Module):
    """S behind one call: once per session, not per frame.

    Args:
        bundle: Opened bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        trained = bundle.trained
        nets = build_face_networks(trained.sizes, max(trained.domains, 1), seed=0)
        trained.into("style", nets.style)
        self.style = nets.style
        self.requires_grad_(False).eval()

    def forward(self, references: Tensor, domain: int = 0) -> Tensor:
        """Return style codes of public reference faces in 0 … 1."""
        number = torch.full((len(references),), domain, device=references.device)
        return self.style(references * 2.0 - 1.0, number)

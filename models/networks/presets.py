"""Sizes of the networks, and the one place that builds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from camera_rig.errors import ConfigError
from models.networks.discriminator import Discriminator
from models.networks.encoder import InversionEncoder
from models.networks.generator import Generator
from models.networks.heatmap import HeatmapNetwork
from models.networks.student import StudentEncoder, StudentGenerator
from models.networks.style import MappingNetwork, StyleEncoder


class NetworkSizes(BaseModel):
    """How large each network is.

    Args:
        name: Name of the preset it started from.
        size_px: Height and width of every face, pixels.
        painter: ``paper`` (AdaIN decoder) or ``student`` (space-to-depth).
        width: Channels of E, G, S and D at full size (at 1/4 for the student).
        cap: Most channels of E, G, S and D.
        halvings: Halvings from frame to latent (paper form).
        student_blocks: Styled convolutions at 1/8 of the size (student form).
        style_width: Channels of S at full size.
        critic_width: Channels of D at full size.
        style_dim: Length of the style code.
        latent_dim: Length of the mapping network's input.
        hidden: Width of the mapping network.
        heat_channels: Width of U.
        heat_stacks: Hourglasses of U.
        heat_depth: Halvings inside an hourglass.
        heat_foldable: U in convolution-norm-rectifier order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "paper"
    size_px: int = 256
    painter: str = "paper"
    width: int = 64
    cap: int = 512
    halvings: int = 5
    student_blocks: int = 6
    style_width: int = 64
    critic_width: int = 64
    style_dim: int = 64
    latent_dim: int = 16
    hidden: int = 512
    heat_channels: int = 256
    heat_stacks: int = 1
    heat_depth: int = 4
    heat_foldable: bool = False


PRESETS: dict[str, NetworkSizes] = {
    "paper": NetworkSizes(),
    "live": NetworkSizes(
        name="live",
        painter="student",
        width=64,
        cap=128,
        style_width=16,
        critic_width=32,
        heat_channels=128,
        heat_foldable=True,
    ),
    "tiny": NetworkSizes(
        name="tiny",
        size_px=32,
        width=4,
        cap=16,
        halvings=4,
        style_width=4,
        critic_width=4,
        style_dim=8,
        latent_dim=4,
        hidden=16,
        heat_channels=16,
        heat_depth=2,
    ),
}
"""``paper``: as published. ``live``: 30 frames a second on two cores. ``tiny``: tests."""


def preset(name: str) -> NetworkSizes:
    """Return the sizes of that name.

    Raises:
        ConfigError: No such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"unknown network preset {name!r}", hint=f"use one of: {', '.join(PRESETS)}"
        )
    return PRESETS[name]


def build_heatmap_network(sizes: NetworkSizes, points: int, seed: int) -> HeatmapNetwork:
    """Return a fresh U for so many landmarks, the same for the same seed."""
    _check_sizes(sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HeatmapNetwork(
            points, sizes.heat_channels, sizes.heat_stacks, sizes.heat_depth, sizes.heat_foldable
        )


@dataclass
class FaceNetworks:
    """The networks of Stage II.

    Args:
        encoder: E.
        generator: G.
        style: S.
        mapping: The mapping network.
        critic: D.
    """

    encoder: nn.Module
    generator: nn.Module
    style: StyleEncoder
    mapping: MappingNetwork
    critic: Discriminator

    def named(self) -> dict[str, nn.Module]:
        """Return the networks by name, in a fixed order."""
        return {
            "encoder": self.encoder,
            "generator": self.generator,
            "style": self.style,
            "mapping": self.mapping,
            "critic": self.critic,
        }

    def paint(self, frames: Tensor, style: Tensor, masks: Tensor) -> Tensor:
        """Return new faces in -1 … 1 for privacy frames in 0 … 1.

        Args:
            frames: ``(batch, 3, size, size)`` in 0 … 1.
            style: ``(batch, style_dim)``.
            masks: ``(batch, GUIDE, h, w)`` from :func:`models.heatmaps.guide`.
        """
        latent, skips = self.encoder(frames * 2.0 - 1.0)
        return self.generator(latent, skips, style, masks)


def build_face_networks(sizes: NetworkSizes, domains: int, seed: int) -> FaceNetworks:
    """Return fresh E, G, S, mapping network and D, the same for the same seed.

    Args:
        sizes: How large.
        domains: Number of domains, at least 1.
        seed: Seed of the weights.
    """
    _check_sizes(sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if sizes.painter == "student":
            encoder: nn.Module = StudentEncoder(sizes.width)
            generator: nn.Module = StudentGenerator(
                sizes.width, sizes.student_blocks, sizes.style_dim
            )
        else:
            encoder = InversionEncoder(sizes.size_px, sizes.width, sizes.cap, sizes.halvings)
            generator = Generator(
                sizes.size_px, sizes.width, sizes.cap, sizes.halvings, sizes.style_dim
            )
        style = StyleEncoder(sizes.size_px, sizes.style_width, sizes.cap, sizes.style_dim, domains)
        mapping = MappingNetwork(sizes.latent_dim, sizes.hidden, sizes.style_dim, domains)
        critic = Discriminator(sizes.size_px, sizes.critic_width, sizes.cap, domains)
    return FaceNetworks(encoder, generator, style, mapping, critic)


def _check_sizes(sizes: NetworkSizes) -> None:
    if sizes.painter not in ("paper", "student"):
        raise ConfigError(f"unknown painter {sizes.painter!r}", hint="use 'paper' or 'student'")
    if sizes.size_px < 32 or sizes.size_px & (sizes.size_px - 1):
        raise ConfigError(f"faces of {sizes.size_px} pixels", hint="use a power of two from 32 up")
    if sizes.painter == "paper" and not 4 <= sizes.halvings <= sizes.size_px.bit_length() - 2:
        raise ConfigError(
            f"{sizes.halvings} halvings of {sizes.size_px} pixels",
            hint="at least 4 (the skips need 1/8 of the size), and 2 pixels must be left",
        )
    if sizes.size_px % (4 * 2**sizes.heat_depth):
        raise ConfigError(
            f"an hourglass of depth {sizes.heat_depth} does not fit {sizes.size_px} pixels",
            hint="the size must be a multiple of 4 * 2**heat_depth",
        )

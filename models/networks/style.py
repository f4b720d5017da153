"""S and the mapping network: where the look of the new face comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.layers import DownBlock, activate, channel_plan, initialise


class Trunk(nn.Module):
    """Six halvings without norm, then a 4x4 (or smaller) look at everything.

    Args:
        size: Height and width of the pictures, pixels.
        width: Channels at full size.
        cap: Most channels.
    """

    def __init__(self, size: int, width: int, cap: int) -> None:
        super().__init__()
        halvings = max(size.bit_length() - 3, 1)  # down to 4x4
        plan = channel_plan(width, cap, halvings)
        self.out = plan[-1]
        self.stem = nn.Conv2d(3, plan[0], 3, padding=1)
        self.down = nn.ModuleList(
            DownBlock(plan[i], plan[i + 1], halve=True, norm=False) for i in range(halvings)
        )
        self.look = nn.Conv2d(self.out, self.out, size >> halvings)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features ``(batch, channels, 1, 1)`` of pictures in -1 … 1."""
        x = self.stem(pictures)
        for block in self.down:
            x = block(x)
        return activate(self.look(activate(x)))


class StyleEncoder(nn.Module):
    """S of the paper: the style code of a reference face in a domain.

    Args:
        size: Height and width of the reference, pixels.
        width: Channels at full size.
        cap: Most channels.
        style_dim: Length of the style code.
        domains: Number of domains.
    """

    def __init__(self, size: int, width: int, cap: int, style_dim: int, domains: int) -> None:
        super().__init__()
        self.trunk = Trunk(size, width, cap)
        self.heads = DomainLinear(self.trunk.out, style_dim, domains)
        initialise(self)
        self.heads.reset()

    def forward(self, references: Tensor, domain: Tensor) -> Tensor:
        """Return style codes ``(batch, style_dim)``.

        Args:
            references: ``(batch, 3, size, size)`` in -1 … 1.
            domain: ``(batch,)`` domain numbers.
        """
        return self.heads(self.trunk(references).flatten(1), domain)


class MappingNetwork(nn.Module):
    """Style codes from random latents, for training without a reference.

    Args:
        latent_dim: Length of the random latent.
        hidden: Width of the layers.
        style_dim: Length of the style code.
        domains: Number of domains.
    """

    def __init__(self, latent_dim: int, hidden: int, style_dim: int, domains: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        shared = [nn.Linear(latent_dim, hidden)] + [nn.Linear(hidden, hidden) for _ in range(3)]
        self.shared = nn.ModuleList(shared)
        self.own = nn.ModuleList(DomainLinear(hidden, hidden, domains) for _ in range(3))
        self.last = DomainLinear(hidden, style_dim, domains)
        initialise(self)
        for layer in (*self.own, self.last):
            layer.reset()

    def forward(self, latents: Tensor, domain: Tensor) -> Tensor:
        """Return style codes ``(batch, style_dim)`` of standard normal latents."""
        x = latents
        for layer in self.shared:
            x = torch.relu(layer(x))
        for layer in self.own:
            x = torch.relu(layer(x, domain))
        return self.last(x, domain)


class DomainLinear(nn.Module):
    """One linear layer per domain, held in one tensor.

    Every domain's weights take part in every step (with zero gradient where the
    batch has none of that domain), so distributed runs never wait for a gradient.

    Args:
        features_in: Length of the input.
        features_out: Length of the output.
        domains: Number of domains.
    """

    def __init__(self, features_in: int, features_out: int, domains: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(domains, features_out, features_in))
        self.bias = nn.Parameter(torch.empty(domains, features_out))
        self.reset()

    def reset(self) -> None:
        """Draw He-normal weights and zero biases."""
        for weight in self.weight.data:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Return ``W[domain] x + b[domain]`` row by row."""
        weight, bias = self.weight[domain], self.bias[domain]
        return torch.einsum("boi,bi->bo", weight, x) + bias

"""D: real or painted, judged by one branch per domain."""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.layers import initialise
from models.networks.style import Trunk


class Discriminator(nn.Module):
    """D of the paper: a logit per domain, of which the face's own one counts.

    It is shown references as real, never the source, so that the source's
    identity cannot leak into the generator through its gradient.

    Args:
        size: Height and width of the pictures, pixels.
        width: Channels at full size.
        cap: Most channels.
        domains: Number of domains.
    """

    def __init__(self, size: int, width: int, cap: int, domains: int) -> None:
        super().__init__()
        self.trunk = Trunk(size, width, cap)
        self.judge = nn.Conv2d(self.trunk.out, domains, 1)
        initialise(self)

    def forward(self, pictures: Tensor, domain: Tensor) -> Tensor:
        """Return logits ``(batch,)``: positive means real.

        Args:
            pictures: ``(batch, 3, size, size)`` in -1 … 1.
            domain: ``(batch,)`` domain numbers.
        """
        logits = self.judge(self.trunk(pictures)).flatten(1)
        return logits.gather(1, domain[:, None])[:, 0]

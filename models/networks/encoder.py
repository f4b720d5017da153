"""E: inverts the privacy frame into a latent and the features the skips carry."""

from __future__ import annotations

from torch import Tensor, nn

from models.networks.layers import DownBlock, channel_plan, initialise


class InversionEncoder(nn.Module):
    """E of the paper: a privacy frame in, latent and skip features out.

    Args:
        size: Height and width of the frame, pixels.
        width: Channels at full size; doubled at each halving up to ``cap``.
        cap: Most channels.
        halvings: Halvings until the latent.
    """

    def __init__(self, size: int, width: int, cap: int, halvings: int) -> None:
        super().__init__()
        plan = channel_plan(width, cap, halvings)
        self.stem = nn.Conv2d(3, plan[0], 3, padding=1)
        self.down = nn.ModuleList(
            DownBlock(plan[i], plan[i + 1], halve=True, norm=True) for i in range(halvings)
        )
        self.flat = nn.ModuleList(
            DownBlock(plan[-1], plan[-1], halve=False, norm=True) for _ in range(2)
        )
        sizes = [size // 2**i for i in range(halvings)]
        # Features at 1/8, 1/4 and 1/2 of the frame: where the masks let them through.
        self._taps = tuple(i for i in range(halvings) if sizes[i] in skip_sizes(size))
        initialise(self)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the latent, and features at 1/8, 1/4, 1/2 of the size in this order.

        Args:
            frames: ``(batch, 3, size, size)`` in -1 … 1.
        """
        x, kept = self.stem(frames), []
        for i, block in enumerate(self.down):
            if i in self._taps:
                kept.append(x)
            x = block(x)
        for block in self.flat:
            x = block(x)
        return x, kept[::-1]


def skip_sizes(size: int) -> tuple[int, int, int]:
    """Return the sizes at which masked skips enter: 1/8, 1/4 and 1/2 of the frame, pixels."""
    return size // 8, size // 4, size // 2

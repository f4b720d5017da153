"""What all attacks together say: the worst of them, and where another camera does better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.attacks.cameras import CONTROL, OWN
from models.evaluation.attacks.catalogue import ATTACKS
from models.evaluation.attacks.figures import CellResult, Range

__all__ = ["Loss", "headline", "losses", "worst_rank"]


@dataclass(frozen=True)
class Loss:
    """One point in which another camera withstands an attack better than the bundle's own.

    Args:
        attack: Name of the attack.
        camera: The other camera.
        figure: What was compared.
        own: The bundle's.
        other: The other's.
    """

    attack: str
    camera: str
    figure: str
    own: Range
    other: Range

    @property
    def clear(self) -> bool:
        """Whether the intervals do not meet."""
        return self.own.low > self.other.high

    def __str__(self) -> str:
        """Return one sentence."""
        certainty = "clearly" if self.clear else "but the intervals meet"
        return (
            f"{ATTACKS[self.attack].title}: the learned optics gives back more than "
            f"{self.camera} ({self.figure} {_told(self.own)} against {_told(self.other)}), "
            f"{certainty}"
        )


def worst_rank(cell: CellResult) -> tuple[str, Range] | None:
    """Return the recogniser that finds most people, and its rank-1 in a sharp gallery."""
    if not cell.ranks:
        return None
    name = max(cell.ranks, key=lambda key: cell.ranks[key].rank1.value)
    return name, cell.ranks[name].rank1


def losses(cells: Sequence[CellResult]) -> list[Loss]:
    """Return every comparison that the bundle's own camera loses.

    Compared are the most people found by any recogniser, and the SSIM of recovered
    pictures; PSNR is told in the tables but decides nothing, as it rewards haze.
    """
    found = []
    own = {cell.attack: cell for cell in cells if cell.camera == OWN}
    for cell in cells:
        mine = own.get(cell.attack)
        if mine is None or cell.camera in (OWN, CONTROL):
            continue
        pairs = [("SSIM", mine.ssim, cell.ssim)]
        first, second = worst_rank(mine), worst_rank(cell)
        if first and second:
            pairs.insert(0, ("rank-1", first[1], second[1]))
        found.extend(
            Loss(cell.attack, cell.camera, figure, a, b)
            for figure, a, b in pairs
            if a is not None and b is not None and a.value > b.value
        )
    return found


def headline(cells: Sequence[CellResult]) -> str:
    """Return one line: the worst attack on the bundle's camera, and how many points it loses."""
    ranked = [
        (rank[1], rank[0], cell)
        for cell in cells
        if cell.camera == OWN and cell.attack != "link" and (rank := worst_rank(cell))
    ]
    if not ranked:
        return "No attack that names people was carried out on the learned optics."
    worst, name, cell = max(ranked, key=lambda item: item[0].value)
    chance = next(iter(cell.ranks.values())).chance
    lost = losses(cells)
    clear = sum(loss.clear for loss in lost)
    points = "one comparison" if len(lost) == 1 else f"{len(lost)} comparisons"
    compared = "" if not lost else (
        f" It loses {points} with plainer cameras, {clear} of them clearly."
    )  # fmt: skip
    return (
        f"Strongest attack on the learned optics: {ATTACKS[cell.attack].title} ({name}) names "
        f"{worst.value:.0%} of the faces ({worst.low:.0%}–{worst.high:.0%}; guessing "
        f"{chance:.1%}).{compared}"
    )


def _told(figure: Range) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"

"""Privacy against use: which designs of a sweep no other design beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from camera_rig.errors import StorageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class DesignPoint:
    """One design of a sweep; both figures are better when lower.

    Args:
        name: What to call it.
        heatmap: Mean absolute error of U's heatmaps on held-out faces (eq. 5).
        attack_db: PSNR of the best Wiener attack with the PSF known, dB.
    """

    name: str
    heatmap: float
    attack_db: float

    def beats(self, other: DesignPoint) -> bool:
        """Return whether this one is nowhere worse and somewhere better."""
        mine, theirs = (self.heatmap, self.attack_db), (other.heatmap, other.attack_db)
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def front(points: Sequence[DesignPoint]) -> list[DesignPoint]:
    """Return the designs that no other beats, by rising heatmap error."""
    kept = [p for p in points if not any(q.beats(p) for q in points)]
    return sorted(kept, key=lambda p: (p.heatmap, p.attack_db))


def draw_front(axes: Axes, points: Sequence[DesignPoint]) -> Axes:
    """Draw a sweep: every design, and a line through those that nobody beats.

    Args:
        axes: Where.
        points: The sweep.
    """
    best = front(points)
    heat, attack = [p.heatmap for p in best], [p.attack_db for p in best]
    axes.step(heat, attack, where="post", color="#0072b2", linewidth=1.2, label="not beaten")
    axes.scatter(heat, attack, color="#0072b2", zorder=3)
    beaten = [p for p in points if p not in best]
    if beaten:
        x, y = [p.heatmap for p in beaten], [p.attack_db for p in beaten]
        axes.scatter(x, y, facecolors="none", edgecolors="#d55e00", zorder=3, label="beaten")
    for point in points:
        place = (point.heatmap, point.attack_db)
        axes.annotate(point.name, place, xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.margins(0.15)
    axes.set_xlabel("heatmap error (mean absolute), lower is more useful")
    axes.set_ylabel("attack PSNR in dB, lower is more private")
    axes.legend(frameon=False, fontsize=8)
    return axes


def save_picture(points: Sequence[DesignPoint], file: Path) -> None:
    """Write a sweep as PNG.

    Raises:
        StorageError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=120, layout="constrained")
    draw_front(figure.add_subplot(), points)
    try:
        FigureCanvasAgg(figure).print_png(str(file))
    except OSError as error:
        raise StorageError(
            f"cannot write {file}: {error}", hint="check the folder and disk space"
        ) from error

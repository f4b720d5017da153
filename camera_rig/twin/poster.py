"""A printed poster: rich in corners at every size, still, or waved about by hand.

What two cameras can agree on without a board or a lamp: its corners say how they are
mounted, its motion says how far apart their clocks are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import ConfigError
from camera_rig.twin.scene import Field, Radiance, SceneTruth

__all__ = ["Poster", "PosterTruth"]

STEP_S = 1.0 / 73.0
"""A waved poster is drawn anew this often, s: twice as often as cameras look, and out of
step with their rates, so that no camera sees it always late by the same share of a step."""
_SHAPES = 900
_RATES_HZ = (0.31, 0.53, 0.87, 1.29, 1.73)
_LONGEST_SWAY_MM = 100.0


@dataclass(frozen=True, kw_only=True)
class PosterTruth(SceneTruth):
    """Where the poster was.

    Args:
        shift_mm: Right and down of its resting place, mm.
    """

    shift_mm: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Poster:
    """Overlapping discs and bars of every size and grey, seeded.

    Args:
        field: Window to fill.
        seed: Which poster, and which way of waving it.
        sway_mm: How far it is waved, standard deviation in each direction, mm; 0: still.
    """

    field: Field = field(default_factory=Field)
    seed: int = 0
    sway_mm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a wave that would leave the window."""
        if not 0.0 <= self.sway_mm <= _LONGEST_SWAY_MM:
            raise ConfigError(
                f"a poster cannot be waved by {self.sway_mm} mm",
                hint=f"give sway_mm from 0 to {_LONGEST_SWAY_MM:g}",
            )

    def frame_key(self, t_s: float) -> Hashable:
        """Return the number of the drawing shown at that time; one for a still poster."""
        return math.floor(t_s / STEP_S + 1e-9) if self.sway_mm else 0

    def radiance(self, t_s: float) -> Radiance:
        """Return the poster where it is at that time, linear light 0 to 1."""
        import cv2

        x_mm, y_mm = self._shift_mm(t_s)
        step = self.field.mm_per_px
        place = np.array([[1, 0, x_mm / step - self._rim_px], [0, 1, y_mm / step - self._rim_px]])
        size = (self.field.width_px, self.field.height_px)
        shown = cv2.warpAffine(self._print, place, size, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.merge([shown, shown, shown]), np.float32)

    def truth(self, t_s: float) -> PosterTruth:
        """Return where the poster was."""
        return PosterTruth(kind="poster", t_s=t_s, shift_mm=self._shift_mm(t_s))

    def _shift_mm(self, t_s: float) -> tuple[float, float]:
        if not self.sway_mm:
            return 0.0, 0.0
        shown_s = math.floor(t_s / STEP_S + 1e-9) * STEP_S
        angle = 2.0 * np.pi * np.array(_RATES_HZ)[:, None] * shown_s + self._phases
        # Sines of rates without a common period: the path does not repeat in minutes.
        x, y = self.sway_mm * math.sqrt(2.0 / len(_RATES_HZ)) * np.sin(angle).sum(axis=0)
        return float(x), float(y)

    @cached_property
    def _phases(self) -> NDArray[np.float64]:
        return np.random.default_rng([self.seed, 1]).uniform(0.0, 2.0 * np.pi, (len(_RATES_HZ), 2))

    @property
    def _rim_px(self) -> int:
        """How much of the print lies beyond each side of the window, px."""
        return math.ceil(math.sqrt(2.0 * len(_RATES_HZ)) * self.sway_mm / self.field.mm_per_px)

    @cached_property
    def _print(self) -> NDArray[np.float32]:
        import cv2

        rng = np.random.default_rng([self.seed, 0])
        rim, fine = self._rim_px, 16
        height, width = self.field.height_px + 2 * rim, self.field.width_px + 2 * rim
        sheet = np.full((height, width), 0.5, np.float32)
        # Large shapes first, small ones over them: detail at every scale.
        for radius in np.geomspace(0.15, 0.008, _SHAPES) * self.field.width_px:
            at = rng.uniform((0, 0), (width, height))
            grey = float(rng.uniform(0.05, 0.9))
            axes = (radius * rng.uniform(0.4, 1.0, 2) * fine).astype(int).tolist()
            centre = (at * fine).astype(int).tolist()
            turn = float(rng.uniform(0, 180))
            if rng.random() < 0.5:
                cv2.ellipse(sheet, centre, axes, turn, 0, 360, grey, -1, cv2.LINE_AA, 4)
            else:
                box = cv2.boxPoints((tuple(centre), (2.0 * axes[0], 2.0 * axes[1]), turn))
                cv2.fillConvexPoly(sheet, box.astype(np.int32), grey, cv2.LINE_AA, 4)
        return sheet

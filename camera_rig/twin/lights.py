"""Lights that blink: a square wave and a coded sequence, alone or before another scene.

A coded light tells two cameras the time: its m-sequence correlates with itself at one
delay only. ``mean_level`` integrates exactly, so a sensor can light an exposure, or each
row of a rolling shutter, without sampling the signal.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import ConfigError
from camera_rig.twin.scene import Field, Radiance, Scene, SceneTruth
from camera_rig.twin.targets import FlatField, disc_coverage

# Feedback taps of primitive polynomials: each gives the full period 2**n - 1.
_TAPS = {
    3: (3, 2), 4: (4, 3), 5: (5, 3), 6: (6, 5), 7: (7, 6), 8: (8, 6, 5, 4), 9: (9, 5),
    10: (10, 7), 11: (11, 9), 12: (12, 11, 10, 4), 13: (13, 12, 11, 8), 14: (14, 13, 12, 2),
    15: (15, 14),
}  # fmt: skip


class Signal(Protocol):
    """Light over time, 0 to 1."""

    def level(self, t_s: float) -> float:
        """Return the light at one instant."""
        ...

    def mean_level(self, start_s: float, stop_s: float) -> float:
        """Return the mean light between two times."""
        ...


@dataclass(frozen=True, kw_only=True)
class SquareWave:
    """On for a share of each period, then off.

    Args:
        frequency_hz: Periods per second.
        duty: Share of the period that is lit, 0 to 1.
        phase_s: Time at which a lit part begins.
    """

    frequency_hz: float = 2.0
    duty: float = 0.5
    phase_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a wave that never moves."""
        if not self.frequency_hz > 0 or not 0.0 < self.duty < 1.0:
            raise ConfigError(
                f"a light of {self.frequency_hz} Hz and duty {self.duty} does not blink",
                hint="give frequency_hz > 0 and a duty between 0 and 1",
            )

    def level(self, t_s: float) -> float:
        """Return 1 while lit, else 0."""
        return float(self._phase(t_s) % 1.0 < self.duty)

    def mean_level(self, start_s: float, stop_s: float) -> float:
        """Return the exact lit share between two times."""
        if stop_s <= start_s:
            return self.level(start_s)
        lit = self._lit(self._phase(stop_s)) - self._lit(self._phase(start_s))
        return float(lit / (self._phase(stop_s) - self._phase(start_s)))

    def _phase(self, t_s: float) -> float:
        return (t_s - self.phase_s) * self.frequency_hz

    def _lit(self, phase: float) -> float:
        whole = np.floor(phase)
        return float(whole * self.duty + min(phase - whole, self.duty))


@dataclass(frozen=True, kw_only=True)
class CodedSequence:
    """A maximal-length sequence: as good as random, known to the chip, repeated for ever.

    Args:
        order: Length of the shift register, 3 to 15; the period is ``2**order - 1`` chips.
        chip_s: Length of one chip in seconds; longer than a camera's frame period.
        start_s: Time at which chip 0 begins.
    """

    order: int = 8
    chip_s: float = 0.1
    start_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse orders without a known polynomial."""
        if self.order not in _TAPS or not self.chip_s > 0:
            raise ConfigError(
                f"a coded light of order {self.order} and chips of {self.chip_s} s is not known",
                hint=f"use an order of {min(_TAPS)} to {max(_TAPS)} and chip_s > 0",
            )

    @cached_property
    def chips(self) -> NDArray[np.uint8]:
        """The 0s and 1s of one period."""
        state, register = (1 << self.order) - 1, []
        for _ in range((1 << self.order) - 1):
            register.append(state & 1)
            feedback = 0
            for tap in _TAPS[self.order]:
                feedback ^= state >> (self.order - tap)
            state = (state >> 1) | ((feedback & 1) << (self.order - 1))
        return np.array(register, dtype=np.uint8)

    @property
    def period_s(self) -> float:
        """Length of one period in seconds."""
        return len(self.chips) * self.chip_s

    def level(self, t_s: float) -> float:
        """Return the chip that is shown at one instant."""
        chip = int(np.floor((t_s - self.start_s) / self.chip_s))
        return float(self.chips[chip % len(self.chips)])

    def mean_level(self, start_s: float, stop_s: float) -> float:
        """Return the exact lit share between two times."""
        if stop_s <= start_s:
            return self.level(start_s)
        lit = self._lit_chips(stop_s) - self._lit_chips(start_s)
        return float(lit * self.chip_s / (stop_s - start_s))

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        return np.concatenate([[0.0], np.cumsum(self.chips)])

    def _lit_chips(self, t_s: float) -> float:
        position = (t_s - self.start_s) / self.chip_s
        periods, rest = divmod(position, len(self.chips))
        grid = np.arange(len(self.chips) + 1)
        return float(periods * self._cumulative[-1] + np.interp(rest, grid, self._cumulative))


@dataclass(frozen=True, kw_only=True)
class LightTruth(SceneTruth):
    """A light that blinks.

    Args:
        level: Light of the lamp at that time, 0 to 1.
        centre_px: (x, y) of the lamp.
        radius_px: Radius of the lamp in pixels.
        behind: Truth of the scene behind the lamp.
    """

    level: float
    centre_px: tuple[float, float]
    radius_px: float
    behind: SceneTruth


@dataclass(frozen=True, kw_only=True)
class LightScene:
    """A round lamp driven by a signal, before any other scene.

    Args:
        signal: What the lamp does over time.
        behind: Scene behind it; sets the field.
        diameter_mm: Diameter of the lamp.
        x_mm: Position right of the field's centre.
        y_mm: Position below the field's centre.
        brightness: Linear light of the lit lamp, 0 to 1.
    """

    signal: Signal = field(default_factory=SquareWave)
    behind: Scene = field(default_factory=lambda: FlatField(level=0.02))
    diameter_mm: float = 40.0
    x_mm: float = 0.0
    y_mm: float = 0.0
    brightness: float = 1.0

    @property
    def field(self) -> Field:
        """The window that the pictures fill: that of the scene behind."""
        return self.behind.field

    def frame_key(self, t_s: float) -> Hashable:
        """Return the key of the scene behind and the state of the lamp."""
        return (self.behind.frame_key(t_s), self.signal.level(t_s))

    def radiance(self, t_s: float) -> Radiance:
        """Return the scene behind with the lamp before it."""
        lamp = np.float32(self.brightness * self.signal.level(t_s))
        share = self._share
        return np.asarray(self.behind.radiance(t_s) * (1 - share) + lamp * share)

    def truth(self, t_s: float) -> LightTruth:
        """Return the state of the lamp and the truth behind it."""
        return LightTruth(
            kind="light",
            t_s=t_s,
            level=self.signal.level(t_s),
            centre_px=self._centre_px,
            radius_px=self._radius_px,
            behind=self.behind.truth(t_s),
        )

    @property
    def _centre_px(self) -> tuple[float, float]:
        x_px, y_px = self.field.to_px(np.array([self.x_mm, self.y_mm]))
        return float(x_px), float(y_px)

    @property
    def _radius_px(self) -> float:
        return 0.5 * self.diameter_mm / self.field.mm_per_px

    @cached_property
    def _share(self) -> NDArray[np.float32]:
        shares = disc_coverage(self.field, self._centre_px, self._radius_px)
        return shares.astype(np.float32)[..., None]

"""When each exposure really happened, when it arrives, and what stamp it gets.

A camera free-runs: nobody polls it into existence. Frame ``k`` has a true time that
follows from rate, drift and jitter, an arrival time after exposure, readout and
latency, and a stamp that is off by the hidden offset and drift of its clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.twin import _random

__all__ = ["FrameTimes", "HiddenClock", "TimingOptions"]

NonNegative = Annotated[float, Field(ge=0)]


class TimingOptions(BaseModel):
    """How one camera keeps time. None: drawn from the world's seed.

    Args:
        rate_hz: Nominal rate of live view, 1/s.
        clock_offset_s: Constant error of the stamps, s.
        drift_ppm: How much faster the camera's own clock runs, parts per million.
        period_jitter_s: Standard deviation of an exposure's time, s.
        stamp_jitter_s: Standard deviation of a stamp's error, s.
        stamp_uncertainty_s: What the driver states as one standard deviation, s.
        latency_s: From the end of readout to delivery, s.
        latency_jitter_s: Mean of the exponential part of the latency, s.
        drop_probability: Share of frames that never arrive.
        stall_every_s: Mean time between stalls of delivery, s; 0 for none.
        stall_s: Length of a stall, s.
        buffer_frames: Frames the camera keeps for a late reader; older ones are lost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_hz: Annotated[float, Field(gt=0, le=1000)] = 30.0
    clock_offset_s: float | None = None
    drift_ppm: float | None = None
    period_jitter_s: NonNegative = 0.0003
    stamp_jitter_s: NonNegative = 0.0008
    stamp_uncertainty_s: NonNegative = 0.015
    latency_s: NonNegative = 0.030
    latency_jitter_s: NonNegative = 0.002
    drop_probability: Annotated[float, Field(ge=0, le=1)] = 0.001
    stall_every_s: NonNegative = 0.0
    stall_s: NonNegative = 0.4
    buffer_frames: Annotated[int, Field(ge=1)] = 8


@dataclass(frozen=True, slots=True)
class HiddenClock:
    """The truth about one camera's clock.

    Args:
        offset_s: Stamp minus true time at the world's start, s.
        drift_ppm: Parts per million by which the offset grows.
        phase_s: From the start command to the middle of frame 0, s.
    """

    offset_s: float
    drift_ppm: float
    phase_s: float

    @classmethod
    def drawn(cls, options: TimingOptions, state: int) -> HiddenClock:
        """Return the configured values, or those that belong to the key ``state``."""
        offset_s, drift_ppm = options.clock_offset_s, options.drift_ppm
        return cls(
            0.012 * _clipped(state, 1) if offset_s is None else offset_s,
            25.0 * _clipped(state, 2) if drift_ppm is None else drift_ppm,
            (0.02 + _random.uniform(state, 3)) / options.rate_hz,
        )

    def stamp_s(self, true_s: float) -> float:
        """Return the stamp (s) of an event at ``true_s`` (s), without jitter."""
        return true_s + self.offset_s + 1e-6 * self.drift_ppm * true_s


def _clipped(state: int, number: int, limit: float = 2.5) -> float:
    return max(-limit, min(limit, _random.normal(state, number)))


class FrameTimes:
    """All times of one streaming session, by frame number. Stateless, so thread-safe.

    Args:
        options: How the camera keeps time.
        clock: Its hidden clock.
        start_s: World time of the start command, s.
        busy_s: Exposure half plus readout, from the middle of the exposure, s.
        state: Random key of this session.
    """

    def __init__(
        self,
        options: TimingOptions,
        clock: HiddenClock,
        *,
        start_s: float,
        busy_s: float,
        state: int,
    ) -> None:
        self._options, self._clock = options, clock
        self._start_s, self._busy_s, self._state = start_s, busy_s, state
        # A fast clock makes short periods.
        self.period_s = 1.0 / (options.rate_hz * (1.0 + 1e-6 * clock.drift_ppm))

    def true_s(self, k: int) -> float:
        """Return the true middle of exposure ``k``, world seconds."""
        jitter_s = self._options.period_jitter_s * _clipped(self._state, 4 * k)
        limit_s = 0.2 * self.period_s
        nominal_s = self._start_s + self._clock.phase_s + k * self.period_s
        return nominal_s + max(-limit_s, min(limit_s, jitter_s))

    def stamp_s(self, k: int) -> float:
        """Return what the driver will say about the middle of exposure ``k``, world seconds."""
        noise_s = self._options.stamp_jitter_s * _clipped(self._state, 4 * k + 1)
        return self._clock.stamp_s(self.true_s(k)) + noise_s

    def arrival_s(self, k: int) -> float:
        """Return when frame ``k`` can be had, world seconds; never decreases with ``k``."""
        base_s = self._start_s + self._clock.phase_s + k * self.period_s + self._busy_s
        extra_s = -self._options.latency_jitter_s * math.log(
            _random.uniform(self._state, 4 * k + 2)
        )
        # Bounded below one period, so that frames cannot overtake each other.
        arrival_s = base_s + self._options.latency_s + min(extra_s, 0.7 * self.period_s)
        return self._after_stall(arrival_s)

    def dropped(self, k: int) -> bool:
        """Whether frame ``k`` is lost on its way."""
        return _random.uniform(self._state, 4 * k + 3) < self._options.drop_probability

    def newest(self, now_s: float) -> int:
        """Return the number of the newest frame that has arrived at ``now_s`` (s), or -1."""
        lead_s = self._start_s + self._clock.phase_s + self._busy_s + self._options.latency_s
        k = int((now_s - lead_s) // self.period_s) + 1
        while k >= 0 and self.arrival_s(k) > now_s:
            k -= 1
        return max(k, -1)

    def _after_stall(self, arrival_s: float) -> float:
        every_s, length_s = self._options.stall_every_s, self._options.stall_s
        if not every_s:
            return arrival_s
        slot = int(arrival_s // every_s)
        for number in (slot - 1, slot):
            place = _random.uniform(_random.mix(self._state, -7), number + 1)
            begin_s = (number + place) * every_s
            if begin_s <= arrival_s < begin_s + length_s:
                arrival_s = begin_s + length_s
        return arrival_s

"""Clock models: from the side camera's capture stamps to the privacy camera's time.

A stamp of the side camera is corrected by ``offset + drift · (stamp - reference)``.
The model comes from ``rig calibrate sync`` when there is one; else both cameras'
stamps are compared with the moment the frames arrived at the host, which finds the
drift well and the offset only as well as the two transports are alike. The take says
which, and every skew carries the uncertainty of its model.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camera_rig.errors import ConfigError
from camera_rig.recording._files import read_json

__all__ = ["ArrivalEstimator", "ClockModel"]

Source = Literal["none", "calibrated", "online", "trigger"]
TRANSPORT_PRIOR_NS = 5_000_000
"""How far two like cameras' shortest transports may differ, one standard deviation, ns."""


class ClockModel(BaseModel):
    """How far the side camera's stamps are from the privacy camera's.

    Args:
        source: ``calibrated`` by light, ``online`` from arrivals, ``trigger`` by wire,
            or ``none``: stamps are taken as they are.
        offset_ns: Side stamp minus privacy stamp of one moment, at the reference, ns.
        drift_ppm: Growth of the offset, parts per million.
        reference_ns: Side stamp at which the offset holds, ns.
        offset_uncertainty_ns: One standard deviation of the offset, ns.
        drift_uncertainty_ppm: One standard deviation of the drift, ppm.
        jitter_ns: One standard deviation of a single stamp difference, ns.
        calibration: Identifier of the calibration it is from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source = "none"
    offset_ns: int = 0
    drift_ppm: float = 0.0
    reference_ns: int = 0
    offset_uncertainty_ns: Annotated[int, Field(ge=0)] = 0
    drift_uncertainty_ppm: Annotated[float, Field(ge=0)] = 0.0
    jitter_ns: Annotated[int, Field(ge=0)] = 0
    calibration: str = ""

    def corrected_ns(self, role: str, captured_ns: int) -> int:
        """Return a stamp on the privacy camera's time, ns."""
        if role != "side":
            return captured_ns
        # Only the difference goes through a float: an hour is exact to a nanosecond.
        drift_ns = round((captured_ns - self.reference_ns) * self.drift_ppm * 1e-6)
        return captured_ns - self.offset_ns - drift_ns

    def uncertainty_ns(self, captured_ns: int, *stamp_uncertainties_ns: int) -> int:
        """Return one standard deviation of a skew at ``captured_ns`` (side stamp), ns."""
        away_ns = (captured_ns - self.reference_ns) * self.drift_uncertainty_ppm * 1e-6
        parts = (self.offset_uncertainty_ns, away_ns, self.jitter_ns, *stamp_uncertainties_ns)
        return math.ceil(math.hypot(*parts))

    @classmethod
    def load(cls, path: Path) -> ClockModel:
        """Read a model from a JSON file, as ``rig calibrate sync`` writes it.

        Raises:
            ConfigError: It is no clock model.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise ConfigError(
                f"{path} is no clock model: {error}", hint="make one: `rig calibrate sync`"
            ) from error


class ArrivalEstimator:
    """Estimates the clock model while cameras run, from stamps and arrival times.

    Arrival minus stamp is transport (never below its least) plus the clock's error. In
    windows of one second the least delay is nearly free of queueing; a line through
    those minima gives each camera's drift and offset against the host.

    Not offered: an offset better than the difference of the two shortest transports.
    Nothing in arrivals tells it; a light does (``rig calibrate sync``).

    Args:
        window_ns: Length of a window, ns.
        transport_prior_ns: How unlike the two transports may be, 1 sd, ns.
    """

    def __init__(
        self, window_ns: int = 1_000_000_000, transport_prior_ns: int = TRANSPORT_PRIOR_NS
    ) -> None:
        self._window_ns, self._prior_ns = window_ns, transport_prior_ns
        self._minima: dict[str, deque[tuple[int, int]]] = {}
        self._open: dict[str, tuple[int, int, int]] = {}
        self._last: dict[str, int] = {}
        self._stated_ns: dict[str, int] = {}
        self._intervals: dict[str, deque[int]] = {}

    def add(
        self,
        role: str,
        captured_ns: int,
        received_ns: int,
        uncertainty_ns: int = 0,
        exposure_s: float = 0.0,
    ) -> bool:
        """Take one frame in; return whether a window closed, so the model may be new.

        Args:
            role: ``privacy`` or ``side``.
            captured_ns: Stamp of the middle of the exposure, ns.
            received_ns: When it arrived, rig clock, ns.
            uncertainty_ns: What the driver states itself: jitter beyond it is the model's.
            exposure_s: Exposure time, s: a frame cannot leave before its exposure ends.
        """
        self._stated_ns[role] = uncertainty_ns
        if role in self._last:
            intervals = self._intervals.setdefault(role, deque(maxlen=300))
            intervals.append(captured_ns - self._last[role])
        self._last[role] = captured_ns
        delay_ns = received_ns - captured_ns - round(exposure_s * 0.5e9)
        window, stamp, least = self._open.get(role, (captured_ns, captured_ns, delay_ns))
        closed = captured_ns - window >= self._window_ns
        if closed:
            self._minima.setdefault(role, deque(maxlen=1200)).append((stamp, least))
            window, stamp, least = captured_ns, captured_ns, delay_ns
        elif delay_ns < least:
            stamp, least = captured_ns, delay_ns
        self._open[role] = (window, stamp, least)
        return closed

    def model(self) -> ClockModel:
        """Return the best model so far; ``none`` until both cameras were seen."""
        if set(self._open) != {"privacy", "side"}:
            return ClockModel()
        side, privacy = self._line("side"), self._line("privacy")
        reference_ns = side.reference_ns
        drift_ppm = privacy.slope_ppm - side.slope_ppm
        offset_ns = privacy.at(reference_ns) - side.at(reference_ns)
        spread_ns = math.hypot(side.error_ns, privacy.error_ns)
        return ClockModel(
            source="online",
            offset_ns=round(offset_ns),
            drift_ppm=drift_ppm,
            reference_ns=reference_ns,
            offset_uncertainty_ns=math.ceil(math.hypot(spread_ns, self._prior_ns)),
            drift_uncertainty_ppm=math.hypot(side.slope_error_ppm, privacy.slope_error_ppm),
            jitter_ns=math.ceil(math.hypot(self._jitter_ns("side"), self._jitter_ns("privacy"))),
        )

    def _jitter_ns(self, role: str) -> float:
        """Return a stamp's scatter beyond the stated one; intervals ought to be periods."""
        steps = np.array(self._intervals.get(role, ()), dtype=np.float64)
        steps = steps[steps > 0]
        if len(steps) < 8:
            return 0.0
        period = float(np.median(steps))
        residual = steps - period * np.round(steps / period)
        mad = float(np.median(np.abs(residual - np.median(residual))))
        measured = 1.4826 * mad / math.sqrt(2.0)
        return math.sqrt(max(0.0, measured**2 - self._stated_ns[role] ** 2))

    def _line(self, role: str) -> _Line:
        _, stamp, least = self._open[role]
        points = [*self._minima.get(role, ()), (stamp, least)]
        return _fit(points)


@dataclass(frozen=True)
class _Line:
    """Least delay against stamp: value at the reference, slope, and both errors."""

    reference_ns: int
    value_ns: float
    slope_ppm: float
    error_ns: float
    slope_error_ppm: float

    def at(self, stamp_ns: int) -> float:
        return self.value_ns + (stamp_ns - self.reference_ns) * self.slope_ppm * 1e-6


_MIN_WINDOWS = 10
_SLOPE_PRIOR_PPM = 50.0


def _fit(points: list[tuple[int, int]]) -> _Line:
    reference_ns = sum(stamp for stamp, _ in points) // len(points)
    x = np.array([(stamp - reference_ns) * 1e-6 for stamp, _ in points])
    base = points[0][1]
    y = np.array([delay - base for _, delay in points], dtype=np.float64)
    if len(points) < _MIN_WINDOWS:
        # Too short to tell drift from jitter: offset only, drift as good as a crystal's.
        error = float(np.std(y)) if len(points) > 1 else 1e6
        return _Line(reference_ns, base + float(np.median(y)), 0.0, error, _SLOPE_PRIOR_PPM)
    slope, at_zero = np.polyfit(x, y, 1)
    residual = y - (slope * x + at_zero)
    spread = float(np.sqrt(np.sum(residual**2) / (len(points) - 2)))
    slope_error = spread / max(float(np.sqrt(np.sum((x - x.mean()) ** 2))), 1e-9)
    error = spread / math.sqrt(len(points))
    # A crystal is good to tens of ppm: what a short stretch seems to say is weighed by that.
    weight = _SLOPE_PRIOR_PPM**2 / (_SLOPE_PRIOR_PPM**2 + slope_error**2)
    slope, slope_error = slope * weight, slope_error * math.sqrt(weight)
    return _Line(reference_ns, base + float(at_zero), float(slope), error, slope_error)

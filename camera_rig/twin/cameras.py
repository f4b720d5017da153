"""A camera as a thing of the world: it exposes whether anybody looks or not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.twin import _random
from camera_rig.twin.exposure import Lamp, Rows, cut, row_weights
from camera_rig.twin.faults import FaultKind, Faults
from camera_rig.twin.lightpath import Arm, Moment
from camera_rig.twin.sensor import Exposure, Sensor, SensorOptions
from camera_rig.twin.timing import FrameTimes, HiddenClock, TimingOptions

__all__ = ["CameraBody", "CameraOptions", "Shot", "SideCameraOptions"]


class CameraOptions(BaseModel):
    """Hidden facts of one camera: its sensor and how it keeps time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sensor: SensorOptions = SensorOptions()
    timing: TimingOptions = TimingOptions()


class SideSensorOptions(SensorOptions):
    """The side camera's sensor: more light, so a shorter exposure is found at the start."""

    exposure_s: Annotated[float, Field(gt=0)] = 1 / 120
    iso: int = 160


class SideCameraOptions(CameraOptions):
    """Hidden facts of the side camera."""

    sensor: SideSensorOptions = SideSensorOptions()


@dataclass(frozen=True, slots=True)
class Shot:
    """One exposure as it was ordered.

    Args:
        mid_s: True middle of the exposure, world seconds.
        exposure_s: Exposure time, s.
        iso: ISO speed.
        number: Counter of this body's exposures: live sessions and stills never share one.
    """

    mid_s: float
    exposure_s: float
    iso: int
    number: int


class CameraBody:
    """Sensor, arm, clock and light of one role. Thread-safe.

    Args:
        role: ``privacy`` or ``side``.
        options: Hidden facts.
        arm: The light path to it.
        sensor: The sensor.
        moment: Returns what the arm sees at a world time, exactly or not.
        key_at: Returns a key of what it sees, equal while that is equal.
        lamp: Brightness over time.
        faults: What goes wrong.
        seed: Seed of the world.
    """

    def __init__(
        self,
        role: str,
        options: CameraOptions,
        arm: Arm,
        sensor: Sensor,
        *,
        moment: Callable[[float, bool], Moment],
        key_at: Callable[[float], object],
        lamp: Lamp,
        faults: Faults,
        seed: int,
    ) -> None:
        self.role, self.options, self.arm, self.sensor = role, options, arm, sensor
        self._moment, self._key_at, self._lamp = moment, key_at, lamp
        self._faults = faults
        self._state = _random.key(seed, "camera", role)
        self.clock = HiddenClock.drawn(options.timing, _random.mix(self._state, 1))
        self._sessions: list[FrameTimes] = []
        self._stills = 0
        self._lock = threading.Lock()

    def start(self, now_s: float, exposure_s: float) -> FrameTimes:
        """Start a live session at ``now_s`` (world seconds); return its times."""
        readout_s = self.options.sensor.readout_s
        with self._lock:
            times = FrameTimes(
                self.options.timing,
                self.clock,
                start_s=now_s,
                busy_s=exposure_s / 2 + readout_s / 2,
                state=_random.mix(self._state, 1000 + len(self._sessions)),
            )
            self._sessions.append(times)
        return times

    def times(self, session: int | None = None) -> FrameTimes:
        """Return the times of a live session, counted from 1; None: of the last one."""
        return self._sessions[-1 if session is None else session - 1]

    def live_number(self, k: int) -> int:
        """Return the exposure number of frame ``k`` of the present session."""
        return (len(self._sessions) << 32) + k

    def still_number(self) -> int:
        """Return the number of a new still."""
        with self._lock:
            self._stills += 1
            return (1 << 62) + self._stills

    def arrival_s(self, times: FrameTimes, k: int) -> float:
        """Return when frame ``k`` arrives, scripted stalls included, world seconds."""
        arrival_s = times.arrival_s(k)
        stall = self._faults.at(FaultKind.STALL, self.role, arrival_s)
        return stall.at_s + stall.for_s if stall else arrival_s

    def lost(self, times: FrameTimes, k: int) -> bool:
        """Whether frame ``k`` never arrives."""
        return (
            times.dropped(k)
            or self._faults.at(FaultKind.DROP, self.role, times.true_s(k)) is not None
            or self._faults.by_chance(FaultKind.DROP, self.role, k)
        )

    def frozen(self, times: FrameTimes, k: int) -> bool:
        """Whether frame ``k`` shows the picture before it again."""
        return self._faults.at(
            FaultKind.FREEZE, self.role, times.true_s(k)
        ) is not None or self._faults.by_chance(FaultKind.FREEZE, self.role, k)

    def live(self, shot: Shot) -> bytes:
        """Return the JPEG of one exposure."""
        with self.arm.lock:
            picture = self.sensor.live(self.expose(shot, self.options.sensor.readout_s))
        return _jpeg(picture, self.options.sensor.jpeg_quality)

    def raw(self, shot: Shot) -> NDArray[np.uint16]:
        """Return linear numbers of one exposure, all rows at once (mechanical shutter)."""
        with self.arm.lock:
            return self.sensor.raw(self.expose(shot, 0.0, exact=True))

    def coded_still(self, shot: Shot) -> bytes:
        """Return the JPEG of one still, all rows at once."""
        with self.arm.lock:
            picture = self.sensor.live(self.expose(shot, 0.0, exact=True))
        return _jpeg(picture, 97)

    def expected_e(self, shot: Shot, readout_s: float = 0.0) -> NDArray[np.float32]:
        """Return the electrons expected in one exposure, free of noise (for the truth)."""
        with self.arm.lock:
            return self.sensor.expected_e(self.expose(shot, readout_s, exact=True))

    def expose(self, shot: Shot, readout_s: float, *, exact: bool = False) -> Exposure:
        """Return the light of one exposure; hold ``arm.lock`` while it is in use."""
        from camera_rig.twin import _kernels

        height = self.arm.geometry.size[1]
        rows = Rows(shot.mid_s, shot.exposure_s, readout_s, height)
        pieces = cut(self._key_at, rows.start_s, rows.stop_s)
        weights = row_weights(pieces, rows, self._lamp)
        shown = [
            ((pieces[place].start_s + pieces[place].stop_s) / 2, weight)
            for place, weight in weights.items()
        ]
        if len(shown) <= 2:
            pictures = [self.arm.picture(self._moment(t_s, exact)) for t_s, _ in shown]
            weight = np.stack([weight for _, weight in shown])
        else:
            total = np.zeros((3, height, self.arm.geometry.size[0]), np.float32)
            for t_s, part in shown:
                _kernels.accumulate(total, self.arm.picture(self._moment(t_s, exact)), part)
            pictures, weight = [total], np.ones((1, height), np.float32)
        state = _random.mix(self._state, shot.number)
        return Exposure(tuple(pictures), weight, shot.exposure_s, shot.iso, state)


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    good, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise RuntimeError("the JPEG coder refused an 8-bit picture")
    return bytes(coded)

"""Two simulated free-running cameras whose true capture times are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from camera_rig.recording.packing import PackedFrame


@dataclass(frozen=True)
class Streams:
    """How two cameras run: rates in 1/s, times in s, drift in ppm."""

    seconds: float = 120.0
    fps: tuple[float, float] = (30.0, 30.0)
    phase: float = 0.3
    offset_s: float = 0.25
    drift_ppm: float = 50.0
    jitter_s: float = 0.001
    drop: float = 0.01
    transport_s: tuple[float, float] = (0.030, 0.033)
    transport_scatter_s: float = 0.004
    seed: int = 0


@dataclass
class Made:
    frames: list[PackedFrame]
    true_ns: dict[tuple[str, int], int]
    exposed: dict[str, np.ndarray] = field(default_factory=dict)


def make(s: Streams) -> Made:
    """Return both cameras' frames in order of arrival, and when they were truly taken.

    The privacy camera's stamps are true but for jitter; the side camera's run ahead by
    offset and drift. Jitter is in the stamp, not in the exposure.
    """
    rng = np.random.default_rng(s.seed)
    frames, true, exposed = [], {}, {}
    for index, role in enumerate(("privacy", "side")):
        period = 1 / s.fps[index]
        at = np.arange(0, s.seconds, period) + (s.phase * period if index else 0.0) + 10.0
        kept = rng.random(len(at)) >= s.drop
        jitter = rng.normal(0, s.jitter_s, len(at))
        stamp = at + jitter
        if index:
            stamp = at + s.offset_s + (at - 10.0) * s.drift_ppm * 1e-6 + jitter
        arrival = at + s.transport_s[index] + rng.exponential(s.transport_scatter_s, len(at))
        exposed[role] = at[kept]
        for n in np.flatnonzero(kept):
            true[role, int(n)] = round(at[n] * 1e9)
            frames.append(
                PackedFrame(
                    role=role, camera=role, sequence=int(n), captured_ns=round(stamp[n] * 1e9),
                    uncertainty_ns=round(s.jitter_s * 1e9), received_ns=round(arrival[n] * 1e9),
                    extension="bin", blob=b"", crc=0, facts={},
                )
            )  # fmt: skip
    frames.sort(key=lambda frame: frame.received_ns)
    return Made(frames, true, exposed)

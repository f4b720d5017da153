"""How long every stage takes, and how often things happen; cheap, and safe from any thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from models.runtime.live_data import StageFigures

__all__ = ["Meter", "Rate", "Spent"]

_KEPT = 600
_RATE_WINDOW_S = 3.0


class Spent(dict[str, tuple[float, float]]):
    """Wall and processor time of the stages of one frame, ms: ``{stage: (wall, core)}``."""

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Time a stage on this thread; stages met twice add up."""
        wall_s, core_s = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - wall_s, time.thread_time() - core_s)

    def add(self, stage: str, wall_s: float, core_s: float = 0.0) -> None:
        """Add time (s) to a stage."""
        wall_ms, core_ms = self.get(stage, (0.0, 0.0))
        self[stage] = (wall_ms + 1e3 * wall_s, core_ms + 1e3 * core_s)


class Meter:
    """Figures of all stages over the last few hundred frames, and counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[tuple[float, float]]] = defaultdict(
            lambda: deque(maxlen=_KEPT)
        )
        self._counts: Counter[str] = Counter()

    def take(self, spent: Mapping[str, tuple[float, float]]) -> None:
        """Take over the times of one frame."""
        with self._lock:
            for stage, times in spent.items():
                self._times[stage].append(times)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[what] += number

    def counts(self, prefix: str = "") -> dict[str, int]:
        """Return the counters whose name begins so, without that beginning."""
        with self._lock:
            return {
                name.removeprefix(prefix): n
                for name, n in self._counts.items()
                if name.startswith(prefix)
            }

    def figures(self) -> dict[str, StageFigures]:
        """Return the figures of every stage."""
        with self._lock:
            kept = {stage: np.array(times) for stage, times in self._times.items() if times}
        found = {}
        for stage, times in kept.items():
            p50, p95, p99 = np.percentile(times[:, 0], (50, 95, 99))
            core = float(np.median(times[:, 1]))
            found[stage] = StageFigures(float(p50), float(p95), float(p99), core, len(times))
        return found


class Rate:
    """Events per second over the last few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times_s: deque[float] = deque(maxlen=1000)

    def tick(self, now_s: float) -> None:
        """Note an event at ``now_s`` (s)."""
        with self._lock:
            self._times_s.append(now_s)

    def per_s(self, now_s: float) -> float:
        """Return the rate at ``now_s`` (s), 1/s."""
        with self._lock:
            recent = [t for t in self._times_s if now_s - t <= _RATE_WINDOW_S]
        if len(recent) < 2:
            return 0.0
        return len(recent) / max(min(_RATE_WINDOW_S, now_s - recent[0]), 1e-3)

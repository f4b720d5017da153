"""The two clocks: the machine's, and one that tests and the offline twin move."""

from __future__ import annotations

import threading
import time

__all__ = ["ManualClock", "SystemClock"]


class SystemClock:
    """The machine's monotonic and civil time."""

    def now_ns(self) -> int:
        """Return monotonic time, ns."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Return civil time, ns since 1970 UTC."""
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` (s)."""
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """Time that moves only when somebody sleeps on it: nothing waits, nothing races.

    Args:
        start_ns: First monotonic reading, ns.
        wall_start_ns: Civil time at that moment, ns since 1970 UTC.
    """

    def __init__(self, start_ns: int = 0, wall_start_ns: int = 1_767_225_600_000_000_000) -> None:
        self._lock = threading.Lock()
        self._now_ns = start_ns
        self._wall_minus_now_ns = wall_start_ns - start_ns

    def now_ns(self) -> int:
        """Return the present reading, ns."""
        with self._lock:
            return self._now_ns

    def wall_ns(self) -> int:
        """Return civil time, ns since 1970 UTC."""
        with self._lock:
            return self._now_ns + self._wall_minus_now_ns

    def sleep(self, seconds: float) -> None:
        """Move time on by ``seconds`` (s, >= 0) at once."""
        if seconds > 0:
            self.advance(round(seconds * 1e9))

    def advance(self, duration_ns: int) -> None:
        """Move time on by ``duration_ns`` (ns, >= 0)."""
        if duration_ns < 0:
            raise ValueError("monotonic time cannot run backwards")
        with self._lock:
            self._now_ns += duration_ns

    def step_wall(self, jump_ns: int) -> None:
        """Let civil time jump by ``jump_ns`` (ns), as a time server may do."""
        with self._lock:
            self._wall_minus_now_ns += jump_ns

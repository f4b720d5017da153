"""The linear stage as a body that moves with a speed."""

from __future__ import annotations

import threading

__all__ = ["StageBody"]


class StageBody:
    """Where the stage is at any time. Thread-safe.

    Args:
        travel_mm: Lowest and highest position, mm.
        speed_mm_per_s: Its speed, mm/s.
    """

    def __init__(self, travel_mm: tuple[float, float], speed_mm_per_s: float) -> None:
        self.travel_mm, self.speed_mm_per_s = travel_mm, speed_mm_per_s
        self._middle_mm = sum(travel_mm) / 2
        self._lock = threading.Lock()
        self._from_mm = self._to_mm = self._middle_mm
        self._began_s = 0.0

    def move(self, target_mm: float, now_s: float) -> float:
        """Start a move at ``now_s`` (world seconds); return when it will end."""
        with self._lock:
            self._from_mm = self._position(now_s)
            self._to_mm, self._began_s = target_mm, now_s
            return now_s + abs(self._to_mm - self._from_mm) / self.speed_mm_per_s

    def halt(self, now_s: float) -> None:
        """Stop where it is at ``now_s`` (world seconds)."""
        with self._lock:
            self._from_mm = self._to_mm = self._position(now_s)

    def position_mm(self, at_s: float) -> float:
        """Return the position at a world time, mm."""
        with self._lock:
            return self._position(at_s)

    def offset_mm(self, at_s: float) -> float:
        """Return the distance from the middle of the travel, mm."""
        return self.position_mm(at_s) - self._middle_mm

    def _position(self, at_s: float) -> float:
        gone_mm = self.speed_mm_per_s * max(at_s - self._began_s, 0.0)
        way_mm = self._to_mm - self._from_mm
        if gone_mm >= abs(way_mm):
            return self._to_mm
        return self._from_mm + (gone_mm if way_mm > 0 else -gone_mm)

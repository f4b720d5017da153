"""The bounded hand-over between the cameras' workers and the writer."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["BoundedQueue", "QueueDepth"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How full a queue is and was: items, bytes, the largest of both, and the bound."""

    items: int
    size_bytes: int
    high_items: int
    high_bytes: int
    limit_bytes: int


class BoundedQueue(Generic[T]):
    """First in, first out, bounded by bytes. :meth:`offer` never waits, so no camera does."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = self._high_items = self._high_bytes = 0
        self._changed = threading.Condition()

    def offer(self, item: T, size_bytes: int) -> bool:
        """Put an item in; return False, and leave it out, if there is no room."""
        with self._changed:
            if self._bytes + size_bytes > self._limit:
                return False
            self._put(item, size_bytes)
            return True

    def force(self, item: T) -> None:
        """Put a note in whatever the depth: what happened must get through."""
        with self._changed:
            self._put(item, 0)

    def take(self, timeout_s: float) -> T | None:
        """Return the next item, or None after ``timeout_s`` (s)."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout_s)
            if not self._items:
                return None
            item, size_bytes = self._items.popleft()
            self._bytes -= size_bytes
            return item

    @property
    def depth(self) -> QueueDepth:
        """How full it is and was."""
        with self._changed:
            return QueueDepth(
                len(self._items), self._bytes, self._high_items, self._high_bytes, self._limit
            )

    def _put(self, item: T, size_bytes: int) -> None:
        self._items.append((item, size_bytes))
        self._bytes += size_bytes
        self._high_items = max(self._high_items, len(self._items))
        self._high_bytes = max(self._high_bytes, self._bytes)
        self._changed.notify()

"""Order between workers when time moves only as they ask for frames (a manual clock)."""

from __future__ import annotations

import threading
from collections.abc import Iterable

__all__ = ["Lockstep"]


class Lockstep:
    """Lets the camera that is behind in time go first, and nobody while it is shut.

    With a manual clock each reader moves time itself. Unordered, one camera would run
    ahead by as many frames as the scheduler likes, and arrival times would mean nothing.
    """

    def __init__(self, roles: Iterable[str]) -> None:
        self._last_ns = dict.fromkeys(roles, 0)
        self._open = False
        self._changed = threading.Condition()

    def open(self) -> None:
        """Let the workers run."""
        self._set(True)

    def shut(self) -> None:
        """Hold the workers before their next frame: time stands still between takes."""
        self._set(False)

    def wait_turn(self, role: str, stop: threading.Event) -> None:
        """Wait until no other camera is behind ``role``, or until ``stop``."""
        with self._changed:
            while not stop.is_set() and not self._may_go(role):
                self._changed.wait(0.05)

    def went(self, role: str, now_ns: int) -> None:
        """Tell how far ``role`` has come (ns)."""
        with self._changed:
            self._last_ns[role] = now_ns
            self._changed.notify_all()

    def leave(self, role: str) -> None:
        """Tell that ``role`` will not move any more."""
        with self._changed:
            self._last_ns.pop(role, None)
            self._changed.notify_all()

    def _may_go(self, role: str) -> bool:
        return self._open and self._last_ns[role] <= min(self._last_ns.values())

    def _set(self, is_open: bool) -> None:
        with self._changed:
            self._open = is_open
            self._changed.notify_all()

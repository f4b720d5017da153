"""Order between workers when time moves only as they ask for frames (a manual clock)."""

from __future__ import annotations

import threading
from collections.abc import Iterable

__all__ = ["Lockstep"]

_FOREVER_NS = 1 << 63
_PATIENCE = 8


class Lockstep:
    """Lets the camera that is behind in time go first, and nobody while it is shut.

    With a manual clock each reader moves time itself. Unordered, one camera would run
    ahead by as many frames as the scheduler likes, and arrival times would mean nothing.
    """

    def __init__(self, roles: Iterable[str]) -> None:
        self._last_ns = dict.fromkeys(roles, -1)
        self._turns = dict.fromkeys(self._last_ns, 0)
        self._until_ns = 0
        self._changed = threading.Condition()

    def open(self, until_ns: int | None = None) -> None:
        """Let the workers run, up to a time (ns) if one is given."""
        self._set(_FOREVER_NS if until_ns is None else until_ns)

    def shut(self) -> None:
        """Hold the workers before their next frame: time stands still between takes."""
        self._set(0)

    def wait_turn(self, role: str, stop: threading.Event) -> None:
        """Wait until no other camera is behind ``role``, or until ``stop``."""
        with self._changed:
            while not stop.is_set() and not self._may_go(role):
                self._changed.wait(0.05)

    def went(self, role: str, now_ns: int, *, waited: bool) -> None:
        """Tell how far ``role`` has come (ns), and whether it had to wait for its frame.

        A frame that was there already arrived at some earlier time that nobody knows: its
        camera is behind and goes again, a few times at most, until it has to wait.
        """
        with self._changed:
            self._turns[role] += 1
            if waited or self._turns[role] % _PATIENCE == 0:
                self._last_ns[role] = now_ns
            self._changed.notify_all()

    def leave(self, role: str) -> None:
        """Tell that ``role`` will not move any more."""
        with self._changed:
            self._last_ns.pop(role, None)
            self._changed.notify_all()

    def _may_go(self, role: str) -> bool:
        # In turn where two are level: one at a time moves the clock, never both.
        first = min(self._last_ns, key=lambda name: (self._last_ns[name], self._turns[name], name))
        return role == first and self._last_ns[role] < self._until_ns

    def _set(self, until_ns: int) -> None:
        with self._changed:
            self._until_ns = until_ns
            self._changed.notify_all()

"""One coded picture for all viewers: newest only, one in flight for each, the slow dropped.

The source's thread calls :meth:`Hub.post`. The server's side, an event loop, has one
:class:`Viewer` per connection. Nothing queues: a viewer that is not ready when a picture
comes gets a later one, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Protocol

from camera_rig.contracts import Clock
from camera_rig.errors import StateError

__all__ = ["Hub", "Shown", "View", "Viewer", "pack"]

MAGIC = b"RIG1"
_HEAD = struct.Struct("<4sIfBB")
_PART = struct.Struct("<BI")
_KEPT_TIMES = 240


class View(StrEnum):
    """What can be looked at, in the order of their numbers on the wire."""

    FACE = "face"
    PRIVACY = "privacy"
    SIDE = "side"


_NUMBERS = {view: number for number, view in enumerate(View)}


class Shown(Protocol):
    """What a source gives out: one moment, coded when somebody asks."""

    @property
    def number(self) -> int:
        """Counter of moments, from 1."""
        ...

    @property
    def captured_s(self) -> float | None:
        """Middle of the exposure, s on the rig clock; None for a card without a frame."""
        ...

    @property
    def why(self) -> str | None:
        """Kind of reason for a card; None for a picture."""
        ...


def pack(shown: Shown, age_ms: float, parts: Mapping[View, bytes]) -> bytes:
    """Return the message that carries one moment to a viewer.

    Little endian: ``RIG1``, number (u32), age when it left (f32, ms, NaN when it has
    none), count of parts (u8), length of the kind of reason (u8, 0 for a picture); for
    each part its view (u8) and length (u32); the kind of reason; the JPEGs.
    """
    why = (shown.why or "").encode()
    head = _HEAD.pack(MAGIC, shown.number & 0xFFFFFFFF, age_ms, len(parts), len(why))
    table = b"".join(_PART.pack(_NUMBERS[view], len(jpeg)) for view, jpeg in parts.items())
    return head + table + why + b"".join(parts.values())


class Hub:
    """Where a source leaves moments and viewers fetch them.

    Only :meth:`post` may come from another thread than the event loop's.

    Args:
        clock: The rig's clock.
        max_viewers: Most viewers at a time.
    """

    def __init__(self, clock: Clock, max_viewers: int) -> None:
        self.clock, self.max_viewers = clock, max_viewers
        self.dropped = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._viewers: set[Viewer] = set()
        self._painted_ms: deque[float] = deque(maxlen=_KEPT_TIMES)
        self.newest: Shown | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell which event loop serves the viewers."""
        self._loop = loop

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    @property
    def watching(self) -> frozenset[Viewer]:
        """Who watches."""
        return frozenset(self._viewers)

    @property
    def painted_ms(self) -> list[float]:
        """Times from capture until a page said that it had painted, newest last, ms."""
        return list(self._painted_ms)

    def post(self, shown: Shown) -> None:
        """Make ``shown`` the newest; from any thread, never waits."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has closed: nobody is left to see it
                self._loop.call_soon_threadsafe(self._take, shown)

    def join(self, views: frozenset[View]) -> Viewer:
        """Let a viewer in.

        Raises:
            StateError: There are as many as allowed.
        """
        if len(self._viewers) >= self.max_viewers:
            raise StateError(
                f"{self.max_viewers} viewers watch already",
                hint="close another page, or start the preview with more --viewers",
            )
        viewer = Viewer(self, views)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer, *, slow: bool = False) -> None:
        """Forget a viewer; ``slow`` when it was thrown out."""
        if viewer in self._viewers:
            self._viewers.discard(viewer)
            self.dropped += slow

    def painted(self, shown: Shown) -> None:
        """Note that a page has painted a moment."""
        if shown.captured_s is not None:
            self._painted_ms.append(self.clock.now_ns() * 1e-6 - shown.captured_s * 1e3)

    def _take(self, shown: Shown) -> None:
        self.newest = shown
        for viewer in self._viewers:
            viewer.news.set()


class Viewer:
    """One connection: what it wants to see, what it has seen, what is on the way.

    Args:
        hub: Where it belongs.
        views: What it wants to see; none while its page is hidden.
    """

    def __init__(self, hub: Hub, views: frozenset[View]) -> None:
        self._hub, self.views = hub, views
        self.news = asyncio.Event()
        self.news.set()
        self.sent = self.skipped = 0
        self._last = 0
        self._in_flight: Shown | None = None
        self._acked = asyncio.Event()

    def want(self, views: frozenset[View]) -> None:
        """Change what it wants to see; the newest moment counts as not yet seen."""
        self.views, self._last = views, 0
        self.news.set()

    async def next(self) -> Shown:
        """Wait for the newest moment it has not had, and count it as on the way."""
        while True:
            shown = self._hub.newest
            if shown is not None and shown.number != self._last and self.views:
                break
            self.news.clear()
            await self.news.wait()
        self.skipped += max(0, shown.number - self._last - 1) if self._last else 0
        self.sent += 1
        self._last, self._in_flight = shown.number, shown
        self._acked.clear()
        return shown

    def ack(self, number: int) -> None:
        """Note that the page has painted what is on the way; other numbers mean nothing."""
        shown = self._in_flight
        if shown is not None and shown.number & 0xFFFFFFFF == number:
            self._in_flight = None
            self._hub.painted(shown)
            self._acked.set()

    async def acked(self) -> None:
        """Wait until what is on the way was painted."""
        await self._acked.wait()

    def leave(self, *, slow: bool = False) -> None:
        """Leave the hub; ``slow`` when it was thrown out."""
        self._hub.leave(self, slow=slow)

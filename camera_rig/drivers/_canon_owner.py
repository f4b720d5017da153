"""Keeps one Canon body at work: its worker, its live queue, and what happens on a loss."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from camera_rig.drivers._canon_link import WorkerLink
from camera_rig.drivers._canon_messages import BodyFacts, LiveNote
from camera_rig.errors import ConnectError, RigError

__all__ = ["CanonOwner", "LivePicture", "RestartPolicy"]

_RATE_WINDOW = 60
_RATE_MINIMUM = 8
_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How to find the body, and how long to go on after a loss.

    Args:
        serial: The body's own serial number.
        ports: Where to look for it.
        live_view_size: ``large`` or ``small``.
        open_s: Longest time for one search and opening, s.
        reconnect_s: Give up this long after a loss, s.
        stall_s: Live view without a picture for so long counts as a loss, s.
        queue_frames: Live pictures kept for a slow reader; older ones become gaps.
    """

    serial: str
    ports: tuple[str, ...]
    live_view_size: str
    open_s: float
    reconnect_s: float
    stall_s: float
    queue_frames: int


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One encoded live picture with its number and times (monotonic ns)."""

    sequence: int
    encoded: bytes
    asked_ns: int
    got_ns: int
    facts: dict[str, Any]


class CanonOwner:
    """Runs in the rig's process; all methods may be called from any thread."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.restarts = 0
        self.last_gap_s = 0.0
        self.dropped = 0
        self._changed = threading.Condition()
        self._queue: deque[LivePicture] = deque()
        self._newest: LivePicture | None = None
        self._arrivals: deque[int] = deque(maxlen=_RATE_WINDOW)
        self._fps = 0.0
        self._base = 0
        self._resumed: dict[str, Any] | None = None
        self._settings: dict[str, str] = {}
        self._streaming = False
        self._closing = False
        self._failure: RigError | None = None
        self._link: WorkerLink | None = None
        self._opening: WorkerLink | None = None
        self._restart: threading.Thread | None = None
        self.facts = self._open("")

    @property
    def live_fps(self) -> float:
        """Live pictures per second over the last 60 of them; 0 before the first eight."""
        return self._fps

    @property
    def worker_pid(self) -> int:
        """Process id of the worker, 0 while there is none."""
        link = self._link
        return link.process.pid if link is not None else 0

    def ask(self, name: str, *args: Any, timeout_s: float = 30.0, kill: bool = True) -> Any:
        """Have the worker do something; see :meth:`WorkerLink.ask`."""
        return self._linked().ask(name, *args, timeout_s=timeout_s, kill=kill)

    def apply(self, values: dict[str, str]) -> None:
        """Set camera settings by name, and again after every restart."""
        self.ask("set", values)
        self._settings.update(values)

    def read_still(self, offset: int, length: int) -> bytes:
        """Return bytes of the last still."""
        return self._linked().frames.read_still(offset, length)

    def start(self) -> None:
        """Start live view; numbers begin at 0."""
        link = self._linked()
        with self._changed:
            self._queue.clear()
            self._arrivals.clear()
            self._newest, self._resumed, self._base = None, None, 0
            self._streaming = True
        link.ask("start", self.policy.live_view_size, timeout_s=10)
        link.streaming = True

    def stop(self) -> None:
        """Stop live view, whatever state the link is in."""
        with self._changed:
            self._streaming = False
            link = self._link
        if link is not None:
            link.streaming = False
            link.ask("stop", timeout_s=10)

    def next(self, timeout_s: float) -> LivePicture | None:
        """Return the oldest picture not yet handed out, or None after ``timeout_s`` (s).

        Raises:
            ConnectError: The body was lost and did not come back in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._failure, timeout_s)
            if self._queue:
                return self._queue.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    def newest(self) -> LivePicture | None:
        """Return the newest picture without taking it."""
        with self._changed:
            return self._newest

    def close(self) -> None:
        """End the worker and, if one runs, the attempt to come back."""
        with self._changed:
            self._closing = True
            link, self._link = self._link, None
            opening, restart = self._opening, self._restart
            self._changed.notify_all()
        if opening is not None:
            opening.process.kill()  # it may be in the midst of a long search
        if restart is not None:
            restart.join()
        if link is not None:
            link.close()

    def _linked(self) -> WorkerLink:
        with self._changed:
            if self._link is not None:
                return self._link
            raise self._failure or ConnectError(
                "the camera was lost and is being looked for",
                hint="wait a few seconds; `rig camera info` shows when it is back",
            )

    def _open(self, hint: str) -> BodyFacts:
        link = WorkerLink(self._on_live, self._on_lost, self.policy.stall_s)
        p = self.policy
        with self._changed:
            self._opening = link
        try:
            facts: BodyFacts = link.ask(
                "open", p.serial, p.ports, hint, p.live_view_size, timeout_s=p.open_s
            )
            if self._settings:
                link.ask("set", self._settings, timeout_s=30)
            if self._streaming:
                link.ask("start", p.live_view_size, timeout_s=10)
                link.streaming = True
        except BaseException:
            link.close()
            raise
        finally:
            with self._changed:
                self._opening = None
        with self._changed:
            closing = self._closing
            self._link = None if closing else link
        if closing:
            link.close()
        elif link.ended is not None:
            self._on_lost(link, link.ended)
        return facts

    def _on_live(self, note: LiveNote, data: bytes) -> None:
        with self._changed:
            facts: dict[str, Any] = {}
            if self._resumed is not None:
                facts = self._resume(note)
            picture = LivePicture(
                self._base + note.sequence, data, note.asked_ns, note.got_ns, facts
            )
            self._arrivals.append(note.got_ns)
            if len(self._arrivals) >= _RATE_MINIMUM:
                span_ns = self._arrivals[-1] - self._arrivals[0]
                self._fps = (len(self._arrivals) - 1) * 1e9 / span_ns
            self._newest = picture
            self._queue.append(picture)
            while len(self._queue) > self.policy.queue_frames:
                self._queue.popleft()
                self.dropped += 1
            self._changed.notify_all()

    def _resume(self, note: LiveNote) -> dict[str, Any]:
        """Number the first picture after a loss so that the gap has its true length."""
        resumed, self._resumed = self._resumed, None
        assert resumed is not None  # noqa: S101 - narrows for the type checker
        last = self._newest
        lost = 0
        if last is not None:
            self.last_gap_s = (note.got_ns - last.got_ns) * 1e-9
            lost = max(1, round(self.last_gap_s * resumed["fps"]) - 1)
            self._base = last.sequence + 1 + lost - note.sequence
        self._arrivals.clear()
        return {"restart": {"reason": resumed["reason"], "gap_s": self.last_gap_s, "lost": lost}}

    def _on_lost(self, lost: WorkerLink, reason: RigError) -> None:
        with self._changed:
            if self._closing or self._link is not lost:
                return  # the end was wanted, or opening failed and tells so itself
            self._link = None
            self._resumed = {"reason": reason.message, "fps": self._fps}
            self._restart = threading.Thread(
                target=self._come_back, args=(lost, reason), name="canon-restart", daemon=True
            )
            self._restart.start()

    def _come_back(self, lost: WorkerLink, reason: RigError) -> None:
        lost.close()
        until_s = time.monotonic() + self.policy.reconnect_s
        error: RigError = reason
        while not self._closing and time.monotonic() < until_s:
            try:
                self.facts = self._open(self.facts.port)
            except RigError as failed:
                error = failed
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _PAUSE_S)
                continue
            self.restarts += 1
            return
        with self._changed:
            self._failure = ConnectError(
                f"the camera was lost ({reason.message}) and did not come back within "
                f"{self.policy.reconnect_s:g} s: {error.message}",
                hint="check cable and power, then close and open the rig",
            )
            self._changed.notify_all()

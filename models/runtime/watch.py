"""Watching the mirror: no frame is shown that it did not stand for, before and after.

One thread owns the mirror. It loads the private shape, reads it back whenever a frame has
come (and a few times a second without one), and tries to restore it when it was lost. A
frame counts as confirmed when one read-back that ended before its exposure began and one
that began after its delivery both found the shape, and none between found anything else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from camera_rig.contracts import Mirror
from camera_rig.errors import RigError
from camera_rig.private_shape import PrivateShape, private_shape
from camera_rig.rig import Rig
from models.runtime.live_data import MirrorState, PrivacyFrame

__all__ = ["Confirmed", "MirrorWatch", "Stated"]

_log = logging.getLogger(__name__)
MARGIN_S = 0.08
"""What stamp and shutter of a camera may be off: the exposure is taken as this much longer."""

PERIOD_S = 0.1
_TEMPERATURE_PERIOD_S = 1.0
_CHECKS_PERIOD_S = 5.0


class Confirmed:
    """Proof that the mirror stood before and after an exposure; made by the watch alone."""

    __slots__ = ()


class Stated(Confirmed):
    """A person's statement in place of the proof, for files: the mirror is long gone."""

    __slots__ = ()


class MirrorWatch:
    """Owns a rig's mirror while a live view runs. Call :meth:`run` on a thread of its own.

    Args:
        rig: Open rig with a mirror.
        recover_s: Pause between tries to bring the shape back, s.
        checks: Further reasons not to show anything, asked every few seconds.
    """

    def __init__(
        self, rig: Rig, recover_s: float, checks: Sequence[Callable[[], Sequence[str]]] = ()
    ) -> None:
        self._rig, self._recover_s, self._checks = rig, recover_s, tuple(checks)
        self._mirror_lock = threading.RLock()  # whoever talks to the mirror holds it
        self._state = threading.Condition()
        self._stack = ExitStack()
        self._asked = self._stopped = False
        self._moved_by_user = False
        self._good_from_ns: int | None = None
        self._good_to_ns = self._checked_ns = 0
        self._reasons: tuple[str, ...] = ("the private shape is not loaded yet",)
        self._standing: tuple[str, ...] = ()
        self._temperatures_c: dict[str, float] = {}
        self._tried_s = self._temperature_s = self._checks_s = float("-inf")
        self.shape: PrivateShape | None = None

    def run(self) -> None:
        """Watch until :meth:`stop`."""
        while not self._stopped:
            self.look()
            with self._state:
                if not self._asked and not self._stopped:
                    self._state.wait(PERIOD_S)
                self._asked = False

    def look(self) -> None:
        """Ask the mirror once, restoring the shape first where that is due."""
        with self._mirror_lock:
            if self._stopped:
                return
            now_s = self._now_s()
            if self.shape is None and now_s - self._tried_s >= self._recover_s:
                self._load()
            was_lost = self._good_from_ns is None
            begin_ns = self._rig.clock.now_ns()
            why = self._why_not()
            self._note(why, begin_ns)
            # One answer that did not come is no reason to walk the mirror: ask twice.
            due = was_lost and now_s - self._tried_s >= self._recover_s
            if why and due and not self._moved_by_user:
                self._load()
            elif not why:
                self._moved_by_user = False
                self._ask_further(now_s)

    def stop(self) -> None:
        """End :meth:`run`, and leave the session with the mirror."""
        with self._state:
            self._stopped = True
            self._state.notify_all()
        with self._mirror_lock:
            self._note(("the live view has ended",), self._rig.clock.now_ns())
            self._stack.close()
            self.shape = None

    def ask(self) -> None:
        """Ask for a read-back now: a frame has come."""
        with self._state:
            self._asked = True
            self._state.notify_all()

    def confirm(self, frame: PrivacyFrame, timeout_s: float) -> Confirmed | str:
        """Return the proof for a frame, or why there is none; waits for the read-back after it.

        Args:
            frame: As it came from the camera.
            timeout_s: Longest wait of real time, s.
        """
        until_s = time.monotonic() + timeout_s
        before_ns = frame.captured_ns - round((frame.exposure_s + MARGIN_S) * 1e9)
        with self._state:
            while True:
                if self._good_from_ns is None:
                    return self._reasons[0] if self._reasons else "the mirror was not asked yet"
                if self._good_from_ns > before_ns:
                    return "the mirror has only just been confirmed"
                if self._good_to_ns >= frame.received_ns:
                    return Confirmed()
                left_s = until_s - time.monotonic()
                if left_s <= 0 or self._stopped:
                    return "the mirror did not answer in time"
                self._state.wait(left_s)

    def why_not(self) -> list[str]:
        """Ask the mirror now; reasons why faces may not be hidden. Safe from any thread."""
        with self._mirror_lock:
            begin_ns = self._rig.clock.now_ns()
            why = self._why_not()
            self._note(why, begin_ns)
            return list(why)

    @contextmanager
    def borrowed(self) -> Iterator[Mirror]:
        """Lend the mirror; nothing is shown until it is read back in its shape again."""
        with self._mirror_lock:
            self._moved_by_user = True
            self._note(("the mirror is being moved",), self._rig.clock.now_ns())
            try:
                yield self._rig.mirror
            finally:
                self._note(("the mirror was moved",), self._rig.clock.now_ns())
        self.ask()

    def restore(self) -> None:
        """Load the private shape again now.

        Raises:
            RigError: It cannot be loaded; the live view stays blank.
        """
        with self._mirror_lock:
            self._moved_by_user = False
            self._note(("the mirror is being moved",), self._rig.clock.now_ns())
            self._enter()
        self.ask()

    @property
    def standing(self) -> tuple[str, ...]:
        """Reasons of the further checks, as last asked."""
        with self._state:
            return self._standing

    def state(self) -> MirrorState:
        """Return how the mirror was when last asked."""
        with self._state:
            now_ns = self._rig.clock.now_ns()
            return MirrorState(
                confirmed=self._good_from_ns is not None,
                reasons=self._reasons,
                age_s=(now_ns - self._checked_ns) * 1e-9 if self._checked_ns else None,
                temperatures_c=dict(self._temperatures_c),
                shape="" if self.shape is None else self.shape.source.name,
            )

    def _now_s(self) -> float:
        return self._rig.clock.now_ns() * 1e-9

    def _why_not(self) -> tuple[str, ...]:
        if self.shape is None:
            return self._reasons or ("the private shape is not loaded",)
        return tuple(self.shape.why_not(self._rig.mirror))

    def _note(self, why: Sequence[str], begin_ns: int) -> None:
        with self._state:
            self._checked_ns = self._rig.clock.now_ns()
            self._reasons = tuple(why)
            if why:
                self._good_from_ns = None
            else:
                if self._good_from_ns is None:
                    self._good_from_ns = self._checked_ns
                self._good_to_ns = begin_ns
            self._state.notify_all()

    def _load(self) -> None:
        """Try to get the shape onto the mirror; a failure is told as the reason."""
        self._tried_s = self._now_s()
        try:
            mirror = self._rig.mirror
            if self.shape is not None and not mirror.health().ok:
                mirror.close()  # a lost link stays lost until it is opened anew
            if not mirror.is_open:
                mirror.open()
            self._enter()
            _log.info("private_shape_loaded")
        except RigError as error:
            _log.warning("private_shape_not_loaded", extra={"why": error.message})
            self._note((error.message,), self._rig.clock.now_ns())

    def _enter(self) -> None:
        self._stack.close()
        self.shape = None
        self.shape = self._stack.enter_context(private_shape(self._rig))

    def _ask_further(self, now_s: float) -> None:
        if now_s - self._temperature_s >= _TEMPERATURE_PERIOD_S:
            self._temperature_s = now_s
            try:
                self._temperatures_c = dict(self._rig.mirror.temperatures_c())
            except RigError as error:
                self._note((f"the mirror does not answer: {error.message}",), self._checked_ns)
        if self._checks and now_s - self._checks_s >= _CHECKS_PERIOD_S:
            self._checks_s = now_s
            found: list[str] = []
            for check in self._checks:
                try:
                    found += check()
                except RigError as error:
                    found.append(error.message)
            with self._state:
                self._standing = tuple(found)

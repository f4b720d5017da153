"""One writer at a time: a lease that dies without signs of life, and what then happens."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from camera_rig.contracts import Clock
from camera_rig.errors import RigError, StateError

_log = logging.getLogger(__name__)

_KEPT_REPLIES = 256


@dataclass
class _Holder:
    """The one writer: its lease, its last sign of life, its last commands."""

    lease: str
    client: str
    nonce: str
    seen_ns: int
    last_sequence: int = 0
    replies: OrderedDict[int, tuple[Any, Any]] = field(default_factory=OrderedDict)


class LeaseKeeper:
    """Grants, renews and ends the lease of one device.

    The keeper promises: at most one lease lives; after the end of a lease nothing is
    granted until ``make_safe`` has worked; a command is run once, however often it is
    sent; a late repeat of an old command is refused.

    All methods must be called from the device's own thread, but for :attr:`writer` and
    :meth:`beat`, which may come from any: a long move must not silence its own client.

    Args:
        clock: The host's clock.
        timeout_s: Life of a lease without a sign of life, s.
        make_safe: Brings the device to its safe state; called after each lease.
    """

    def __init__(self, clock: Clock, timeout_s: float, make_safe: Callable[[], None]) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._make_safe = make_safe
        self._holder: _Holder | None = None
        self._unsafe: str | None = None
        self._lock = threading.Lock()

    @property
    def writer(self) -> str | None:
        """Name of the client that holds the lease, or None."""
        with self._lock:
            return None if self._holder is None else self._holder.client

    def acquire(self, client: str, nonce: str) -> str:
        """Grant the lease and return its id; a repeat with the same nonce gets the same.

        Raises:
            StateError: Somebody else holds it, or the device is not safe yet.
        """
        self.tick()
        if self._holder is not None and secrets.compare_digest(
            self._holder.nonce.encode(), nonce.encode()
        ):
            return self._holder.lease
        if self._holder is not None:
            raise StateError(
                f"{self._holder.client!r} is writing to this device",
                hint="wait until it ends, or read only; two writers are never allowed",
            )
        if self._unsafe is not None:
            raise StateError(
                f"the device could not be brought to its safe state: {self._unsafe}",
                hint="check the device at its host; no lease is given before it is safe",
            )
        with self._lock:
            lease = secrets.token_urlsafe(16)
            self._holder = _Holder(lease, client, nonce, self._clock.now_ns())
        _log.info("lease_granted", extra={"client": client})
        return lease

    def beat(self, lease: str) -> None:
        """Take a sign of life.

        Raises:
            StateError: This lease is over.
        """
        with self._lock:
            holder = self._held(lease)
            if self._silent_s(holder) > self.timeout_s:
                raise _over()  # tick() will end it; a sign of life cannot bring it back
            holder.seen_ns = self._clock.now_ns()

    def release(self, lease: str) -> None:
        """End the lease in order; the device goes to its safe state."""
        self._held(lease)
        self._end("released")

    def run(
        self, lease: str, sequence: int, asked: Any, work: Callable[[], Any]
    ) -> tuple[Any, bool]:
        """Run a command once; return its result, and whether it was run before.

        Args:
            lease: Of the caller.
            sequence: Grows by command within a lease.
            asked: Digest of the command, to tell a repeat from another one.
            work: Does it. An error is an answer too, and is not retried.

        Raises:
            StateError: The lease is over, the number was used for something else, or
                a later command was run already.
            RigError: From ``work``.
        """
        self.tick()
        holder = self._held(lease)
        holder.seen_ns = self._clock.now_ns()
        if sequence in holder.replies:
            before, answer = holder.replies[sequence]
            if before != asked:
                raise StateError(
                    f"command {sequence} was another one", hint="number each command anew"
                )
            return _answered(answer), True
        if sequence <= holder.last_sequence:
            raise StateError(
                f"command {sequence} is older than command {holder.last_sequence}",
                hint="it was overtaken and was not run; send a new one",
            )
        holder.last_sequence = sequence
        answer = _attempt(work)
        holder.replies[sequence] = (asked, answer)
        while len(holder.replies) > _KEPT_REPLIES:
            holder.replies.popitem(last=False)
        # A long command is a sign of life itself.
        holder.seen_ns = self._clock.now_ns()
        return _answered(answer), False

    def tick(self) -> None:
        """End a lease that gave no sign of life; try again to reach the safe state."""
        holder = self._holder
        if holder is not None:
            silent_s = self._silent_s(holder)
            if silent_s > self.timeout_s:
                _log.warning("lease_lost", extra={"client": holder.client, "silent_s": silent_s})
                self._end("lost")
        elif self._unsafe is not None:
            self._go_safe()

    def close(self) -> None:
        """End any lease: the server stops."""
        if self._holder is not None:
            self._end("server stopped")

    def _held(self, lease: str) -> _Holder:
        holder = self._holder
        if holder is None or not secrets.compare_digest(holder.lease.encode(), lease.encode()):
            raise _over()
        return holder

    def _silent_s(self, holder: _Holder) -> float:
        return (self._clock.now_ns() - holder.seen_ns) * 1e-9

    def _end(self, why: str) -> None:
        with self._lock:
            self._holder = None
            self._unsafe = why
        self._go_safe()

    def _go_safe(self) -> None:
        try:
            self._make_safe()
        except RigError as error:
            self._unsafe = error.message
            _log.error("not_safe", extra={"why": error.message})
        else:
            self._unsafe = None


def _over() -> StateError:
    return StateError(
        "this lease is over; the device went to its safe state",
        hint="close the device and open it again, then look before you write",
    )


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RigError as error:
        return error


def _answered(answer: Any) -> Any:
    if isinstance(answer, RigError):
        raise answer
    return answer

"""Two-step Ctrl-C: the first waits for a safe point, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["SafeInterrupt"]


class SafeInterrupt:
    """Delay Ctrl-C to a point where stopping loses nothing.

    Inside the ``with`` block the first Ctrl-C only sets :attr:`requested`; the work
    calls :meth:`check` wherever it may stop, and there the KeyboardInterrupt is
    raised. A second Ctrl-C raises at once. Outside the main thread (where Python
    delivers no signals) it only answers what :meth:`request` was told.

    Args:
        on_first: Called at the first Ctrl-C, for example to print that it waits.
        also: Further signals to treat like Ctrl-C, by name; those that this platform
            does not have are passed over.
    """

    def __init__(
        self, on_first: Callable[[], None] | None = None, also: Sequence[str] = ()
    ) -> None:
        self._requested = threading.Event()
        self._on_first = on_first
        self._also = also
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask to stop at the next safe point, as the first Ctrl-C does."""
        self._requested.set()

    def check(self) -> None:
        """Raise KeyboardInterrupt here if a stop was asked for: this is a safe point."""
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        """Take over SIGINT, and what else was named, when this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name, None) for name in ("SIGINT", *self._also)]
            for number in filter(None, numbers):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self._requested.set()
        if self._on_first is not None:
            self._on_first()

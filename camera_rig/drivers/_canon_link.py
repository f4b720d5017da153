"""The owner's end of one worker process: start it, ask it, hear it, end it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any

from camera_rig.drivers._canon_messages import Answer, Command, LiveNote, Lost
from camera_rig.drivers._shared_frames import SharedFrames
from camera_rig.errors import ConnectError, RigError, RigTimeoutError

__all__ = ["WorkerLink"]

_log = logging.getLogger(__name__)

_LISTEN_S = 0.25
_FAREWELL_S = 5.0


class WorkerLink:
    """A worker process, from its start to its end. Never restarts itself.

    A plain subprocess, not multiprocessing: that one imports the caller's main script
    again, which breaks scripts without a main guard and runs ``rig`` twice.

    Args:
        on_live: Called with each live frame's note and bytes, from the listening thread.
        on_lost: Called once, from the listening thread, when the worker is gone without
            having been told to; with the reason.
        stall_s: A worker that streams but sends nothing for so long is killed, s.
    """

    def __init__(
        self,
        on_live: Callable[[LiveNote, bytes], None],
        on_lost: Callable[[WorkerLink, RigError], None],
        stall_s: float,
    ) -> None:
        self._on_live, self._on_lost = on_live, on_lost
        self._stall_s = stall_s
        self._numbers = itertools.count()
        self._waiting: dict[int, SimpleQueue[Answer]] = {}
        self._sending = threading.Lock()
        self._closing = False
        self._heard_s = time.monotonic()
        self.streaming = False
        self.overrun = 0
        self.ended: RigError | None = None
        self.frames = SharedFrames()
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-m", "camera_rig.drivers._canon_worker"]
        descriptors = (theirs.fileno(), self.frames.descriptor)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self.process = subprocess.Popen(
            [*command, *map(str, descriptors)],
            pass_fds=descriptors,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=self._words,
        )
        theirs.close()
        self._link = Connection(ours.detach())
        self._listener = threading.Thread(target=self._listen, name="canon-link", daemon=True)
        self._listener.start()

    def ask(self, name: str, *args: Any, timeout_s: float, kill: bool = True) -> Any:
        """Have the worker do something and return its answer.

        A worker that does not answer in time is killed, unless ``kill`` is False:
        nobody knows what it is doing.

        Raises:
            RigError: Whatever the worker met.
            ConnectError: The worker is gone.
            RigTimeoutError: No answer within ``timeout_s`` (s).
        """
        number = next(self._numbers)
        answers: SimpleQueue[Answer] = SimpleQueue()
        self._waiting[number] = answers
        try:
            with self._sending:
                self._link.send(Command(number, name, args))
            answer = answers.get(timeout=timeout_s)
        except OSError as error:
            raise _gone(self.process.poll()) from error
        except Empty as error:
            if kill:
                self.process.kill()
            raise RigTimeoutError(
                f"the camera did not answer {name!r} within {timeout_s:g} s",
                hint="check the cable, or switch the camera off and on",
            ) from error
        finally:
            self._waiting.pop(number, None)
        if answer.error is not None:
            raise answer.error
        return answer.value

    def close(self) -> None:
        """Let the worker put the camera down; kill it if it takes too long."""
        self._closing = True
        with contextlib.suppress(OSError), self._sending:  # it may be gone already
            self._link.send(Command(next(self._numbers), "close", ()))
        try:
            self.process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if threading.current_thread() is not self._listener:
            self._listener.join()
        self._link.close()
        self._words.close()
        self.frames.close()

    def _listen(self) -> None:
        reason: RigError | None = None
        try:
            while True:
                if not self._link.poll(_LISTEN_S):
                    if self.streaming and time.monotonic() - self._heard_s > self._stall_s:
                        reason = RigTimeoutError(
                            f"live view stood still for {self._stall_s:g} s",
                            hint="check the cable; the camera may have opened a menu",
                        )
                        self.process.kill()
                    continue
                self._heard_s = time.monotonic()
                message = self._link.recv()
                if isinstance(message, LiveNote):
                    self._take(message)
                elif isinstance(message, Answer):
                    if message.number in self._waiting:
                        self._waiting[message.number].put(message)
                elif isinstance(message, Lost):
                    reason = message.error
        except (EOFError, OSError):
            pass  # the worker's end is closed: it has ended, or has been ended
        self._end(reason)

    def _take(self, note: LiveNote) -> None:
        data = self.frames.read_live(note.sequence, note.length)
        if data is None:
            self.overrun += 1
        else:
            self._on_live(note, data)

    def _end(self, reason: RigError | None) -> None:
        if self._closing:
            return
        code = self.process.wait()
        error = reason or _gone(code)
        self._words.seek(0)
        words = self._words.read()[-2000:].decode(errors="replace")
        _log.warning("canon_worker_ended %s: %s %s", code, error.message, words)
        for answers in list(self._waiting.values()):
            answers.put(Answer(-1, None, error))
        self.ended = error
        self._on_lost(self, error)


def _gone(code: int | None) -> ConnectError:
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with {code}"
    return ConnectError(
        f"the camera's process is gone ({how})",
        hint="it is started again by itself; if this repeats, switch the camera off and on",
    )

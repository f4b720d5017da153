"""The process that owns one camera body: commands in, answers and frames out.

A crash, a hang or a leak in the C library ends here and nowhere else. Run by the
owner as ``python -m camera_rig.drivers._canon_worker SOCKET_FD FRAMES_FD``.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from camera_rig.drivers._canon_messages import Answer, Command, LiveNote, Lost
from camera_rig.drivers._shared_frames import SharedFrames
from camera_rig.errors import ConnectError, RigError, StateError

_KEEP_AWAKE_S = 2.0
_STALL_S = 5.0


class _Worker:
    def __init__(self, link: Connection, frames: SharedFrames) -> None:
        # The library reads its settings file from HOME when it is loaded.
        from camera_rig.drivers import _canon_body

        self._library = _canon_body
        self._failures = (RigError, _canon_body.LIBRARY_ERROR)
        self._link = link
        self._frames = frames
        self._body: _canon_body.CanonBody | None = None
        self._streaming = False
        self._sequence = 0
        self._last_good_s = 0.0
        self._commands: dict[str, Callable[..., Any]] = {
            "list": self._library.list_bodies,
            "open": self._open,
            "set": self._set,
            "read": self._read,
            "settings": lambda: self._opened.settings(),
            "start": self._start,
            "stop": self._stop,
            "snap_live": lambda: self._opened.snap_live(self._frames),
            "still": lambda files, s: self._opened.still(self._frames, files, s),
            "status": self._status,
        }

    @property
    def _opened(self) -> Any:
        if self._body is None:
            raise StateError("the worker has no camera", hint="open the camera first")
        return self._body

    def run(self) -> None:
        """Serve until the owner closes the link or the body is lost."""
        try:
            while self._turn():
                pass
        except (EOFError, BrokenPipeError):
            return  # the owner is gone
        finally:
            if self._body is not None:
                self._body.close()

    def _turn(self) -> bool:
        wait_s = 0.0 if self._streaming else _KEEP_AWAKE_S
        if self._link.poll(wait_s):
            command: Command = self._link.recv()
            if command.name == "close":
                return False
            return self._answer(command)
        if self._body is None:
            return True
        try:
            if self._streaming:
                self._stream_one()
            else:
                self._body.drain()  # also keeps the body awake
                self._last_good_s = time.monotonic()
        except self._failures as error:
            return self._survive(error)
        return True

    def _answer(self, command: Command) -> bool:
        error: RigError | None = None
        value = None
        try:
            value = self._commands[command.name](*command.args)
        except self._failures as raised:
            error = self._library.as_rig_error(raised, command.name.replace("_", " "))
        self._last_good_s = time.monotonic()
        self._link.send(Answer(command.number, value, error))
        if isinstance(error, ConnectError) and command.name != "open":
            self._link.send(Lost(error))
            return False
        return True

    def _open(self, serial: str, ports: tuple[str, ...], hint: str, size: str) -> Any:
        self._body = self._library.CanonBody.find(serial, ports, hint)
        self._last_good_s = time.monotonic()
        return self._body.prepare(size)

    def _set(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            try:
                self._opened.set(name, value)
            except self._failures as error:
                raise self._library.as_rig_error(error, f"setting {name} to {value}") from error

    def _read(self, names: tuple[str, ...]) -> dict[str, str]:
        return {name: self._opened.text(name, "") for name in names}

    def _start(self, live_view_size: str) -> None:
        size = live_view_size.capitalize()
        if self._opened.text("liveviewsize", size) != size:
            self._opened.set("liveviewsize", size)
        self._streaming, self._sequence = True, 0
        self._last_good_s = time.monotonic()

    def _stop(self) -> None:
        self._streaming = False

    def _stream_one(self) -> None:
        asked_ns = time.monotonic_ns()
        file = self._opened.live_frame()
        got_ns = time.monotonic_ns()
        data = file.get_data_and_size()  # dies with ``file``, which must outlive the copy
        self._frames.write_live(self._sequence, data)
        self._link.send(LiveNote(self._sequence, len(data), asked_ns, got_ns))
        self._sequence += 1
        self._last_good_s = time.monotonic()

    def _survive(self, error: Exception) -> bool:
        """Bear a busy body for a while; anything else ends the worker, and tells why."""
        found = self._library.as_rig_error(
            error, "live view" if self._streaming else "keeping awake"
        )
        patient = time.monotonic() - self._last_good_s < _STALL_S
        if patient and not isinstance(found, ConnectError):
            time.sleep(0.02)
            return True
        self._link.send(Lost(found))
        return False

    def _status(self) -> dict[str, float]:
        battery = self._opened.text("batterylevel", "").rstrip("%")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        facts = {
            "stray_files": float(self._opened.stray_files),
            "worker_peak_rss_mb": peak / 1024 if sys.platform == "linux" else peak / 2**20,
        }
        if battery.isdigit():
            facts["battery_percent"] = float(battery)
        return facts


def main(link_descriptor: int, frames_descriptor: int) -> None:
    """Serve one owner until it goes away."""
    # Ctrl-C reaches the whole terminal group; the owner decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix="camera-rig-home-") as home:
        os.environ["HOME"] = home  # libgphoto2 keeps capturetarget in a file there
        link = Connection(link_descriptor)
        frames = SharedFrames(frames_descriptor)
        try:
            _Worker(link, frames).run()
        finally:
            link.close()
            frames.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

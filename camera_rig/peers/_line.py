"""Two ways to be a serial device: a pseudo-terminal behind a stable name, or TCP.

Windows has no pseudo-terminals; pyserial's ``socket://`` reaches the TCP form there.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

__all__ = ["Line", "PtyLine", "TcpLine"]

Hear = Callable[[bytes], None]


class Line(Protocol):
    """A serial line seen from the device."""

    def plug(self) -> str:
        """Connect, and return the address for pyserial; the same after each plug."""
        ...

    def unplug(self) -> None:
        """Break the line at once."""
        ...

    def send(self, data: bytes) -> None:
        """Send bytes to the host; lost when nobody is there, as on a wire."""
        ...


class PtyLine:
    """A pseudo-terminal; a symbolic link keeps its name over unplugging."""

    def __init__(self, hear: Hear, link: Path) -> None:
        self._hear, self._link = hear, link
        self._ends: tuple[int, int] | None = None
        self._wake: tuple[int, int] | None = None
        self._listener: threading.Thread | None = None

    def plug(self) -> str:
        """Make a new pseudo-terminal behind the link."""
        import pty
        import tty

        master, slave = pty.openpty()
        tty.setraw(slave)
        self._ends = (master, slave)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(slave))
        self._wake = os.pipe()
        self._listener = threading.Thread(
            target=self._listen, args=(master, self._wake[0]), daemon=True
        )
        self._listener.start()
        return str(self._link)

    def unplug(self) -> None:
        """Close both ends; the host sees a hang-up."""
        if self._ends is None or self._wake is None or self._listener is None:
            return
        # A terminal stays alive while somebody reads it: end the reader first.
        os.write(self._wake[1], b"x")
        self._listener.join()
        self._link.unlink(missing_ok=True)
        for end in (*self._ends, *self._wake):
            os.close(end)
        self._ends = self._wake = self._listener = None

    def send(self, data: bytes) -> None:
        """Send bytes to the host."""
        if self._ends is not None:
            with contextlib.suppress(OSError):
                os.write(self._ends[0], data)

    def _listen(self, master: int, wake: int) -> None:
        while wake not in (ready := select.select([master, wake], [], [])[0]):
            if master in ready:
                self._hear(os.read(master, 4096))


class TcpLine:
    """A TCP port on loopback that serves one host at a time."""

    def __init__(self, hear: Hear, port: int = 0) -> None:
        self._hear, self._port = hear, port
        self._listener: socket.socket | None = None
        self._host: socket.socket | None = None

    def plug(self) -> str:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()
        return f"socket://127.0.0.1:{self._port}"

    def unplug(self) -> None:
        """Close the listener and the host's connection."""
        both = (self._listener, self._host)
        self._listener = self._host = None
        for one in both:
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def send(self, data: bytes) -> None:
        """Send bytes to the host."""
        if self._host is not None:
            with contextlib.suppress(OSError):
                self._host.sendall(data)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # unplugged
            while True:
                self._host, _ = listener.accept()
                self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(OSError):
                    while data := self._host.recv(4096):
                        self._hear(data)

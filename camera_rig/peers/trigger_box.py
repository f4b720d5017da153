"""A trigger box that is not there: LED, shutter and watchdog on a serial line.

Speaks the protocol of ``docs/light.md``, for which that page also has a firmware
sketch. On request it loses or delays replies and is unplugged.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.peers._line import Line, PtyLine, TcpLine
from camera_rig.peers.process import Command, serve_commands

__all__ = ["EmulatedTriggerBox", "TriggerBoxOptions", "serve"]

LED_FULL = 1000
_MAX_PULSE_MS = 10_000


class TriggerBoxOptions(BaseModel):
    """How the emulated box is.

    Args:
        serial: What ``*IDN?`` tells.
        transport: ``pty`` (Linux, macOS) or ``tcp`` (also Windows).
        link: Name of the pseudo-terminal; empty makes one in a temporary folder.
        banner: Text sent when a host connects, as boards do that reset on DTR.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: Annotated[str, Field(pattern=r"^\w+$")] = "SN0001"
    transport: Literal["pty", "tcp"] = "pty"
    link: str = ""
    banner: str = ""


class EmulatedTriggerBox:
    """The firmware: one line in, one line out, and a watchdog that makes it dark."""

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.led = 0
        self.shutter = False
        self.watchdog_s = 2.0
        self.pulse_until_s = 0.0
        self.dark_by_watchdog = 0
        self.dark_at_s = 0.0
        self._fed_s = time.monotonic()
        self._lock = threading.Lock()

    @property
    def output(self) -> float:
        """Light that leaves the box now, 0…1."""
        with self._lock:
            lit = self.shutter or time.monotonic() < self.pulse_until_s
            return self.led / LED_FULL if lit else 0.0

    def tick(self) -> None:
        """Make it dark when no command came for ``watchdog_s``."""
        with self._lock:
            late = time.monotonic() - self._fed_s > self.watchdog_s
            if late and (self.led or self.shutter or time.monotonic() < self.pulse_until_s):
                self.led, self.shutter, self.pulse_until_s = 0, False, 0.0
                self.dark_by_watchdog += 1
                self.dark_at_s = time.monotonic()

    def answer(self, line: str) -> str:
        """Return the reply to one command line, without line ends."""
        mark, _, rest = line.partition(" ") if line.startswith("#") else ("", "", line)
        with self._lock:
            self._fed_s = time.monotonic()
            reply = self._reply(rest.split())
        return f"{mark} {reply}" if mark else reply

    def _reply(self, words: list[str]) -> str:
        match words:
            case ["*IDN?"]:
                return f"OK SIMTRIG 1.0 {self.serial}"
            case ["PING"]:
                return "OK"
            case ["SET", name, text] if text.isdigit():
                return self._set(name, int(text))
            case ["PULSE", text] if text.isdigit():
                if not 1 <= int(text) <= _MAX_PULSE_MS:
                    return "ERR 2 out of range"
                self.pulse_until_s = time.monotonic() + int(text) / 1000
                return f"OK {text}"
            case ["GET", "LED"]:
                return f"OK {self.led}"
            case ["GET", "SHUTTER"]:
                return f"OK {int(self.shutter)}"
            case ["GET", "WATCHDOG"]:
                return f"OK {round(self.watchdog_s * 1000)}"
            case _:
                return "ERR 1 unknown command"

    def _set(self, name: str, value: int) -> str:
        if name == "LED" and value <= LED_FULL:
            self.led = value
        elif name == "SHUTTER" and value <= 1:
            self.shutter = bool(value)
        elif name == "WATCHDOG" and 100 <= value <= 60_000:
            self.watchdog_s = value / 1000
        else:
            return "ERR 2 out of range"
        return f"OK {value}"


class _Service:
    """The box on its line, with the faults a wire can have."""

    def __init__(self, options: TriggerBoxOptions) -> None:
        self.box = EmulatedTriggerBox(options.serial)
        self.lose = 0
        self.late_s = 0.0
        self._banner = options.banner
        self._greeted = False
        self._rest = b""
        self.line: Line
        if options.transport == "tcp":
            self.line = TcpLine(self.hear)
        else:
            name = options.link or f"{tempfile.mkdtemp(prefix='rig-peer-')}/trigger-box"
            self.line = PtyLine(self.hear, Path(name))
        threading.Thread(target=self._watch, daemon=True).start()

    def hear(self, data: bytes) -> None:
        if self._banner and not self._greeted:
            self._greeted = True
            self.line.send(self._banner.encode() + b"\r\n")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply = self.box.answer(line.decode(errors="replace").strip()).encode() + b"\n"
            if self.lose > 0:
                self.lose -= 1
            elif self.late_s > 0:
                threading.Timer(self.late_s, self.line.send, (reply,)).start()
                self.late_s = 0.0
            else:
                self.line.send(reply)

    def state(self, _: list[str]) -> dict[str, Any]:
        box = self.box
        return {
            "output": box.output,
            "led": box.led,
            "shutter": box.shutter,
            "dark_by_watchdog": box.dark_by_watchdog,
            "dark_at_s": box.dark_at_s,
            "watchdog_s": box.watchdog_s,
        }

    def _watch(self) -> None:
        while True:
            time.sleep(0.01)
            self.box.tick()


def serve(options: TriggerBoxOptions) -> None:
    """Run one box until standard input ends.

    Commands on standard input: ``state``, ``unplug``, ``plug``, ``lose N`` (replies),
    ``late SECONDS`` (the next reply), ``quit``.
    """
    service = _Service(options)

    def lose(words: list[str]) -> None:
        service.lose = int(words[0])

    def late(words: list[str]) -> None:
        service.late_s = float(words[0])

    commands: dict[str, Command] = {
        "state": service.state,
        "unplug": lambda _: service.line.unplug(),
        "plug": lambda _: {"port": service.line.plug()},
        "lose": lose,
        "late": late,
    }
    serve_commands({"port": service.line.plug(), "serial": options.serial}, commands)
    service.line.unplug()

"""A Thorlabs APT motor controller that is not there, on a pseudo-terminal.

Speaks the messages that a KDC101 with a linear stage speaks. On request it loses its
completion message, repeats an old one first, or is unplugged.
"""

from __future__ import annotations

import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.peers._line import PtyLine
from camera_rig.peers.process import Command, serve_commands

__all__ = ["AptOptions", "EmulatedApt", "serve"]

_HOST, _UNIT, _LONG = 0x01, 0x50, 0x80
_STEP_S = 0.005
_MOVING_FORWARD, _MOVING_REVERSE = 0x10, 0x20
_CONNECTED, _HOMING, _HOMED, _ENABLED = 0x100, 0x200, 0x400, 0x80000000
# Parameter requests and their answers' bodies after the channel number.
_PARAMETERS = {
    0x0414: (0x0415, struct.pack("<iii", 0, 4506, 1839000)),
    0x043B: (0x043C, struct.pack("<i", 3430)),
    0x0417: (0x0418, struct.pack("<HiiiiH", 2, 3430, 0, 4506, 1839000, 2)),
    0x0441: (0x0442, struct.pack("<HHii", 2, 1, 1839000, 0)),
}


class AptOptions(BaseModel):
    """How the emulated controller is.

    Args:
        serial: Eight digits; those of a KDC101 begin with 27.
        link: Name of the pseudo-terminal; empty makes one in a temporary folder.
        speed_counts_per_s: Speed of moves, counts/s.
        start_counts: Position at power-up, counts.
        travel_counts: The stage stops hard outside 0 to this, counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: Annotated[str, Field(pattern=r"^\d{8}$")] = "27000001"
    link: str = ""
    speed_counts_per_s: Annotated[float, Field(gt=0)] = 1_700_000.0
    start_counts: int = 171_520
    travel_counts: int = 1_715_200


class EmulatedApt:
    """The controller: messages in, a carriage that moves with time, messages out."""

    def __init__(self, options: AptOptions) -> None:
        self.options = options
        self.position = float(options.start_counts)
        self.homed = False
        self.enabled = True
        self.lose_completions = 0
        self.stale_completions = 0
        self.moves = 0
        self._target: float | None = None
        self._homing = False
        self._last_done = b""
        self._rest = b""
        self._lock = threading.Lock()
        name = options.link or f"{tempfile.mkdtemp(prefix='rig-peer-')}/apt"
        self.line = PtyLine(self.hear, Path(name))
        threading.Thread(target=self._run, daemon=True).start()

    def hear(self, data: bytes) -> None:
        """Take bytes from the host and act on whole messages."""
        self._rest += data
        while len(self._rest) >= 6:
            code, first, second, to, _ = struct.unpack("<HBBBB", self._rest[:6])
            size = 6 + (first | second << 8 if to & _LONG else 0)
            if len(self._rest) < size:
                return
            body, self._rest = self._rest[6:size], self._rest[size:]
            with self._lock:
                self._act(code, body)

    def _act(self, code: int, body: bytes) -> None:
        if code in _PARAMETERS:
            answer, parameters = _PARAMETERS[code]
            self._say(answer, struct.pack("<H", 1) + parameters)
        elif code == 0x0490:
            self._say(0x0491, self._status())
        elif code == 0x0005:
            info = struct.pack("<I8sH4s", int(self.options.serial), b"KDC101\0\0", 44, b"\1\0\2\0")
            self._say(0x0006, info.ljust(84, b"\0"))
        elif code == 0x0443:
            self._begin(0.0, homing=True)
        elif code == 0x0453 and len(body) >= 6:
            self._begin(float(struct.unpack_from("<i", body, 2)[0]))
        elif code == 0x0448 and len(body) >= 6:
            self._begin(self.position + struct.unpack_from("<i", body, 2)[0])
        elif code == 0x0465:
            self._target, self._homing = None, False
            self._say(0x0466, self._status())
        elif code == 0x0210:
            self.enabled = True

    def _begin(self, target: float, homing: bool = False) -> None:
        self.moves += 1
        self._target = min(max(target, 0.0), float(self.options.travel_counts))
        self._homing = homing
        if self.stale_completions > 0 and self._last_done:
            self.stale_completions -= 1
            self._say(0x0464, self._last_done)

    def leave_report(self) -> dict[str, bool]:
        """Leave a report in the line, as a session that just ended does."""
        self._say(0x0491, self._status())
        return {"left": True}

    def _status(self) -> bytes:
        bits = _CONNECTED | (_ENABLED if self.enabled else 0) | (_HOMED if self.homed else 0)
        speed = 0
        if self._target is not None:
            bits |= _MOVING_FORWARD if self._target > self.position else _MOVING_REVERSE
            bits |= _HOMING if self._homing else 0
            speed = 2048
        return struct.pack("<HiHHI", 1, round(self.position), speed, 0, bits)

    def _say(self, code: int, body: bytes) -> None:
        self.line.send(struct.pack("<HHBB", code, len(body), _HOST | _LONG, _UNIT) + body)

    def _run(self) -> None:
        while True:
            time.sleep(_STEP_S)
            with self._lock:
                self._advance()

    def _advance(self) -> None:
        if self._target is None:
            return
        step = self.options.speed_counts_per_s * _STEP_S
        way = self._target - self.position
        if abs(way) > step:
            self.position += step if way > 0 else -step
            return
        self.position, self._target = self._target, None
        if self._homing:
            self._homing, self.homed = False, True
            self.line.send(struct.pack("<HBBBB", 0x0444, 1, 0, _HOST, _UNIT))
            return
        self._last_done = self._status()
        if self.lose_completions > 0:
            self.lose_completions -= 1
        else:
            self._say(0x0464, self._last_done)


def serve(options: AptOptions) -> None:
    """Run one controller until standard input ends.

    Commands on standard input: ``state``, ``lose N`` (completions), ``stale N`` (repeat
    the last completion before N moves), ``unplug``, ``plug``, ``quit``.
    """
    unit = EmulatedApt(options)

    def lose(words: list[str]) -> None:
        unit.lose_completions = int(words[0])

    def stale(words: list[str]) -> None:
        unit.stale_completions = int(words[0])

    def state(_: list[str]) -> dict[str, Any]:
        return {"counts": unit.position, "homed": unit.homed, "moves": unit.moves}

    commands: dict[str, Command] = {
        "state": state,
        "lose": lose,
        "stale": stale,
        "leave_report": lambda _: unit.leave_report(),
        "unplug": lambda _: unit.line.unplug(),
        "plug": lambda _: {"port": unit.line.plug()},
    }
    serve_commands({"port": unit.line.plug(), "serial": options.serial}, commands)
    unit.line.unplug()

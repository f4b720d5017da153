"""Lamp, shutter and trigger box on a serial line (protocol: ``docs/light.md``).

One ASCII line per command and per reply. Each command carries a number that its
reply repeats, so a late reply is never taken for the answer to the next command. The
box makes itself dark when it hears nothing for the watchdog time; while it is open a
background thread keeps it fed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Annotated

from pydantic import Field
from serial import Serial, SerialException, serial_for_url

from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Health, Light
from camera_rig.errors import ConnectError, RigError, RigTimeoutError, UnsupportedError

__all__ = ["SerialLight", "SerialLightOptions"]

_log = logging.getLogger(__name__)

LED_FULL = 1000


def _line_errors() -> tuple[type[Exception], ...]:
    """What a dead line raises; on Linux also termios.error, which is no OSError."""
    try:
        import termios
    except ImportError:
        return (SerialException, OSError)
    return (SerialException, OSError, termios.error)


_LINE_ERRORS = _line_errors()


class SerialLightOptions(DriverOptions):
    """Which box and how.

    Args:
        serial: Serial number that ``*IDN?`` must tell; empty takes any.
        port: Serial port by a stable name (``/dev/serial/by-id/…``), or
            ``socket://HOST:PORT``.
        baud: Speed of the line, bit/s.
        reply_s: Longest wait for a reply, s.
        watchdog_s: The box goes dark after so long without a command, s.
        settle_s: Wait after opening, s; 2 for boards that reset all the same.
    """

    port: Annotated[str, Field(min_length=1)]
    baud: Annotated[int, Field(gt=0)] = 115200
    reply_s: Annotated[float, Field(gt=0)] = 0.5
    watchdog_s: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    settle_s: Annotated[float, Field(ge=0)] = 0.0


class SerialLight(Light):
    """An LED behind a shutter, driven by a small board."""

    Options = SerialLightOptions
    options: SerialLightOptions

    def __init__(self, options: SerialLightOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._line: Serial | None = None
        self._talking = threading.Lock()
        self._number = 0
        self._late_replies = 0
        self._round_trip_s = 0.0
        self._identity = ("", "", "")
        self._hungry = threading.Event()
        self._feeder: threading.Thread | None = None

    def _do_open(self) -> None:
        self._line = _open_line(self.options)
        self.clock.sleep(self.options.settle_s)
        words = self._identify()
        self._identity = (words[0], words[1], words[2])
        if self.options.serial not in ("", words[2]):
            raise ConnectError(
                f"{self.name}: the box at {self.options.port} is {words[2]}, "
                f"not {self.options.serial}",
                hint="check `port` and `serial` in the configuration",
            )
        self._ask(f"SET WATCHDOG {round(self.options.watchdog_s * 1000)}")
        self._do_shutter(False)
        self._do_set(0.0)
        self._hungry.clear()
        self._feeder = threading.Thread(target=self._feed, name="light-watchdog", daemon=True)
        self._feeder.start()

    def _identify(self) -> list[str]:
        """Ask who it is; the first try may meet the banner of a board that was reset."""
        try:
            words = self._ask("*IDN?").split()
        except RigTimeoutError:
            words = self._ask("*IDN?").split()
        if len(words) != 3:
            raise ConnectError(
                f"{self.name}: what answers at {self.options.port} is no trigger box: {words}",
                hint="check `port`; the reply to *IDN? must be: OK MODEL FIRMWARE SERIAL",
            )
        return words

    def _do_close(self) -> None:
        self._hungry.set()
        if self._feeder is not None:
            self._feeder.join()
            self._feeder = None
        line, self._line = self._line, None
        if line is not None:
            # pyserial forgets to close a socket whose other end is gone already.
            connection = getattr(line, "_socket", None)
            line.close()
            if connection is not None:
                connection.close()

    def _do_info(self) -> DeviceInfo:
        model, firmware, serial = self._identity
        return DeviceInfo(self.kind, model, serial, "serial", firmware)

    def _do_health(self) -> Health:
        readings = {"late_replies": float(self._late_replies)}
        try:
            readings["led"] = int(self._ask("GET LED")) / LED_FULL
            readings["shutter_open"] = float(self._ask("GET SHUTTER"))
        except RigError as error:
            return Health(False, readings, (error.message,))
        readings["round_trip_s"] = self._round_trip_s
        return Health(True, readings)

    def _do_set(self, level: float) -> None:
        self._ask(f"SET LED {round(level * LED_FULL)}")

    def _do_pulse(self, seconds: float) -> int:
        before_ns = self.clock.now_ns()
        self._ask(f"PULSE {max(1, round(seconds * 1000))}")
        return (before_ns + self.clock.now_ns()) // 2

    def _do_shutter(self, open: bool) -> None:
        self._ask(f"SET SHUTTER {int(open)}")

    def _feed(self) -> None:
        while not self._hungry.wait(self.options.watchdog_s / 3):
            try:
                self._ask("PING")
            except RigError as error:
                # The next call of the user meets the same fault and raises it.
                _log.warning("light_not_fed", extra={"device": self.name, "why": error.message})

    def _ask(self, command: str) -> str:
        """Send one command and return what follows OK in its reply."""
        with self._talking:
            line = self._line
            if line is None:
                raise ConnectError(f"{self.name} is closed", hint="open the rig first")
            self._number += 1
            mark = f"#{self._number}"
            began_s = time.monotonic()
            try:
                line.reset_input_buffer()
                line.write(f"{mark} {command}\n".encode())
                reply = self._reply(line, mark, began_s + self.options.reply_s)
            except _LINE_ERRORS as error:
                raise ConnectError(
                    f"{self.name}: the line to {self.options.port} is lost: {error}",
                    hint="check the cable; the box makes itself dark. Then open the rig again",
                ) from error
            self._round_trip_s = time.monotonic() - began_s
        return self._judged(command, reply)

    def _reply(self, line: Serial, mark: str, until_s: float) -> str | None:
        """Return the reply to ``mark`` without it; older replies are dropped and counted."""
        while (left_s := until_s - time.monotonic()) > 0:
            line.timeout = left_s
            words = line.read_until(b"\n")
            if not words.endswith(b"\n"):
                return None
            found, _, rest = words.decode("ascii", "replace").strip().partition(" ")
            if found == mark:
                return rest
            self._late_replies += 1
        return None

    def _judged(self, command: str, reply: str | None) -> str:
        if reply is None:
            raise RigTimeoutError(
                f"{self.name}: no reply to {command!r} within {self.options.reply_s:g} s",
                hint="check power and cable of the box; it goes dark by itself",
            )
        if reply == "OK" or reply.startswith("OK "):
            return reply[3:]
        raise UnsupportedError(
            f"{self.name}: the box refused {command!r}: {reply}",
            hint="compare its firmware with docs/light.md",
        )


def _open_line(options: SerialLightOptions) -> Serial:
    try:
        line = serial_for_url(
            options.port,
            baudrate=options.baud,
            timeout=options.reply_s,
            write_timeout=options.reply_s,
            do_not_open=True,
        )
        # Raised DTR resets Arduino-type boards: they would boot instead of answering.
        line.dtr = False
        if not options.port.startswith("socket://"):
            line.exclusive = True
        line.open()
    except (SerialException, OSError, ValueError) as error:
        raise ConnectError(
            f"the serial port {options.port} cannot be opened: {error}",
            hint="check cable and name; on Linux your user must be in the group dialout, "
            "and no other program may have the port",
        ) from error
    return line

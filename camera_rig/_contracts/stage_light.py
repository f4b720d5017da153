"""The stage and light contracts."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable

from camera_rig._contracts.data import DeviceKind
from camera_rig._contracts.device import Device
from camera_rig.errors import RigError, RigTimeoutError, SafetyError

_log = logging.getLogger(__name__)


class Stage(Device):
    """One linear axis.

    Not offered: relative moves (a repeated call would walk away) and homing on
    open (it drives the stage through whatever stands in its way).
    """

    kind = DeviceKind.STAGE

    @property
    @abstractmethod
    def limits_mm(self) -> tuple[float, float]:
        """Lowest and highest position, mm."""

    @property
    def position_mm(self) -> float:
        """Where the stage is now, mm, as read from it."""
        self._need_open()
        return self._do_position_mm()

    def move_to(self, position_mm: float, timeout_s: float) -> float:
        """Move and wait for completion; return the position read back, mm.

        Raises:
            SafetyError: The position is outside ``limits_mm`` or not a number.
            RigTimeoutError: Not there within ``timeout_s`` (s); the stage was halted.
        """
        self._need_open()
        low_mm, high_mm = self.limits_mm
        if not low_mm <= position_mm <= high_mm:
            raise SafetyError(
                f"{self.name}: {position_mm} mm is outside {low_mm:g} to {high_mm:g} mm",
                hint="choose a position inside the limits of the configuration",
            )
        self._guarded(lambda: self._do_move_to(position_mm, timeout_s))
        return self.position_mm

    def home(self, timeout_s: float = 60.0) -> None:
        """Find the reference switch, within ``timeout_s`` (s). Moves the stage."""
        self._need_open()
        self._guarded(lambda: self._do_home(timeout_s))

    def halt(self) -> None:
        """Stop any motion now; may come from another thread."""
        self._need_open()
        self._do_halt()

    def _guarded(self, motion: Callable[[], None]) -> None:
        try:
            motion()
        except (RigTimeoutError, KeyboardInterrupt):
            self._do_halt()
            raise

    @abstractmethod
    def _do_position_mm(self) -> float:
        """Read the position, mm."""

    @abstractmethod
    def _do_move_to(self, position_mm: float, timeout_s: float) -> None:
        """Move and return when the device says that it is there."""

    @abstractmethod
    def _do_home(self, timeout_s: float) -> None:
        """Home and return when done."""

    @abstractmethod
    def _do_halt(self) -> None:
        """Stop any motion."""


class Light(Device):
    """A lamp with a shutter. Dark and shut when opened, closed or lost.

    Not offered: "on" without a level. What was on is in every record.
    """

    kind = DeviceKind.LIGHT

    def set(self, level: float) -> None:
        """Set the brightness, 0 (off) to 1 (full).

        Raises:
            SafetyError: The level is outside 0…1 or not a number.
        """
        self._need_open()
        if not 0.0 <= level <= 1.0:
            raise SafetyError(f"{self.name}: level {level} is outside 0 to 1", hint="give 0 … 1")
        self._do_set(float(level))

    def pulse(self, seconds: float) -> int:
        """Flash at the set level for ``seconds`` (s, > 0, <= 10); return the start, ns."""
        self._need_open()
        if not 0.0 < seconds <= 10.0:
            raise SafetyError(
                f"{self.name}: a pulse of {seconds} s is outside 0 to 10 s",
                hint="use set() for a steady light",
            )
        return self._do_pulse(float(seconds))

    def shutter(self, open: bool) -> None:
        """Open or shut the shutter."""
        self._need_open()
        self._do_shutter(bool(open))

    def _before_close(self) -> None:
        try:
            self._do_shutter(False)
            self._do_set(0.0)
        except RigError as error:
            # A lost lamp shuts itself (watchdog); the close must still go on.
            _log.warning("light_not_shut", extra={"device": self.name, "why": error.message})

    @abstractmethod
    def _do_set(self, level: float) -> None:
        """Set the level, 0…1."""

    @abstractmethod
    def _do_pulse(self, seconds: float) -> int:
        """Flash; return the start on the rig clock, ns."""

    @abstractmethod
    def _do_shutter(self, open: bool) -> None:
        """Move the shutter."""

"""Thorlabs APT stages (KDC101, TDC001) through ``thorlabs-apt-device``.

That package is GPL-3 and optional (extra ``stage``): it is imported only when such a
stage is opened. It homes by itself unless told not to, fills its status in the
background, and does not say when the link is gone; all three are dealt with here.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Health, Stage
from camera_rig.errors import ConfigError, ConnectError, RigTimeoutError, StateError

__all__ = ["AptStage", "AptStageOptions"]

_STILL_REPORTS = 3
_DONE = ("mot_move_completed", "mot_move_homed")
_STOPPED = "mot_move_stopped"
_STATUS = ("mot_get_dcstatusupdate", "mot_get_statusupdate")


class AptStageOptions(DriverOptions):
    """Which controller, and what its counts mean.

    Args:
        serial: Eight digits on the controller's back.
        port: Serial port; empty finds it by the serial number.
        model: The controller.
        counts_per_mm: Encoder counts per mm of travel, from the stage's data sheet.
        limits_mm: Range that may be used on this bench, mm.
        tolerance_mm: How near to the goal counts as there, mm.
        reply_s: Longest wait for any report of the controller, s.
    """

    serial: Annotated[str, Field(pattern=r"^\d{8}$")]
    port: str = ""
    model: Literal["kdc101", "tdc001"] = "kdc101"
    counts_per_mm: Annotated[float, Field(gt=0)]
    limits_mm: tuple[float, float]
    tolerance_mm: Annotated[float, Field(gt=0)] = 0.005
    reply_s: Annotated[float, Field(gt=0)] = 2.0


class _Reports:
    """What the controller said, handed from the library's thread to ours."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._newest: Any = None
        self._events: list[Any] = []
        self.identity: Any = None

    def hear(self, message: Any) -> None:
        with self._changed:
            if message.msg in _STATUS:
                self._newest, self._count = message, self._count + 1
            elif message.msg in (*_DONE, _STOPPED):
                self._events.append(message)
            elif message.msg == "hw_get_info":
                self.identity = message
            self._changed.notify_all()

    def forget_events(self) -> None:
        with self._changed:
            self._events.clear()

    def next_event(self, timeout_s: float) -> Any:
        """Return the oldest completion or stop, or None after ``timeout_s`` (s)."""
        with self._changed:
            self._changed.wait_for(lambda: self._events, timeout_s)
            return self._events.pop(0) if self._events else None

    def fresh_status(self, timeout_s: float) -> Any:
        """Return a status asked for after this call, or None after ``timeout_s`` (s)."""
        with self._changed:
            # The next one may have been on its way already; the one after was not.
            wanted = self._count + 2
            self._changed.wait_for(lambda: self._count >= wanted, timeout_s)
            return self._newest if self._count >= wanted else None

    def wait_identity(self, timeout_s: float) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self.identity is not None, timeout_s)
            return self.identity


class AptStage(Stage):
    """One motorised axis on an APT controller.

    A move ends with the controller's completion message, and only if that message
    tells the position that was asked for: a late message of an earlier move does not
    count. Where the message is lost, the stage standing still at the goal over
    several reports is taken instead, and counted in :meth:`health`.

    Not offered: homing on open. It would drive the stage through whatever is in its
    way.
    """

    Options = AptStageOptions
    options: AptStageOptions

    def __init__(self, options: AptStageOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        low_mm, high_mm = options.limits_mm
        if not low_mm < high_mm:
            raise ConfigError(
                f"{self.name}: limits_mm {low_mm:g} to {high_mm:g} is empty",
                hint="give the lower limit first",
            )
        self._unit: Any = None
        self._reports = _Reports()
        self._lost_completions = self._stale_completions = 0

    @property
    def limits_mm(self) -> tuple[float, float]:
        """Lowest and highest position of the configuration, mm."""
        return self.options.limits_mm

    def _do_open(self) -> None:
        self._reports = _Reports()
        self._unit = _connect(self.options, self._reports.hear)
        found = self._reports.wait_identity(self.options.reply_s)
        if found is None:
            raise ConnectError(
                f"{self.name}: no APT controller answers at {self.options.port or 'its port'}",
                hint="check power and cable, and that no other program has the port",
            )
        if str(found.serial_number) != self.options.serial:
            raise ConnectError(
                f"{self.name}: the controller there has serial {found.serial_number}, "
                f"not {self.options.serial}",
                hint="check `port` and `serial` in the configuration",
            )
        self._status()

    def _do_close(self) -> None:
        unit, self._unit = self._unit, None
        if unit is not None:
            unit.shut()

    def _do_info(self) -> DeviceInfo:
        found = self._reports.identity
        model = found.model_number.rstrip(b"\0").decode("ascii", "replace")
        firmware = ".".join(str(part) for part in found.firmware_version[:3])
        return DeviceInfo(self.kind, model, str(found.serial_number), "apt", firmware)

    def _do_health(self) -> Health:
        readings = {
            "completions_lost": float(self._lost_completions),
            "completions_stale": float(self._stale_completions),
        }
        try:
            status = self._status()
        except ConnectError as error:
            return Health(False, readings, (error.message,))
        readings["position_mm"] = status.position / self.options.counts_per_mm
        warnings = []
        if not status.homed:
            warnings.append("not homed: positions count from where it was switched on")
        if status.motion_error:
            warnings.append("the controller reports a motion error")
        return Health(not status.motion_error, readings, tuple(warnings))

    def _do_position_mm(self) -> float:
        return float(self._status().position / self.options.counts_per_mm)

    def _do_move_to(self, position_mm: float, timeout_s: float) -> None:
        counts = round(position_mm * self.options.counts_per_mm)
        self._reports.forget_events()
        self._unit.move_absolute(counts)
        self._wait(timeout_s, lambda at: self._near(at.position, counts), f"{position_mm:g} mm")

    def _do_home(self, timeout_s: float) -> None:
        self._reports.forget_events()
        self._unit.home()
        self._wait(timeout_s, lambda at: getattr(at, "homed", True), "home")

    def _do_halt(self) -> None:
        self._unit.stop(immediate=True)
        until_s = time.monotonic() + self.options.reply_s
        while time.monotonic() < until_s:
            status = self._status()
            if not (status.moving_forward or status.moving_reverse or status.homing):
                return
        raise ConnectError(
            f"{self.name} was told to halt but still moves",
            hint="switch the controller off",
        )

    def _near(self, at_counts: float, goal_counts: float) -> bool:
        tolerance = self.options.tolerance_mm * self.options.counts_per_mm
        return abs(at_counts - goal_counts) <= tolerance

    def _wait(self, timeout_s: float, there: Callable[[Any], bool], goal: str) -> None:
        until_s = time.monotonic() + timeout_s
        still = 0
        while (left_s := until_s - time.monotonic()) > 0:
            event = self._reports.next_event(min(left_s, 0.1))
            if event is not None:
                if event.msg == _STOPPED:
                    raise StateError(
                        f"{self.name} was halted on its way to {goal}",
                        hint="move again when the way is free",
                    )
                if there(event):
                    return
                self._stale_completions += 1  # the end of an earlier move
                continue
            if left_s < 0.1:
                break
            status = self._status()
            moving = status.moving_forward or status.moving_reverse or status.homing
            still = still + 1 if there(status) and not moving else 0
            if still >= _STILL_REPORTS:
                self._lost_completions += 1
                return
        raise RigTimeoutError(
            f"{self.name} did not reach {goal} within {timeout_s:g} s",
            hint="the stage was halted; allow more time, or look for what blocks it",
        )

    def _status(self) -> Any:
        status = self._reports.fresh_status(self.options.reply_s)
        if status is None:
            raise ConnectError(
                f"{self.name}: the controller tells nothing any more",
                hint="check its cable and power, then open the rig again",
            )
        return status


def _connect(options: AptStageOptions, hear: Callable[[Any], None]) -> Any:
    """Return an opened controller whose messages go to ``hear``."""
    try:
        from serial import SerialException
        from thorlabs_apt_device import KDC101, TDC001
        from thorlabs_apt_device import protocol as apt
    except ImportError as error:
        raise ConnectError(
            "APT stages need the Python package thorlabs-apt-device (GPL-3)",
            hint="`pip install 'camera-rig[stage]'`",
        ) from error

    class Unit({"kdc101": KDC101, "tdc001": TDC001}[options.model]):  # type: ignore[misc]
        """The library's controller, with an ear and an end one can wait for."""

        def __init__(self) -> None:
            # The library's reader runs before its fields exist; a report left over from
            # the session before would end it for good.
            self._built = False
            super().__init__(
                serial_port=options.port or None,
                serial_number=f"^{options.serial}$",
                home=False,
                # Positive counts are forward, as everywhere in this toolkit.
                invert_direction_logic=False,
                swap_limit_switches=False,
            )
            self._built = True
            self._loop.call_soon_threadsafe(
                self._write, apt.hw_req_info(dest=self.bays[0], source=0x01)
            )

        def _process_message(self, message: Any) -> None:
            if not self._built:
                return  # reports come ten times a second: the next one is as good
            super()._process_message(message)
            hear(message)

        def shut(self) -> None:
            self.close()
            self._thread.join(timeout=5)
            atexit.unregister(self._atexit)

    try:
        return Unit()
    except (SerialException, RuntimeError, OSError) as error:
        raise ConnectError(
            f"no APT controller {options.serial} at {options.port or 'any serial port'}: {error}",
            hint="check power and cable; on Linux your user must be in the group dialout",
        ) from error

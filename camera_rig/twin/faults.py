"""What goes wrong, when: by a script of times, by rates, or on command.

A fault is a fact of the world, not of a driver: it begins at a time, lasts a while and
hits one role. Devices meet it through their :class:`Link`; the disk through
:class:`TwinDisk`; civil time through :class:`JumpingClock`.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from camera_rig.contracts import Clock
from camera_rig.errors import ConnectError, RigTimeoutError
from camera_rig.twin import _random

__all__ = [
    "Fault",
    "FaultKind",
    "FaultOptions",
    "Faults",
    "JumpingClock",
    "Link",
    "TwinDisk",
]


class FaultKind(StrEnum):
    """Everything the twin can do wrong."""

    DROP = "drop"
    FREEZE = "freeze"
    STALL = "stall"
    BUSY = "busy"
    TIMEOUT = "timeout"
    UNPLUG = "unplug"
    BROWN_OUT = "brown-out"
    DISK_SLOW = "disk-slow"
    DISK_FULL = "disk-full"
    CLOCK_JUMP = "clock-jump"


_CAMERAS = frozenset({"privacy", "side"})
_DEVICES = _CAMERAS | {"mirror", "stage", "light"}
_ROLES: dict[FaultKind, frozenset[str]] = {
    FaultKind.DROP: _CAMERAS,
    FaultKind.FREEZE: _CAMERAS,
    FaultKind.STALL: _CAMERAS,
    FaultKind.BUSY: _DEVICES,
    FaultKind.TIMEOUT: _DEVICES,
    FaultKind.UNPLUG: _DEVICES,
    FaultKind.BROWN_OUT: frozenset({"mirror"}),
    FaultKind.DISK_SLOW: frozenset({"disk"}),
    FaultKind.DISK_FULL: frozenset({"disk"}),
    FaultKind.CLOCK_JUMP: frozenset({"clock"}),
}


class Fault(BaseModel):
    """One fault: ``kind`` hits ``device`` at ``at_s`` for ``for_s``.

    Args:
        kind: What goes wrong.
        device: Role it hits: privacy, side, mirror, stage, light, disk or clock.
        at_s: Start, seconds of world time (0 is when the world was made).
        for_s: How long, s. A clock jump is instant.
        value: Seconds that civil time jumps by, or seconds that each disk write takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    device: str
    at_s: float = 0.0
    for_s: Annotated[float, Field(ge=0)] = 1.0
    value: float = 0.0

    @model_validator(mode="after")
    def _role_fits(self) -> Fault:
        allowed = _ROLES[self.kind]
        if self.device not in allowed:
            raise ValueError(f"{self.kind} can hit {sorted(allowed)}, not {self.device!r}")
        return self

    def covers(self, t_s: float) -> bool:
        """Whether the fault is there at ``t_s`` (s)."""
        return self.at_s <= t_s < self.at_s + self.for_s


class FaultRates(BaseModel):
    """Faults that happen by chance, each frame or call on its own (probabilities)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: Annotated[float, Field(ge=0, le=1)] = 0.0
    freeze: Annotated[float, Field(ge=0, le=1)] = 0.0
    busy: Annotated[float, Field(ge=0, le=1)] = 0.0
    timeout: Annotated[float, Field(ge=0, le=1)] = 0.0


Role = Literal["privacy", "side", "mirror", "stage", "light"]


class FaultOptions(BaseModel):
    """The ``faults:`` part of a twin: a script, and rates by role. Empty by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: tuple[Fault, ...] = ()
    rates: dict[Role, FaultRates] = Field(default_factory=dict)


class Faults:
    """The faults of one world. Safe to ask and to inject from any thread.

    Args:
        options: Script and rates.
        seed: Seed of the world.
    """

    def __init__(self, options: FaultOptions, seed: int) -> None:
        self._script = options.script
        self._rates = options.rates
        self._seed = seed
        self._lock = threading.Lock()

    @property
    def script(self) -> tuple[Fault, ...]:
        """All faults so far known, scripted and injected."""
        return self._script

    def inject(self, fault: Fault) -> None:
        """Add a fault now, as a test or a soak run does."""
        with self._lock:
            self._script = (*self._script, fault)

    def end(self, kind: FaultKind, device: str, at_s: float) -> None:
        """Let the faults of this kind that go on at ``at_s`` (s) end there."""
        with self._lock:
            self._script = tuple(
                fault.model_copy(update={"for_s": at_s - fault.at_s})
                if fault.kind is kind and fault.device == device and fault.covers(at_s)
                else fault
                for fault in self._script
            )

    def at(self, kind: FaultKind, device: str, t_s: float) -> Fault | None:
        """Return the scripted fault of this kind on this role at ``t_s`` (s), if any."""
        for fault in self._script:
            if fault.kind is kind and fault.device == device and fault.covers(t_s):
                return fault
        return None

    def between(self, kind: FaultKind, device: str, start_s: float, stop_s: float) -> Fault | None:
        """Return a fault that touches the time from ``start_s`` to ``stop_s`` (s), if any."""
        for fault in self._script:
            if (
                fault.kind is kind
                and fault.device == device
                and fault.at_s <= stop_s
                and fault.at_s + fault.for_s > start_s
            ):
                return fault
        return None

    def by_chance(self, kind: FaultKind, device: str, number: int) -> bool:
        """Whether frame or call ``number`` of this role is hit by its rate."""
        rates = self._rates.get(device)  # type: ignore[call-overload]
        chance = float(getattr(rates, kind.value, 0.0)) if rates is not None else 0.0
        if not chance:
            return False
        return _random.uniform(_random.key(self._seed, kind.value, device), number) < chance


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a driver waits for its device.

    Args:
        answer_s: Time after which a silent device counts as timed out, s.
        busy_s: How long a busy device is asked again, s.
        retry_s: Pause between two tries, s.
    """

    answer_s: float = 1.0
    busy_s: float = 0.5
    retry_s: float = 0.05


class Link:
    """One device's cable: plugged or not, busy or not, answering or not.

    A cable that came out stays "lost" for the device that was open, even when it is
    back in: close and open again, as with real ones.

    Args:
        role: Role of the device in the rig.
        faults: The world's faults.
        clock: The rig's clock.
        now_s: World time, s.
        patience: How long to wait for the device.
    """

    def __init__(
        self,
        role: str,
        faults: Faults,
        clock: Clock,
        now_s: Callable[[], float],
        patience: Patience = Patience(),
    ) -> None:
        self._role, self._faults, self._clock = role, faults, clock
        self._now_s, self._patience = now_s, patience
        self._opened_s: float | None = None
        self._calls = 0

    def connect(self) -> None:
        """Plug in; ConnectError while the cable is out."""
        now_s = self._now_s()
        if self._faults.at(FaultKind.UNPLUG, self._role, now_s):
            raise ConnectError(
                f"{self._role} was not found", hint="check cable and power, then open again"
            )
        self._opened_s = now_s

    def disconnect(self) -> None:
        """Forget the connection."""
        self._opened_s = None

    @property
    def lost(self) -> bool:
        """Whether the cable came out since :meth:`connect`."""
        if self._opened_s is None:
            return True
        now_s = self._now_s()
        return self._faults.between(FaultKind.UNPLUG, self._role, self._opened_s, now_s) is not None

    def check(self) -> None:
        """Raise ConnectError when the link is lost."""
        if self.lost:
            raise ConnectError(
                f"the link to {self._role} is lost",
                hint="plug it in, then close and open the device",
            )

    def call(self) -> None:
        """Pass one command to the device: waits while busy, fails when it stays so.

        Raises:
            ConnectError: The link is lost.
            RigTimeoutError: The device is busy for too long, or does not answer.
        """
        self.check()
        self._calls += 1
        waited_s = 0.0
        while self._busy(waited_s):
            if waited_s >= self._patience.busy_s:
                raise RigTimeoutError(
                    f"{self._role} stayed busy for {waited_s:g} s",
                    hint="wait for it to finish what it does, then try again",
                )
            self._clock.sleep(self._patience.retry_s)
            waited_s += self._patience.retry_s
            self.check()
        if self._silent():
            self._clock.sleep(self._patience.answer_s)
            raise RigTimeoutError(
                f"{self._role} gave no answer within {self._patience.answer_s:g} s",
                hint="try again; if it stays silent, power it off and on",
            )

    def _busy(self, waited_s: float) -> bool:
        if self._faults.at(FaultKind.BUSY, self._role, self._now_s()):
            return True
        # A chance busy answer is over at the next try.
        return waited_s == 0.0 and self._faults.by_chance(FaultKind.BUSY, self._role, self._calls)

    def _silent(self) -> bool:
        if self._faults.at(FaultKind.TIMEOUT, self._role, self._now_s()):
            return True
        return self._faults.by_chance(FaultKind.TIMEOUT, self._role, self._calls)


class TwinDisk:
    """The recording disk as the faults leave it: hand it to whatever writes.

    Args:
        faults: The world's faults.
        clock: The rig's clock.
        now_s: World time, s.
    """

    def __init__(self, faults: Faults, clock: Clock, now_s: Callable[[], float]) -> None:
        self._faults, self._clock, self._now_s = faults, clock, now_s

    def before_write(self, path: Path) -> None:
        """Call before each write: takes time on a slow disk.

        Raises:
            OSError: ENOSPC, as the system raises it, while the disk is full.
        """
        now_s = self._now_s()
        if self._faults.at(FaultKind.DISK_FULL, "disk", now_s):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if slow := self._faults.at(FaultKind.DISK_SLOW, "disk", now_s):
            self._clock.sleep(slow.value)

    def free_bytes(self, path: Path) -> int:
        """Return the free space, bytes: 0 while the disk is full."""
        if self._faults.at(FaultKind.DISK_FULL, "disk", self._now_s()):
            return 0
        return shutil.disk_usage(path).free


class JumpingClock:
    """A clock whose civil time jumps as the script says; monotonic time never does.

    Args:
        inner: The clock to follow.
        faults: The world's faults.
        epoch_ns: Monotonic time of world time 0, ns.
    """

    def __init__(self, inner: Clock, faults: Faults, epoch_ns: int) -> None:
        self._inner, self._faults, self._epoch_ns = inner, faults, epoch_ns

    def now_ns(self) -> int:
        """Return monotonic time, ns."""
        return self._inner.now_ns()

    def wall_ns(self) -> int:
        """Return civil time with all jumps so far, ns since 1970 UTC."""
        now_s = (self._inner.now_ns() - self._epoch_ns) * 1e-9
        jumps = (
            fault.value
            for fault in self._faults.script
            if fault.kind is FaultKind.CLOCK_JUMP and fault.at_s <= now_s
        )
        return self._inner.wall_ns() + round(sum(jumps) * 1e9)

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` (s) of the inner clock's time."""
        self._inner.sleep(seconds)

"""The mirror contract: refuse, walk, settle, tell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from camera_rig._contracts.data import DeviceKind, Volts
from camera_rig._contracts.device import Device, DeviceContext, DriverOptions
from camera_rig.errors import SafetyError, UnsupportedError


@dataclass(frozen=True, slots=True)
class RelaxStep:
    """One step of a relax sequence: ``index`` of ``total``, and what was applied (V)."""

    index: int
    total: int
    command_v: Volts


@dataclass(frozen=True, slots=True)
class MirrorEvent:
    """One command as it went to the mirror, for the journal.

    Args:
        at_ns: Rig clock, ns.
        reason: Why it was sent, from the caller.
        command_v: What was sent, V.
        steps: In how many steps the slew limit let it go.
    """

    at_ns: int
    reason: str
    command_v: Volts
    steps: int


class Mirror(Device):
    """Forty (or any number of) electrodes behind a glass that must not be hurt.

    Policy held here: length, NaN and range are refused before the call; the way to
    a command is walked in steps that respect ``slew_v_per_s``; a mirror hotter than
    ``max_temperature_c`` takes no further command but :meth:`park`; each command is
    told to ``observers`` with its reason.

    Not offered: a reset. A reset sends every electrode to a fixed voltage at once,
    past the slew limit and past the hysteresis bookkeeping. :meth:`park` walks.
    """

    kind = DeviceKind.MIRROR
    step_s: ClassVar[float] = 0.01
    """Time between two steps of a slew-limited move, s."""

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self.observers: list[Callable[[MirrorEvent], None]] = []
        self.max_temperature_c: float | None = None
        self._safe_v: Volts | None = None

    @property
    @abstractmethod
    def actuators(self) -> int:
        """Number of actuators."""

    @property
    @abstractmethod
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per actuator, V, shape (actuators, 2)."""

    @property
    @abstractmethod
    def slew_v_per_s(self) -> float:
        """Fastest change of one actuator, V/s; ``inf`` where the maker gives none."""

    @property
    @abstractmethod
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s."""

    @property
    def compensates_hysteresis(self) -> bool:
        """Whether the maker's own hysteresis compensation is on; never do both."""
        return False

    @property
    def safe_command_v(self) -> Volts:
        """The shape to leave the mirror in, V: mid-range unless set otherwise."""
        if self._safe_v is not None:
            return self._safe_v.copy()
        return np.asarray(self.limits.mean(axis=1), dtype=np.float64)

    def set_safe_command(self, command_v: npt.ArrayLike) -> None:
        """Set the shape for :meth:`park`, V; refused as :meth:`apply` would."""
        self._safe_v = self._checked(command_v)

    def why_not(self, command_v: npt.ArrayLike) -> list[str]:
        """Return every reason why ``command_v`` (V) cannot be sent; empty if it can."""
        command = np.asarray(command_v, dtype=np.float64)
        if command.shape != (self.actuators,):
            return [f"{self.name} takes {self.actuators} voltages, got shape {command.shape}"]
        why = [f"actuator {i} is not a number" for i in np.flatnonzero(~np.isfinite(command))]
        low_v, high_v = self.limits.T
        for i in np.flatnonzero((command < low_v) | (command > high_v)):
            why.append(
                f"actuator {i}: {command[i]:.2f} V is outside {low_v[i]:g} to {high_v[i]:g} V"
            )
        return why

    def apply(self, command_v: npt.ArrayLike, *, reason: str = "unspecified") -> None:
        """Walk to ``command_v`` (V) within the slew limit and wait until it stands.

        Raises:
            SafetyError: A value is not a number, out of range, or the mirror is hot;
                nothing was sent.
            ConnectError: The link was lost; the shape is unknown until read back.
        """
        self._need_open()
        target = self._checked(command_v)
        self._refuse_when_hot()
        self._walk(target, reason)

    def read_back(self) -> Volts:
        """Ask the mirror for its present voltages, V; never answers from a cache."""
        self._need_open()
        return self._do_read_back()

    def park(self) -> None:
        """Walk to the safe shape; allowed when hot, since it is how one cools down."""
        self._need_open()
        self._walk(self.safe_command_v, "park")

    def relax(self) -> Iterator[RelaxStep]:
        """Yield while a sequence that erases hysteresis runs; close it to cancel.

        The shape sweeps the whole range: shut the light first. The command returns
        to the shape before only if the iterator is exhausted or closed.
        """
        self._need_open()
        self._refuse_when_hot()
        before_v = self.read_back()
        commands = list(self._do_relax_commands())
        try:
            for index, command_v in enumerate(commands):
                self._walk(self._checked(command_v), "relax")
                yield RelaxStep(index, len(commands), command_v)
        finally:
            if self.is_open:
                self._walk(before_v, "relax: back to the shape before")

    def temperatures_c(self) -> Mapping[str, float]:
        """Return temperatures by sensor name, °C; empty where there are none."""
        self._need_open()
        return self._do_temperatures_c()

    def maker_pattern(self, fractions: Mapping[tuple[int, int], float]) -> Volts:
        """Return the maker's voltages (V) for Zernike modes; sends nothing.

        Args:
            fractions: ``{(n, m): amplitude}``, each -1…1 of what the mode can do.

        Raises:
            UnsupportedError: This maker's library has no Zernike patterns.
        """
        raise UnsupportedError(
            f"{self.name} has no Zernike patterns of its maker",
            hint="calibrate the influence matrix: `rig calibrate run influence`",
        )

    def _checked(self, command_v: npt.ArrayLike) -> Volts:
        why = self.why_not(command_v)
        if why:
            raise SafetyError(
                "command refused: " + "; ".join(why[:4]) + (" …" if len(why) > 4 else ""),
                hint="`rig mirror limits` shows the range of each actuator",
            )
        return np.array(command_v, dtype=np.float64)

    def _refuse_when_hot(self) -> None:
        limit_c = self.max_temperature_c
        if limit_c is None:
            return
        for sensor, now_c in self._do_temperatures_c().items():
            if not now_c <= limit_c:
                raise SafetyError(
                    f"{self.name} is too hot: {sensor} {now_c:.1f} °C, limit {limit_c:g} °C",
                    hint="let it cool in its safe shape (`rig mirror flat` is refused too)",
                )

    def _walk(self, target_v: Volts, reason: str) -> None:
        start_v = self._do_read_back()
        per_step_v = self.slew_v_per_s * self.step_s
        steps = max(1, int(np.ceil(np.max(np.abs(target_v - start_v)) / per_step_v - 1e-9)))
        for k in range(1, steps + 1):
            self._do_apply(target_v if k == steps else start_v + (target_v - start_v) * (k / steps))
            if k < steps:
                self.clock.sleep(self.step_s)
        self.clock.sleep(self.settle_s)
        event = MirrorEvent(self.clock.now_ns(), reason, target_v.copy(), steps)
        for observer in self.observers:
            observer(event)

    @abstractmethod
    def _do_apply(self, command_v: Volts) -> None:
        """Send checked voltages (V)."""

    @abstractmethod
    def _do_read_back(self) -> Volts:
        """Read the present voltages (V) from the hardware."""

    def _do_temperatures_c(self) -> Mapping[str, float]:
        """Read temperatures, °C."""
        return {}

    def _do_relax_commands(self) -> Iterator[Volts]:
        """Give the relax commands (V); by default swings that die out in mid-range."""
        middle_v, half_v = self.limits.mean(axis=1), np.ptp(self.limits, axis=1) / 2
        for k in range(40):
            yield middle_v + half_v * (1 - k / 39) * (1 if k % 2 == 0 else -1)

"""Devices that are plugged into another machine, over HTTP.

The far host holds the device, its limits, its slew walk and its temperature watch; it
also holds the lease. When this end falls silent, the far end goes to its safe state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import httpx
import numpy as np
import numpy.typing as npt

from camera_rig import wire
from camera_rig.contracts import (
    Device,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Health,
    Light,
    Mirror,
    MirrorEvent,
    Stage,
    Volts,
)
from camera_rig.drivers._remote_link import RemoteLink, RemoteOptions

__all__ = ["RemoteLight", "RemoteMirror", "RemoteOptions", "RemoteStage"]


class _Remote(Device):
    """What all remote devices share: a link that is made on open and hung up on close.

    Args:
        options: Where the device is served.
        context: From the rig.
        transport: Replaces the network, for tests of bad links.
    """

    Options: ClassVar[type[DriverOptions]] = RemoteOptions
    options: RemoteOptions

    def __init__(
        self,
        options: DriverOptions,
        context: DeviceContext,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(options, context)
        self._transport = transport
        self._link: RemoteLink | None = None

    @property
    def _to(self) -> RemoteLink:
        self._need_open()
        assert self._link is not None  # noqa: S101 - set while open
        return self._link

    def _do_open(self) -> None:
        self._link = RemoteLink(self.options, self.kind, self._transport)

    def _do_close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _do_info(self) -> DeviceInfo:
        assert self._link is not None  # noqa: S101 - set by _do_open
        return self._link.info

    def _do_health(self) -> Health:
        return self._to.health()


class RemoteMirror(_Remote, Mirror):
    """A mirror on another host. Limits, slew walk and temperature watch are kept there.

    Not offered: reconnecting by itself after a lost lease. The far mirror went to its
    safe shape; whoever goes on must look first.
    """

    _facts: wire.MirrorFacts | None = None

    @property
    def actuators(self) -> int:
        """Number of actuators."""
        return len(self._known.limits_v)

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per actuator, V."""
        return np.array(self._known.limits_v, dtype=np.float64)

    @property
    def slew_v_per_s(self) -> float:
        """Fastest change of one actuator, V/s; kept by the far host."""
        slew = self._known.slew_v_per_s
        return np.inf if slew is None else slew

    @property
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s; waited for by the far host."""
        return self._known.settle_s

    @property
    def compensates_hysteresis(self) -> bool:
        """Whether the maker's compensation is on at the far host."""
        return self.is_open and self._known.compensates_hysteresis

    @property
    def safe_command_v(self) -> Volts:
        """The shape that the far host walks to, V."""
        if self._safe_v is not None:
            return self._safe_v.copy()
        return np.array(self._known.safe_command_v, dtype=np.float64)

    def set_safe_command(self, command_v: npt.ArrayLike) -> None:
        """Set the safe shape here and at the far host, V."""
        checked = self._checked(command_v)
        self._to.command("/mirror/safe", wire.SafeRequest, command_v=checked.tolist())
        self._safe_v = checked

    def maker_pattern(self, fractions: Mapping[tuple[int, int], float]) -> Volts:
        """Return the maker's voltages (V) for Zernike modes; sends nothing to the mirror."""
        entries = [
            wire.PatternEntry(n=n, m=m, fraction=share) for (n, m), share in fractions.items()
        ]
        found = self._to.ask("/mirror/pattern", wire.PatternRequest(fractions=entries))
        return np.array(found, dtype=np.float64)

    def park(self) -> None:
        """Let the far host walk to the safe shape; allowed when hot."""
        self._to.command("/mirror/park", wire.WriteRequest, self._walk_s)
        self._tell("park", self.safe_command_v, 1)

    def _walk(self, target_v: Volts, reason: str) -> None:
        # The far host walks within the slew limit and settles: doing so here as well
        # would wait for the network in every step.
        steps, _ = self._to.command(
            *("/mirror/apply", wire.ApplyRequest, self._walk_s),
            command_v=target_v.tolist(),
            reason=reason[:200],
        )
        self._tell(reason, target_v, int(steps))

    def _tell(self, reason: str, command_v: Volts, steps: int) -> None:
        event = MirrorEvent(self.clock.now_ns(), reason, command_v.copy(), steps)
        for observer in self.observers:
            observer(event)

    @property
    def _walk_s(self) -> float:
        return float(np.ptp(self.limits) / self.slew_v_per_s + self.settle_s)

    @property
    def _known(self) -> wire.MirrorFacts:
        facts = None if self._link is None else self._link.description.mirror
        self._facts = facts or self._facts
        if self._facts is None:
            self._need_open()
        assert self._facts is not None  # noqa: S101 - a mirror tells them
        return self._facts

    def _do_apply(self, command_v: Volts) -> None:
        self._walk(command_v, "apply")

    def _do_read_back(self) -> Volts:
        return np.array(self._to.get("/mirror/voltages"), dtype=np.float64)

    def _do_temperatures_c(self) -> Mapping[str, float]:
        return {str(k): float(v) for k, v in self._to.get("/mirror/temperatures").items()}

    def _do_relax_commands(self) -> Iterator[Volts]:
        for command_v in self._to.get("/mirror/relax"):
            yield np.array(command_v, dtype=np.float64)


class RemoteStage(_Remote, Stage):
    """A stage on another host."""

    @property
    def limits_mm(self) -> tuple[float, float]:
        """Lowest and highest position, mm."""
        facts = self._to.description.stage
        assert facts is not None  # noqa: S101 - a stage tells them
        return facts.limits_mm

    def _do_position_mm(self) -> float:
        return float(self._to.get("/stage/position"))

    def _do_move_to(self, position_mm: float, timeout_s: float) -> None:
        self._to.command(
            *("/stage/move", wire.MoveRequest, timeout_s),
            position_mm=position_mm,
            timeout_s=timeout_s,
        )

    def _do_home(self, timeout_s: float) -> None:
        self._to.command("/stage/home", wire.HomeRequest, timeout_s, timeout_s=timeout_s)

    def _do_halt(self) -> None:
        self._to.ask("/stage/halt")


class RemoteLight(_Remote, Light):
    """A light on another host."""

    def _do_set(self, level: float) -> None:
        self._to.command("/light/level", wire.LevelRequest, level=level)

    def _do_pulse(self, seconds: float) -> int:
        started_ns, far_now_ns = self._to.command(
            "/light/pulse", wire.PulseRequest, seconds, seconds=seconds
        )
        # The far clock is another one: only "so long ago" has a meaning here.
        return self.clock.now_ns() - max(0, far_now_ns - int(started_ns))

    def _do_shutter(self, open: bool) -> None:
        self._to.command("/light/shutter", wire.ShutterRequest, open=open)

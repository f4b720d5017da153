"""The one way in: ``with Rig.open("lab.yaml") as rig:`` opens, checks and closes all."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from camera_rig._lock import RigLock
from camera_rig.clock import SystemClock
from camera_rig.config import ROLES, CameraConfig, MirrorConfig, RigConfig, load_config
from camera_rig.contracts import (
    Camera,
    Clock,
    Device,
    DeviceContext,
    DeviceInfo,
    Health,
    Light,
    Mirror,
    Stage,
)
from camera_rig.errors import ConfigError, GatheredError, RigError, StateError
from camera_rig.interrupt import SafeInterrupt
from camera_rig.registry import driver_class, world_class

__all__ = ["Rig", "RigSnapshot", "RigState"]

_log = logging.getLogger(__name__)
D = TypeVar("D", bound=Device)


class RigState(StrEnum):
    """Where a rig is in its life."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class RigSnapshot:
    """How the rig is at one moment.

    Args:
        state: Where it is in its life.
        at_ns: When this was read, ns on the rig clock.
        devices: Who each open device is, by role.
        health: How each is, by role.
        absent: Optional devices that could not be opened, and why.
    """

    state: RigState
    at_ns: int
    devices: Mapping[str, DeviceInfo]
    health: Mapping[str, Health]
    absent: Mapping[str, RigError]


class Rig:
    """Every device of one configuration, opened together and closed together.

    Use :meth:`open`. Devices are attributes by role: ``rig.privacy``, ``rig.side``,
    ``rig.mirror``, ``rig.stage``, ``rig.light``; a role the rig does not have raises
    StateError with what to add. ``rig.twin`` is the simulated world, if there is one.
    """

    def __init__(self, config: RigConfig, *, clock: Clock | None = None) -> None:
        self.config = config
        self.clock: Clock = clock or SystemClock()
        self.state = RigState.CLOSED
        self.twin: Any = None
        self._devices: dict[str, Device] = {}
        self._absent: dict[str, RigError] = {}
        self._lock: RigLock | None = None

    @classmethod
    def open(
        cls,
        source: str | Path | RigConfig,
        *,
        clock: Clock | None = None,
        only: Collection[str] | None = None,
    ) -> Rig:
        """Open all devices of a configuration, or only the roles named.

        Args:
            source: A configuration, its file, or the name of one that ships.
            clock: The rig's time; the machine's own when not given.
            only: Roles to open, e.g. ``{"mirror"}``; None opens all.

        Raises:
            ConfigError: The file is wrong, or ``only`` names a role that it lacks.
            StateError: Another program drives these devices.
            GatheredError: Required devices failed; all failures, and everything that
                had been opened is closed again.
        """
        config = source if isinstance(source, RigConfig) else load_config(source)
        rig = cls(config, clock=clock)
        rig._open(_wanted(config, only))
        return rig

    @property
    def privacy(self) -> Camera:
        """The camera behind the mirror."""
        return self._device("privacy", Camera)  # type: ignore[type-abstract]

    @property
    def side(self) -> Camera:
        """The sharp camera: its frames show a face in the clear."""
        return self._device("side", Camera)  # type: ignore[type-abstract]

    @property
    def mirror(self) -> Mirror:
        """The deformable mirror."""
        return self._device("mirror", Mirror)  # type: ignore[type-abstract]

    @property
    def stage(self) -> Stage:
        """The linear stage."""
        return self._device("stage", Stage)  # type: ignore[type-abstract]

    @property
    def light(self) -> Light:
        """The lamp with its shutter."""
        return self._device("light", Light)  # type: ignore[type-abstract]

    @property
    def devices(self) -> Mapping[str, Device]:
        """Every open device by role."""
        return MappingProxyType(self._devices)

    def has(self, role: str) -> bool:
        """Whether a device stands in ``role`` now."""
        return role in self._devices

    def snapshot(self) -> RigSnapshot:
        """Read state and health of all devices."""
        return RigSnapshot(
            state=self.state,
            at_ns=self.clock.now_ns(),
            devices={role: device.info for role, device in self._devices.items()},
            health={role: device.health() for role, device in self._devices.items()},
            absent=dict(self._absent),
        )

    def close(self) -> None:
        """Close everything, last opened first; safe in any state and twice.

        Raises:
            GatheredError: Some devices did not close cleanly; the others are closed.
        """
        if self.state is RigState.CLOSED:
            return
        self.state = RigState.CLOSING
        failures: list[tuple[str, RigError]] = []
        # A Ctrl-C here must not leave the rest open: it waits until all are closed.
        with SafeInterrupt() as interrupt:
            for role in reversed(list(self._devices)):
                try:
                    self._devices[role].close()
                except RigError as error:
                    failures.append((role, error))
                    _log.error("close_failed", extra={"role": role, "why": error.message})
                del self._devices[role]
            if self.twin is not None:
                self.twin.close()
                self.twin = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None
            self.state = RigState.CLOSED
        _log.info("rig_closed", extra={"rig": self.config.name})
        if failures:
            raise GatheredError(f"rig {self.config.name!r} did not close cleanly", failures)
        interrupt.check()

    def __enter__(self) -> Self:
        """Return the open rig."""
        if self.state is not RigState.OPEN:
            raise StateError("the rig is not open", hint="use `with Rig.open(config) as rig:`")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened inside."""
        self.close()

    def _open(self, roles: list[str]) -> None:
        self.state = RigState.OPENING
        failures: list[tuple[str, RigError]] = []
        try:
            self._take_lock()
            if any(self.config.devices[role].driver == "twin" for role in roles):
                options = self.config.twin or world_class().Options()
                self.twin = world_class()(options, self.config.bench, self.clock)
            with SafeInterrupt() as interrupt:
                for role in roles:
                    interrupt.check()
                    try:
                        self._devices[role] = self._opened(role)
                    except RigError as error:
                        if self.config.devices[role].required:
                            failures.append((role, error))
                        else:
                            self._absent[role] = error
                            _log.warning("absent", extra={"role": role, "why": error.message})
            if failures:
                raise GatheredError(f"rig {self.config.name!r} could not be opened", failures)
        except BaseException:
            self.close()
            raise
        self.state = RigState.OPEN
        _log.info("rig_opened", extra={"rig": self.config.name, "roles": roles})

    def _opened(self, role: str) -> Device:
        entry = self.config.devices[role]
        driver = driver_class(ROLES[role], entry.driver)
        device = driver(entry.options, DeviceContext(role, self.clock, self.twin))
        if isinstance(device, Mirror) and isinstance(entry, MirrorConfig):
            device.max_temperature_c = entry.max_temperature_c
        device.open()
        if isinstance(device, Camera) and isinstance(entry, CameraConfig) and entry.settings:
            try:
                device.configure(entry.settings.to_settings())
            except BaseException:
                device.close()
                raise
        return device

    def _take_lock(self) -> None:
        # A twin lives inside its own process, so two of them never meet.
        real = [
            f"{role}:{entry.driver}:{entry.options.serial}"
            for role, entry in sorted(self.config.devices.items())
            if entry.driver != "twin"
        ]
        if real:
            self._lock = RigLock("\n".join(real))
            self._lock.acquire()

    def _device(self, role: str, contract: type[D]) -> D:
        device = self._devices.get(role)
        if isinstance(device, contract):
            return device
        if role in self._absent:
            raise StateError(
                f"the {role} is absent: {self._absent[role].message}",
                hint=self._absent[role].hint,
            )
        if role in self.config.devices:
            raise StateError(f"the {role} is not open", hint=f"open the rig with {role!r}")
        raise StateError(
            f"rig {self.config.name!r} has no {role}",
            hint=f"add 'devices.{role}' to {self.config.source or 'the configuration'}",
        )


def _wanted(config: RigConfig, only: Collection[str] | None) -> list[str]:
    missing = sorted(set(only or ()) - set(config.devices))
    if missing:
        raise ConfigError(
            f"{config.source or config.name} has no {', '.join(missing)}",
            hint="add it under 'devices:'; it has " + ", ".join(config.devices),
        )
    return [role for role in config.devices if only is None or role in only]

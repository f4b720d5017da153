"""What every device has: options, context, opening, closing, health."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from camera_rig._contracts.data import Clock, DeviceInfo, DeviceKind, Health
from camera_rig.errors import StateError


class DriverOptions(BaseModel):
    """Base of a driver's own settings: frozen, typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: str = ""


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What the rig hands to every driver besides its options.

    Args:
        name: Role in the rig: ``privacy``, ``side``, ``mirror``, ``stage``, ``light``.
        clock: The rig's clock.
        world: The digital twin's world for twin devices, else None.
    """

    name: str
    clock: Clock
    world: Any = None


class Device(ABC):
    """Something that can be opened, asked for its health, and closed.

    A driver sets ``Options`` (a :class:`DriverOptions` model) and fills ``_do_open``,
    ``_do_close``, ``_do_info`` and, where there is something to tell, ``_do_health``.

    Not offered: a ``reconnect``. Close and open again, so that nobody goes on
    working with a device whose state he does not know.
    """

    Options: ClassVar[type[DriverOptions]] = DriverOptions
    kind: ClassVar[DeviceKind]

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        self.options = options
        self.name = context.name
        self.clock = context.clock
        self._info: DeviceInfo | None = None
        self._lifecycle = threading.RLock()

    def open(self) -> None:
        """Connect. Moves nothing. Undoes its own work when it fails.

        Raises:
            StateError: It is open already.
            ConnectError: The device is absent, asleep or held by another program.
        """
        with self._lifecycle:
            if self._info is not None:
                raise StateError(f"{self.name} is already open", hint="close it first, or use it")
            try:
                self._do_open()
                self._info = self._do_info()
            except BaseException:
                self._do_close()
                raise

    def close(self) -> None:
        """Disconnect; safe in any state, twice, and from any thread."""
        with self._lifecycle:
            if self._info is None:
                return
            try:
                self._before_close()
            finally:
                self._info = None
                self._do_close()

    @property
    def is_open(self) -> bool:
        """Whether the device is connected."""
        return self._info is not None

    @property
    def info(self) -> DeviceInfo:
        """Kind, model, serial, driver, firmware; StateError while closed."""
        self._need_open()
        assert self._info is not None  # noqa: S101 - narrows for the type checker
        return self._info

    def health(self) -> Health:
        """Ask the device how it is; never changes it."""
        if not self.is_open:
            return Health(ok=False, warnings=(f"{self.name} is closed",))
        return self._do_health()

    def _need_open(self) -> None:
        if self._info is None:
            raise StateError(f"{self.name} is not open", hint="open the rig (or this device) first")

    def __enter__(self) -> Self:
        """Open and return the device."""
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened inside."""
        self.close()

    def _before_close(self) -> None:  # noqa: B027 - an optional hook, rightly empty
        """Policy that runs while the link still stands, e.g. stop streaming."""

    @abstractmethod
    def _do_open(self) -> None:
        """Connect and read what is constant. Move nothing."""

    @abstractmethod
    def _do_close(self) -> None:
        """Disconnect; must bear being called after a half-done ``_do_open``."""

    @abstractmethod
    def _do_info(self) -> DeviceInfo:
        """Tell who the device is, as read from it."""

    def _do_health(self) -> Health:
        """Tell how it is; the default knows only that the link is up."""
        return Health(ok=True)

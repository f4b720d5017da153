"""One device in its own thread, with its lease: what the network may ask of it."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeVar

import numpy as np

from camera_rig import __version__, wire
from camera_rig.contracts import Clock, Device, Light, Mirror, Stage
from camera_rig.errors import StateError, UnsupportedError
from camera_rig.server.lease import LeaseKeeper

__all__ = ["DeviceHost"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

_MOST_WAITING = 16


class DeviceHost:
    """Opens a device in a thread of its own and lets callers of any thread ask it.

    When a lease ends, a mirror walks to its safe shape, a light goes dark and shuts, a
    stage halts. Cameras are not served: frames belong where they are taken.

    Args:
        opener: Gives the open device as a context; entered and left in its thread.
        clock: The host's clock.
        lease_s: Life of a lease without a sign of life, s.
    """

    def __init__(
        self,
        opener: Callable[[], AbstractContextManager[Device]],
        clock: Clock,
        lease_s: float = 3.0,
    ) -> None:
        self.clock = clock
        self._opener = opener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._stop = threading.Event()
        self._ticker: threading.Thread | None = None
        self._context: AbstractContextManager[Device] | None = None
        self._device: Device | None = None
        self.keeper = LeaseKeeper(clock, lease_s, self._make_safe)

    def open(self) -> None:
        """Open the device; RigError when it cannot be.

        Raises:
            UnsupportedError: It is a camera.
        """
        self._thread.submit(self._enter).result()

    def watch(self) -> None:
        """Look after the lease in real time, until :meth:`close`."""
        self._ticker = threading.Thread(target=self._tick, name="lease", daemon=True)
        self._ticker.start()

    def close(self) -> None:
        """End the lease, bring the device to its safe state and close it."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
        try:
            self._thread.submit(self._leave).result()
        finally:
            self._thread.shutdown()

    def ask(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the device's thread and return its result.

        Raises:
            StateError: Too many callers wait already.
        """
        if not self._waiting.acquire(blocking=False):
            raise StateError(
                f"{_MOST_WAITING} requests wait for this device already",
                hint="ask less often; one client is enough for one device",
            )
        try:
            return self._thread.submit(work).result()
        finally:
            self._waiting.release()

    def write(self, request: wire.WriteRequest, work: Callable[[], Any]) -> wire.Reply:
        """Run a command of the lease holder once; a repeat gets the first answer."""
        asked = hashlib.sha256(
            f"{type(request).__name__} {request.model_dump_json()}".encode()
        ).digest()
        result, repeated = self.ask(
            lambda: self.keeper.run(request.lease, request.sequence, asked, work)
        )
        return wire.Reply(result=result, now_ns=self.clock.now_ns(), repeated=repeated)

    def read(self, work: Callable[[], Any]) -> wire.Reply:
        """Answer a question; no lease is needed."""
        return wire.Reply(result=self.ask(work), now_ns=self.clock.now_ns())

    def mirror(self) -> Mirror:
        """Return the served mirror; UnsupportedError when it is another kind."""
        device = self._open_device()
        return device if isinstance(device, Mirror) else _refuse(device, "mirror")

    def stage(self) -> Stage:
        """Return the served stage; UnsupportedError when it is another kind."""
        device = self._open_device()
        return device if isinstance(device, Stage) else _refuse(device, "stage")

    def light(self) -> Light:
        """Return the served light; UnsupportedError when it is another kind."""
        device = self._open_device()
        return device if isinstance(device, Light) else _refuse(device, "light")

    def health(self) -> dict[str, Any]:
        """Return the device's health as plain data; call it through :meth:`read`."""
        found = self._open_device().health()
        return {
            "ok": found.ok,
            "readings": {name: float(value) for name, value in found.readings.items()},
            "warnings": list(found.warnings),
        }

    def relax_commands(self) -> list[list[float]]:
        """Return the relax sequence of the mirror, V; call it through :meth:`read`.

        The far rig walks it step by step, so that it can be watched and cancelled there.
        """
        commands = self.mirror()._do_relax_commands()  # noqa: SLF001 - the far half of a hook
        return [command.tolist() for command in commands]

    def describe(self) -> wire.Description:
        """Return who is served and what is constant of it."""
        return self.ask(self._describe)

    def _describe(self) -> wire.Description:
        device = self._open_device()
        info = device.info
        return wire.Description(
            protocol=wire.PROTOCOL,
            version=__version__,
            kind=info.kind.value,
            model=info.model,
            serial=info.serial,
            driver=info.driver,
            firmware=info.firmware,
            writer=self.keeper.writer,
            mirror=_mirror_facts(device) if isinstance(device, Mirror) else None,
            stage=wire.StageFacts(limits_mm=device.limits_mm)
            if isinstance(device, Stage)
            else None,
        )

    def _open_device(self) -> Device:
        if self._device is None:
            raise StateError("the device is not open", hint="start the server again")
        return self._device

    def _enter(self) -> None:
        context = self._opener()
        device = context.__enter__()
        self._context, self._device = context, device
        if not isinstance(device, (Mirror, Stage, Light)):
            kind = device.kind
            self._leave()
            raise UnsupportedError(
                f"a {kind} cannot be served over the network",
                hint="run the rig on the machine the camera is plugged into",
            )

    def _leave(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        try:
            self.keeper.close()
        finally:
            self._device = None
            context.__exit__(None, None, None)

    def _make_safe(self) -> None:
        device = self._open_device()
        if isinstance(device, Mirror):
            device.park()
        elif isinstance(device, Light):
            device.shutter(False)
            device.set(0.0)
        elif isinstance(device, Stage):
            device.halt()

    def _tick(self) -> None:
        while not self._stop.wait(self.keeper.timeout_s / 4.0):
            self._thread.submit(self.keeper.tick).result()


def _refuse(device: Device, wanted: str) -> NoReturn:
    raise UnsupportedError(
        f"this host serves a {device.kind}, not a {wanted}",
        hint="check url and port in the configuration",
    )


def _stage_facts(stage: Stage) -> wire.StageFacts:
    return wire.StageFacts(limits_mm=stage.limits_mm)


def _mirror_facts(mirror: Mirror) -> wire.MirrorFacts:
    slew = mirror.slew_v_per_s
    return wire.MirrorFacts(
        limits_v=[(float(low), float(high)) for low, high in mirror.limits],
        slew_v_per_s=slew if np.isfinite(slew) else None,
        settle_s=mirror.settle_s,
        compensates_hysteresis=mirror.compensates_hysteresis,
        safe_command_v=mirror.safe_command_v.tolist(),
    )

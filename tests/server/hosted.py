"""A real HTTP server on loopback around a small device, with time moved by the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from camera_rig.clock import ManualClock
from camera_rig.contracts import Device, DeviceContext
from camera_rig.drivers.remote import RemoteOptions
from camera_rig.server import DeviceHost, create_app, listen
from camera_rig.tokens import make_token, read_token
from tests.support.toy_drivers import ToyOptions

LEASE_S = 3.0


@dataclass
class Served:
    url: str
    token_file: Path
    host: DeviceHost
    device: Device
    clock: ManualClock

    def options(self, **more) -> RemoteOptions:
        return RemoteOptions(url=self.url, token_file=self.token_file, **more)

    def context(self) -> DeviceContext:
        return DeviceContext("far", ManualClock())

    def silence(self, seconds: float = LEASE_S + 0.1) -> None:
        """Let the host's time pass without a sign of life, and its watch look."""
        self.clock.advance(round(seconds * 1e9))
        self.host.ask(self.host.keeper.tick)


@contextmanager
def host_of(kind: type[Device], clock: ManualClock, **options) -> Iterator[DeviceHost]:
    device = kind(ToyOptions(serial="far-1", **options), DeviceContext("device", clock))
    host = DeviceHost(lambda: device, clock, LEASE_S)
    host.open()
    try:
        yield host
    finally:
        host.close()


@contextmanager
def served(kind: type[Device], folder: Path, **options) -> Iterator[Served]:
    clock = ManualClock()
    token_file = folder / "token"
    make_token(token_file)
    with host_of(kind, clock, **options) as host:
        config = uvicorn.Config(
            create_app(host, read_token(token_file)), log_level="error", lifespan="off"
        )
        socket = listen("127.0.0.1", 0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        try:
            yield Served(url, token_file, host, host._device, clock)
        finally:
            server.should_exit = True
            thread.join()
            socket.close()


class BadLink(httpx.BaseTransport):
    """A network that loses requests, loses answers, and delivers some twice.

    ``plan`` gives, for each request, one of "ok", "lost", "cut" (done, but the answer is
    lost) and "twice"; without one left, all is well.
    """

    def __init__(self, plan: Iterator[str] = iter(())) -> None:
        self.inner = httpx.HTTPTransport()
        self.plan = plan
        self.counts: dict[str, int] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fate = next(self.plan, "ok")
        self.counts[fate] = self.counts.get(fate, 0) + 1
        if fate == "lost":
            raise httpx.ConnectError("no route", request=request)
        if fate == "twice":
            self.inner.handle_request(request).read()
        reply = self.inner.handle_request(request)
        if fate == "cut":
            reply.read()
            raise httpx.ReadError("cut", request=request)
        return reply

    def close(self) -> None:
        self.inner.close()

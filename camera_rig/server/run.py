"""Run a device host until it is stopped."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from camera_rig.errors import ConnectError
from camera_rig.interrupt import SafeInterrupt
from camera_rig.server.app import create_app
from camera_rig.server.host import DeviceHost
from camera_rig.tokens import read_token

__all__ = ["ServeOptions", "listen", "serve", "stopped_by_any_signal"]

_log = logging.getLogger(__name__)


class ServeOptions(BaseModel):
    """Where and how to serve.

    Args:
        bind: Address to listen on; the default is reached from this machine only.
        port: TCP port, 0 for any free one.
        token_file: File with the bearer token.
        certificate: TLS certificate chain, PEM.
        key: TLS private key, PEM.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8760
    token_file: Path
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both certificate and key")
        return self

    @property
    def in_the_clear(self) -> bool:
        """Whether the token would cross a network unencrypted."""
        try:
            local = ipaddress.ip_address(self.bind).is_loopback
        except ValueError:
            local = self.bind == "localhost"
        return not local and self.certificate is None


def serve(
    host: DeviceHost, options: ServeOptions, started: Callable[[str], None] | None = None
) -> None:
    """Open the device and serve it until SIGINT or SIGTERM; leave it safe and closed.

    Args:
        host: The device.
        options: Where and how.
        started: Called with the URL once requests are answered.

    Raises:
        RigError: The device could not be opened or left in its safe state.
        ConfigError: The token file is wrong.
        ConnectError: The port cannot be listened on.
    """
    import uvicorn

    token = read_token(options.token_file)
    with stopped_by_any_signal():
        try:
            host.open()
            host.watch()
            config = uvicorn.Config(
                create_app(host, token),
                ssl_certfile=options.certificate,
                ssl_keyfile=options.key,
                log_level="warning",
                access_log=False,
                limit_concurrency=64,
                timeout_keep_alive=30,
                lifespan="off",
            )
            with listen(options.bind, options.port) as listener:
                url = _url(listener, secure=options.certificate is not None)
                _log.info("serving", extra={"url": url})
                if started is not None:
                    started(url)
                uvicorn.Server(config).run([listener])
        finally:
            # The first signal ends the serving, none may end the way to the safe state.
            with SafeInterrupt():
                host.close()


@contextmanager
def stopped_by_any_signal() -> Iterator[None]:
    """Turn the signals that stop a service into KeyboardInterrupt, as Ctrl-C is.

    By default they end the process at once, without the way to the safe state. The HTTP
    server raises them again when it has shut down, so they end up here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGBREAK", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _url(listener: socket.socket, *, secure: bool) -> str:
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def listen(bind: str, port: int) -> socket.socket:
    """Return a listening TCP socket whose answers go out at once.

    Named as TCP outright: asyncio switches Nagle's algorithm off only for sockets that
    say so, and with it on every answer waits 40 ms for an acknowledgement.

    Raises:
        ConnectError: The address or port cannot be had.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise ConnectError(
            f"cannot listen on {bind}:{port}: {error.strerror or error}",
            hint="choose another --port, or an address of this machine for --bind",
        ) from error
    return listener

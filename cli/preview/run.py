"""Run the preview's server until it is stopped."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cli.preview.security import Door, allowed_hosts

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from cli.preview.hub import Hub

__all__ = ["PreviewServer", "ServerOptions"]

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
MAX_MESSAGE_BYTES = 1024


class ServerOptions(BaseModel):
    """Where and for how many the preview is served.

    Args:
        bind: Address to listen on; the default is reached from this machine only.
        port: TCP port, 0 for any free one.
        names: Further names under which browsers may ask for it.
        certificate: TLS certificate chain, PEM.
        key: TLS private key, PEM.
        in_the_clear: Allow a network address without TLS.
        viewers: Most viewers at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    in_the_clear: bool = False
    viewers: Annotated[int, Field(ge=1, le=64)] = 8

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both --certificate and --key")
        if not (self.is_local or self.certificate or self.in_the_clear):
            raise ValueError(
                f"{self.bind} is reached over the network: give --certificate and --key, "
                "or say --in-the-clear if nobody else is on that network"
            )
        return self

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.bind).is_loopback
        except ValueError:
            return self.bind == "localhost"

    def host_names(self) -> tuple[str, ...]:
        """Return every name under which a browser may ask for it."""
        own: tuple[str, ...] = (self.bind,)
        if self.bind in ("0.0.0.0", "::"):  # every address of this machine: not a name itself
            own = (socket.gethostname(),)
        return (*_LOCAL_NAMES, *own, *self.names)


class PreviewServer:
    """One application on one socket.

    Args:
        listener: Listening socket; its port is what the page is reached at.
        options: Where and for how many.
        token: The secret.
    """

    def __init__(self, listener: socket.socket, options: ServerOptions, token: str) -> None:
        self._listener, self._options, self._token = listener, options, token
        self._port = int(listener.getsockname()[1])
        self._server: uvicorn.Server | None = None

    @property
    def link(self) -> str:
        """The address to open, with the token behind ``#``, which browsers keep to themselves."""
        name = self._options.bind
        if name in ("0.0.0.0", "::"):
            name = socket.gethostname()
        shown = f"[{name}]" if ":" in name else name
        scheme = "https" if self._options.certificate else "http"
        return f"{scheme}://{shown}:{self._port}/#{self._token}"

    def door(self, hub: Hub) -> Door:
        """Return the door that belongs to this socket."""
        hosts = allowed_hosts(self._options.host_names(), self._port)
        return Door(self._token, hosts, hub.clock, secure=self._options.certificate is not None)

    def run(self, app: FastAPI, hub: Hub, started: Callable[[], None] | None = None) -> None:
        """Serve until :meth:`stop`, SIGINT or SIGTERM."""
        import uvicorn

        config = uvicorn.Config(
            app,
            ssl_certfile=self._options.certificate,
            ssl_keyfile=self._options.key,
            log_level="warning",
            access_log=False,
            # Room for everybody to watch and to press a button, and for a stranger's refusal.
            limit_concurrency=4 * self._options.viewers + 16,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            # JPEGs do not get smaller; trying costs as much again as sending them.
            ws_per_message_deflate=False,
            server_header=False,
        )
        self._server = uvicorn.Server(config)

        async def serve() -> None:
            hub.bind(asyncio.get_running_loop())
            if started is not None:
                started()
            assert self._server is not None  # noqa: S101 - narrows for the type checker
            await self._server.serve([self._listener])

        asyncio.run(serve())

    def stop(self) -> None:
        """Ask it to end; from any thread."""
        if self._server is not None:
            self._server.should_exit = True

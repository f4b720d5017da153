"""The client's half of a served device: token, version, repeats, lease, signs of life."""

from __future__ import annotations

import logging
import platform
import secrets
import ssl
import threading
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, Field, ValidationError

from camera_rig import wire
from camera_rig.contracts import DeviceInfo, DeviceKind, DriverOptions, Health
from camera_rig.errors import ConfigError, ConnectError, RigError, RigTimeoutError, StateError
from camera_rig.tokens import read_token

__all__ = ["RemoteLink", "RemoteOptions"]

_log = logging.getLogger(__name__)
M = TypeVar("M", bound=BaseModel)

_BEAT = "/lease/beat"


class RemoteOptions(DriverOptions):
    """Where a device is served.

    Args:
        url: ``http://host:port`` or ``https://host:port`` of ``rig serve``.
        token_file: File with the same bearer token as at the host, mode 0600.
        ca_file: PEM of the authority (or the certificate itself) for https.
        timeout_s: Longest wait for one answer, s.
        attempts: How often a request is sent when the link fails; the far end makes sure
            that a command is still run once.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/?$", max_length=200)]
    token_file: Path
    ca_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 4


class RemoteLink:
    """One client of one device host: token, version, repeats, lease.

    Commands must come from one thread; questions may come from any.

    Args:
        options: Where.
        kind: What must be served there.
        transport: Replaces the network, for tests of bad links.
    """

    def __init__(
        self,
        options: RemoteOptions,
        kind: DeviceKind,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._options = options
        self._where = options.url.rstrip("/")
        headers = {
            "Authorization": f"Bearer {read_token(options.token_file)}",
            wire.PROTOCOL_HEADER: str(wire.PROTOCOL),
        }
        self._http = httpx.Client(
            base_url=f"{self._where}/v1",
            headers=headers,
            timeout=options.timeout_s,
            verify=_trust(options.ca_file),
            transport=transport,
            # Straight to the host: a proxy would see the token.
            trust_env=False,
        )
        self._nonce = secrets.token_urlsafe(16)
        self._lease: str | None = None
        self._sequence = 0
        self._lost: str | None = None
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        try:
            self.description = self._handshake(kind)
        except BaseException:
            self._http.close()
            raise

    @property
    def info(self) -> DeviceInfo:
        """Who the far device is."""
        told = self.description
        return DeviceInfo(
            DeviceKind(told.kind), told.model, told.serial, f"remote {told.driver}", told.firmware
        )

    def get(self, path: str) -> Any:
        """Ask a question; return the result."""
        self._need_link()
        return self._parsed(wire.Reply, self._send("GET", path, None)).result

    def ask(self, path: str, body: BaseModel | None = None) -> Any:
        """Ask a question with a body; return the result."""
        self._need_link()
        return self._parsed(wire.Reply, self._send("POST", path, body)).result

    def command(
        self, path: str, model: type[wire.WriteRequest], more_s: float = 0.0, **fields: Any
    ) -> tuple[Any, int]:
        """Send a command of the lease holder.

        Args:
            path: Route.
            model: Request to fill.
            more_s: How much longer than usual it may take, s.
            **fields: The rest of the request.

        Returns:
            Its result, and the far host's clock when it answered, ns.

        Raises:
            ConnectError: The lease was lost, or the link; the far end goes safe.
        """
        lease = self._need_lease()
        self._sequence += 1
        body = model(lease=lease, sequence=self._sequence, **fields)
        try:
            reply = self._parsed(wire.Reply, self._send("POST", path, body, more_s))
        except StateError as error:
            if "lease is over" in error.message:
                self._lost = error.message
            raise
        return reply.result, reply.now_ns

    def health(self) -> Health:
        """Ask the far device how it is; a lost link is an answer too."""
        try:
            told = self.get("/health")
        except RigError as error:
            return Health(False, warnings=(error.message,))
        warnings = tuple(str(each) for each in told["warnings"])
        if self._lost is not None:
            warnings = (f"link or lease was lost: {self._lost}", *warnings)
        return Health(bool(told["ok"]) and self._lost is None, dict(told["readings"]), warnings)

    def close(self) -> None:
        """Give the lease back and hang up; bears a dead link."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
        try:
            if self._lease is not None:
                self._send("POST", "/lease/release", wire.Beat(lease=self._lease))
        except RigError as error:
            # The far end notices by itself and goes to its safe state.
            _log.warning("lease_not_returned", extra={"why": error.message})
        finally:
            self._lease = None
            self._http.close()

    def beat(self) -> None:
        """Send one sign of life.

        Raises:
            RigError: The lease is over, or the link fails.
        """
        if self._lease is not None:
            self._send("POST", _BEAT, wire.Beat(lease=self._lease))

    def _need_link(self) -> None:
        if self._lost is not None:
            raise ConnectError(
                f"link or lease at {self._where} was lost: {self._lost}",
                hint="the device goes to its safe state; close the rig, look, open it again",
            )

    def _need_lease(self) -> str:
        self._need_link()
        if self._lease is None:
            request = wire.LeaseRequest(client=platform.node()[:200] or "rig", nonce=self._nonce)
            granted = self._parsed(wire.LeaseReply, self._send("POST", "/lease", request))
            self._lease = granted.lease
            self._heart = threading.Thread(
                target=self._live, args=(granted.timeout_s / 3.0,), name="lease-beat", daemon=True
            )
            self._heart.start()
        return self._lease

    def _live(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.beat()
            except StateError as error:
                self._lost = error.message
                return
            except RigError as error:
                # The link may come back before the lease ends; the far end decides.
                _log.warning("beat_failed", extra={"why": error.message})

    def _handshake(self, kind: DeviceKind) -> wire.Description:
        told = self._parsed(wire.Description, self._send("GET", "/device", None))
        if told.kind != kind.value:
            raise ConfigError(
                f"{self._where} serves a {told.kind}, not a {kind}",
                hint="check url and port in the configuration",
            )
        wanted = self._options.serial
        if wanted and told.serial != wanted:
            raise ConnectError(
                f"{self._where} serves {kind} {told.serial}, not {wanted}",
                hint="check url and serial in the configuration",
            )
        return told

    def _send(
        self, method: str, path: str, body: BaseModel | None, more_s: float = 0.0
    ) -> httpx.Response:
        content = None if body is None else body.model_dump_json().encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        failure: Exception | None = None
        for _ in range(self._options.attempts):
            try:
                reply = self._http.request(
                    *(method, path),
                    content=content,
                    headers=headers,
                    timeout=self._options.timeout_s + more_s,
                )
            except httpx.HTTPError as error:
                failure = error
                continue
            if reply.status_code == 200:
                return reply
            raise wire.error_from_wire(self._parsed(wire.ErrorReply, reply), self._where)
        if isinstance(failure, httpx.TimeoutException):
            raise RigTimeoutError(
                f"{self._where} did not answer {path} in time",
                hint="check the far host; whether the command was run is not known",
            ) from failure
        if path != _BEAT:
            # What became of the device is not known now; nobody may go on as if it were.
            self._lost = f"it cannot be reached: {failure}"
        raise ConnectError(
            f"{self._where} cannot be reached: {failure}",
            hint="check that `rig serve` runs there, the address, port and firewall",
        ) from failure

    def _parsed(self, model: type[M], reply: httpx.Response) -> M:
        try:
            return model.model_validate_json(reply.content)
        except ValidationError as error:
            raise ConnectError(
                f"{self._where} answers like no device host (HTTP {reply.status_code})",
                hint="check url and port: something else may listen there",
            ) from error


def _trust(ca_file: Path | None) -> Any:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificate file {ca_file} cannot be used: {error}",
            hint="give the PEM that signed the far host's certificate",
        ) from error

"""Who is let in: host, origin, token or session, size and rate, checked before any route.

The page itself (HTML, style, script) holds nothing and is given to whoever asks under the
right name. Everything else needs the token, once as ``Authorization: Bearer …`` and from
then on as a session cookie that scripts cannot read.

Not offered: a token in a query string. It would end up in histories and logs.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camera_rig.contracts import Clock

__all__ = ["Door", "Gate", "TokenBucket"]

MAX_BODY_BYTES = 8192
MAX_SESSIONS = 32
LOGIN_PATH = "/api/session"

PUBLIC_PATHS = frozenset({"/", "/page.css", "/page.js", "/tools.js", "/panels.js", "/icon.svg"})
"""What needs no token: files that are the same for everybody."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
    # Browsers keep answers on disk unless told otherwise; no frame may lie there.
    "Cache-Control": "no-store",
}

_SAFE_METHODS = frozenset({"GET", "HEAD"})


class TokenBucket:
    """Allows so many events per second, and a burst.

    Args:
        clock: Time.
        per_s: Events per second in the long run, 1/s.
        burst: Events at once after a pause.
    """

    def __init__(self, clock: Clock, per_s: float, burst: int) -> None:
        self._clock, self._per_s, self._burst = clock, per_s, burst
        self._left, self._at_ns = float(burst), clock.now_ns()

    def take(self) -> bool:
        """Take one event; False when there is none left now."""
        now_ns = self._clock.now_ns()
        gained = (now_ns - self._at_ns) * 1e-9 * self._per_s
        self._left, self._at_ns = min(self._burst, self._left + gained), now_ns
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@dataclass
class Door:
    """What is needed to be let in, and who is in.

    Belongs to the server's event loop.

    Args:
        token: The secret of this server.
        hosts: Names under which it may be asked, ``name:port``, lower case.
        clock: Time, for the rates.
        secure: Whether it speaks TLS.
    """

    token: str
    hosts: frozenset[str]
    clock: Clock
    secure: bool = False
    _sessions: OrderedDict[str, TokenBucket] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Set up the rate of those who are not in."""
        self._strangers = TokenBucket(self.clock, 5.0, 40)
        self._bearers = TokenBucket(self.clock, 30.0, 60)
        port = next(iter(self.hosts)).rpartition(":")[2]
        # Cookies are shared by all ports of a host: two previews must not share one.
        self.cookie = f"rig-preview-{port}"

    def knows_bearer(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header holds the token; takes the same time for all."""
        given = (authorization or "").encode("utf-8", "replace")
        return secrets.compare_digest(given, f"Bearer {self.token}".encode())

    def begin_session(self) -> str:
        """Return a new session's secret; the oldest session ends when there are too many."""
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = TokenBucket(self.clock, 30.0, 60)
        return session

    def session_of(self, cookies: str | None) -> str | None:
        """Return the session a ``Cookie`` header belongs to, or None."""
        try:
            jar = SimpleCookie(cookies or "")
        except CookieError:
            return None
        given = jar[self.cookie].value.encode() if self.cookie in jar else b""
        found = None
        for session in self._sessions:  # all of them, so that the time tells nothing
            if secrets.compare_digest(given, session.encode()):
                found = session
        return found

    def end_session(self, session: str | None) -> None:
        """Forget a session."""
        self._sessions.pop(session or "", None)

    def has_room(self, session: str | None, *, bearer: bool) -> bool:
        """Whether one more request fits into the rate of who asks."""
        if session is not None:
            return self._sessions[session].take()
        return (self._bearers if bearer else self._strangers).take()

    def origins(self) -> frozenset[str]:
        """Return the origins of its own page."""
        scheme = "https" if self.secure else "http"
        return frozenset(f"{scheme}://{host}" for host in self.hosts)


@dataclass(frozen=True)
class _Refusal:
    """An answer to somebody who is not let through."""

    status: int
    message: str
    hint: str


class Gate:
    """ASGI middleware in front of everything.

    Args:
        app: What lies behind it.
        door: Who is let in.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with security headers and a bounded body."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = _with_security_headers(send)
        refusal = self._why_not(scope)
        body = b""
        if refusal is None and scope["type"] == "http":
            body, refusal = await _read_body(receive)
        if refusal is None:
            inner = receive if scope["type"] == "websocket" else _replay(body, receive)
            await self._app(scope, inner, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
        else:
            told = {"message": refusal.message, "hint": refusal.hint}
            await JSONResponse(told, refusal.status)(scope, receive, send)

    def _why_not(self, scope: Scope) -> _Refusal | None:
        door, headers = self._door, Headers(scope=scope)
        if headers.get("host", "").lower() not in door.hosts:
            return _Refusal(421, "this is not the name of this server", "use the printed address")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in door.origins():
            return _Refusal(403, "another page asks", "open the page of this server itself")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _Refusal(403, "another page asks", "open the page of this server itself")
        bearer = door.knows_bearer(headers.get("authorization"))
        session = door.session_of(headers.get("cookie"))
        if not door.has_room(session, bearer=bearer):
            return _Refusal(429, "too many requests", "ask less often")
        public = scope["type"] == "http" and scope["path"] in PUBLIC_PATHS
        if public or bearer:
            return None
        if session is None:
            return _Refusal(401, "the token is missing or wrong", "open the printed link again")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and origin is None:
            return _Refusal(403, "no origin given", "browsers give one; other tools use the token")
        return None


def allowed_hosts(names: Iterable[str], port: int) -> frozenset[str]:
    """Return ``name:port`` for every name, IPv6 addresses in brackets."""
    told = (f"[{name}]" if ":" in name else name.lower() for name in names)
    return frozenset(f"{name}:{port}" for name in told)


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


async def _read_body(receive: Receive) -> tuple[bytes, _Refusal | None]:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b"", _Refusal(400, "the request was cut short", "send it again")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return b"", _Refusal(413, f"larger than {MAX_BODY_BYTES} bytes", "send less")
    return body, None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

"""The HTTP face of one device: routes, token, version, sizes, errors."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camera_rig import __version__, wire
from camera_rig.contracts import Mirror, MirrorEvent
from camera_rig.errors import RigError
from camera_rig.server.host import DeviceHost

__all__ = ["create_app"]

_TOLD: dict[int | str, dict[str, Any]] = {
    code: {"model": wire.ErrorReply}
    for code in (400, 401, 403, 409, 413, 422, 426, 500, 501, 502, 504, 507)
}


def create_app(host: DeviceHost, token: str) -> FastAPI:
    """Return the application that serves ``host`` to those who know ``token``."""
    app = FastAPI(
        title="camera-rig device host", version=__version__, docs_url=None, redoc_url=None
    )

    def authorised(authorization: Annotated[str | None, Header(max_length=600)] = None) -> None:
        given = (authorization or "").encode("utf-8", "replace")
        if not secrets.compare_digest(given, f"Bearer {token}".encode()):
            raise HTTPException(401, "the bearer token is missing or wrong")

    def same_version(x_rig_protocol: Annotated[str, Header(max_length=16)]) -> None:
        if x_rig_protocol != str(wire.PROTOCOL):
            raise HTTPException(
                426, f"this host speaks protocol {wire.PROTOCOL}, the caller {x_rig_protocol}"
            )

    checked = [Depends(authorised), Depends(same_version)]
    for router in (_common(host), _mirror(host), _stage(host), _light(host)):
        app.include_router(router, prefix="/v1", dependencies=checked, responses=_TOLD)
    app.add_middleware(_BoundedBody)
    _add_errors(app)
    return app


def _common(host: DeviceHost) -> APIRouter:
    router = APIRouter()

    @router.get("/device")
    def device() -> wire.Description:
        return host.describe()

    @router.get("/health")
    def health() -> wire.Reply:
        return host.read(host.health)

    @router.post("/lease")
    def acquire(body: wire.LeaseRequest) -> wire.LeaseReply:
        lease = host.ask(lambda: host.keeper.acquire(body.client, body.nonce))
        return wire.LeaseReply(lease=lease, timeout_s=host.keeper.timeout_s)

    @router.post("/lease/beat")
    def beat(body: wire.Beat) -> wire.Reply:
        host.keeper.beat(body.lease)
        return wire.Reply(result=None, now_ns=host.clock.now_ns())

    @router.post("/lease/release")
    def release(body: wire.Beat) -> wire.Reply:
        return host.read(lambda: host.keeper.release(body.lease))

    return router


def _mirror(host: DeviceHost) -> APIRouter:
    router = APIRouter(prefix="/mirror")

    @router.post("/apply")
    def apply(body: wire.ApplyRequest) -> wire.Reply:
        mirror = host.mirror()
        return host.write(body, lambda: _apply(mirror, body))

    @router.post("/safe")
    def safe(body: wire.SafeRequest) -> wire.Reply:
        mirror = host.mirror()
        return host.write(body, lambda: mirror.set_safe_command(np.array(body.command_v)))

    @router.post("/park")
    def park(body: wire.WriteRequest) -> wire.Reply:
        mirror = host.mirror()
        return host.write(body, mirror.park)

    @router.get("/voltages")
    def voltages() -> wire.Reply:
        mirror = host.mirror()
        return host.read(lambda: mirror.read_back().tolist())

    @router.get("/temperatures")
    def temperatures() -> wire.Reply:
        mirror = host.mirror()
        return host.read(lambda: {k: float(v) for k, v in mirror.temperatures_c().items()})

    @router.get("/relax")
    def relax() -> wire.Reply:
        return host.read(host.relax_commands)

    @router.post("/pattern")
    def pattern(body: wire.PatternRequest) -> wire.Reply:
        mirror = host.mirror()
        fractions = {(each.n, each.m): each.fraction for each in body.fractions}
        return host.read(lambda: mirror.maker_pattern(fractions).tolist())

    return router


def _apply(mirror: Mirror, body: wire.ApplyRequest) -> int:
    """Apply and return in how many steps the mirror walked."""
    seen: list[MirrorEvent] = []
    watch = seen.append
    mirror.observers.append(watch)
    try:
        mirror.apply(np.array(body.command_v), reason=f"remote: {body.reason}")
    finally:
        mirror.observers.remove(watch)
    return seen[-1].steps


def _stage(host: DeviceHost) -> APIRouter:
    router = APIRouter(prefix="/stage")

    @router.get("/position")
    def position() -> wire.Reply:
        stage = host.stage()
        return host.read(lambda: stage.position_mm)

    @router.post("/move")
    def move(body: wire.MoveRequest) -> wire.Reply:
        stage = host.stage()
        return host.write(body, lambda: stage.move_to(body.position_mm, body.timeout_s))

    @router.post("/home")
    def home(body: wire.HomeRequest) -> wire.Reply:
        stage = host.stage()
        return host.write(body, lambda: stage.home(body.timeout_s))

    @router.post("/halt")
    def halt() -> wire.Reply:
        # Whoever is let in may stop it, at once, in the middle of somebody's move.
        host.stage().halt()
        return wire.Reply(result=None, now_ns=host.clock.now_ns())

    return router


def _light(host: DeviceHost) -> APIRouter:
    router = APIRouter(prefix="/light")

    @router.post("/level")
    def level(body: wire.LevelRequest) -> wire.Reply:
        light = host.light()
        return host.write(body, lambda: light.set(body.level))

    @router.post("/pulse")
    def pulse(body: wire.PulseRequest) -> wire.Reply:
        light = host.light()
        return host.write(body, lambda: light.pulse(body.seconds))

    @router.post("/shutter")
    def shutter(body: wire.ShutterRequest) -> wire.Reply:
        light = host.light()
        return host.write(body, lambda: light.shutter(body.open))

    return router


def _add_errors(app: FastAPI) -> None:
    hints = {
        401: "give the token of `rig serve token` as 'Authorization: Bearer …'",
        413: "send less",
        426: "install the same version of camera-rig on both hosts",
    }

    @app.exception_handler(RigError)
    def told(request: Request, error: RigError) -> JSONResponse:
        code = wire.STATUS_OF_KIND.get(error.kind, 500)
        return JSONResponse(wire.error_to_wire(error).model_dump(), code)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> JSONResponse:
        kind = "connect" if error.status_code in (401, 426) else "config"
        hint = hints.get(error.status_code, "see /openapi.json for what can be asked")
        reply = wire.ErrorReply(kind=kind, message=str(error.detail), hint=hint)
        return JSONResponse(reply.model_dump(), error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        message = "; ".join(faults[:4])[:500]
        reply = wire.ErrorReply(kind="config", message=message, hint="see /openapi.json")
        return JSONResponse(reply.model_dump(), 422)


class _BoundedBody:
    """Refuses bodies above a limit before they are read into memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > wire.MAX_BODY_BYTES:
                reply = wire.ErrorReply(
                    kind="config",
                    message=f"the request is larger than {wire.MAX_BODY_BYTES} bytes",
                    hint="send less",
                )
                await JSONResponse(reply.model_dump(), 413)(scope, receive, send)
                return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

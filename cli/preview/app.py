"""The web application: one page, its pictures, and the few things it may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from camera_rig import __version__
from camera_rig.errors import ConfigError, RigError, StateError, UnsupportedError
from camera_rig.wire import STATUS_OF_KIND
from cli.preview.hub import Hub, View
from cli.preview.messages import ReferenceChoice, ShapeRequest, TakeRequest
from cli.preview.security import LOGIN_PATH, Door, Gate
from cli.preview.source import Source
from cli.preview.stream import Mjpeg, Streams

if TYPE_CHECKING:
    from cli.preview.mirror import MirrorDesk
    from cli.preview.references import ReferenceDesk
    from cli.preview.takes import TakeDesk

__all__ = ["Desks", "create_app"]

T = TypeVar("T")

_STATIC = Path(__file__).parent / "static"
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/tools.js": ("tools.js", "text/javascript; charset=utf-8"),
    "/panels.js": ("panels.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True)
class Desks:
    """What the page may ask beside pictures; None where this preview does not offer it.

    Args:
        mirror: The mirror panel.
        takes: Recording of one subject.
        references: Public faces to choose from.
        measured_psf: The newest PSF calibration in use, as a picture.
    """

    mirror: MirrorDesk | None = None
    takes: TakeDesk | None = None
    references: ReferenceDesk | None = None
    measured_psf: Mapping[str, Any] | None = None


def create_app(
    door: Door, hub: Hub, source: Source[Any], desks: Desks, *, patience_s: float = 8.0
) -> FastAPI:
    """Return the application.

    Args:
        door: Who is let in.
        hub: Where the source leaves its moments.
        source: What is shown.
        desks: What else can be asked.
        patience_s: A viewer that takes or paints nothing for so long is thrown out, s.
    """
    app = FastAPI(title="camera-rig preview", version=__version__, docs_url=None, redoc_url=None)

    def state() -> dict[str, Any]:
        return _state(hub, source, desks)

    streams = Streams(hub, source, state, patience_s=patience_s)
    rooms = (_page(), _session(door), _pictures(streams, desks), _mirror(desks), _takes(desks))
    for router in rooms:
        app.include_router(router)
    _add_errors(app)
    app.add_middleware(Gate, door=door)
    return app


def _state(hub: Hub, source: Source[Any], desks: Desks) -> dict[str, Any]:
    painted_ms = sorted(hub.painted_ms)
    middle = painted_ms[len(painted_ms) // 2] if painted_ms else None
    return {
        "software": __version__,
        "views": list(source.views),
        "live": source.state(),
        "viewers": {
            "now": hub.viewers,
            "most": hub.max_viewers,
            "dropped": hub.dropped,
            "painted_p50_ms": middle,
        },
        "references": desks.references is not None,
        "panel": desks.mirror.state() if desks.mirror else None,
        "take": desks.takes.state() if desks.takes else None,
    }


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in _PAGE.items():
        content = (_STATIC / name).read_bytes()

        def give(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        router.get(path)(give)
    return router


def _session(door: Door) -> APIRouter:
    router = APIRouter()

    @router.post(LOGIN_PATH, status_code=204)
    async def begin(request: Request) -> Response:
        reply = Response(status_code=204)
        # Whoever has a session keeps it: reloading a page must not use them up.
        session = door.session_of(request.headers.get("cookie")) or door.begin_session()
        reply.set_cookie(
            door.cookie, session, httponly=True, samesite="strict", secure=door.secure, path="/"
        )
        return reply

    @router.delete(LOGIN_PATH, status_code=204)
    async def end(request: Request) -> Response:
        door.end_session(door.session_of(request.headers.get("cookie")))
        reply = Response(status_code=204)
        reply.delete_cookie(door.cookie, httponly=True, samesite="strict", secure=door.secure)
        return reply

    return router


def _pictures(streams: Streams, desks: Desks) -> APIRouter:
    router = APIRouter()

    @router.get("/api/state")
    def state() -> dict[str, Any]:
        return streams.state()

    @router.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await streams.serve(socket)

    @router.get("/stream", response_class=Response)
    async def stream(view: View | None = None) -> Response:
        return Mjpeg(streams, _offered(streams, view))

    @router.get("/snapshot", response_class=Response)
    def snapshot(view: View | None = None) -> Response:
        wanted, shown = _offered(streams, view), streams.hub.newest
        parts = {} if shown is None else streams.source.coded(shown, frozenset({wanted}))
        if wanted not in parts:
            raise StateError(f"there is no {wanted} to show now", hint="look at /api/state")
        return Response(parts[wanted], media_type="image/jpeg")

    @router.get("/api/references")
    def references() -> dict[str, Any]:
        desk = _need(desks.references, "choose references")
        return {"references": desk.listed()}

    @router.put("/api/reference", status_code=204)
    def choose(body: ReferenceChoice) -> None:
        _need(desks.references, "choose references").choose(body.name)

    return router


def _offered(streams: Streams, view: View | None) -> View:
    offered = streams.source.views
    if view is not None and view not in offered:
        raise ConfigError(
            f"this preview has no {view} view", hint=f"it has {' and '.join(offered)}"
        )
    return view or offered[0]


def _mirror(desks: Desks) -> APIRouter:
    router = APIRouter(prefix="/api/mirror")

    @router.get("")
    def panel() -> dict[str, Any]:
        desk = _need(desks.mirror, "move the mirror")
        return {**desk.panel(), "measured": desks.measured_psf}

    @router.post("/plan")
    def plan(body: ShapeRequest) -> dict[str, Any]:
        return _need(desks.mirror, "move the mirror").plan(body.values_um)

    @router.post("/apply")
    def apply(body: ShapeRequest) -> dict[str, Any]:
        return _need(desks.mirror, "move the mirror").apply(body.values_um)

    @router.post("/learned")
    def learned() -> dict[str, Any]:
        return _need(desks.mirror, "move the mirror").restore()

    return router


def _takes(desks: Desks) -> APIRouter:
    router = APIRouter(prefix="/api/take")

    @router.post("/start")
    def start(body: TakeRequest) -> dict[str, Any]:
        return _need(desks.takes, "record").start(body.agreed, body.prompt)

    @router.post("/stop")
    def stop() -> dict[str, Any]:
        return _need(desks.takes, "record").stop()

    return router


def _need(desk: T | None, what: str) -> T:
    if desk is None:
        raise UnsupportedError(
            f"this preview does not {what}", hint="see `rig preview --help` for how to start one"
        )
    return desk


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RigError)
    def told(request: Request, error: RigError) -> JSONResponse:
        content = {"kind": error.kind, "message": error.message, "hint": error.hint}
        return JSONResponse(content, STATUS_OF_KIND.get(error.kind, 500))

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        content = {"kind": "config", "message": "; ".join(faults[:4])[:500], "hint": ""}
        return JSONResponse(content, 422)

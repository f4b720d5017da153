"""Pictures on their way to pages: WebSocket with one in flight, MJPEG for other tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import WebSocket
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from camera_rig.errors import StateError
from cli.preview.hub import Hub, Shown, View, Viewer, pack
from cli.preview.messages import Ack, PageMessage
from cli.preview.security import TokenBucket
from cli.preview.source import Source

__all__ = ["Mjpeg", "Streams"]

BOUNDARY = "rig-frame"
FULL, SLOW, NOISY, MALFORMED = 4003, 4008, 4029, 4022
"""Close codes of our own (dimensionless)."""


@dataclass(frozen=True)
class Streams:
    """What every connection shares.

    Args:
        hub: Where moments come from.
        source: Codes them.
        state: Returns what is told besides pictures; JSON-able; may take some ms.
        patience_s: A viewer that paints or takes nothing for so long is thrown out, s.
        state_s: Time between two states, s.
    """

    hub: Hub
    source: Source[Any]
    state: Callable[[], dict[str, Any]]
    patience_s: float
    state_s: float = 0.5

    async def serve(self, socket: WebSocket) -> None:
        """Serve one page until it goes, is too slow, or sends nonsense."""
        await socket.accept()
        try:
            viewer = self.hub.join(frozenset())
        except StateError as error:
            await socket.close(FULL, error.message)
            return
        works: list[Coroutine[Any, Any, tuple[int, str]]] = [
            self._listen(socket, viewer),
            self._send_pictures(socket, viewer),
            self._send_states(socket),
        ]
        tasks = [asyncio.ensure_future(work) for work in works]
        code, why = 1000, ""
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, why = next(iter(done)).result()
        except (WebSocketDisconnect, RuntimeError):
            return  # it has gone; RuntimeError is what a send on a closed socket raises
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            viewer.leave(slow=code == SLOW)
        async with _at_most(self.patience_s):
            await socket.close(code, why)

    async def _listen(self, socket: WebSocket, viewer: Viewer) -> tuple[int, str]:
        rate = TokenBucket(self.hub.clock, 150.0, 300)
        while True:
            try:
                message = PageMessage.validate_json(await socket.receive_text())
            except (ValidationError, KeyError):
                return MALFORMED, "not understood"
            if not rate.take():
                return NOISY, "too many messages"
            if isinstance(message, Ack):
                viewer.ack(message.number)
            else:
                viewer.want(frozenset(message.views) & set(self.source.views))

    async def _send_pictures(self, socket: WebSocket, viewer: Viewer) -> tuple[int, str]:
        while True:
            shown = await viewer.next()
            parts = await asyncio.to_thread(self.source.coded, shown, viewer.views)
            try:
                async with asyncio.timeout(self.patience_s):
                    await socket.send_bytes(pack(shown, self._age_ms(shown), parts))
                    self.source.note_sent(shown)
                    await viewer.acked()
            except TimeoutError:
                return SLOW, "too slow"

    async def _send_states(self, socket: WebSocket) -> tuple[int, str]:
        while True:
            told = await asyncio.to_thread(self.state)
            try:
                async with asyncio.timeout(self.patience_s):
                    await socket.send_text(json.dumps({"type": "state", **told}))
            except TimeoutError:
                return SLOW, "too slow"
            await asyncio.sleep(self.state_s)

    def _age_ms(self, shown: Shown) -> float:
        if shown.captured_s is None:
            return float("nan")
        return self.hub.clock.now_ns() * 1e-6 - shown.captured_s * 1e3


class Mjpeg(Response):
    """One view as ``multipart/x-mixed-replace``, for `<img>`, VLC and curl.

    The newest moment each time the connection has taken the one before; a reader that
    takes nothing for the streams' patience is cut off. Browsers paint a part when the
    next one begins, one frame late: the page uses it only where a WebSocket cannot pass.

    Args:
        streams: What every connection shares.
        view: What to send.

    Raises:
        StateError: There are as many viewers as allowed.
    """

    media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

    def __init__(self, streams: Streams, view: View) -> None:
        self._streams, self._view = streams, view
        self._viewer = streams.hub.join(frozenset({view}))
        self.status_code, self.background = 200, None
        self.init_headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send parts until the reader goes or is too slow."""
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_until_gone(receive))
        slow = False
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            slow = sending.done()
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            self._viewer.leave(slow=slow)

    async def _send(self, send: Send) -> None:
        """Send until the reader is too slow."""
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        streams = self._streams
        while True:
            shown = await self._viewer.next()
            parts = await asyncio.to_thread(streams.source.coded, shown, self._viewer.views)
            jpeg = parts.get(self._view)
            if jpeg is None:
                continue
            head = (
                f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            )
            body = head.encode() + jpeg + b"\r\n"
            try:
                async with asyncio.timeout(streams.patience_s):
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            except TimeoutError:
                return
            streams.source.note_sent(shown)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _at_most:  # noqa: N801 - reads as a phrase
    """Do what can be done within a time and leave the rest."""

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> bool:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            return True
        return isinstance(error[1], (WebSocketDisconnect, RuntimeError))

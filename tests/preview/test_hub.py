"""Pictures on their way: the newest alone, one in flight, the slow thrown out."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from camera_rig.clock import ManualClock, SystemClock
from camera_rig.errors import StateError
from cli.preview.app import Desks
from cli.preview.hub import Hub, View, pack
from tests.preview.served import TOKEN, Drawn, DrawnSource, serving

BEARER = {"Authorization": f"Bearer {TOKEN}"}
FACE = frozenset({View.FACE})


def test_a_message_says_what_is_in_it():
    card = Drawn(7, None, why="late")
    message = pack(card, 12.5, {View.PRIVACY: b"abc", View.FACE: b"de"})
    assert struct.unpack_from("<4sIfBB", message) == (b"RIG1", 7, 12.5, 2, 4)
    assert struct.unpack_from("<BIBI", message, 14) == (1, 3, 0, 2)
    assert message[24:] == b"lateabcde"


def test_a_viewer_gets_the_newest_once_and_counts_what_it_missed():
    async def scene():
        clock = ManualClock(start_ns=2_000_000_000)
        hub = Hub(clock, 2)
        hub.bind(asyncio.get_running_loop())
        viewer = hub.join(FACE)
        for number in range(1, 6):
            hub.post(Drawn(number, 1.9))
        await asyncio.sleep(0)
        assert (await viewer.next()).number == 5
        viewer.ack(4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(viewer.acked(), 0.01)
        viewer.ack(5)
        await viewer.acked()
        assert hub.painted_ms == [pytest.approx(100.0)]
        waiting = asyncio.ensure_future(viewer.next())
        await asyncio.sleep(0)
        assert not waiting.done(), "nothing twice"
        hub.post(Drawn(9, None))
        assert (await waiting).number == 9
        assert (viewer.sent, viewer.skipped) == (2, 3)
        viewer.want(frozenset())
        hub.post(Drawn(10, None))
        hidden = asyncio.ensure_future(viewer.next())
        await asyncio.sleep(0.01)
        assert not hidden.done(), "a hidden page gets nothing"
        viewer.want(FACE)
        assert (await hidden).number == 10

    asyncio.run(scene())


def test_the_house_is_full_at_some_point():
    hub = Hub(ManualClock(), 2)
    first = hub.join(FACE)
    hub.join(FACE)
    with pytest.raises(StateError, match="2 viewers"):
        hub.join(FACE)
    first.leave()
    hub.join(FACE)


@contextmanager
def live(served, views=("face",)):
    url = served.url.replace("http", "ws") + "/api/live"
    connection = connect(url, additional_headers=BEARER, max_queue=4, open_timeout=30)
    socket = connection.__enter__()
    try:
        socket.send(json.dumps({"type": "watch", "views": list(views)}))
        yield socket
    finally:
        with suppress(ConnectionClosed):  # where the server was first, the test has looked at why
            connection.__exit__(None, None, None)


def pictures(socket, count, *, ack=True):
    """Receive so many pictures; return their numbers."""
    numbers = []
    while len(numbers) < count:
        message = socket.recv(timeout=30)
        if isinstance(message, bytes):
            numbers.append(struct.unpack_from("<I", message, 4)[0])
            if ack:
                socket.send(json.dumps({"type": "ack", "number": numbers[-1]}))
    return numbers


@pytest.fixture
def served():
    clock = SystemClock()
    source = DrawnSource(clock)
    with serving(source, Desks(), clock, patience_s=1.0, viewers=3) as served:
        source.run()
        yield served


def test_a_slow_viewer_is_thrown_out_and_slows_nobody(served):
    with live(served) as quick, live(served) as slow:
        assert quick.response.headers.get("Sec-WebSocket-Extensions") is None, "no deflate"
        assert len(pictures(slow, 1, ack=False)) == 1
        numbers = pictures(quick, 60)
        assert numbers == sorted(set(numbers))
        with pytest.raises(ConnectionClosed) as closed:
            pictures(slow, 2, ack=False)
        assert closed.value.rcvd.code == 4008
        pictures(quick, 5)
        assert served.hub.dropped == 1


def test_one_viewer_too_many_is_told(served):
    with live(served) as a, live(served) as b, live(served) as c:
        for each in (a, b, c):
            pictures(each, 1)
        with pytest.raises(ConnectionClosed) as closed, live(served) as fourth:
            fourth.recv(timeout=30)
        assert closed.value.rcvd.code == 4003
        assert httpx.get(served.url + "/stream", headers=BEARER).status_code == 409


@pytest.mark.parametrize(
    "nonsense", ["{}", "[1", '{"type":"watch","views":["side","x"]}', "x" * 900]
)
def test_nonsense_ends_a_connection(served, nonsense):
    with live(served) as socket:
        socket.send(nonsense)
        with pytest.raises(ConnectionClosed) as closed:
            pictures(socket, 10_000)
        assert closed.value.rcvd.code == 4022


def test_a_page_cannot_ask_for_the_side_view(served):
    with live(served, ["side"]) as socket:
        for _ in range(3):
            message = socket.recv(timeout=30)
            assert isinstance(message, str), "only states come, no picture"


def test_too_long_a_message_ends_a_connection(served):
    with live(served) as socket:
        socket.send("x" * 5000)
        with pytest.raises(ConnectionClosed):
            pictures(socket, 10_000)


def test_mjpeg_for_other_tools(served):
    with httpx.stream("GET", served.url + "/stream?view=privacy", headers=BEARER) as reply:
        assert reply.headers["content-type"].startswith("multipart/x-mixed-replace")
        assert "content-length" not in reply.headers
        content = b""
        for chunk in reply.iter_bytes():
            content += chunk
            if content.count(b"--rig-frame") > 3:
                break
    head, _, rest = content.partition(b"\r\n\r\n")
    size = int(head.rpartition(b"Content-Length: ")[2])
    assert rest[:2] == b"\xff\xd8" and rest[size - 2 : size] == b"\xff\xd9"
    snapshot = httpx.get(served.url + "/snapshot", headers=BEARER)
    assert snapshot.headers["content-type"] == "image/jpeg" and snapshot.content[:2] == b"\xff\xd8"


def test_nothing_is_coded_while_nobody_watches():
    clock = SystemClock()
    source = DrawnSource(clock)
    with serving(source, Desks(), clock) as served:
        for _ in range(20):
            source.draw()
        assert source.coded_parts == 0
        with live(served, []) as hidden:
            hidden.recv(timeout=30)
            for _ in range(20):
                source.draw()
            hidden.recv(timeout=30)
        assert source.coded_parts == 0
        seen = threading.Event()
        with live(served) as socket:
            source.draw()
            pictures(socket, 1)
            seen.set()
        assert seen.is_set() and source.coded_parts >= 1

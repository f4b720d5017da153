"""Who is let in, and who is not."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from camera_rig.clock import ManualClock
from cli.preview.app import Desks
from cli.preview.run import ServerOptions
from cli.preview.security import Door, TokenBucket, allowed_hosts
from tests.preview.served import TOKEN, DrawnSource, serving

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def clock():
    return ManualClock(start_ns=1_000_000_000)


@pytest.fixture(scope="module")
def running():
    clock = ManualClock(start_ns=1_000_000_000)
    with serving(DrawnSource(clock), Desks(), clock, names=("rig.lab",)) as served:
        yield served, clock


@pytest.fixture
def client(running):
    served, clock = running
    clock.advance(100_000_000_000)  # what the test before used up comes back
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


def home(client) -> str:
    return str(client.base_url).rstrip("/")


def open_stream(client, **headers):
    url = home(client).replace("http", "ws") + "/api/live"
    return connect(url, additional_headers=headers, open_timeout=30)


def refused(client, **headers) -> bool:
    with pytest.raises(InvalidStatus) as caught, open_stream(client, **headers):
        pass
    return caught.value.response.status_code == 403


def test_the_page_itself_holds_nothing_and_may_be_read_by_anybody(client):
    for path in ("/", "/page.css", "/page.js", "/tools.js", "/panels.js"):
        reply = client.get(path)
        assert reply.status_code == 200 and TOKEN not in reply.text
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["cache-control"] == "no-store"
    page = client.get("/").text
    assert "http://" not in page and "https://" not in page, "nothing from outside"
    assert "style=" not in page and "onclick" not in page, "the policy would refuse it"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer ü"},
        {"Cookie": "rig-preview-8765=guess"},
        {"Cookie": f"rig-preview-8765={TOKEN}"},
        {"Cookie": "rig-preview-8765"},
    ],
)
def test_nothing_without_the_token(client, headers):
    port = home(client).rpartition(":")[2]
    headers = {name: value.replace("8765", port) for name, value in headers.items()}
    for path in ("/api/state", "/stream", "/snapshot", "/api/mirror", "/openapi.json", "/nowhere"):
        reply = client.get(path, headers={name: text.encode() for name, text in headers.items()})
        assert reply.status_code == 401
        assert set(reply.json()) == {"message", "hint"}
    assert "ü" in str(headers) or refused(client, **headers)


def test_a_session_begins_with_the_token_and_ends_with_the_cookie(client):
    reply = client.post("/api/session", headers={**BEARER, "Origin": home(client)})
    assert reply.status_code == 204
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert client.get("/api/state").status_code == 200
    again = client.post("/api/session", headers={**BEARER, "Origin": home(client)})
    assert again.headers["set-cookie"] == cookie, "a page loaded again keeps its session"
    assert client.delete("/api/session", headers={"Origin": home(client)}).status_code == 204
    client.cookies.clear()
    assert client.get("/api/state", headers={"Cookie": cookie.partition(";")[0]}).status_code == 401


def test_a_cookie_alone_changes_nothing_and_opens_no_stream(client):
    client.post("/api/session", headers={**BEARER, "Origin": home(client)})
    assert client.post("/api/take/stop").status_code == 403, "no origin"
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    assert refused(client, Cookie=cookie)
    assert refused(client, Cookie=cookie, Origin="http://evil.example")
    with open_stream(client, Cookie=cookie, Origin=home(client)) as live:
        assert json.loads(live.recv(timeout=30))["type"] == "state"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_pages_are_refused_even_with_the_token(client, headers):
    assert client.get("/api/state", headers={**BEARER, **headers}).status_code == 403
    assert client.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["evil.example:8765", "127.0.0.1:1", "127.0.0.1", "rig.lab"])
def test_another_name_is_not_ours(client, host):
    host = host.replace("8765", home(client).rpartition(":")[2])
    assert client.get("/api/state", headers={**BEARER, "Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8765", "LOCALHOST:8765", "[::1]:8765", "rig.lab:8765"])
def test_every_name_of_ours_is(client, host):
    host = host.replace("8765", home(client).rpartition(":")[2])
    assert client.get("/api/state", headers={**BEARER, "Host": host}).status_code == 200


def test_requests_are_bounded_in_size_and_rate(client, running):
    big = client.post("/api/mirror/plan", headers=BEARER, content=b"x" * 9000)
    assert big.status_code == 413
    codes = [client.get("/api/state").status_code for _ in range(60)]
    assert 429 in codes, "guessing is slow"
    assert client.get("/api/state", headers=BEARER).status_code == 200, "who is in does not notice"
    running[1].advance(10_000_000_000)
    assert client.get("/").status_code == 200


def test_what_a_preview_does_not_offer_is_said(client):
    reply = client.get("/api/mirror", headers=BEARER)
    assert reply.status_code == 501 and "does not move the mirror" in reply.json()["message"]
    reply = client.get("/snapshot?view=side", headers=BEARER)
    assert reply.status_code == 422 and "no side view" in reply.json()["message"]
    reply = client.put("/api/reference", headers=BEARER, json={"name": "x", "path": "/etc"})
    assert reply.status_code == 422


def test_a_bucket_fills_with_time(clock):
    bucket = TokenBucket(clock, per_s=2.0, burst=3)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(500_000_000)
    assert [bucket.take(), bucket.take()] == [True, False]


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.168.7.2", "::", "rig.lab"])
def test_a_network_needs_tls_or_an_explicit_word(bind, tmp_path):
    with pytest.raises(ValueError, match="--in-the-clear"):
        ServerOptions(bind=bind)
    assert ServerOptions(bind=bind, in_the_clear=True).in_the_clear
    with pytest.raises(ValueError, match="both"):
        ServerOptions(bind=bind, certificate=tmp_path / "c.pem")
    ServerOptions(bind=bind, certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    assert "0.0.0.0" not in ServerOptions(bind="0.0.0.0", in_the_clear=True).host_names()


def test_sessions_are_bounded_and_the_oldest_goes_first(clock):
    door = Door(TOKEN, allowed_hosts(("localhost",), 1), clock)
    sessions = [door.begin_session() for _ in range(40)]
    assert door.session_of(f"{door.cookie}={sessions[0]}") is None
    assert door.session_of(f"{door.cookie}={sessions[-1]}") == sessions[-1]

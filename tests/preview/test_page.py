"""The page in a real browser."""

from __future__ import annotations

import ssl

import httpx
import pytest

from camera_rig.clock import SystemClock
from cli.preview.app import Desks
from tests.preview.served import TOKEN, DrawnSource, serving
from tests.server.test_serve import certificate

PATIENCE_MS = 60_000
PAINTED = "Number(document.getElementById('canvas-large').dataset.painted || 0)"
BLANK = """() => {
  const canvas = document.getElementById('canvas-large');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.every((value) => value === 0);
}"""
HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def drawn():
    """A server whose pictures are drawn, many a second."""
    clock = SystemClock()
    source = DrawnSource(clock)
    with serving(source, Desks(), clock, viewers=2) as served:
        source.run()
        yield served, source


@pytest.fixture
def open_page(chromium):
    """Open a page as a new visitor; anything it complains about fails the test."""
    contexts, complaints = [], []

    def opener(link: str, *, expect_errors: bool = False, **context):
        contexts.append(chromium.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not expect_errors:
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.goto(link)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert complaints == []


def painted(page) -> int:
    return page.evaluate(PAINTED)


def until(page, expression: str) -> None:
    """Wait until an expression holds; asked from outside, since the page allows no eval."""
    for _ in range(PATIENCE_MS // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")


def wait_painted(page, more: int = 3) -> None:
    until(page, f"{PAINTED} >= {painted(page) + more}")


def test_the_stream_moves_and_nothing_comes_from_outside(drawn, open_page, chromium):
    served, _ = drawn
    page = open_page("about:blank")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.link)
    wait_painted(page)
    first = page.evaluate("document.getElementById('canvas-large').toDataURL()")
    wait_painted(page, 5)
    assert page.evaluate("document.getElementById('canvas-large').toDataURL()") != first
    assert page.locator("#verdict").inner_text() == "De-identified"
    assert TOKEN not in page.url, "the token leaves the address bar"
    assert all(url.startswith((served.url, "data:", "blob:")) for url in asked), asked
    assert page.locator("#bars li").count() == 2
    until(page, "document.getElementById('heat').textContent === '31.5'")


@pytest.mark.parametrize("fragment", ["", "#wrong-token-wrong-token-wrong-token"])
def test_without_the_token_there_is_nothing(drawn, open_page, fragment):
    served, source = drawn
    page = open_page(served.url + "/" + fragment, expect_errors=True)
    page.get_by_text("This page needs its link").wait_for()
    assert painted(page) == 0 and page.evaluate(BLANK) and source.coded_parts == 0
    assert not page.locator("#rail").is_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Let me in").click()
    wait_painted(page)


def test_a_hidden_page_rests_and_wakes_again(drawn, open_page):
    served, source = drawn
    page = open_page(served.link)
    wait_painted(page)
    page.evaluate(HIDE, True)
    deadline = source.number + 3000
    while any(viewer.views for viewer in served.hub.watching) and source.number < deadline:
        page.wait_for_timeout(20)
    resting, coded = painted(page), source.coded_parts
    page.wait_for_timeout(300)
    assert painted(page) - resting <= 1 and source.coded_parts - coded <= 1
    page.evaluate(HIDE, False)
    wait_painted(page)


def test_a_dead_server_is_said_and_no_picture_stays(drawn, open_page):
    served, _ = drawn
    page = open_page(served.link, expect_errors=True)
    wait_painted(page)
    served.stop()
    page.locator("#cover-title", has_text="No connection").wait_for()
    assert page.evaluate(BLANK)
    assert page.locator("#verdict").inner_text() == "No connection"


def test_two_viewers_and_a_third_is_told(drawn, open_page):
    served, _ = drawn
    first, second = open_page(served.link), open_page(served.link)
    wait_painted(first)
    wait_painted(second)
    second.evaluate("() => { const end = Date.now() + 700; while (Date.now() < end); }")
    wait_painted(first)
    wait_painted(second)
    third = open_page(served.link)
    third.get_by_text("2 viewers watch already").wait_for()
    wait_painted(first)


def test_the_privacy_view_comes_beside_by_key(drawn, open_page):
    served, _ = drawn
    page = open_page(served.link)
    wait_painted(page)
    page.keyboard.press("p")
    until(page, "document.getElementById('canvas-beside').dataset.painted > 2")
    assert page.locator("#toggle-privacy").get_attribute("aria-pressed") == "true"
    page.keyboard.press("p")
    assert not page.locator("#beside").is_visible()
    page.keyboard.press("t")
    page.get_by_text("Nobody can be recorded in this preview").wait_for()
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keys").wait_for()


def test_mjpeg_where_no_websocket_passes(drawn, open_page):
    served, _ = drawn
    page = open_page(served.link.replace("/#", "/?transport=mjpeg#"))
    until(page, "document.getElementById('mjpeg').naturalWidth === 64")
    page.locator("#verdict", has_text="De-identified").wait_for()
    assert "MJPEG" in page.locator("#transport").text_content()


def test_screen_readers_find_a_name_for_everything_and_peace(live, open_page):
    """Figures change twice a second: they have names, and are read only when asked for."""
    _, served = live
    page = open_page(served.link)
    until(page, "document.querySelectorAll('.slider').length === 12")
    wait_painted(page)
    tree = page.locator("body").aria_snapshot()
    for line in (
        'navigation "View"', 'button "Privacy view"', 'button "Keys"', 'img "De-identified view"',
        'tab "Mirror"', 'status "Latency, ms"', 'status "Rate, frames per second"',
        'status "Mirror, degrees Celsius"', 'radiogroup "Reference face"', 'radio "Ada"',
        'tabpanel "Figures"',
    ):  # fmt: skip
        assert line in tree, f"{line} is missing from\n{tree}"
    said = "[...document.querySelectorAll('output')].map((box) => box.ariaLive)"
    assert set(page.evaluate(said)) == {"off"}
    session = page.context.new_cdp_session(page)
    nameless = []
    for tab in ("Figures", "Mirror", "Take"):
        page.get_by_role("tab", name=tab).click()
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        kinds = {"button", "slider", "textbox", "checkbox", "tab", "radio", "image", "progressbar",
                 "tabpanel", "radiogroup"}  # fmt: skip
        nameless += [
            (tab, node["role"]["value"])
            for node in nodes
            if not node.get("ignored")
            and node["role"]["value"] in kinds
            and not node.get("name", {}).get("value")
        ]
    assert nameless == []
    page.get_by_role("tab", name="Mirror").click()
    slider = page.get_by_role("slider").first
    assert slider.get_attribute("aria-valuetext") or slider.get_attribute("min") is not None


def test_the_page_over_tls(chromium, open_page, tmp_path):
    certificate(tmp_path)
    clock = SystemClock()
    source = DrawnSource(clock)
    tls = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    with serving(source, Desks(), clock, **tls) as served:
        source.run()
        assert served.link.startswith("https://127.0.0.1:")
        page = open_page(served.link, expect_errors=True, ignore_https_errors=True)
        wait_painted(page)
        (cookie,) = page.context.cookies()
        assert cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(verify=trust, timeout=30) as client:
            assert client.get(served.url + "/api/state", headers=bearer).status_code == 200
            assert client.get(served.url + "/api/state").status_code == 401
        with pytest.raises(httpx.HTTPError):  # nothing is said in the clear on this port
            httpx.get(served.url.replace("https", "http") + "/", timeout=30)
        with pytest.raises(httpx.ConnectError):  # a stranger's certificate is not taken
            httpx.get(served.url + "/", timeout=30)

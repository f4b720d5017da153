"""Glass latency: the time written into a picture, read back from what a browser has painted.

A source draws the present time as a barcode over a painted face and hands the picture to the real
server; the real page in Chromium paints it; a script there reads the barcode off the page's
canvas once each animation frame has been made, and the age is what has passed since. Drawing
and coding are inside, the networks and cameras are not.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from camera_rig.clock import SystemClock
from cli.preview.app import Desks
from cli.preview.hub import View
from tests.preview.served import Drawn, DrawnSource, serving

BITS, HEIGHT_PX, UNIT_MS = 32, 16, 0.1
_MOVES = "Number(document.getElementById('canvas-large').dataset.painted || 0) > 9"
_READ = """([seconds, bits]) => new Promise((done) => {
  const canvas = document.getElementById('canvas-large'), seen = [];
  const end = performance.now() + 1000 * seconds, after = new MessageChannel();
  const read = () => {
    const row = canvas.getContext('2d').getImageData(0, 8, canvas.width, 1).data;
    let code = 0;
    for (let bit = 0; bit < bits; bit += 1) {
      const x = Math.floor((bit + 0.5) * canvas.width / bits);
      code = 2 * code + (row[4 * x + 1] > 128 ? 1 : 0);
    }
    if (!seen.length || seen[seen.length - 1][1] !== code)
      seen.push([performance.timeOrigin + performance.now(), code]);
  };
  after.port1.onmessage = () => {
    read();
    if (performance.now() < end) requestAnimationFrame(() => after.port2.postMessage(0));
    else done(seen);
  };
  after.port2.postMessage(0);
})"""


class ClockSource(DrawnSource):
    """Pictures at a camera's pace, each with the time it was drawn at."""

    views = (View.FACE,)

    def __init__(self, clock: Any, picture: np.ndarray, fps: float) -> None:
        super().__init__(clock)
        self._picture, self._period_s = picture, 1.0 / fps
        self._jpegs: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def on_news(self, callback: Callable[[Drawn], None]) -> Callable[[], None]:
        """Draw, then tell."""

        def draw_and_tell(drawn: Drawn) -> None:
            jpeg = self._drawn()
            with self._lock:
                self._jpegs = {drawn.number: jpeg}
            callback(drawn)

        return super().on_news(draw_and_tell)

    def begin(self) -> None:
        """Go on drawing until the server ends."""
        self.run(self._period_s)

    def coded(self, shown: Drawn, views: frozenset[View]) -> dict[View, bytes]:
        """Return the picture, coded once for all viewers."""
        with self._lock:
            newest = next(iter(self._jpegs.values()))
            return {View.FACE: self._jpegs.get(shown.number, newest)}

    def _drawn(self) -> bytes:
        code = round(time.time() * 1e3 / UNIT_MS) % 2**BITS
        bars = np.array([(code >> (BITS - 1 - bit)) & 1 for bit in range(BITS)], np.uint8) * 255
        picture = self._picture.copy()
        width = picture.shape[1]
        picture[:HEIGHT_PX] = np.repeat(bars, -(-width // BITS))[:width][None, :, None]
        good, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
        if not good:
            raise SystemExit("OpenCV could not code a JPEG")
        return coded.tobytes()


def glass(size: tuple[int, int], seconds: float, fps: float = 30.0) -> dict[str, Any]:
    """Return latency (ms), rate and the server's share of a core with one viewer."""
    from playwright.sync_api import sync_playwright

    clock = SystemClock()
    source = ClockSource(clock, _picture(size), fps)
    with serving(source, Desks(), clock) as served, sync_playwright() as playwright:
        source.begin()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(served.link)
        while not page.evaluate(_MOVES):  # asked from outside: the page allows no eval
            page.wait_for_timeout(50)
        wall_s, core_s = time.perf_counter(), time.process_time()
        seen = page.evaluate(_READ, [seconds, BITS])
        wall_s, core_s = time.perf_counter() - wall_s, time.process_time() - core_s
        browser.close()
    span_ms = UNIT_MS * 2**BITS
    ages_ms = [(read_ms - UNIT_MS * code) % span_ms for read_ms, code in seen[1:]]
    p50, p95 = np.percentile(ages_ms, (50, 95))
    return {
        "glass_ms_p50_p95": [round(float(p50), 1), round(float(p95), 1)],
        "painted_fps": round(len(ages_ms) / wall_s, 1),
        "server_share_of_a_core_drawing_included": round(core_s / wall_s, 3),
        "kb_a_picture": round(len(source.coded(Drawn(0, None), frozenset())[View.FACE]) / 1e3, 1),
    }


def _picture(size: tuple[int, int]) -> np.ndarray:
    """A reference face of the default bundle, enlarged: as detailed as what is streamed."""
    import models

    folder = Path(models.__file__).parent / "default_bundle"
    face = cv2.imread(str(folder / "reference_Ash.png"))
    return np.asarray(cv2.resize(face, size, interpolation=cv2.INTER_CUBIC), np.uint8)

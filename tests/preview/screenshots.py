"""Take the pictures of ``docs/preview.md`` anew: ``python -m tests.preview.screenshots BUNDLE``.

The simulated rig before a talking head, the page in Debian's chromium. Look at them before
they are kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from cli.preview.session import PreviewRequest, live_session
from models.runtime.live_data import LiveSettings
from tests.preview.served import rig_before, serving

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PATIENCE_S = 200


def until(page: Page, expression: str) -> None:
    """Wait until an expression holds on the page."""
    end_s = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        if time.monotonic() > end_s:
            raise TimeoutError(expression)
        page.wait_for_timeout(100)


def take(bundle: Path, images: Path) -> None:
    """Write ``preview.png`` and ``preview-mirror.png`` into a folder."""
    with tempfile.TemporaryDirectory() as aside, sync_playwright() as playwright:
        request = PreviewRequest(
            config=rig_before("kind: head, identity_seed: 7", Path(aside)),
            bundle=bundle,
            settings=LiveSettings(),
            subject="DEMO",
            simulated=True,
        )
        with (
            live_session(request) as session,
            serving(session.source, session.desks, session.rig.clock) as served,
        ):
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(served.link)
            until(page, "document.querySelectorAll('.slider').length === 12")
            page.keyboard.press("p")
            shown = (
                "document.getElementById('verdict').dataset.is === 'shown' && "
                "document.getElementById('cover').hidden"
            )
            beside = "Number(document.getElementById('canvas-beside').dataset.painted || 0) > 300"
            until(page, f"{beside} && {shown}")  # ten seconds: the figures are typical by then
            page.mouse.move(5, 5)
            page.screenshot(path=images / "preview.png")
            while not page.evaluate(shown):  # a card came in between
                until(page, shown)
                page.screenshot(path=images / "preview.png")
            page.get_by_role("tab", name="Mirror").click()
            for noll in (11, 5):
                page.locator(f"#mode-{noll}").focus()
                for _ in range(2):
                    page.keyboard.press("PageUp")
            until(page, "document.getElementById('plan').textContent.startsWith('Within')")
            page.locator("#apply").focus()
            page.keyboard.down("Enter")
            page.locator("#moved").wait_for(timeout=1000 * PATIENCE_S)
            page.keyboard.up("Enter")
            until(page, "document.getElementById('verdict').textContent.startsWith('Mirror')")
            page.wait_for_timeout(1000)
            page.screenshot(path=images / "preview-mirror.png")
            browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else IMAGES)

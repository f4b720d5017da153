from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from camera_rig.config import load_config
from tests.preview.served import live_preview, serving, tiny_bundle


@pytest.fixture(scope="session")
def chromium():
    """A browser; tests are skipped without one unless the environment says it must be there."""
    place = shutil.which("chromium") or shutil.which("chromium-browser")
    library = importlib.util.find_spec("playwright")
    if place is None or library is None:
        reason = "no chromium (Debian: apt install chromium)" if library else "no playwright"
        if os.environ.get("RIG_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
    yield browser
    browser.close()
    playwright.stop()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", load_config("simulated"))


@pytest.fixture(scope="module")
def live(tmp_path_factory, bundle):
    """A whole preview of the simulated rig, one subject allowed; and its server."""
    folder = tmp_path_factory.mktemp("live")
    with live_preview(folder, bundle, subject="T01", simulated=True, duration_s=30.0) as session:
        with serving(session.source, session.desks, session.rig.clock) as served:
            yield session, served

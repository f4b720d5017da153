"""The mirror panel and the take panel in a real browser, on the simulated rig."""

from __future__ import annotations

import pytest

from tests.preview.test_page import open_page, until, wait_painted  # noqa: F401 - a fixture

PLAN = "document.getElementById('plan').textContent"


@pytest.fixture
def page(live, open_page):  # noqa: F811
    session, served = live
    page = open_page(served.link, viewport={"width": 1440, "height": 900})
    wait_painted(page, 1)
    until(page, "document.querySelectorAll('.slider').length === 12")
    yield page
    session.live.restore_shape()


def slider(page, noll):
    return page.locator(f"#mode-{noll}")


def test_sliders_obey_limits(page, live):
    session, _ = live
    page.keyboard.press("m")
    for mode in session.desks.mirror.panel()["modes"]:
        low, high = (float(slider(page, mode["noll"]).get_attribute(n)) for n in ("min", "max"))
        assert mode["low_um"] <= low < high <= mode["high_um"]
    until(page, f"{PLAN}.startsWith('Within reach')")
    slider(page, 12).focus()
    page.keyboard.press("End")
    ends = slider(page, 12).evaluate("(field) => [field.value, field.max]")
    assert float(ends[0]) == float(ends[1])
    slider(page, 11).focus()
    page.keyboard.press("End")
    until(page, f"{PLAN}.startsWith('Together out of reach')")
    assert page.locator("#apply").is_disabled()
    assert page.locator(".slider.excess").count() > 0
    page.locator("#scale").click()
    until(page, f"{PLAN}.startsWith('Within reach')")
    assert page.locator("#apply").is_enabled()
    page.evaluate("document.getElementById('mode-12').value = 1e6")
    assert float(slider(page, 12).input_value()) == float(ends[1]), "no value beyond the end"


def test_a_shape_is_held_to_be_applied_and_one_click_brings_the_learned_one_back(page, live):
    session, _ = live
    page.keyboard.press("m")
    slider(page, 5).focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    until(page, f"{PLAN}.startsWith('Within reach')")
    page.locator("#apply").click()  # a click is not a hold
    assert session.desks.mirror.state()["applied_um"] is None
    page.locator("#apply").focus()
    page.keyboard.down("Enter")
    page.locator("#moved").wait_for()
    page.keyboard.up("Enter")
    applied = session.desks.mirror.state()["applied_um"]
    assert applied["5"] == pytest.approx(0.1, abs=0.01)
    until(page, "document.getElementById('verdict').dataset.is === 'card'")
    assert session.live.latest().blank
    page.locator("#restore-banner").click()
    page.locator("#moved").wait_for(state="hidden")
    assert session.desks.mirror.state()["applied_um"] is None


def test_references_are_picked_by_key_and_by_click(page, live):
    session, _ = live
    page.locator("#references").wait_for()
    page.keyboard.press("3")
    until(page, "document.querySelectorAll('.reference')[2].ariaChecked === 'true'")
    assert session.live.status().reference == "Cem"
    page.get_by_role("radio", name="Ada").click()
    until(page, "document.querySelectorAll('.reference')[0].ariaChecked === 'true'")


def test_recording_waits_for_the_consent_to_be_confirmed(page):
    page.keyboard.press("t")
    page.get_by_text("simulated, the pictures show nobody").wait_for()
    button = page.get_by_role("button", name="Record")
    assert button.is_disabled()
    page.get_by_role("checkbox").check()
    assert button.is_enabled()
    page.get_by_role("checkbox").uncheck()
    assert button.is_disabled()

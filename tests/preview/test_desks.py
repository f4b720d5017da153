"""The mirror panel and takes, on the simulated rig with everything running."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pytest

from camera_rig.errors import PrivacyError, SafetyError, StateError
from camera_rig.recording.manifest import FinishReason
from cli.preview.hub import View
from cli.preview.mirror import PaperMirror
from cli.preview.psf import predicted
from tests.preview.served import TOKEN

BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATIENCE_S = 90


def until(true) -> None:
    """Wait for the running threads."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.02)


@pytest.fixture
def session(live):
    return live[0]


@pytest.fixture
def desk(session):
    until(lambda: session.live.status().showing)
    yield session.desks.mirror
    session.live.restore_shape()


def test_the_sliders_end_where_the_mirror_does(session, desk):
    panel = desk.panel()
    assert [mode["noll"] for mode in panel["modes"]] and panel["feasible"]
    assert {mode["noll"] for mode in panel["modes"]} == set(range(4, 16))
    learned = desk.learned_um()
    assert all(mode["low_um"] < 0 < mode["high_um"] for mode in panel["modes"])
    for mode in panel["modes"][::5]:
        beyond = {**dict.fromkeys(learned, 0.0), mode["noll"]: 1.3 * mode["high_um"]}
        plan = desk.plan(beyond)
        assert not plan["feasible"] and mode["name"] in plan["why_not"]
        assert 0.6 < plan["scale_that_fits"] < 0.9
    # What the panel shows as learned is what stands on the mirror.
    np.testing.assert_allclose(learned[4], session.live.shape.coefficients.to(
        unit="um_rms").numbers[4], atol=0.02)  # fmt: skip


def test_what_cannot_be_reached_is_refused_and_nothing_moves(session, desk):
    told = []
    session.rig.mirror.observers.append(told.append)
    try:
        with pytest.raises(SafetyError, match="out of the mirror's reach"):
            desk.apply({**desk.learned_um(), 12: 9.0})
    finally:
        session.rig.mirror.observers.remove(told.append)
    assert desk.state()["applied_um"] is None
    assert [event for event in told if event.reason == "preview panel"] == []


def test_a_moved_mirror_shows_cards_until_the_learned_shape_is_back(session, desk):
    live = session.live
    safe_v = session.rig.mirror.safe_command_v
    desk.apply({**desk.learned_um(), 4: 0.0, 6: 0.0})
    until(lambda: live.latest().blank)  # the last face of before may just be on its way
    number = live.latest().number
    assert live.privacy_view() is None
    until(lambda: live.latest().number > number + 2)
    assert live.latest().blank and "mirror" in live.latest().reason
    np.testing.assert_array_equal(session.rig.mirror.safe_command_v, safe_v)
    assert desk.state()["applied_um"]["4"] == 0.0
    with pytest.raises(PrivacyError, match="no take now"):
        session.desks.takes.start("simulated")
    desk.restore()
    assert desk.state()["applied_um"] is None
    until(lambda: live.status().showing)


def test_planning_asks_the_real_mirror_nothing(session, desk):
    told = []
    session.rig.mirror.observers.append(told.append)
    try:
        desk.plan({**desk.learned_um(), 5: 0.3})
    finally:
        session.rig.mirror.observers.remove(told.append)
    assert told == []
    paper = PaperMirror(session.rig.mirror)
    paper.open()
    np.testing.assert_array_equal(paper.limits, session.rig.mirror.limits)
    assert paper.info == session.rig.mirror.info


def test_a_flat_wavefront_is_a_small_bright_spot(session):
    import base64

    import cv2

    def width(shape_um):
        picture = predicted(shape_um, session.rig.config.bench)
        data = np.frombuffer(base64.b64decode(picture["png"]), np.uint8)
        light = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(float)[..., 1] ** 2
        assert picture["width_um"] > 100
        return np.sqrt(light.sum() / light.max())

    assert width({}) < 0.3 * width({(2, 0): 0.6})


def test_a_take_needs_the_consent_that_was_shown(session):
    takes = session.desks.takes
    assert takes.state()["consent"] is None and takes.agreed == "simulated"
    with pytest.raises(PrivacyError, match="not the consent"):
        takes.start("20260101-abc")
    assert takes.state()["phase"] == "idle"


def test_a_take_from_the_page_is_recorded_stopped_and_sealed(session, live, desk):
    takes, url = session.desks.takes, live[1].url
    reply = httpx.post(
        url + "/api/take/start", headers=BEARER, json={"agreed": "simulated"}, timeout=60
    )
    assert reply.status_code == 200, reply.text
    with pytest.raises(StateError, match="runs already"):
        takes.start("simulated")
    with pytest.raises(StateError, match="a take is being recorded"):
        desk.apply(desk.learned_um())
    until(lambda: takes.state().get("pairs", 0) > 2 or takes.state()["phase"] == "idle")
    assert takes.state()["phase"] == "recording", takes.state()["last"]
    assert View.SIDE not in session.source.views
    assert httpx.get(url + "/snapshot?view=side", headers=BEARER).status_code == 422
    assert httpx.post(url + "/api/take/stop", headers=BEARER).status_code == 200
    until(lambda: takes.state()["phase"] == "idle")
    last = takes.state()["last"]
    assert last["clean"] and last["reason"] == FinishReason.STOPPED and last["pairs"] > 2
    assert not session.rig.side.is_streaming, "the sharp camera runs during a take alone"
    until(lambda: session.live.status().showing)

"""The four threads together, on a clock that runs."""

from __future__ import annotations

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from camera_rig.config import StorageConfig, load_config
from camera_rig.errors import StorageError, UnsupportedError
from camera_rig.rig import Rig
from camera_rig.twin.cameras import CameraOptions
from camera_rig.twin.sensor import SensorOptions
from camera_rig.twin.staging import FlatOptions
from models.runtime import live as pipelines
from models.runtime.live import LivePipeline, LiveSettings
from models.runtime.live_data import Blank
from models.runtime.outputs import Recording, VirtualCamera, pump
from models.runtime.pick import EngineChoice
from tests.runtime.live_rig import AlwaysAFace

SETTINGS = LiveSettings(height_px=64, max_age_s=30.0, recover_s=0.2, silence_s=0.2)


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("rig")
    config = load_config("simulated")
    small = CameraOptions(sensor=SensorOptions(size=(240, 160), exposure_s=1 / 600))
    twin = config.twin.model_copy(update={"scene": FlatOptions(kind="flat"), "privacy": small})
    storage = StorageConfig(root=tmp_path / "data", keys=tmp_path / "keys")
    config = config.model_copy(update={"storage": storage, "twin": twin})
    with Rig.open(config, only={"privacy", "mirror"}) as rig:
        yield rig


@pytest.fixture
def faces(monkeypatch):
    """An engine that sees a face in an even wall: networks are not what is tested here."""
    choice = EngineChoice(AlwaysAFace(), {"always a face": 1.0}, {})
    monkeypatch.setattr(pipelines, "pick_engine", lambda *a, **k: choice)


def _next(live, wanted, after=0, tries=400):
    for _ in range(tries):
        frame = live.wait(after, 0.5)
        if frame is not None:
            after = frame.number
            if wanted(frame):
                return frame
    raise AssertionError(f"no such frame; the last says {live.latest().reason!r}")


def _face(frame) -> bool:
    return not frame.blank


def test_faces_status_mirror_takes_and_the_end(rig, bundle, faces, tmp_path):
    heard, threads = [], threading.active_count()
    with LivePipeline(bundle, rig, SETTINGS) as live:
        assert live.latest().why is Blank.STARTING
        live.on_frame(heard.append)
        live.on_frame(lambda frame: 1 / 0)  # a bad listener harms nobody
        frame = _next(live, _face)
        assert frame.jpeg is frame.jpeg and frame.jpeg[:2] == b"\xff\xd8"
        live.note_sent(frame)
        status = live.status()
        assert status.engine == "always a face" and status.mirror.confirmed
        assert {"crop", "infer", "gate", "mirror", "compose", "captured_to_sent"} <= set(
            status.stages
        )
        assert status.to_dict()["mirror"]["shape"] == "lopez2024.yaml"
        assert live.mirror_why_not() == []

        with live.mirror() as mirror:
            mirror.apply(mirror.limits.mean(axis=1), reason="a slider")
        moved = _next(live, lambda f: f.why is Blank.MIRROR, live.latest().number)
        assert live.privacy_view() is None and live.mirror_why_not()
        live.restore_shape()
        _next(live, _face, moved.number)

        with live.shared_camera():  # a recorder owns it now
            rig.privacy.start()
            _next(live, _face, live.latest().number)
            rig.privacy.stop()
        _next(live, _face, live.latest().number)

        with Recording(tmp_path / "shown.avi", fps=20) as recording:
            assert pump(live, recording, until_s=0.3) >= 2
        assert recording.frames >= 6
    assert live.latest().why is Blank.STOPPED and live.privacy_view() is None
    assert threading.active_count() == threads
    assert not rig.privacy.is_streaming
    assert {f.number for f in heard} and all(isinstance(f.blank, bool) for f in heard)
    video = cv2.VideoCapture(str(tmp_path / "shown.avi"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == recording.frames
    with pytest.raises(StorageError, match="exists"):
        Recording(tmp_path / "shown.avi")


def test_another_optic_and_a_stale_calibration_are_cards(rig, bundle, faces):
    class Other(type(bundle)):
        """The same weights with the card of another optic."""

    other = Other(bundle.folder, bundle.card.model_copy(update={"optics_id": "0" * 16}),
                  bundle.trained)  # fmt: skip
    with LivePipeline(other, rig, SETTINGS) as live:
        card = _next(live, lambda f: f.why is Blank.OPTICS)
        assert "the instrument shows" in card.reason and live.status().standing
    stale = ["influence is stale: 300 h old"]
    with LivePipeline(bundle, rig, SETTINGS, checks=[lambda: stale]) as live:
        _next(live, lambda f: f.why is Blank.CALIBRATION)
        assert live.status().faces == 0


def test_a_thread_that_dies_becomes_a_card(rig, bundle, faces, monkeypatch):
    with LivePipeline(bundle, rig, SETTINGS) as live:
        face = _next(live, _face)
        monkeypatch.setattr(live._core, "paint", lambda *a: 1 / 0)
        _next(live, lambda f: f.why is Blank.FAILED and "live-painter" in f.reason, face.number)
        assert live.status().failures["live-painter"] > 0
        monkeypatch.undo()
        _next(live, _face, live.latest().number)


def test_no_engine_is_a_card(rig, bundle):
    with LivePipeline(bundle, rig, SETTINGS.model_copy(update={"engine": "onnx"})) as live:
        card = _next(live, lambda f: "no engine" in f.reason)
        assert card.blank


def test_outputs_say_what_they_need(rig, bundle, faces, tmp_path):
    with LivePipeline(bundle, rig, SETTINGS) as live:
        frame = live.latest()
    with pytest.raises(UnsupportedError, match=r"\.mp4"):
        Recording(tmp_path / "x.gif")
    try:
        import pyvirtualcam  # noqa: F401
    except ImportError:
        with pytest.raises(UnsupportedError, match="pyvirtualcam"):
            VirtualCamera(frame)
    even = Recording(tmp_path / "even.avi", fps=10)
    for n in range(20):  # two frames for each picture's time: half of them are skipped
        even.show(replace(frame, out_s=100 + n / 20, number=n))
    even.close()
    assert even.frames == pytest.approx(10, abs=1)
    assert np.array_equal(frame.picture, live.latest().picture) is False or frame.blank

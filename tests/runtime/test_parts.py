"""Tracker, smoothing, cards, references, meter: each alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from camera_rig.errors import ConfigError, StorageError
from models.heatmaps import IBUG68
from models.runtime.bundle import Bundle
from models.runtime.cards import GROUND, Stage, blank_card
from models.runtime.gate import FaceRules, measure
from models.runtime.live_data import Blank, FaceBox, LiveSettings
from models.runtime.meter import Meter, Rate, Spent
from models.runtime.smooth import Smoother
from models.runtime.tracker import Tracker, cut
from tests.runtime.live_rig import FACE, SIZES, PlaceReader, make_bundle, place_frame

WIDTH, HEIGHT, NOMINAL = 240, 160, 88.0
RULES = FaceRules(
    middle_x=float(FACE[:, 0].mean()),
    middle_y=float(FACE[:, 1].mean()),
    spread=float(np.sqrt(((FACE - FACE.mean(0)) ** 2).sum(1).mean())),
)


def _look(tracker: Tracker, head) -> bool:
    """One frame through search or track; whether a head was seen."""
    engine, pixels = PlaceReader(head, (WIDTH, HEIGHT)), place_frame(WIDTH, HEIGHT)
    following = tracker.box is not None
    for box in tracker.windows(WIDTH, HEIGHT):
        window = cut(pixels, box, SIZES.size_px)
        tensor = window.picture.transpose(2, 0, 1)[None] / np.float32(255)
        _, maps = engine(tensor, None)
        found = measure(maps[0], IBUG68)
        if found.peak >= RULES.min_peak and found.weak_peak >= RULES.least_peak:
            tracker.found(window, found)
            return True
    if following:
        tracker.missed()
    return False


@pytest.mark.parametrize("head", [(120, 80, 88), (190, 60, 80), (50, 100, 100)])
def test_a_head_is_found_anywhere_and_framed(head):
    tracker = Tracker(NOMINAL, RULES)
    seen = [_look(tracker, head) for _ in range(60)]
    assert any(seen)
    box = tracker.box
    assert np.hypot(box.x_px - head[0], box.y_px - head[1]) < 0.06 * head[2]
    assert box.size_px == pytest.approx(head[2], rel=0.12)


def test_a_moving_head_is_followed_and_a_lost_one_found_again():
    tracker = Tracker(NOMINAL, RULES)
    x, first = 70.0, 0
    for _ in range(40):
        x += 2.5
        if _look(tracker, (x, 80, 88)):
            first = first or tracker.track
    assert abs(tracker.box.x_px - x) < 10 and tracker.track == first == 1
    for _ in range(10):
        assert not _look(tracker, None)
    assert tracker.box is None
    assert any(_look(tracker, (70, 80, 88)) for _ in range(60))
    assert tracker.track == 2


def test_a_still_head_does_not_shake_the_box():
    rng = np.random.default_rng(1)
    tracker = Tracker(NOMINAL, RULES)
    boxes = []
    for _ in range(60):
        _look(tracker, (120 + rng.normal(0, 0.7), 80 + rng.normal(0, 0.7), 88))
        boxes.append(tracker.box.x_px)
    assert np.std(boxes[20:]) < 0.35


def test_windows_beyond_the_frame_repeat_its_edge():
    pixels = place_frame(WIDTH, HEIGHT)
    window = cut(pixels, FaceBox(5.0, 3.0, 64.0), 64)
    assert window.picture.shape == (64, 64, 3)
    assert (window.picture[:, :26, 0] == pixels[0, 0, 0]).all()
    places = window.to_frame(np.array([[0.0, 0.0], [1.0, 1.0]], np.float32))
    assert places[1, 0] - places[0, 0] == 64
    far = cut(pixels, FaceBox(-500.0, 900.0, 40.0), 32)
    assert far.picture.shape == (32, 32, 3)


def test_smoothing_calms_noise_and_leaves_no_ghost():
    rng = np.random.default_rng(0)
    face = np.zeros((64, 64, 3), np.float32) + 120
    smoother = Smoother(0.6)
    noisy = [face + rng.normal(0, 2, face.shape).astype(np.float32) for _ in range(12)]
    out = [smoother(picture, 1) for picture in noisy]
    assert np.std(out[-1] - face) < 0.7 * np.std(noisy[-1] - face)
    bar = face.copy()
    for step in range(0, 40, 4):  # a bright bar moves: nothing of it may stay behind
        bar = face.copy()
        bar[:, step : step + 12] = 230
        shown = smoother(bar, 1)
        assert np.abs(shown - bar).max() < 3.0 * 2
    assert np.array_equal(smoother(face, 2), face)  # another head: nothing of the last one
    smoother.reset()
    assert np.array_equal(smoother(bar, 2), bar)
    assert np.array_equal(Smoother(0.0)(face, 1), face)


def test_around_a_face_is_a_plain_card():
    face = np.full((32, 32, 3), 200, np.float32)
    room = Stage(LiveSettings(view="room", height_px=200), aspect=1.5)
    picture = room.face(face, FaceBox(60.0, 40.0, 60.0), (240, 160))
    assert picture.shape == (200, 300, 3)
    outside = picture.copy()
    outside[10:95, 35:120] = GROUND
    assert (outside == np.array(GROUND)).all() and picture[50, 75].min() > 195
    alone = Stage(LiveSettings(height_px=128)).face(face, FaceBox(0, 0, 1), (1, 1))
    assert alone.shape == (128, 128, 3) and alone.min() == 200
    assert not picture.flags.writeable


def test_cards_fit_what_they_say():
    words = "actuator 17 reads 0.0 V instead of 118.3 V " * 4
    for width, height in ((512, 512), (768, 512), (64, 64)):
        card = blank_card(width, height, Blank.MIRROR, words)
        assert card.shape == (height, width, 3)
        assert (card != np.array(GROUND)).any()
        edge = max(1, width // 32)
        assert (card[:, -edge:] == np.array(GROUND)).all() or width == 64
    stage = Stage(LiveSettings(height_px=64))
    assert stage.card(Blank.LATE, "x") is stage.card(Blank.LATE, "x")


def test_rules_of_a_bundle(tmp_path):
    assert FaceRules.of_bundle(tmp_path) == FaceRules()
    (tmp_path / "live.json").write_text('{"min_peak": 0.5}')
    assert FaceRules.of_bundle(tmp_path).min_peak == 0.5
    (tmp_path / "live.json").write_text('{"min_peek": 0.5}')
    with pytest.raises(StorageError, match=r"live\.json"):
        FaceRules.of_bundle(tmp_path)


def test_references_come_from_codes_and_pictures(bundle, tmp_path):
    assert list(bundle.references()) == ["plain"]
    folder = tmp_path / "b"
    own = make_bundle(folder)
    own = Bundle(folder, own.card, own.trained)
    codes = {"anna": np.ones(SIZES.style_dim, np.float32)}
    save_file(codes, folder / "styles.safetensors")
    for name in ("anna", "boris"):
        cv2.imwrite(str(folder / f"reference_{name}.png"), np.full((40, 50, 3), 90, np.uint8))
    found = own.references()
    assert list(found) == ["anna", "boris"]
    assert (found["anna"].style == 1).all() and found["anna"].picture.shape == (32, 32, 3)
    assert found["boris"].style.shape == (SIZES.style_dim,)
    save_file({"anna": np.ones(3, np.float32)}, folder / "styles.safetensors")
    with pytest.raises(StorageError, match="style code"):
        own.references()


def test_an_unknown_reference_is_refused(bundle):
    from camera_rig.clock import ManualClock
    from camera_rig.config import load_config
    from models.runtime.core import LiveCore

    bench = load_config("simulated").bench
    with pytest.raises(ConfigError, match="choose one of: plain"):
        LiveCore(bundle, bench, ManualClock(), LiveSettings(reference="nobody"))


def test_figures_are_those_of_the_times_put_in():
    meter, rate = Meter(), Rate()
    for ms in range(1, 101):
        spent = Spent()
        spent.add("infer", ms * 1e-3, 0.5e-3 * ms)
        meter.take(spent)
        rate.tick(ms / 20)
    figures = meter.figures()["infer"]
    assert figures.p50_ms == pytest.approx(50.5) and figures.p95_ms == pytest.approx(95.05)
    assert figures.core_p50_ms == pytest.approx(25.25) and figures.count == 100
    assert rate.per_s(5.0) == pytest.approx(20, rel=0.05)
    assert rate.per_s(100.0) == 0.0

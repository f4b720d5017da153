"""Folders and videos: all frames painted or a card, listed, and not done twice."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from camera_rig.config import load_config
from camera_rig.errors import ConfigError, StorageError
from models.runtime.live_data import LiveSettings
from models.runtime.offline import LEDGER, Deidentifier, find_inputs
from tests.runtime.live_rig import PAINT, AlwaysAFace

SOFT = np.full((96, 96, 3), 100, np.uint8)
SHARP = np.kron(np.random.default_rng(0).integers(0, 255, (48, 48, 3)), np.ones((2, 2, 1))).astype(
    np.uint8
)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    (place / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        cv2.imwrite(str(place / f"{name}.png"), SOFT)
    cv2.imwrite(str(place / "z.png"), SHARP)
    (place / "torn.png").write_bytes(b"no picture")
    video = cv2.VideoWriter(str(place / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for number in range(6):
        video.write(SHARP if number == 3 else SOFT)
    video.release()
    return place


def _worker(bundle, out, engine=None):
    settings = LiveSettings(height_px=64)
    bench = load_config("simulated").bench
    return Deidentifier(bundle, lambda: engine or AlwaysAFace(), out, settings, bench)


def test_every_frame_is_painted_or_a_card(bundle, folder, tmp_path):
    out = tmp_path / "out"
    worker = _worker(bundle, out)
    outcomes = {o.name: o for o in map(worker.work, find_inputs([folder]))}
    assert set(outcomes) == {f"in/{n}" for n in ("a.png", "b.png", "sub/c.png", "torn.png",
                                                 "v.avi", "z.png")}  # fmt: skip
    bad = {name: set(o.unprotected) for name, o in outcomes.items() if o.unprotected}
    assert bad == {"in/z.png": {0}, "in/torn.png": {0}, "in/v.avi": {3}}
    picture = cv2.imread(str(out / "in/a.png"))[..., ::-1] / 255.0
    assert np.allclose(picture / picture[..., :1], np.array(PAINT) / PAINT[0], atol=0.05)
    card = cv2.imread(str(out / "in/z.png"))
    assert card.shape == (64, 64, 3) and card.mean() < 90  # the card's dark ground
    video = cv2.VideoCapture(str(out / "in/v.mp4"))
    frames = [video.read()[1] for _ in range(7)]
    assert frames[6] is None and all(f is not None for f in frames[:6])
    assert frames[3].mean() < 0.7 * frames[2].mean()


def test_a_second_run_goes_on_where_the_first_stopped(bundle, folder, tmp_path):
    out, items = tmp_path / "out", find_inputs([folder])
    first = _worker(bundle, out)
    for item in items[:2]:
        first.work(item)
    with (out / LEDGER).open("a") as file:
        file.write('{"name": "in/torn')  # the run died while writing
    engine = AlwaysAFace()
    second = _worker(bundle, out, engine)
    assert second.is_done(items[0]) and not second.is_done(items[2])
    second.work(items[0])
    assert engine.calls == 0
    outcomes = [second.work(item) for item in items]
    assert engine.calls > 0
    engine.calls = 0
    third = [_worker(bundle, out, engine).work(item) for item in items]
    assert engine.calls == 0 and third == outcomes  # what was not protected is told again
    cv2.imwrite(str(folder / "a.png"), SOFT + 5)
    assert not _worker(bundle, out).is_done(items[0])


def test_wrong_inputs_are_named(tmp_path, folder):
    with pytest.raises(ConfigError, match="does not exist"):
        find_inputs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="nothing to work on"):
        find_inputs([tmp_path / "empty"])
    cv2.imwrite(str(folder / "a.jpg"), SOFT)
    with pytest.raises(ConfigError, match=r"a\.png"):
        find_inputs([folder])


def test_a_video_that_cannot_be_read_is_an_error(bundle, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    (item,) = find_inputs([tmp_path / "x.mp4"])
    with pytest.raises(StorageError, match="video"):
        _worker(bundle, tmp_path / "out").work(item)


def test_the_command_lists_what_it_could_not_protect(bundle, folder, tmp_path):
    from typer.testing import CliRunner

    from cli.main import app

    words = ["deidentify", str(folder), "-b", str(bundle.folder), "-o", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*words, "--engine", "torch", "--height", "64", "--json"])
    assert done.exit_code == 9
    told = json.JSONDecoder().raw_decode(done.stdout)[0]
    # Untrained networks see no face anywhere, so nothing is protected, and all is told.
    assert told["frames"] == 11 and len(told["unprotected"]) == 11
    assert (tmp_path / "o/in/a.png").exists()
    again = CliRunner().invoke(app, [*words, "--height", "64", "--json"])
    told_again = json.JSONDecoder().raw_decode(again.stdout)[0]
    assert (told_again["kept_from_before"], told_again["engine"]) == (6, "")  # none was chosen
    assert told_again["unprotected"] == told["unprotected"] and again.exit_code == 9

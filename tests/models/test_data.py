from __future__ import annotations

import cv2
import numpy as np
import pytest

from camera_rig.errors import ConfigError, StorageError
from camera_rig.twin.heads import HeadScene, HeadSettings, film_curve
from camera_rig.twin.scene import Field
from models.data import changed, open_folder, open_pairs
from models.draws import Purpose, draw, shuffled_index
from models.heads import (
    REFERENCE_SEEDS,
    TEST_SEEDS,
    TRAINING_SEEDS,
    HeadSetSettings,
    render_heads,
)
from tests.models.conftest import draw_face

WINDOW = Field(height_px=64, width_px=64, width_mm=260.0)


def put(folder, *names, size=20):
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((size, size, 3), number * 10, np.uint8))


def test_layouts(tmp_path):
    put(tmp_path / "celeba", "female/1.png", "female/2.png", "male/3.png")
    two = open_folder(tmp_path / "celeba", 16)
    assert two.domains == ("female", "male")
    assert [two.domain_of(i) for i in range(3)] == [0, 0, 1]
    put(tmp_path / "ffhq", "00000/00001.png", "01000/01001.png")
    assert open_folder(tmp_path / "ffhq", 16).domains == ("ffhq",)
    put(tmp_path / "flat", "a.jpg", "b.webp", ".hidden/c.png")
    (tmp_path / "flat" / "note.txt").write_text("x")
    flat = open_folder(tmp_path / "flat", 16)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "one").symlink_to(tmp_path / "flat")
    (tmp_path / "flat" / "back").symlink_to(tmp_path / "linked")
    assert len(open_folder(tmp_path / "linked", 16)) == 2
    assert len(flat) == 2 and flat[0].picture.shape == (16, 16, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no pictures"):
        open_folder(tmp_path / "empty", 16)
    (tmp_path / "empty" / "x.png").write_bytes(b"no picture")
    with pytest.raises(StorageError, match="cannot be read"):
        open_folder(tmp_path / "empty", 16)[0]


def test_colours_are_rgb_and_the_middle_is_kept(tmp_path):
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 5:15, 0] = 255  # red in the middle square
    cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    face = open_folder(tmp_path, 10)[0]
    assert (face.picture == [255, 0, 0]).all()


def test_landmarks_follow_the_size_and_the_change(faces_folder):
    small, large = open_folder(faces_folder, 32)[0], open_folder(faces_folder, 64)[0]
    assert np.allclose(large.landmarks_px, (small.landmarks_px + 0.5) * 2 - 0.5)
    # A dot drawn at a landmark is found at the changed landmark.
    picture, points = draw_face(0, 0, 96)
    dot = np.zeros_like(picture)
    cv2.circle(dot, tuple(round(float(v)) for v in points[33]), 2, (255, 255, 255), -1)
    from models.data import Face

    moved = changed(
        Face("x", dot, landmarks_px=points.astype(np.float32)), draw(1, Purpose.NOISE), flip=False
    )
    rows, columns = np.nonzero(moved.picture[..., 0] > 128)
    assert np.hypot(*(np.array([columns.mean(), rows.mean()]) - moved.landmarks_px[33])) < 1.0


def test_split_keeps_people_apart_and_covers_all(faces_folder):
    whole = open_folder(faces_folder, 32)
    train, held = whole.split(0.25, seed=7)
    people = [{part.identity_of(i) for i in range(len(part))} for part in (train, held)]
    assert not people[0] & people[1] and people[0] | people[1] == set(range(8))
    assert len(train) + len(held) == 24
    again = whole.split(0.25, seed=7)[1]
    assert [again[i].name for i in range(len(again))] == [held[i].name for i in range(len(held))]


def test_endless_shuffle_shows_each_once_a_turn():
    order = [shuffled_index(5, p, seed=3) for p in range(20)]
    for turn in range(4):
        assert sorted(order[5 * turn : 5 * turn + 5]) == [0, 1, 2, 3, 4]
    assert order[:5] != order[5:10] or order[5:10] != order[10:15]
    assert order != [shuffled_index(5, p, seed=4) for p in range(20)]


def test_draws_are_named_by_place_and_purpose():
    one = draw(1, Purpose.NOISE, 5).random(3)
    assert np.array_equal(one, draw(1, Purpose.NOISE, 5).random(3))
    assert not np.array_equal(one, draw(1, Purpose.LATENT, 5).random(3))
    assert not np.array_equal(one, draw(1, Purpose.NOISE, 6).random(3))


def test_pairs_need_partners(tmp_path):
    put(tmp_path, "privacy/a.png", "side/a.png", "privacy/b.png")
    with pytest.raises(ConfigError, match="for example b"):
        open_pairs(tmp_path, 16)
    (tmp_path / "privacy" / "b.png").unlink()
    pairs = open_pairs(tmp_path, 16)
    assert pairs.sensitive and pairs[0].privacy is not None
    with pytest.raises(ConfigError, match="missing"):
        open_pairs(tmp_path / "side", 16)


def test_heads_are_rendered_with_labels_and_kept(tmp_path):
    settings = HeadSetSettings(seeds=(0, 1), frames=1, size_px=64)
    folder = render_heads(tmp_path / "heads", settings)
    faces = open_folder(folder, 64)
    assert [faces.identity_of(i) for i in range(len(faces))] == [0, 1]
    face = faces[0]
    assert face.landmarks_px.shape == (68, 2)
    assert ((face.landmarks_px > 0) & (face.landmarks_px < 64)).all()
    assert faces[0].picture.std() > 20
    before = (folder / "labels.json").stat().st_mtime_ns
    render_heads(folder, settings)
    assert (folder / "labels.json").stat().st_mtime_ns == before
    with pytest.raises(StorageError, match="other heads"):
        render_heads(folder, HeadSetSettings(seeds=(5,), frames=1, size_px=64))


def test_one_studio_is_the_scene_of_the_twin_and_more_change_all_but_the_face(tmp_path):
    scene = HeadScene(HeadSettings(identity_seed=3, clip_seed=3, studio_seed=3, field=WINDOW))
    wanted = scene.truth(1.0), film_curve(scene.radiance(1.0))
    sets = []
    for studios in (1, 2):
        settings = HeadSetSettings((3,), frames=2, size_px=64, studios=studios)
        sets.append(open_folder(render_heads(tmp_path / str(studios), settings), 64))
    one, two = sets  # the first of two frames over four seconds stands at one second
    assert np.array_equal(one[0].picture, wanted[1])
    assert np.array_equal(two[0].picture, one[0].picture)
    assert np.allclose(two[1].landmarks_px, one[1].landmarks_px)
    wall = wanted[0].parts == 0
    corner = np.zeros_like(wall)
    corner[:8, :8] = True
    assert wall[corner].all()  # nobody stands in the corner, whatever the moment
    away = np.abs(two[1].picture[corner].astype(int) - one[1].picture[corner])
    assert away.mean() > 5


def test_training_references_and_tests_share_nobody():
    ranges = (TRAINING_SEEDS, REFERENCE_SEEDS, TEST_SEEDS)
    for i, one in enumerate(ranges):
        assert all(not set(one) & set(two) for two in ranges[i + 1 :])

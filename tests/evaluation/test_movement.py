from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.material import Material, Sample, Truth
from models.evaluation.movement import (
    eye_openness,
    mouth_openness,
    movement_figures,
    moving_features,
    video_figures,
)
from models.evaluation.statistics import Crowd
from tests.models.conftest import TEMPLATE

SIZE = 128


def clip(person: int, frames: int = 8) -> np.ndarray:
    """A face that opens its mouth and closes its eyes as it drifts evenly."""
    rng = np.random.default_rng(person)
    points = np.repeat((TEMPLATE + rng.normal(0, 0.01, TEMPLATE.shape))[None], frames, 0) * SIZE
    time = np.arange(frames)[:, None]
    points[:, [65, 66, 67], 1] += 3 * np.abs(np.sin(time + person))
    points[:, [40, 41, 46, 47], 1] -= 1.5 * np.abs(np.cos(time))
    return points + time[:, None] * [0.5, 0.2]


def material(frames: int = 8) -> tuple[Material, np.ndarray]:
    clips = [clip(person, frames) for person in range(3)]
    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    samples = tuple(
        Sample(f"{p}-{i}", p, blank, points, Truth((0, 0, 0), i / 30))
        for p, points_of in enumerate(clips)
        for i, points in enumerate(points_of)
    )
    rows = np.concatenate(clips).reshape(1, -1, 136)
    return Material("drawn", samples, "synthetic heads", exact=True), rows


def figures(found: np.ndarray) -> dict[str, float]:
    faces, rows = material()
    crowd = Crowd(faces.people)
    made = movement_figures(faces, crowd, {"points": rows}, {"points": found})
    return {name.rsplit(".", 1)[-1]: figure.value for name, figure in made.items()}


def test_the_true_points_have_no_error():
    _, rows = material()
    found = figures(rows)
    assert found["landmark_l1_px"] == found["landmark_truth_l1_px"] == 0
    assert found["features_error"] == pytest.approx(0, abs=1e-9)
    assert found["blink_r"] == pytest.approx(1) and found["mouth_r"] == pytest.approx(1)


def test_a_shift_is_a_landmark_error_but_no_expression():
    _, rows = material()
    moved = rows.reshape(1, -1, 68, 2) * 1.1 + [4.0, 0.0]
    found = figures(moved.reshape(rows.shape))
    assert found["landmark_l1_px"] > 4
    assert found["features_error"] == pytest.approx(0, abs=1e-6)
    assert found["mouth_r"] == pytest.approx(1)


def test_a_shift_by_hand_at_256_pixels():
    _, rows = material()
    # 3 px in x of 128: mean over x and y is 1.5, at 256 it is 3.
    moved = rows.reshape(1, -1, 68, 2) + np.array([3.0, 0.0])
    assert figures(moved.reshape(rows.shape))["landmark_l1_px"] == pytest.approx(3.0)


def test_a_frozen_face_moves_nothing():
    _, rows = material()
    frozen = np.repeat(rows.reshape(3, 8, 136)[:, :1], 8, 1).reshape(rows.shape)
    found = figures(frozen)
    truth = rows.reshape(3, 8, 68, 2)
    wanted = np.mean([np.linalg.norm(moving_features(t), axis=-1).mean() for t in truth])
    assert found["features_error"] == pytest.approx(wanted)
    assert np.isnan(found["mouth_r"])  # constant: no correlation, not a good one


def test_faces_that_are_not_found_are_left_out():
    _, rows = material()
    holes = rows.copy()
    holes[0, :8] = np.nan  # all of the first person
    found = figures(holes)
    assert found["landmark_l1_px"] == 0 and found["mouth_r"] == pytest.approx(1)
    assert np.isnan(figures(np.full_like(rows, np.nan))["landmark_l1_px"])


def test_openness_by_hand():
    points = np.zeros((1, 68, 2))
    points[0, [36, 39, 42, 45, 60, 64]] = [[0, 0], [10, 0], [20, 0], [30, 0], [0, 9], [8, 9]]
    points[0, [37, 38]], points[0, [41, 40]] = [3, 1], [3, 3]
    points[0, [43, 44]], points[0, [47, 46]] = [23, 0], [23, 4]
    points[0, [61, 62, 63]], points[0, [67, 66, 65]] = [4, 8], [4, 10]
    assert eye_openness(points)[0] == pytest.approx(0.3)
    assert mouth_openness(points)[0] == pytest.approx(0.25)


def test_video_by_hand():
    faces, rows = material()
    crowd = Crowd(faces.people)
    steady = {"identity.dlib": np.zeros((1, 24, 2)), "points": rows}
    calm = video_figures(faces, crowd, steady)
    assert calm["video.dlib.steadiness"].value == 0
    shaken = rows.reshape(1, 24, 68, 2) + np.where(np.arange(24) % 2, 1.0, 0.0)[None, :, None, None]
    walk = np.repeat(np.arange(24.0)[None, :, None], 2, 2)  # a step of √2 per frame
    restless = video_figures(
        faces, crowd, {"identity.dlib": walk, "points": shaken.reshape(rows.shape)}
    )
    assert restless["video.dlib.steadiness"].value == pytest.approx(np.sqrt(2))
    # Every second frame is 1 px off each way: second differences of 2 px, 4 at 256.
    more = restless["video.jitter_px"].value - calm["video.jitter_px"].value
    assert more > 3.0
    assert restless["video.blink_r"].value == pytest.approx(1, abs=0.05)

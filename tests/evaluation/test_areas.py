"""Areas from landmarks, against squares by hand and against the renderer's own part masks."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.twin.heads import HeadScene, HeadSettings, Part
from camera_rig.twin.scene import Field
from models.evaluation.areas import AREAS, area_overlaps, masks_of

SIZE = 256


def square_face(x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """All polygons are squares of 40 px, the two eyes side by side."""
    points = np.zeros((68, 2))
    for name, left in (("face", [20.0]), ("eyes", [80.0, 150.0]), ("mouth", [20.0])):
        for corners, start in zip(AREAS[name], left, strict=True):
            turn = np.linspace(0, 4, len(corners), endpoint=False)
            side, along = turn.astype(int) % 4, turn % 1.0
            ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * 40.0 + [start, 30.0]
            corner = ends[side] + (ends[side + 1] - ends[side]) * along[:, None]
            # The corners themselves must be among the points.
            corner[[0, len(corners) // 4, len(corners) // 2, 3 * len(corners) // 4]] = ends[:4]
            points[list(corners)] = corner
    return points + np.array([x, y])


def overlaps(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    made = area_overlaps(found[None, None], wanted[None], SIZE)
    return {name: float(table[0, 0]) for name, table in made.items()}


def test_the_mouth_is_as_large_as_its_square():
    # 40 px of 256 are 80 of 512; a polygon's rim belongs to it, half a pixel on each side.
    assert masks_of(square_face(), SIZE)["mouth"].sum() == pytest.approx(80**2, rel=0.03)


def test_moved_squares_overlap_by_hand():
    same = overlaps(square_face(), square_face())
    assert same == {"face": 1.0, "eyes": 1.0, "mouth": 1.0}
    # 10 of 40 px to the side: 30 shared columns of 50.
    moved = overlaps(square_face(10.0), square_face())
    assert moved["mouth"] == pytest.approx(30 / 50, abs=0.01)
    assert overlaps(square_face(0.0, 200.0), square_face())["mouth"] == 0.0


def test_faces_that_were_not_read_are_left_out():
    found = np.stack([square_face(), np.full((68, 2), np.nan)])[None]
    table = area_overlaps(found, np.stack([square_face()] * 2), SIZE)["mouth"]
    assert table[0, 0] == 1.0 and np.isnan(table[0, 1])


@pytest.mark.parametrize("seed", [3, 20_004])
def test_polygons_of_exact_landmarks_are_where_the_renderer_says(seed):
    window = Field(height_px=SIZE, width_px=SIZE, width_mm=260.0)
    scene = HeadScene(HeadSettings(identity_seed=seed, clip_seed=seed, field=window))
    shares: dict[str, list[float]] = {"mouth": [], "eyes": [], "face": []}
    for t_s in (0.3, 1.7, 3.1):
        truth = scene.truth(t_s)
        masks = masks_of(truth.landmarks_px, SIZE, SIZE)
        exact = {
            "mouth": np.isin(truth.parts, [Part.LIPS, Part.MOUTH, Part.TEETH]),
            "eyes": truth.parts == Part.EYE,
        }
        for name, mask in exact.items():
            shares[name].append((masks[name] & mask).sum() / (masks[name] | mask).sum())
        outside = np.isin(truth.parts, [Part.BACKGROUND, Part.CLOTH])
        shares["face"].append(1.0 - (masks["face"] & outside).sum() / masks["face"].sum())
    assert min(shares["mouth"]) > 0.85
    assert min(shares["eyes"]) > 0.5  # the renderer counts the lashes before the eye apart
    assert min(shares["face"]) > 0.99

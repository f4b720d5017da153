"""Registration by a board and by any scene, with a lopsided PSF in the way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.board import Board
from calibration.natural import natural_pairs
from calibration.plane_map import PlaneMap, fit_plane_map, rms
from calibration.procedure import run
from calibration.registration import RegistrationProcedure
from calibration.resting_spot import as_seen
from camera_rig.errors import StateError
from camera_rig.optics import Coefficients, Pupil, compute_psf
from camera_rig.twin.poster import Poster
from camera_rig.twin.scene import Field
from tests.calibration.worlds import Stubborn, opened, small

SIZE = (480, 320)
TRUE = PlaneMap(
    np.array([1.01, 0.008, 0.012, -0.008, 1.01, -0.009, 0.0, 0.0, 0.002, -0.003]), SIZE, SIZE
)


def kernel():
    """A PSF with coma that moves edges by a pixel."""
    pupil = Pupil(0.4, 12.58, 9.3, (550.0,))
    shape = Coefficients.numbered({7: 0.12, 5: 0.05}, "waves_rms", "noll", 550.0)
    plane = compute_psf(shape, pupil, 64).pixels[0]
    return (plane / plane.sum())[:0:-1, 1:]


def carried(side):
    """What the privacy camera has of a side picture: the true map turned round."""
    x, y = np.meshgrid(np.arange(SIZE[0], dtype=float), np.arange(SIZE[1], dtype=float))
    wanted = np.stack([x, y], axis=-1)
    place = wanted.copy()
    for _ in range(20):
        place += wanted - TRUE(place)
    place = place.astype(np.float32)
    return cv2.remap(
        side, place[..., 0], place[..., 1], cv2.INTER_CUBIC, None, cv2.BORDER_REPLICATE
    )


def field_error(found):
    grid = found.grid(13, 9)
    return rms(found(grid) - TRUE(grid))


def test_any_scene_serves_and_the_psf_is_taken_off():
    field = Field(height_px=SIZE[1], width_px=SIZE[0])
    light = Poster(field=field, seed=3).radiance(0.0)[..., 1]
    side = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    lopsided = kernel()
    privacy = np.rint(as_seen(carried(side), lopsided)).astype(np.uint8)
    blind = fit_plane_map(*natural_pairs(side, privacy), SIZE, SIZE)
    knowing = fit_plane_map(*natural_pairs(side, privacy, lopsided), SIZE, SIZE)
    assert field_error(knowing) < 0.1
    assert field_error(knowing) < 0.4 * field_error(blind)


def test_board_corners_are_those_of_the_chief_ray():
    board = Board()
    drawn = cv2.aruco.CharucoBoard(
        board.squares, 60.0, 45.0, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    ).generateImage((432, 288), marginSize=0)
    side = cv2.copyMakeBorder(
        cv2.convertScaleAbs(drawn, alpha=0.55, beta=40), 16, 16, 24, 24, cv2.BORDER_REPLICATE
    )
    lopsided = kernel()
    privacy = np.rint(as_seen(carried(side), lopsided)).astype(np.uint8)
    here, there = board.pairs(side, privacy)
    blind = rms(TRUE(here) - there)
    here, there = board.pairs(side, privacy, lopsided)
    assert rms(TRUE(here) - there) < 0.5 * blind
    assert field_error(fit_plane_map(here, there, SIZE, SIZE)) < 0.3


def test_uncertainty_grows_away_from_the_places():
    rng = np.random.default_rng(2)
    side = rng.uniform((160, 110), (320, 210), (60, 2))
    privacy = TRUE(side) + rng.normal(0, 0.1, side.shape)
    found = fit_plane_map(side, privacy, SIZE, SIZE)
    inside, outside = found.sigma_px(np.array([[240.0, 160.0], [10.0, 10.0]]))
    assert np.linalg.norm(outside) > 4 * np.linalg.norm(inside)
    assert PlaneMap(found.parameters, SIZE, SIZE).sigma_px(side).max() == 0.0


def test_too_plain_a_scene_cannot_replace_the_board():
    plain = np.full((320, 480), 128, np.uint8)
    with pytest.raises(StateError, match="cannot replace the board") as caught:
        natural_pairs(plain, plain)
    assert "poster" in caught.value.hint


def test_missing_board_is_told_kept_and_replaced_only_when_allowed(tmp_path):
    with opened(small(SIZE), tmp_path) as context:
        context.operator = Stubborn(context.rig.twin, "poster")
        with pytest.raises(StateError, match="no corners of the ChArUco board") as caught:
            run(RegistrationProcedure(), context)
        assert "--natural-scene" in caught.value.hint
        (kept,) = context.store.list("registration")
        assert kept.status == "rejected" and "ChArUco" in kept.advice
        assert "What to do next" in (context.store.folder(kept) / "report.html").read_text()
        artifact = run(RegistrationProcedure(natural_scene=True), context)
        assert artifact.status == "accepted", artifact.reason
        assert artifact.payload["by"] == "scene"
        assert any("no board was found" in note for note in artifact.notes)
        assert any("no PSF calibration" in note for note in artifact.notes)
        p = artifact.payload
        found = PlaneMap(np.array(p["parameters"]), SIZE, SIZE)
        grid = found.grid(9, 7)
        gap = found(grid) - context.rig.twin.truth.side_to_privacy(grid)
        assert rms(gap - gap.mean(axis=0)) < 0.3

"""Targets hold what their truth says, checked against closed forms and OpenCV's detector."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.errors import ConfigError
from camera_rig.twin.lights import CodedSequence, LightScene, SquareWave
from camera_rig.twin.scene import (
    Field,
    FolderScene,
    Scene,
    VideoScene,
    linear_to_srgb,
    srgb_to_linear,
)
from camera_rig.twin.targets import (
    CharucoBoard,
    FlatField,
    PointSource,
    StepWedge,
    disc_coverage,
)

SMALL = Field(height_px=48, width_px=64, width_mm=64.0)


@pytest.mark.parametrize(
    "scene",
    [
        FlatField(field=SMALL),
        PointSource(field=SMALL),
        StepWedge(field=SMALL),
        CharucoBoard(field=SMALL),
        LightScene(behind=FlatField(field=SMALL, level=0.02)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_every_target_is_a_scene_of_linear_light(scene: Scene) -> None:
    picture = scene.radiance(0.1)
    assert isinstance(scene, Scene)
    assert picture.shape == SMALL.shape and picture.dtype == np.float32
    assert picture.min() >= 0.0 and picture.max() <= 1.0
    assert scene.truth(0.1).t_s == 0.1


@given(x=st.floats(10, 50), y=st.floats(10, 35), radius=st.floats(0.05, 9.0))
@settings(deadline=None, max_examples=60)
def test_disc_keeps_its_area_and_its_centre(x: float, y: float, radius: float) -> None:
    shares = disc_coverage(SMALL, (x, y), radius)
    assert shares.sum() == pytest.approx(np.pi * radius**2, rel=1e-9)
    rows, columns = np.indices(shares.shape)
    # The centroid of pixel squares is blind to where in a pixel the light lies.
    assert (shares * columns).sum() / shares.sum() == pytest.approx(x, abs=0.5)
    assert (shares * rows).sum() / shares.sum() == pytest.approx(y, abs=0.5)


def test_disc_matches_brute_force() -> None:
    fine = 64
    shares = disc_coverage(SMALL, (20.3, 17.8), 5.2)
    grid = (np.arange(64 * fine) + 0.5) / fine - 0.5
    inside = (grid[None, :] - 20.3) ** 2 + (grid[: 48 * fine, None] - 17.8) ** 2 <= 5.2**2
    brute = inside.reshape(48, fine, 64, fine).mean((1, 3))
    assert np.abs(shares - brute).max() < 4e-3


def test_pinhole_off_the_field_leaves_it_dark() -> None:
    assert PointSource(field=SMALL, x_mm=100.0).radiance(0.0).max() == 0.0


def test_wedge_levels_fall_by_the_density_step() -> None:
    wedge = StepWedge(field=SMALL, steps=8, density_step=0.3, level=0.9)
    truth, picture = wedge.truth(0.0), wedge.radiance(0.0)
    for level, left, right in zip(
        truth.levels, truth.edges_px[:-1], truth.edges_px[1:], strict=True
    ):
        assert np.all(picture[:, left:right] == np.float32(level))
    assert np.diff(np.log10(truth.levels)) == pytest.approx(-0.3)


@pytest.mark.parametrize("rotation_deg", [(0.0, 0.0, 0.0), (18.0, -14.0, 7.0)])
def test_charuco_corners_are_found_where_truth_says(
    rotation_deg: tuple[float, float, float],
) -> None:
    board = CharucoBoard(
        field=Field(height_px=480, width_px=640, width_mm=400.0),
        rotation_deg=rotation_deg,
        centre_mm=(12.0, -7.0, 30.0),
    )
    aruco = cv2.aruco.CharucoBoard(
        board.squares, 30.0, 22.5, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    )
    grey = linear_to_srgb(board.radiance(0.0))[..., 0]
    corners, ids, _, _ = cv2.aruco.CharucoDetector(aruco).detectBoard(grey)
    assert len(ids) == 8 * 5
    error = corners.reshape(-1, 2) - board.truth(0.0).corners_px[ids.ravel()]
    assert np.abs(error).max() < 0.2
    assert np.abs(error.mean(0)).max() < 0.05


def test_m_sequence_correlates_at_one_delay_only() -> None:
    for order in range(3, 12):
        chips = CodedSequence(order=order).chips.astype(int) * 2 - 1
        spectrum = np.abs(np.fft.fft(chips)) ** 2
        correlation = np.rint(np.fft.ifft(spectrum).real).astype(int)
        assert correlation[0] == 2**order - 1
        assert set(correlation[1:]) == {-1}


@pytest.mark.parametrize(
    "signal",
    [SquareWave(frequency_hz=3.1, duty=0.3, phase_s=0.05), CodedSequence(order=5, chip_s=0.07)],
    ids=["square", "coded"],
)
@given(start=st.floats(-3, 3), length=st.floats(0.01, 4))
@settings(deadline=None, max_examples=30)
def test_mean_light_is_the_integral(
    signal: SquareWave | CodedSequence, start: float, length: float
) -> None:
    t = start + (np.arange(4000) + 0.5) / 4000 * length
    sampled = np.mean([signal.level(float(v)) for v in t])
    assert signal.mean_level(start, start + length) == pytest.approx(sampled, abs=0.01)


def test_lamp_stands_before_another_scene() -> None:
    lamp = LightScene(
        signal=SquareWave(frequency_hz=1.0),
        behind=FlatField(field=SMALL, level=0.25),
        diameter_mm=10.0,
        x_mm=16.0,
    )
    lit, dark = lamp.radiance(0.1), lamp.radiance(0.6)
    assert lit[0, 0, 0] == dark[0, 0, 0] == np.float32(0.25)
    x, y = (round(v) for v in lamp.truth(0.1).centre_px)
    assert (lit[y, x, 0], dark[y, x, 0]) == (1.0, 0.0)
    assert lamp.frame_key(0.1) != lamp.frame_key(0.6)
    assert lamp.frame_key(0.1) == lamp.frame_key(0.2)


def test_folder_shows_its_pictures_in_order(tmp_path: Path) -> None:
    for name, value in (("b.png", 200), ("a.png", 50)):
        cv2.imwrite(str(tmp_path / name), np.full((40, 80, 3), value, np.uint8))
    scene = FolderScene(tmp_path, SMALL, fps=2.0)
    assert [scene.truth(t).source for t in (0.0, 0.5, 1.0)] == ["a.png", "b.png", "a.png"]
    assert scene.radiance(0.6)[0, 0, 0] == pytest.approx(
        srgb_to_linear(np.array([200], np.uint8))[0]
    )
    assert scene.radiance(0.0).shape == SMALL.shape


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no picture"):
        FolderScene(tmp_path)


def test_video_plays_and_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for value in range(0, 200, 20):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    scene = VideoScene(path, SMALL)
    assert scene.duration_s == pytest.approx(1.0)
    for t_s in (0.0, 0.3, 0.9, 0.1, 1.2):
        shown = linear_to_srgb(scene.radiance(t_s)).mean()
        assert shown == pytest.approx(20 * (round(t_s * 10) % 10), abs=3)
    scene.close()


def test_srgb_round_trip_is_exact() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(linear_to_srgb(srgb_to_linear(values)), values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlatField(level=1.5),
        lambda: PointSource(diameter_mm=0.0),
        lambda: StepWedge(steps=1),
        lambda: CharucoBoard(dictionary="DICT_NONE"),
        lambda: SquareWave(duty=1.0),
        lambda: CodedSequence(order=40),
        lambda: Field(width_mm=0.0),
    ],
)
def test_impossible_targets_are_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]

"""Talking heads: the truth must be true, the same seed must give the same pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from camera_rig.errors import ConfigError, StorageError
from camera_rig.twin.head.assets import FACE_UNITS, face_coefficients, head_model
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.motion import Motion, clip_track
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.heads import ClipCache, HeadScene, HeadSettings, Part, film_curve
from camera_rig.twin.scene import Field, Scene

SMALL = Field(height_px=160, width_px=160, width_mm=400.0)
SHORT = Motion(duration_s=0.1)


@pytest.fixture(scope="module")
def scene() -> HeadScene:
    return HeadScene(HeadSettings(identity_seed=3, field=SMALL))


def test_head_is_a_scene_of_linear_light(scene: HeadScene) -> None:
    picture = scene.radiance(0.2)
    assert isinstance(scene, Scene)
    assert picture.shape == SMALL.shape and picture.dtype == np.float32
    assert picture.min() >= 0.0 and picture.max() <= 1.0
    assert 0.05 < picture.mean() < 0.6


def test_same_seeds_give_the_same_pixels_and_others_do_not(scene: HeadScene) -> None:
    again = HeadScene(HeadSettings(identity_seed=3, field=SMALL))
    other = HeadScene(HeadSettings(identity_seed=4, field=SMALL))
    assert np.array_equal(scene.radiance(0.5), again.radiance(0.5))
    assert np.abs(scene.radiance(0.5) - other.radiance(0.5)).mean() > 0.01


def test_a_thousand_seeds_are_a_thousand_people() -> None:
    people = [Identity.from_seed(seed, head_model()) for seed in range(1000)]
    shapes = np.array([[*p.local.values()][:60] for p in people])
    assert len(np.unique(np.round(shapes, 6), axis=0)) == 1000
    assert {p.sex for p in people} == {"female", "male"}
    assert {p.skin_group for p in people} == {"light", "medium", "tan", "brown", "dark"}
    assert min(p.age_years for p in people) < 22 and max(p.age_years for p in people) > 68
    assert all(set(p.local) <= set(head_model().targets) for p in people)


def test_every_named_unit_but_the_tongue_moves_the_head() -> None:
    model = head_model()
    still = [n for n in FACE_UNITS if not len(model.targets[f"faceunit/{n}"].index)]
    assert still == ["tongueOut"] and len(FACE_UNITS) == 52


def test_pose_turns_the_skull_by_exactly_what_truth_says() -> None:
    from camera_rig.twin.head.model import HeadShape

    shape = HeadShape(head_model(), Identity.from_seed(1, head_model()))
    rest = shape.points(face_coefficients(), HeadPose())
    pose = HeadPose(yaw_deg=24.0, pitch_deg=-11.0, roll_deg=6.0)
    turned = shape.points(face_coefficients(), pose)
    skull = np.nonzero(head_model().vertices[:, 1] > 7.0)[0]
    a, b = rest[skull] - rest[skull].mean(0), turned[skull] - turned[skull].mean(0)
    # Kabsch: the best rotation between the two, by singular values.
    u, _, vt = np.linalg.svd(b.T @ a)
    found = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    rx, ry, rz = (
        cv2.Rodrigues(np.deg2rad(axis))[0] for axis in ([-11.0, 0, 0], [0, 24.0, 0], [0, 0, 6.0])
    )
    assert np.abs(found - rz @ ry @ rx).max() < 1e-4
    shoulders = np.nonzero(head_model().vertices[:, 1] < 5.2)[0]
    assert np.abs(turned[shoulders] - rest[shoulders]).max() < 1e-6


def test_landmarks_lie_on_the_parts_they_name(scene: HeadScene) -> None:
    for t_s in (0.0, 0.9, 2.1):
        truth = scene.truth(t_s)
        near = []
        for x, y in np.rint(truth.landmarks_px).astype(int):
            near.append(set(truth.parts[y - 2 : y + 3, x - 2 : x + 3].ravel()))
        assert all(Part.SKIN in near[i] for i in range(27, 36))
        assert all(near[i] & {Part.LIPS, Part.MOUTH, Part.TEETH} for i in range(48, 68))
        assert all(near[i] & {Part.EYE, Part.BROW, Part.SKIN} for i in range(36, 48))


def test_compiled_numbers_are_those_of_the_enums() -> None:
    from camera_rig.twin.head import shading
    from camera_rig.twin.head.model import Material

    for name in ("NECK", "SOCKET", "MOUTH", "EYE", "TEETH", "HAIR", "BROW"):
        assert getattr(shading, name) == Material[name]
    for part in Part:
        if part:
            assert getattr(shading, f"PART_{part.name}") == part
    assert len(Part) == shading.PARTS


def test_open_mouth_shows_its_inside_and_shut_eyes_no_eyeball() -> None:
    from camera_rig.twin.head.render import HeadRenderer
    from camera_rig.twin.head.studio import Studio

    renderer = HeadRenderer(Identity.from_seed(3, head_model()), Studio.from_seed(0), SMALL)

    def count(parts: tuple[Part, ...], **strengths: float) -> int:
        shown = renderer.render(face_coefficients(**strengths), HeadPose()).parts
        return int(np.isin(shown, parts).sum())

    inside = (Part.TEETH, Part.MOUTH)
    assert count(inside, jawOpen=0.6) > 4 * count(inside) + 20
    assert count((Part.EYE,)) > 20
    assert count((Part.EYE,), eyeBlinkLeft=1.0, eyeBlinkRight=1.0) < 5


def test_turning_right_moves_the_nose_right() -> None:
    from camera_rig.twin.head.render import HeadRenderer
    from camera_rig.twin.head.studio import Studio

    renderer = HeadRenderer(Identity.from_seed(3, head_model()), Studio.from_seed(0), SMALL)
    still = renderer.render(face_coefficients(), HeadPose()).landmarks_px[30]
    right = renderer.render(face_coefficients(), HeadPose(yaw_deg=20)).landmarks_px[30]
    down = renderer.render(face_coefficients(), HeadPose(pitch_deg=15)).landmarks_px[30]
    assert right[0] > still[0] + 5 and down[1] > still[1] + 3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clips_repeat_without_a_jump_and_stay_in_range(seed: int) -> None:
    motion = Motion(duration_s=6.0, yaw_deg=18.0)
    track = clip_track(seed, motion)
    assert track.coefficients.shape == (180, 52) and track.pose.shape == (180, 6)
    assert track.coefficients.min() >= 0 and track.coefficients.max() <= 1
    assert np.abs(track.pose[:, 0]).max() <= 18.0 + 1e-4
    steps = np.abs(np.diff(track.pose[:, :3], axis=0, append=track.pose[:1, :3]))
    assert steps[-1].max() <= 1.5 * steps[:-1].max()
    jaw = track.coefficients[:, FACE_UNITS.index("jawOpen")]
    blink = track.coefficients[:, FACE_UNITS.index("eyeBlinkLeft")]
    assert jaw.std() > 0.03 and blink.max() == 1.0


def test_silent_clips_keep_the_jaw_shut() -> None:
    track = clip_track(0, Motion(talking=0.0))
    assert track.coefficients[:, FACE_UNITS.index("jawOpen")].max() == 0.0


def test_cached_clip_has_the_same_pixels(tmp_path: Path) -> None:
    settings = HeadSettings(identity_seed=5, field=SMALL, motion=SHORT)
    live, seen = HeadScene(settings), []
    cached = HeadScene(settings, cache=ClipCache(tmp_path))
    cached.prepare(lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    for t_s in (0.0, 0.05, 0.31):
        assert np.array_equal(live.radiance(t_s), cached.radiance(t_s))
        a, b = live.truth(t_s), cached.truth(t_s)
        assert np.array_equal(a.parts, b.parts) and a.pose == b.pose
        assert np.array_equal(a.landmarks_px, b.landmarks_px)
    assert not list(tmp_path.glob(".partial*"))


def test_cache_is_bounded_and_drops_the_oldest(tmp_path: Path) -> None:
    one = 3 * 160 * 160 * 7 + 3 * 68 * 2 * 4 + 1000
    cache = ClipCache(tmp_path, limit_bytes=2 * one)
    for seed in range(3):
        HeadScene(HeadSettings(clip_seed=seed, field=SMALL, motion=SHORT), cache=cache).prepare()
    assert cache.size_bytes() <= 2 * one
    assert cache.get(HeadSettings(clip_seed=0, field=SMALL, motion=SHORT).key()) is None
    with pytest.raises(StorageError, match="does not fit"):
        HeadScene(HeadSettings(field=SMALL), cache=cache).prepare()


def test_damaged_clip_is_reported(tmp_path: Path) -> None:
    settings = HeadSettings(field=SMALL, motion=SHORT)
    HeadScene(settings, cache=ClipCache(tmp_path)).prepare()
    (tmp_path / settings.key() / "parts.npy").write_bytes(b"torn")
    with pytest.raises(StorageError, match="cannot be read"):
        HeadScene(settings, cache=ClipCache(tmp_path)).radiance(0.0)


def test_impossible_clips_are_refused() -> None:
    with pytest.raises(ConfigError):
        Motion(duration_s=0.0)
    with pytest.raises(ConfigError):
        Motion(yaw_deg=90.0)


def test_film_curve_rises_and_ends_at_white() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    shown = film_curve(np.stack([ramp] * 3, axis=-1))[:, 0].astype(int)
    assert shown[0] == 0 and np.all(np.diff(shown) >= 0) and shown[-1] > 225


@pytest.mark.parametrize("seed", [2, 7, 10, 15])
def test_cloth_fills_the_frame_down_to_its_lower_edge(seed: int) -> None:
    from camera_rig.bench import Bench
    from camera_rig.twin.head.render import HeadRenderer
    from camera_rig.twin.head.studio import Studio
    from camera_rig.twin.staging import field_for

    # Twice as high as the bench's window: the garment must not end just below it.
    window = field_for(Bench())
    field = Field(height_px=280, width_px=210, width_mm=window.width_mm)
    renderer = HeadRenderer(Identity.from_seed(seed, head_model()), Studio.from_seed(seed), field)
    track = clip_track(seed, Motion())
    extremes = {
        int(f) for n in range(6) for f in (track.pose[:, n].argmin(), track.pose[:, n].argmax())
    }
    for frame in sorted(extremes):
        parts = renderer.render(track.coefficients[frame], track.pose_at(frame)).parts
        below_shoulders = parts[195:250]
        assert (np.isin(below_shoulders, [Part.CLOTH, Part.HAIR]).sum(axis=1) > 100).all()
        for row in below_shoulders:
            columns = np.nonzero(row == Part.CLOTH)[0]
            # One pixel at either side may show more wall than cloth.
            assert (row[columns[0] + 1 : columns[-1]] != Part.BACKGROUND).all()

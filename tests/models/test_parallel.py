"""Heads that repeat a moment: rendering, the bench, and the way to a shipped bundle."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camera_rig.config import coefficient_file
from camera_rig.errors import ConfigError, StorageError
from camera_rig.optics import Coefficients
from models.camera import LearnedCamera, OpticsSpec
from models.parallel import Moment, ParallelSettings, laid_over, open_parallel, render_parallel
from models.recipe import REFERENCES, Recipe, make
from models.runtime.bundle import open_bundle
from models.runtime.references import references_of
from models.training.bench import SHARP, Bench, Chance
from models.training.paint import edges_loss, shifted
from models.training.parallel import placed_in
from models.training.read import nobody

OPTICS = OpticsSpec(pupil_mm=0.4, focal_mm=12.5786, pixel_um=48.0, psf_px=41, light="linear")
TINY = Recipe(people=3, read=2, paint=2, finish=2, style=2, preset="tiny", optics=OPTICS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    work = tmp_path_factory.mktemp("recipe")
    torch.set_num_threads(1)
    told = []
    bundle = make(work / "bundle", work, TINY, lambda *row: told.append(row))
    assert {row[0] for row in told} == {"heads", "read", "paint", "finish", "style", "int8"}
    return bundle, work


def test_the_recipe_makes_a_bundle_that_opens_and_names_its_references(made):
    bundle = open_bundle(made[0])
    assert set(bundle.trained.parts) >= {"camera", "heat", "encoder", "generator", "style"}
    references = references_of(bundle)
    assert set(references) == set(REFERENCES)
    assert all(one.picture is not None for one in references.values())
    assert not bundle.card.people
    wanted = Coefficients.load(coefficient_file("lopez2024"))
    bundle.check_optics((wanted,))
    with pytest.raises(ConfigError, match="belongs to optics"):
        bundle.check_optics((Coefficients.numbered({4: 0.5}, "waves_rms", "noll", 550.0),))


def test_a_finished_recipe_does_nothing_twice(made):
    again = make(made[1] / "second", made[1], TINY)
    first, second = open_bundle(made[0]), open_bundle(again)
    for name, part in first.trained.parts.items():
        for key, value in part.items():
            assert torch.equal(value, second.trained.parts[name][key]), (name, key)


def test_every_moment_has_its_doubles_and_its_truth(made):
    pairs = open_parallel(made[1] / "heads")
    assert len(pairs) == 3 * 12 * 2
    moment = pairs.moment(0)
    assert moment.source.shape == moment.target.shape == (40, 40, 3)
    assert not np.array_equal(moment.source, moment.target)
    assert moment.landmarks_px.shape == (68, 2)
    training, held_out = pairs.split(0.34)
    mine = {training.identity_of(i) for i in range(len(training))}
    theirs = {held_out.identity_of(i) for i in range(len(held_out))}
    assert mine and theirs and not mine & theirs


def test_other_heads_in_the_folder_are_refused(made):
    other = replace(TINY.heads(32), seeds=(7,))
    with pytest.raises(StorageError, match="other heads"):
        render_parallel(made[1] / "heads", other)
    with pytest.raises(ConfigError, match="parallel set"):
        open_parallel(made[1] / "runs")


def test_references_are_used_equally_often():
    settings = ParallelSettings(tuple(range(120)), tuple(range(12)), repeats=2)
    counts = np.bincount([r for n in range(120) for r in settings.chosen(n)], minlength=12)
    assert counts.min() == counts.max() == 20
    assert all(len(set(settings.chosen(n))) == 2 for n in range(120))


def test_a_double_is_laid_over_by_turn_scale_and_shift_alone():
    rng = np.random.default_rng(3)
    points = rng.uniform(10, 50, (20, 2))
    angle, scale = np.deg2rad(9.0), 1.15
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = points @ turn.T + (3.0, -4.0)
    picture = np.zeros((64, 64, 3), np.float32)
    x, y = np.rint(points[0]).astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 1.0
    moved = laid_over(picture, points, wanted)[..., 0]
    rows, columns = np.mgrid[:64, :64]
    found = np.array([(moved * columns).sum(), (moved * rows).sum()]) / moved.sum()
    assert np.allclose(found, turn @ (x, y) + (3.0, -4.0), atol=0.1)


def test_landmarks_move_with_the_picture():
    picture = np.zeros((80, 80, 3), np.uint8)
    picture[30:33, 40:43] = 255
    moment = Moment("m", picture, picture, 0, np.array([[41.0, 31.0]] * 68, np.float32))
    for seed in range(5):
        cut = placed_in(moment, 64, np.random.default_rng(seed))
        weight = cut.source[..., 0].astype(float)
        rows, columns = np.mgrid[:64, :64]
        found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.allclose(found, cut.landmarks_px[0], atol=0.15)


def test_the_bench_agrees_with_the_camera_and_varies_around_it():
    wanted = Coefficients.load(coefficient_file("lopez2024"))
    bench = Bench(OPTICS, wanted, 32, shapes=3, jitter_waves=0.05, seed=1)
    scene = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    exact = bench.frame(scene, Chance(psf=0), rng)
    with torch.no_grad():
        known = LearnedCamera(OPTICS, wanted)(scene[None])[0]
    assert torch.allclose(exact, known, atol=1e-5)
    assert (bench.frame(scene, Chance(psf=1), rng) - exact).abs().max() > 1e-4
    assert torch.allclose(bench.frame(scene, Chance(psf=SHARP), rng), scene, atol=1e-5)


def test_a_picture_is_moved_by_whole_and_half_pixels():
    picture = torch.zeros(2, 3, 16, 16)
    picture[:, :, 5, 6] = 1.0
    moved = shifted(picture, torch.tensor([[2.0, -1.0], [0.5, 0.0]]))
    assert moved[0, 0, 4, 8] == pytest.approx(1.0, abs=1e-5)
    assert moved[1, 0, 5, 6:8].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_an_empty_room_shows_nothing_of_the_middle():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[25:, 25:75] = 255
    assert nobody(picture, np.random.default_rng(0)).max() == 0


def test_edges_loss_is_that_of_a_step_by_hand():
    painted = torch.zeros(1, 1, 4, 4)
    wanted = painted.clone()
    wanted[..., 2:] = 1.0
    # One of three slopes differs at 4 px; at 2 px the only one; nothing is left at 1 px.
    painted8, wanted8 = (
        torch.nn.functional.interpolate(x, scale_factor=2) for x in (painted, wanted)
    )
    assert float(edges_loss(painted8, wanted8)) == pytest.approx(1 / 7 + 1 / 3 + 1.0)


def test_labels_tell_what_was_rendered(made):
    content = json.loads((made[1] / "heads" / "labels.json").read_text())
    assert content["settings"]["references"] == list(REFERENCES.values())
    assert {len(frame["targets"]) for frame in content["frames"]} == {2}

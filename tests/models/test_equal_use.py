"""Blurs that leave as much of the use: the landmark reader, and the dial that is turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.attacks import cameras
from models.evaluation.attacks.equal import TRIES, equally_useful, strength_of
from models.evaluation.attacks.frames import photographed
from models.evaluation.attacks.landmarks import LandmarkReader
from models.evaluation.attacks.learning import Effort
from models.heatmaps import IBUG68, draw_targets
from tests.models.test_attacks import SIZE, ground, table

TAUGHT = Effort(steps=240, batch=8, rate=3e-3, judge_every=60)


def blur(at: float, most: float = 100.0) -> cameras.Victim:
    dial = cameras.Dial(at, most, lambda strength: blur(strength, most))
    return cameras.Victim("defocus", f"{at:.3f}", None, torch.ones(3, 1, 1), dial)


@given(
    start=st.floats(0.2, 5.0),
    power=st.floats(0.6, 2.5),
    scale=st.floats(1.0, 20.0),
    ratio=st.floats(0.4, 2.5),
)
def test_the_dial_finds_the_strength_of_a_power_law(start, power, scale, ratio):
    def error_px(victim):
        return scale * victim.dial.at**power

    wanted = scale * start**power * ratio
    found, reached = strength_of(blur(start), wanted, error_px)
    assert reached == error_px(found)
    assert reached == pytest.approx(wanted, rel=0.4)
    # Never worse than where it began.
    assert abs(np.log(reached / wanted)) <= abs(np.log(ratio)) + 1e-9


def test_the_dial_stops_at_its_end_and_after_a_few_tries():
    asked = []

    def error_px(victim):
        asked.append(victim.dial.at)
        return victim.dial.at

    found, reached = strength_of(blur(1.0, most=1.5), 10.0, error_px)
    assert found.dial.at == reached == 1.5 and len(asked) == TRIES
    asked.clear()
    strength_of(blur(1.0), 1.03, error_px)
    assert asked == [1.0]  # near enough at once: nothing more is taught


def test_perfect_maps_are_read_without_error():
    reader = LandmarkReader(SIZE, TAUGHT)
    faces = table(range(2))
    places = torch.from_numpy(faces.landmarks_px.astype(np.float32))
    reader.network = torch.nn.Identity()
    reader.network.forward = lambda _: draw_targets(places, IBUG68, SIZE)
    assert reader.errors_px(faces.sharp, faces.landmarks_px).max() < 0.5 * 256 / SIZE


def test_a_reader_learns_and_a_strong_blur_leaves_less():
    lessons, sought = table(range(24)), table(range(40, 46))
    spec = ground().victims[0].camera.spec
    errors, curves = [], []
    for sigma_px in (0.1, 12.0):
        camera = cameras.FixedCamera(spec, cameras.gaussian_psf(sigma_px, spec.psf_px))
        reader = LandmarkReader(SIZE, TAUGHT)
        frames = photographed(camera, lessons.sharp, 1)
        curves.append(reader.train(frames, lessons.landmarks_px).held_out)
        seen = photographed(camera, sought.sharp, 2)
        errors.append(reader.errors_px(seen, sought.landmarks_px).mean())
    assert min(curves[0]) < 0.4 * curves[0][0]
    assert errors[0] < 0.8 * errors[1]


def test_equal_use_is_told_beside_each_camera_and_goes_on(tmp_path, monkeypatch):
    quick = Effort(steps=2, batch=4, rate=1e-3, judge_every=1)
    base = ground()
    base = replace(base, settings=base.settings.model_copy(update={"landmarks": quick}))
    steps = []
    made = equally_useful(base, tmp_path, lambda done, total, what: steps.append((done, total)))
    by_name = {victim.name: victim for victim in made.victims}
    assert [v.name for v in made.victims] == [v.name for v in base.victims]
    for name, victim in by_name.items():
        assert ("landmarks" in victim.detail) == (name != cameras.CONTROL)
    assert steps[0] == (0, 2 + 2 * TRIES) and len(steps) <= 2 + 2 * TRIES
    # Every strength has a reader of its own.
    assert len(list(tmp_path.rglob("*.safetensors"))) == len(steps)
    monkeypatch.setattr(
        "models.evaluation.attacks.learning._train", lambda *_: pytest.fail("taught again")
    )
    again = equally_useful(base, tmp_path)
    assert [v.detail for v in again.victims] == [v.detail for v in made.victims]
    # Readers of another run in the same folder are not taken for its own.
    other = replace(base, sought=table(range(50, 55)))
    with pytest.raises(pytest.fail.Exception, match="taught again"):
        equally_useful(other, tmp_path)

"""The hysteresis memory: never guesses, survives a session, distrusts a crash."""

from __future__ import annotations

import json

import numpy as np
import pytest

from camera_rig.errors import StateError
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.memory import HysteresisMemory
from tests.mirror.forty import FortyMirror, made, opened


def attached(mirror, path=None):
    memory = HysteresisMemory(FortyMirror.truth, path)
    memory.attach(mirror)
    return memory


def test_unknown_past_is_told_and_a_relax_ends_it():
    with made() as mirror:
        memory = attached(mirror)
        before = memory.uncertainty
        assert before > 0.05
        mirror.apply(np.full(40, 200.0))
        assert memory.uncertainty <= before
        list(mirror.relax())
        assert memory.uncertainty < 1e-12


def test_bounds_hold_the_truth_whatever_the_past():
    rng = np.random.default_rng(0)
    with made() as mirror:
        for _ in range(5):
            mirror.apply(rng.uniform(0, 300, 40))
        memory = attached(mirror)
        for _ in range(20):
            command_v = rng.uniform(100, 200, 40)
            mirror.apply(command_v)
            true = mirror.play.preview((command_v - 150) / 150)
            assert np.abs(memory.response(command_v) - true).max() <= memory.uncertainty + 1e-12


def test_command_is_the_inverse_of_the_mirror_itself():
    with made() as mirror:
        memory = attached(mirror)
        list(mirror.relax())
        wanted = np.linspace(-0.6, 0.6, 40)
        mirror.apply(memory.command_v(wanted))
        assert mirror.play.preview((mirror.volts - 150) / 150) == pytest.approx(wanted, abs=1e-9)


def test_memory_is_kept_between_sessions(tmp_path):
    path = tmp_path / "memory.json"
    mirror = opened()
    memory = attached(mirror, path)
    list(mirror.relax())
    mirror.apply(np.full(40, 220.0))
    memory.detach()
    again = attached(mirror, path)
    assert again.uncertainty < 1e-12
    again.detach()


@pytest.mark.parametrize("spoil", ["crash", "moved", "other mirror", "other model"])
def test_memory_that_may_be_wrong_is_dropped(tmp_path, spoil):
    path = tmp_path / "memory.json"
    mirror = opened()
    memory = attached(mirror, path)
    list(mirror.relax())
    if spoil != "crash":
        memory.detach()
    if spoil == "moved":
        mirror.apply(np.full(40, 20.0))
    if spoil == "other mirror":
        mirror = opened(serial="M00000002")
    model = PlayModel.nominal(40)
    if spoil == "other model":
        model = PlayModel.symmetric(40, np.array([0.4]), np.array([0.2]), 1.0)
    again = HysteresisMemory(model, path)
    again.attach(mirror)
    assert again.uncertainty > 0.05
    assert json.loads(path.read_text())["clean"] is False


def test_move_that_nobody_told_of_voids_the_memory():
    with made() as mirror:
        memory = attached(mirror)
        list(mirror.relax())
        memory.notice(mirror.read_back())
        assert memory.uncertainty < 1e-12
        memory.notice(np.full(40, 30.0))
        assert memory.uncertainty > 0.01


def test_wrong_use_is_refused():
    with pytest.raises(StateError, match="attach"):
        HysteresisMemory(FortyMirror.truth).reach()
    with made() as mirror, pytest.raises(StateError, match="actuators"):
        HysteresisMemory(PlayModel.nominal(4)).attach(mirror)

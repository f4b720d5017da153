"""Creep: the log law, superposition, and a fit that admits when there is none."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.errors import ConfigError
from camera_rig.mirror.creep import Creep, CreepModel, fit_creep, without_creep
from camera_rig.mirror.memory import HysteresisMemory
from tests.mirror.forty import FortyMirror, made


def test_a_step_drifts_by_its_share_in_each_decade():
    creep = Creep(CreepModel(0.015), np.zeros(2), 0.0)
    creep.hold(np.array([1.0, -0.5]), 0.0)
    for start in (1.0, 10.0, 100.0):
        drift = creep.offset(10 * start) - creep.offset(start)
        assert drift == pytest.approx([0.015, -0.0075], rel=0.03)


def test_histories_add_up():
    rng = np.random.default_rng(0)
    steps = rng.uniform(-1, 1, (5, 3))
    times = np.cumsum(rng.uniform(0.1, 20, 5))
    whole = Creep(CreepModel(0.02), np.zeros(3), 0.0)
    total = np.zeros(3)
    for number, (level, at_s) in enumerate(zip(steps, times, strict=True)):
        whole.hold(level, at_s)
        single = Creep(CreepModel(0.02), np.zeros(3), 0.0)
        single.hold(level - (steps[number - 1] if number else 0.0), at_s)
        total += single.offset(100.0)
    assert whole.offset(100.0) == pytest.approx(total, abs=1e-12)


def test_fit_finds_creep_and_admits_none():
    rng = np.random.default_rng(1)
    since = np.geomspace(0.05, 600, 30)
    step = np.array([0.5, -0.8])
    log_law = 0.02 * np.log10(since / since[0])[:, None] * step
    model, sigma = fit_creep(since, log_law + 0.001 * rng.standard_normal((30, 2)), step)
    assert model is not None and model.per_decade == pytest.approx(0.02, rel=0.1)
    assert 0 < sigma < 0.002
    none, _ = fit_creep(since, 0.001 * rng.standard_normal((30, 2)), step)
    assert none is None
    with pytest.raises(ConfigError, match="eight times"):
        fit_creep(since[:5], log_law[:5], step)
    with pytest.raises(ConfigError, match="outside"):
        CreepModel(-0.1)


def test_creep_can_be_taken_off_a_record():
    rng = np.random.default_rng(2)
    at_s, plain = np.cumsum(rng.uniform(0.02, 2.0, 60)), rng.uniform(-1, 1, (60, 2))
    plain[0] = 0.0
    creep, record = Creep(CreepModel(0.02), plain[0], at_s[0]), []
    for level, now_s in zip(plain, at_s, strict=True):
        record.append(level + creep.offset(now_s))
        creep.hold(level, now_s)
    assert np.ptp(np.array(record) - plain) > 0.02
    assert without_creep(CreepModel(0.02), at_s, np.array(record)) == pytest.approx(plain)


def test_memory_takes_creep_off_the_command():
    with made() as mirror:
        memory = HysteresisMemory(FortyMirror.truth, creep=CreepModel(0.015))
        memory.attach(mirror)
        list(mirror.relax())
        mirror.apply(np.full(40, 280.0))
        mirror.clock.sleep(300.0)
        wanted = np.full(40, 0.2)
        command_v = memory.command_v(wanted)
        assert memory.response(command_v) == pytest.approx(wanted, abs=1e-9)
        plain = mirror.play.preview((command_v - 150) / 150)
        assert (plain < wanted - 0.01).all(), "the follower of the long stay does the rest"
        low, high = memory.reach()
        assert (high > 1.01).all() and (low > -1.0).all()

"""Clocks by motion and by the mirror's clap: films with a known delay, and the twin."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.motion import COLUMNS, ROWS, Film, find_delay, follow_delay, stretches
from calibration.motion_sync import matched
from calibration.procedure import run
from calibration.sync import SyncBy, SyncProcedure
from camera_rig.errors import StateError
from tests.calibration.worlds import Stubborn, opened, small


def film(times_s, path, shift=(0.0, 0.0), size=1.0, noise=0.002, seed=0):
    """A smooth pattern that moves along ``path`` (coarse px), seen at some times."""
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(float)
    rng = np.random.default_rng(5)
    waves = [(rng.uniform(0.1, 0.5, 2), rng.uniform(0, 6, 1)) for _ in range(12)]
    maps = []
    for t in times_s:
        right, down = path(t)
        u, v = size * (x - right) + shift[0], size * (y - down) + shift[1]
        maps.append(sum(np.sin(k[0] * u + k[1] * v + p[0]) for k, p in waves) / 40 + 0.5)
    noisy = np.array(maps) + noise * np.random.default_rng(seed).standard_normal(
        (len(times_s), ROWS, COLUMNS)
    )
    return Film(np.asarray(times_s, dtype=float), noisy)


def wave(t):
    return 1.2 * np.sin(5.1 * t) + np.sin(2.3 * t + 1), 0.9 * np.sin(7.7 * t + 2) + np.sin(1.7 * t)


def stamps(phase_s, seconds=3.0):
    rng = np.random.default_rng(int(1e6 * phase_s) % 97)
    k = np.arange(int(30 * seconds))
    return phase_s + k / 30 + rng.normal(0, 0.0005, k.size)


@pytest.mark.parametrize("delay_s", [-0.081, 0.0, 0.0137])
def test_delay_is_found_whatever_the_displacement(delay_s):
    privacy_s, side_s = stamps(0.003), stamps(0.017)
    privacy = film(privacy_s, wave)
    # The side camera's clock is ahead, its picture displaced and a little larger.
    side = film(side_s, lambda t: wave(t - delay_s), (0.6, -0.4), 1.01, seed=1)
    found = find_delay(privacy, side)
    assert abs(found.delay_s - delay_s) < 0.0004
    assert found.explained > 0.9 and found.rival > 2.0
    # Larger about the corner: the middle of the picture is displaced by that too.
    assert found.affine[0] == pytest.approx(0.6 + 0.01 * (COLUMNS - 1) / 2, abs=0.02)
    for start_s, stop_s in stretches(0.5, 2.5, 0.5):
        near = follow_delay(privacy, side.part(start_s, stop_s), found)
        assert abs(near.delay_s - delay_s) < 0.002


def test_slower_readout_is_told_from_delay():
    privacy_s, side_s = stamps(0.0), stamps(0.01)
    privacy = film(privacy_s, wave)
    y = (np.arange(ROWS) - (ROWS - 1) / 2) / ROWS
    rows = [film(side_s + 0.012 * share, wave, seed=2).maps[:, k] for k, share in enumerate(y)]
    found = find_delay(privacy, Film(side_s, np.stack(rows, axis=1)))
    assert found.readout_s == pytest.approx(0.012, abs=0.002)
    assert abs(found.delay_s) < 0.0005


@pytest.mark.parametrize(
    ("side_path", "privacy_path", "words"),
    [
        (lambda t: (0.0, 0.0), lambda t: (0.0, 0.0), "nothing moves"),
        (wave, lambda t: wave(40.0 - 1.3 * t), "do not see the same"),
        (
            lambda t: (3 * np.sin(34 * t), 0.0),
            lambda t: (3 * np.sin(34 * t), 0.0),
            "repeats itself",
        ),
    ],
)
def test_motion_that_cannot_serve_is_refused(side_path, privacy_path, words):
    privacy, side = film(stamps(0.0), privacy_path), film(stamps(0.01), side_path, seed=1)
    part = {
        "privacy_ns": (privacy.stamps_s * 1e9).astype(np.int64),
        "side_ns": (side.stamps_s * 1e9).astype(np.int64),
        "privacy_maps": privacy.maps,
        "side_maps": side.maps,
    }
    with pytest.raises(StateError, match=words) as caught:
        matched({"burst-00": part})
    assert "run again" in caught.value.hint


@pytest.mark.slow
def test_rig_without_a_lamp_is_synchronised_by_motion(tmp_path):
    with opened(small(seed=4), tmp_path, {"privacy", "side", "mirror"}) as context:
        procedure = SyncProcedure(bursts=4, burst_s=4.4)
        assert procedure.way(context.rig.devices) is SyncBy.MOTION
        assert procedure.way(context.rig.config.devices) is SyncBy.LIGHT
        plan = SyncProcedure(by=SyncBy.MOTION).plan(context.rig.config)
        assert plan.moves > 40 and "Wave" in plan.scene
        artifact = run(procedure, context)
        assert artifact.status == "accepted", artifact.reason
        assert artifact.payload["by"] == "motion" and "mirror" in artifact.serials
        truth, model = context.rig.twin.truth, artifact.payload["clock"]
        side, privacy = truth.clock("side"), truth.clock("privacy")
        at_s = (model["reference_ns"] - context.rig.twin.epoch_ns) * 1e-9
        drift = side.drift_ppm - privacy.drift_ppm
        offset_ms = 1e3 * (side.offset_s - privacy.offset_s + 1e-6 * drift * at_s)
        assert artifact.figures["offset_ms"] == pytest.approx(offset_ms, abs=1.0)
        assert artifact.figures["drift_ppm"] == pytest.approx(drift, abs=3.0)
        # The clap ties the privacy camera to the commands of the mirror.
        behind_ms = 1e3 * (privacy.offset_s + 300e-6 * privacy.drift_ppm)
        assert artifact.figures["privacy_behind_rig_ms"] == pytest.approx(behind_ms, abs=2.5)


@pytest.mark.parametrize(
    ("scene", "settings", "words", "advice"),
    [
        ("flat", {}, "does not see the mirror flip", "rich in detail"),
        ("dark", {}, "sees no light", "cap off"),
    ],
)
def test_clap_before_the_wrong_scene(tmp_path, scene, settings, words, advice):
    with opened(small(), tmp_path) as context:
        context.operator = Stubborn(context.rig.twin, scene, **settings)
        with pytest.raises(StateError, match=words) as caught:
            run(SyncProcedure(by=SyncBy.MOTION, bursts=2, span_s=60.0), context)
        assert advice in caught.value.hint
        (kept,) = context.store.list("sync")
        assert kept.status == "rejected" and words in kept.reason and advice in kept.advice


def test_a_sync_is_never_taken_up_by_another_start_of_the_cameras(tmp_path):
    with opened(small(), tmp_path) as context:
        part = context.store.partial("sync")
        part.begin("whatever")
        part.put("burst-00", {"x": np.zeros(1)})
        context.interrupt.request()
        with pytest.raises(KeyboardInterrupt):
            run(SyncProcedure(), context)
        assert part.steps() == set()

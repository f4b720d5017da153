"""Influence and closed loop from scene to artifact, against what the twin hides.

The influence run has a mirror of eight electrodes seen through a narrow beam, which is all
that 28 modes can follow; no sweep, since its pattern needs the rings of the real layout.
The loop has the real layout, and a matrix that is known roughly.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from calibration.influence import InfluenceProcedure
from calibration.procedure import run
from calibration.realise import RealiseProcedure
from calibration.sensor import SensorProcedure
from camera_rig.config import RigConfig
from camera_rig.mirror.hysteresis import PlayModel, PlayOperators
from camera_rig.mirror.influence import InfluenceMatrix, Provenance
from camera_rig.optics import Coefficients, Order, Unit, modes
from tests.calibration.worlds import keep, opened, small

PIXEL_UM = 6.1
SIZE_PX = 352
DEAD = 5
LAST_NOLL = 28


def bench(mirror_pupil_mm: float | None = None, rings: dict | None = None, **twin) -> RigConfig:
    """A sensor that shows the middle of the field, and pictures that follow every change."""
    path = {"static_waves_rms": 0.15, "tolerance_waves": 0.0001}
    config = small((SIZE_PX, SIZE_PX), light_path=path, **twin)
    known = config.bench
    privacy = known.privacy.model_copy(update={"sensor_width_mm": PIXEL_UM * SIZE_PX / 1000.0})
    changed = {
        "privacy": privacy,
        "mirror": known.mirror.model_copy(update=rings or {}),
        "mirror_pupil_mm": mirror_pupil_mm or known.mirror_pupil_mm,
    }
    return config.model_copy(update={"bench": known.model_copy(update=changed)})


def small_moves(loop: PlayModel, around: float, height: float) -> np.ndarray:
    """Return what each electrode really does per volt, pushed and pulled a little."""
    play = PlayOperators(loop)
    ones = np.ones(loop.actuators)
    for volts in (1.0, -1.0, 0.5, -0.5, 0.2, -0.2, 0.0, around):
        play.advance(volts * ones)
    up = play.advance((around + height) * ones)
    down = play.advance((around - height) * ones)
    return np.asarray((up - down) / (2.0 * height))


def asked_for(shape: Coefficients) -> np.ndarray:
    """Return Noll 4 to 15 of a shape, waves RMS at 550 nm."""
    waves = shape.to(unit=Unit.WAVES_RMS, wavelength_nm=550.0)
    return np.array([waves.values.get(mode, 0.0) for mode in modes(Order.NOLL, 4, 15)])


def test_influence_of_a_turned_mirror_with_a_dead_electrode(tmp_path):
    mirror = {"dead_actuators": (DEAD,), "rotation_deg": 92.0, "flipped": True}
    ring = {"ring_segments": (8,), "ring_radii_mm": (8.0,)}
    with opened(bench(6.0, ring, seed=1, mirror=mirror), tmp_path) as context:
        assert run(SensorProcedure(flats=4), context).status == "accepted"
        keep(context, "psf")
        context.progress = lambda label, done, total: done == 4 and context.interrupt.request()
        with pytest.raises(KeyboardInterrupt):
            run(InfluenceProcedure(last_noll=LAST_NOLL, sweep=False), context)
        assert len(context.store.partial("influence").steps()) == 4
        parked = context.rig.mirror.read_back()
        assert np.allclose(parked, context.rig.mirror.safe_command_v)
        assert not context.rig.light.health().readings["shutter_open"]
        context.interrupt, context.progress = type(context.interrupt)(), lambda *told: None
        found = run(InfluenceProcedure(last_noll=LAST_NOLL, sweep=False), context)
        truth = context.rig.twin.truth
        true = truth.influence().rows(modes(Order.NOLL, 4, LAST_NOLL))
        slope = small_moves(truth.play_model(), 0.15, 0.1)
        measured = context.store.arrays(found)["um_per_unit"][2:]
    assert found.status == "accepted", found.reason
    assert "interruption" in found.notes[-1]
    assert found.payload["dead"] == [DEAD]
    assert found.figures["flipped"] == 1.0
    assert found.figures["orientation_deg"] == pytest.approx(92.0, abs=1.0)
    alive = [electrode for electrode in range(8) if electrode != DEAD]
    error = np.linalg.norm(measured - true * slope) / np.linalg.norm(true * slope)
    assert error < 0.03
    overlap = np.sum(measured * true, axis=0)
    assert (overlap[alive] > 0.0).all() and np.sign(found.payload["sign"])[alive].min() > 0


def test_closed_loop_shows_the_wanted_coefficients(tmp_path):
    wanted = Coefficients.numbered(
        {4: 0.2, 5: -0.15, 7: 0.1, 8: 0.1, 11: -0.05}, Unit.WAVES_RMS, "noll", 550.0
    )
    with opened(bench(seed=1), tmp_path) as context:
        assert run(SensorProcedure(flats=4), context).status == "accepted"
        truth = context.rig.twin.truth
        listed = ((1, 1), (1, -1), *modes(Order.NOLL, 4, 66))
        loop = PlayModel.nominal(40)
        # Worse than any run leaves it: a tenth too weak, and nothing of the electrodes' own loops.
        matrix = 0.9 * truth.influence().rows(listed)
        rest = truth.static_wavefront().to(unit=Unit.UM_RMS).array(listed)
        texts = {
            "influence.json": json.dumps(
                InfluenceMatrix(listed, matrix, 14.0, Provenance("measured"), rest).to_dict()
            ),
            "hysteresis.json": json.dumps(loop.to_dict()),
        }
        slope = float(small_moves(loop, 0.0, 0.1).mean())
        keep(context, "influence", texts, small_signal_gain=slope)
        shown = run(RealiseProcedure(wanted, iterations=4), context)
        stands = asked_for(truth.wavefront())
        stated = asked_for(Coefficients.load(context.store.folder(shown) / "coefficients.yaml"))
        page = (context.store.folder(shown) / "report.html").read_text(encoding="utf-8")
    assert shown.status == "accepted", shown.reason
    assert shown.figures["first_residual_waves_rms"] > 0.03
    assert np.linalg.norm(stands - asked_for(wanted)) < 0.02
    assert shown.figures["iterations"] <= 4
    assert np.linalg.norm(stands - stated) < 0.01
    assert page.count("data:image/png;base64") == 5

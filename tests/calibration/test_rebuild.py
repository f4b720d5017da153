"""A twin rebuilt from calibrations measures as the rig did."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration.plane_map import PlaneMap, rms
from calibration.procedure import run
from calibration.rebuild import rebuild
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncProcedure
from camera_rig.clock import ManualClock
from camera_rig.config import load_config
from camera_rig.errors import ConfigError, StateError, StorageError
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceMatrix, Provenance
from camera_rig.optics import Order, modes
from camera_rig.rig import Rig
from tests.calibration.worlds import keep, opened, small

SIZE = (480, 320)
SYNC = {"bursts": 5, "burst_s": 3.0}


def keep_mirror(context, loop: PlayModel | None = None) -> np.ndarray:
    """Put an influence calibration into use that knows the truth (measuring takes minutes)."""
    truth = context.rig.twin.truth
    listed = modes(Order.NOLL, 2, 36)
    found = truth.influence().rows(listed)
    static = truth.static_wavefront().to(unit="um_rms")
    rest = np.array([static.values.get(mode, 0.0) for mode in listed])
    matrix = InfluenceMatrix(listed, found, 14.0, Provenance("measured"), rest_um=rest)
    texts = {
        "influence.json": json.dumps(matrix.to_dict()),
        "hysteresis.json": json.dumps((loop or PlayModel.nominal(40)).to_dict()),
    }
    keep(context, "influence", texts)
    return found


def test_relaxed_twin_shows_what_was_seen_at_rest_whatever_the_loop_calls_zero(tmp_path):
    seen = {4: 0.12, 6: -0.05, 11: 0.03}
    nominal = PlayModel.nominal(40)
    with opened(small(SIZE, seed=6), tmp_path / "store") as context:
        keep_mirror(context, replace(nominal, offset=nominal.offset + 0.02))
        beyond = context.rig.twin.truth.static_wavefront().numbers[14]
        keep(context, "psf", payload={"shape_um": {str(j): 0.55 * v for j, v in seen.items()}})
        made = rebuild(context.rig.config, context.store, tmp_path / "twin")
    with opened(load_config(made.path), tmp_path / "again") as context:
        list(context.rig.mirror.relax())
        # Creep has not ended, and the warm-up of the original is not in it.
        shown = context.rig.twin.truth.wavefront().numbers
    for j, waves in {**seen, 14: beyond}.items():
        assert shown[j] == pytest.approx(waves, abs=0.01), j


def test_rebuilt_twin_measures_as_the_rig_did(tmp_path):
    config = small(SIZE, seed=6)
    with opened(config, tmp_path / "store") as context:
        static = context.rig.twin.truth.static_wavefront().numbers
        influence = keep_mirror(context)
        first = {
            p.name: run(p, context)
            for p in (SensorProcedure(flats=2), SyncProcedure(**SYNC), RegistrationProcedure())
        }
        made = rebuild(config, context.store, tmp_path / "twin")
        with pytest.raises(StorageError, match="cannot be made"):
            rebuild(config, context.store, tmp_path / "twin")
    assert all(a.status == "accepted" for a in first.values())
    # Nothing was realised yet: the shape that the configuration names is told of.
    moved = [first["registration"].figures[f"shape_moves_picture_{axis}_px"] for axis in "xy"]
    assert moved == first["registration"].payload["shift_of_shown_shape_px"]
    assert 1.0 < np.hypot(*moved) < 50.0
    assert made.missing == ("psf",) and set(made.used) == {*first, "influence"}
    again = load_config(made.path)
    assert again.simulated and again.bench == config.bench
    with opened(again, tmp_path / "again") as context:
        truth = context.rig.twin.truth
        assert np.allclose(truth.influence().rows(modes(Order.NOLL, 2, 36)), influence)
        assert truth.play_model().opening()[0] == pytest.approx(0.14, abs=0.02)
        for j in range(5, 16):
            assert truth.static_wavefront().numbers[j] == pytest.approx(static[j], abs=0.002)
        second = {
            p.name: run(p, context)
            for p in (SensorProcedure(flats=2), SyncProcedure(**SYNC), RegistrationProcedure())
        }
    for name, figure, least in (
        ("sensor", "gain_e_per_dn", 0.0),
        ("sensor", "read_noise_e", 0.1),
        ("sync", "drift_ppm", 0.0),
    ):
        old, new = first[name], second[name]
        sigma = np.hypot(old.uncertainty.get(figure, 0.0), new.uncertainty.get(figure, 0.0))
        gap = abs(old.figures[figure] - new.figures[figure])
        assert gap < 4.0 * sigma + least, (figure, gap, sigma)
    maps = [
        PlaneMap(np.array(a.payload["parameters"]), SIZE, SIZE)
        for a in (first["registration"], second["registration"])
    ]
    grid = maps[0].grid(9, 7)
    gap = maps[0](grid) - maps[1](grid)
    # Both saw the board through a PSF: that of the rig is in the map, and again in the twin's.
    stated = first["registration"].figures["field_sigma_px"]
    assert rms(gap - gap.mean(axis=0)) < 4.0 * stated


def test_nothing_measured_nothing_rebuilt(tmp_path):
    with opened(small(), tmp_path / "store") as context:
        with pytest.raises(StateError, match="no calibration") as caught:
            rebuild(context.rig.config, context.store, tmp_path / "twin")
    assert "calibrate all" in caught.value.hint
    assert not (tmp_path / "twin").exists()


def test_matrix_of_another_mirror_is_refused(tmp_path):
    listed = modes(Order.NOLL, 4, 6)
    InfluenceMatrix(listed, np.ones((3, 8)), 14.0, Provenance("measured")).save(
        tmp_path / "influence.json"
    )
    config = small(mirror={"influence": str(tmp_path / "influence.json")})
    with pytest.raises(ConfigError, match="8 electrodes"):
        Rig.open(config, clock=ManualClock())

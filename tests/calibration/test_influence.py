"""Influence by pokes: how the mirror stands, dead electrodes, what is left for the mirror."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration import stacks
from calibration.artifact import Artifact, CalibrationStore, HeldOut
from calibration.influence import DEAD_SHARE
from calibration.layout import _residual, _Seen, find_layout
from calibration.mirror_files import keep_for_mirror
from calibration.poke_fits import WAVE_UM
from calibration.psf import bench_options
from calibration.retrieval import retrieve
from calibration.simulate import simulate_stack
from camera_rig.bench import Bench
from camera_rig.clock import ManualClock
from camera_rig.config import load_config
from camera_rig.errors import ConfigError
from camera_rig.mirror import MirrorFolder
from camera_rig.mirror.hysteresis import PlayModel
from camera_rig.mirror.influence import InfluenceModel, Provenance
from camera_rig.mirror.session import modal_session
from camera_rig.optics import Coefficients, Order, Pupil, Unit, modes
from camera_rig.rig import Rig
from camera_rig.twin.mirror import MODES, Footprint, true_influence

BENCH = Bench()
NOLL = modes(Order.NOLL, 4, 36)
PUPIL = Pupil(
    diameter_mm=BENCH.privacy.pupil_diameter_mm,
    focal_length_mm=BENCH.privacy.image_distance_mm(BENCH.object_distance_mm),
    pixel_um=BENCH.privacy.pixel_um(960),
    wavelengths_nm=(550.0,),
)
SOME = (1, 9, 14, 30)
"""One electrode within, two in the middle, one outside: no symmetry maps them on others."""
POKE = 0.16
TURNS = [(45 * eighth, flipped) for flipped in (False, True) for eighth in range(8)]


@pytest.fixture(scope="module")
def expected():
    seen = _Seen(BENCH, NOLL)
    return {turn: seen.matrix(float(turn[0]), turn[1], (0.0, 0.0), 1.0) for turn in TURNS}


def by_pokes(truth, electrodes, rng):
    """Return the matrix of some electrodes, each retrieved from the picture of one push."""
    bias = Coefficients({(2, 0): 1.0}, Unit.WAVES_RMS, 550.0)
    options = replace(
        bench_options(NOLL, reference=None, source=stacks.point_of(0.0, PUPIL)),
        fit_gain=False,
        offset_modes=(),
        start=Coefficients({}, Unit.WAVES_RMS, 550.0),
        shape_sigma_waves=0.1,
        starts=1,
    )
    measured = np.zeros((len(NOLL), truth.shape[1]))
    for electrode in electrodes:
        um = dict(zip(MODES[3:], POKE * truth[3:, electrode], strict=True))
        stack = simulate_stack(Coefficients(um, Unit.UM_RMS), [bias], PUPIL, 160, rng)
        measured[:, electrode] = retrieve(stack.binned(), options).values * WAVE_UM / POKE
    return measured


@pytest.mark.parametrize(("turn", "flipped"), TURNS)
def test_pictures_of_pokes_tell_all_sixteen_orientations_apart(expected, turn, flipped):
    beam = Footprint(BENCH.mirror_pupil_mm * 1.01, (0.2, -0.1), turn + 2.0, flipped, 10.0)
    truth = true_influence(BENCH, beam)
    measured = by_pokes(truth, SOME, np.random.default_rng(turn + flipped))
    true = truth[[MODES.index(mode) for mode in NOLL]][:, SOME]
    # One push alone, and modes beyond those fitted: enough to see where an electrode is.
    assert np.linalg.norm(measured[:, SOME] - true) < 0.15 * np.linalg.norm(true)
    misfit = {place: _residual(model, measured)[1] for place, model in expected.items()}
    best, second = sorted(misfit, key=misfit.__getitem__)[:2]
    assert best == (turn, flipped)
    assert misfit[second] > 2.0 * misfit[best]


def test_pictures_of_pokes_show_the_dead_electrode_on_a_turned_mirror():
    beam = Footprint(BENCH.mirror_pupil_mm, (0.3, -0.2), 92.0, True, 10.0)
    strength = np.ones(40)
    strength[17] = 0.0
    truth = true_influence(BENCH, beam) * strength
    poked = [*SOME, 17, 25, 38]
    layout = find_layout(BENCH, by_pokes(truth, poked, np.random.default_rng(5)), NOLL)
    assert [place for place in poked if layout.gain[place] < DEAD_SHARE] == [17]
    assert layout.flipped and layout.rotation_deg == pytest.approx(92.0, abs=1.0)
    assert layout.projection[[place for place in poked if place != 17]].min() > 0.5


def kept(store: CalibrationStore, serial: str) -> Artifact:
    matrix = InfluenceModel(BENCH.mirror, BENCH.mirror_pupil_mm).matrix(MODES)
    matrix = replace(matrix, provenance=Provenance("measured", serial, "2026-01-01T00:00:00"))
    artifact = Artifact(
        id="20260101T000000-abcdef",
        procedure="influence",
        status="accepted",
        made_at="2026-01-01T00:00:00+00:00",
        config_hash="0",
        serials={"mirror": serial},
        figures={},
        held_out=HeldOut(metric="error", before=1.0, after=0.1),
    )
    loop = PlayModel.nominal(40)
    texts = {
        "influence.json": json.dumps(matrix.to_dict()),
        "hysteresis.json": json.dumps(loop.to_dict()),
    }
    store.save(artifact, {}, texts)
    return artifact


def test_mirror_in_use_is_calibrated_after_an_influence_run(tmp_path):
    store = CalibrationStore(tmp_path / "calibration")
    wanted = Coefficients({(2, 0): 0.3, (2, 2): 0.2}, Unit.WAVES_RMS, 550.0)
    with Rig.open(load_config("simulated"), clock=ManualClock()) as rig:
        serial = rig.mirror.info.serial
        folder = MirrorFolder(tmp_path / "data", serial)
        with modal_session(rig.mirror, folder) as modal:
            assert modal.influence is None
        assert keep_for_mirror(store, kept(store, serial), tmp_path / "data") == folder.path
        list(rig.mirror.relax())
        with modal_session(rig.mirror, folder) as modal:
            assert modal.influence.provenance.kind == "measured"
            list(rig.mirror.relax())
            loaded = modal.load(wanted)
            shown = modal.shape_um(loaded.read_back_v)
        assert shown[2, 0] == pytest.approx(0.3 * 0.55, rel=0.02)


def test_only_influence_calibrations_are_kept_for_the_mirror(tmp_path):
    store = CalibrationStore(tmp_path)
    artifact = kept(store, "M1").model_copy(update={"procedure": "psf"})
    with pytest.raises(ConfigError, match="psf"):
        keep_for_mirror(store, artifact, tmp_path)

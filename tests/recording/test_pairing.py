"""Pairs of free-running cameras: nearest in truth, nothing lost, uncertainty honest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_rig.recording.clockmodel import ArrivalEstimator, ClockModel
from camera_rig.recording.packing import Group, PackedFrame
from camera_rig.recording.pairing import Pairer, PairingRules
from tests.recording.streams import Made, Streams, make
from tests.recording.support import PERIOD_NS


def calibrated(s: Streams, seed: int = 0) -> ClockModel:
    """A model as a good sync gives it: off by its own stated uncertainty."""
    rng = np.random.default_rng(seed + 1000)
    return ClockModel(
        source="calibrated",
        offset_ns=round((s.offset_s + rng.normal(0, 0.0005)) * 1e9),
        drift_ppm=s.drift_ppm + rng.normal(0, 0.5),
        reference_ns=round((10.0 + s.offset_s) * 1e9),
        offset_uncertainty_ns=500_000,
        drift_uncertainty_ppm=0.5,
    )


def feed(estimator: ArrivalEstimator, frame: PackedFrame) -> bool:
    stamps = (frame.captured_ns, frame.received_ns, frame.uncertainty_ns)
    return estimator.add(frame.role, *stamps)


def run(made: Made, model: ClockModel, *, online: bool = False) -> list[Group]:
    pairer, estimator, out = Pairer(model), ArrivalEstimator(), []
    for frame in made.frames:
        if online and feed(estimator, frame):
            pairer.use(estimator.model())
        out += pairer.add(frame)
    for role in ("privacy", "side"):
        out += pairer.end(role, made.frames[-1].received_ns)
    return out


@dataclass
class Score:
    pairs: int
    wrong: int
    """Pairs whose privacy frame had a side frame truly nearer by over a third of a period."""
    z: np.ndarray
    """(stated skew - true skew) / stated uncertainty."""
    error_ns: np.ndarray


def score(made: Made, groups: list[Group]) -> Score:
    wrong, z, errors = 0, [], []
    side_times = made.exposed["side"]
    for group in groups:
        if not group.is_pair:
            continue
        p, s = group.frames["privacy"], group.frames["side"]
        true_p = made.true_ns["privacy", p.sequence]
        true_skew = made.true_ns["side", s.sequence] - true_p
        best = float(np.min(np.abs(side_times - true_p * 1e-9))) * 1e9
        wrong += abs(true_skew) - best > PERIOD_NS / 3
        errors.append((group.skew_ns or 0) - true_skew)
        z.append(errors[-1] / (group.uncertainty_ns or 1))
    return Score(len(z), wrong, np.array(z), np.array(errors))


def check_conserved(made: Made, groups: list[Group]) -> None:
    seen = Counter((f.role, f.sequence) for g in groups for f in g.frames.values())
    assert seen == Counter((f.role, f.sequence) for f in made.frames)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    phase=st.floats(0, 0.99),
    drift=st.floats(-50, 50),
    jitter=st.floats(0, 0.002),
    drop=st.floats(0, 0.05),
)
def test_calibrated_pairs_are_right(seed, phase, drift, jitter, drop) -> None:
    s = Streams(seconds=60, phase=phase, drift_ppm=drift, jitter_s=jitter, drop=drop, seed=seed)
    made = make(s)
    groups = run(made, calibrated(s, seed))
    check_conserved(made, groups)
    found = score(made, groups)
    assert found.wrong < 0.001 * found.pairs
    # One error of offset is shared by all pairs of a take: 4 sd bounds the seed's luck.
    assert np.abs(found.z).mean() < 4
    best_possible = min(len(t) for t in made.exposed.values()) * (1 - 2 * drop - 0.01)
    assert found.pairs >= best_possible * 0.97


def test_uncertainty_is_honest_over_many_seeds() -> None:
    means = []
    for seed in range(30):
        s = Streams(seconds=20, seed=seed, phase=seed / 30)
        made = make(s)
        means.append(float(np.mean(score(made, run(made, calibrated(s, seed))).z ** 2)))
    assert 0.4 < np.mean(means) < 1.6


def test_online_estimate_finds_drift_and_states_its_offset_error() -> None:
    s = Streams(seconds=120, drift_ppm=50)
    made = make(s)
    estimator = ArrivalEstimator()
    for frame in made.frames:
        feed(estimator, frame)
    model = estimator.model()
    assert model.source == "online"
    assert abs(model.drift_ppm - 50) < 4 * model.drift_uncertainty_ppm < 20
    truth_ns = (s.offset_s + (model.reference_ns * 1e-9 - s.offset_s - 10) * 50e-6) * 1e9
    assert abs(model.offset_ns - truth_ns) < 2 * model.offset_uncertainty_ns
    assert model.jitter_ns < 1e6  # what the driver states already covers it
    found = score(made, run(made, ClockModel(), online=True)[300:])
    assert found.wrong < 0.001 * found.pairs
    assert np.mean(np.abs(found.z) < 2) > 0.95


def test_half_a_period_apart_does_not_flap() -> None:
    s = Streams(seconds=60, phase=0.5, drift_ppm=0, jitter_s=0.001, drop=0, offset_s=0)
    groups = run(make(s), ClockModel())
    assert sum(not g.is_pair for g in groups) <= 4


def test_unlike_rates_pair_the_slower_one_and_keep_the_rest() -> None:
    s = Streams(seconds=30, fps=(30, 20), drift_ppm=0, jitter_s=0.0002, drop=0, offset_s=0)
    made = make(s)
    groups = run(made, ClockModel())
    check_conserved(made, groups)
    found = score(made, groups)
    assert found.pairs >= 595
    alone = Counter(r for g in groups if not g.is_pair for r in g.frames)
    assert alone["privacy"] == pytest.approx(300, abs=5)


def test_pairs_over_tolerance_are_flagged_not_dropped() -> None:
    s = Streams(seconds=5, phase=0.45, drift_ppm=0, jitter_s=0, drop=0, offset_s=0)
    pairer = Pairer(ClockModel(), PairingRules(tolerance_ns=10_000_000))
    groups = [g for frame in make(s).frames for g in pairer.add(frame)]
    pairs = [g for g in groups if g.is_pair]
    assert len(pairs) > 100
    assert all(g.over_tolerance and g.skew_ns == pytest.approx(15e6, abs=1) for g in pairs)


def test_a_silent_camera_does_not_hold_the_other_back() -> None:
    made = make(Streams(seconds=5, drop=0))
    pairer = Pairer(ClockModel(), PairingRules(hold_ns=500_000_000))
    only = [f for f in made.frames if f.role == "privacy"]
    groups = [g for frame in only for g in pairer.add(frame)]
    assert pairer.depth <= 17
    assert all(not g.is_pair for g in groups)
    assert len(groups) + pairer.depth == len(only)
    assert len(list(pairer.tick(only[-1].received_ns + 600_000_000))) > 10
    assert pairer.depth == 0


def test_a_clock_model_survives_its_file(tmp_path) -> None:
    import json

    from camera_rig.errors import ConfigError

    model = calibrated(Streams())
    path = tmp_path / "sync.json"
    path.write_text(model.model_dump_json())
    assert ClockModel.load(path) == model
    path.write_text(json.dumps({"offset": 3}))
    with pytest.raises(ConfigError, match="no clock model"):
        ClockModel.load(path)


def test_an_hour_keeps_every_nanosecond() -> None:
    model = ClockModel(drift_ppm=50.0, reference_ns=0)
    stamp = 10**18 + 7
    later = ClockModel(drift_ppm=50.0, reference_ns=10**18)
    assert later.corrected_ns("side", stamp) == stamp
    assert model.corrected_ns("privacy", stamp) == stamp
    hour = 3600 * 10**9
    assert later.corrected_ns("side", 10**18 + hour) == 10**18 + hour - 180_000_000

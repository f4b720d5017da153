"""What goes wrong before the rig is told, with what to do next, and kept as rejected."""

from __future__ import annotations

from datetime import datetime as moment
from datetime import timedelta

import pytest

from calibration.artifact import config_hash
from calibration.operator import PersonOperator, SceneRequest
from calibration.procedure import present, run
from calibration.psf import PsfProcedure
from calibration.registration import RegistrationProcedure
from calibration.sensor import SensorProcedure
from calibration.sync import SyncBy, SyncProcedure
from camera_rig.errors import ConnectError, StateError
from tests.calibration.worlds import Stubborn, opened, small


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A rig whose sensor is calibrated."""
    with opened(small(), tmp_path_factory.mktemp("store")) as context:
        own = context.operator
        assert run(SensorProcedure(flats=2), context).status == "accepted"
        yield context
        context.operator = own


@pytest.mark.parametrize(
    ("scene", "settings", "words", "advice"),
    [
        ("dark", {}, "no point of light", "lamp is on"),
        ("point", {"lamp": 1e9}, "saturates", "lower the lamp"),
    ],
)
def test_point_source_missing_or_too_bright(measured, scene, settings, words, advice):
    measured.operator = Stubborn(measured.rig.twin, scene, **settings)
    with pytest.raises(StateError, match=words) as caught:
        run(PsfProcedure(), measured)
    assert advice in caught.value.hint and "kept as rejected" in caught.value.hint
    kept = measured.store.list("psf")[-1]
    assert kept.status == "rejected" and words in kept.reason and advice in kept.advice
    assert measured.store.active("psf") is None
    assert measured.store.partial("psf").steps() == set()
    page = (measured.store.folder(kept) / "report.html").read_text()
    assert "What to do next" in page and kept.advice.split("'")[0] in page


@pytest.mark.parametrize(
    ("procedure", "scene", "settings", "words", "advice"),
    [
        (SensorProcedure(), "flat", {}, "sees light in the dark", "put the cap on"),
        (SensorProcedure(), "dark", {}, "no exposure for the white sheet", "take the cap off"),
        (SyncProcedure(bursts=2, burst_s=1.0), "flat", {}, "too bright", "darken the room"),
        (SyncProcedure(bursts=2, burst_s=1.0), "dark", {}, "sees no light", "cap off"),
    ],
)
def test_wrong_scene(tmp_path, procedure, scene, settings, words, advice):
    with opened(small(), tmp_path) as context:
        context.operator = Stubborn(context.rig.twin, scene, **settings)
        with pytest.raises(StateError, match=words) as caught:
            run(procedure, context)
        assert advice in caught.value.hint
        (kept,) = context.store.list(procedure.name)
        assert kept.status == "rejected" and advice in kept.advice
        assert not context.rig.light.health().readings["shutter_open"]


def test_a_pulled_cable_loses_nothing_that_was_measured(tmp_path):
    pulled = {"kind": "unplug", "device": "privacy", "at_s": 34.0, "for_s": 1e5}
    with opened(small(faults={"script": [pulled]}), tmp_path) as context:
        with pytest.raises(ConnectError, match="privacy is lost") as caught:
            run(SensorProcedure(), context)
        assert "goes on from there" in caught.value.hint
        begun = len(context.store.partial("sensor").steps())
        assert begun > 2 and context.store.list() == []
        assert not context.rig.light.health().readings["shutter_open"]
    with opened(small(), tmp_path) as context:
        seen: list[str] = []
        context.progress = lambda label, done, total: seen.append(label)
        assert run(SensorProcedure(), context).status == "accepted"
        assert seen[0] == "dark pictures" and "fitting" in seen


@pytest.mark.parametrize(
    ("procedure", "words"),
    [
        (SensorProcedure(), "no exposure for the white sheet"),
        (RegistrationProcedure(), "burnt white"),
    ],
)
def test_too_much_light_everywhere(tmp_path, procedure, words):
    with opened(small(light_path={"photons_per_lumen_s": 3.7e20}), tmp_path) as context:
        with pytest.raises(StateError, match=words) as caught:
            run(procedure, context)
    assert "dim the light" in caught.value.hint


def test_a_pixel_that_is_full_before_its_converter(tmp_path):
    sensor = {"size": (192, 128), "full_well_e": 17_000.0}
    with opened(small(privacy={"sensor": sensor}), tmp_path) as context:
        found = run(SensorProcedure(flats=2), context)
        truth = context.rig.twin.truth.gain_e_per_dn("privacy", 100)
    assert found.status == "accepted", found.reason
    assert found.figures["gain_e_per_dn"] == pytest.approx(truth, rel=0.03)
    assert found.figures["saturation_e"] == pytest.approx(17_000.0, rel=0.02)
    sensor["full_well_e"] = 8000.0
    with opened(small(privacy={"sensor": sensor}), tmp_path / "worse") as context:
        with pytest.raises(StateError, match="too few levels are left") as caught:
            run(SensorProcedure(flats=2), context)
    assert "lowest speed" in caught.value.hint


def test_lamp_asked_for_on_a_rig_without_one(tmp_path):
    with opened(small(), tmp_path, {"privacy", "side", "mirror"}) as context:
        with pytest.raises(StateError, match="the rig has no light"):
            run(SyncProcedure(by=SyncBy.LIGHT), context)


def test_time_of_an_artifact_is_the_rigs(measured):
    made = moment.fromisoformat(measured.store.active("sensor").made_at)
    now = moment.fromisoformat(present(measured.rig).now)
    # The rig's clock began on the first of January 2026, whatever the machine's says.
    assert made.year == 2026 and made.month == 1
    assert timedelta(0) <= now - made < timedelta(hours=1)


def test_another_twin_is_another_instrument_but_another_scene_is_not():
    one = small(seed=1)
    assert config_hash(one) != config_hash(small(seed=2))
    assert config_hash(one) == config_hash(small(seed=1, scene={"kind": "charuco"}))


def test_a_person_is_asked_once_for_each_scene_and_told_what_failed():
    asked: list[str] = []
    person = PersonOperator(asked.append)
    first, second = SceneRequest("board", "Hold it left."), SceneRequest("board", "Hold it right.")
    for request in (first, first, second):
        person.provide(request)
    assert asked == ["Hold it left.", "Hold it right."]
    assert person.mend(second, "no corners") and asked[-1] == "no corners. Hold it right."

"""A procedure from scene to artifact on the twin: interrupted, resumed, refused."""

from __future__ import annotations

import pytest

from calibration.artifact import CalibrationStore
from calibration.operator import TwinOperator
from calibration.procedure import Context, run
from calibration.psf import PsfProcedure
from calibration.sensor import SensorProcedure
from camera_rig.clock import ManualClock
from camera_rig.config import load_config
from camera_rig.errors import StateError
from camera_rig.rig import Rig


class LazyOperator:
    """Somebody who leaves the cap off."""

    def provide(self, request) -> None:
        """Do nothing."""


@pytest.fixture
def context(tmp_path):
    config = load_config("simulated")
    twin = config.twin.model_dump()
    # A small sensor: the procedure is the same, the pictures are quick.
    twin["privacy"]["sensor"]["size"] = (192, 128)
    twin["scene"] = {"kind": "flat"}
    config = config.model_copy(update={"twin": type(config.twin).model_validate(twin)})
    with Rig.open(config, clock=ManualClock()) as rig:
        yield Context(rig, CalibrationStore(tmp_path), TwinOperator(rig.twin))


def test_interrupted_resumed_accepted_and_true(context):
    seen = []

    def stop_in_the_middle(label, done, total):
        seen.append(label)
        if done == 5:
            context.interrupt.request()

    context.progress = stop_in_the_middle
    with pytest.raises(KeyboardInterrupt):
        run(SensorProcedure(flats=2), context)
    assert len(context.store.partial("sensor").steps()) == 5
    assert context.store.list() == []
    context.interrupt = type(context.interrupt)()
    context.progress = lambda label, done, total: None
    artifact = run(SensorProcedure(flats=2), context)
    assert artifact.status == "accepted", artifact.reason
    assert "interruption" in artifact.notes[-1]
    assert context.store.active("sensor").id == artifact.id
    truth = context.rig.twin.truth.gain_e_per_dn("privacy", 100)
    assert artifact.figures["gain_e_per_dn"] == pytest.approx(truth, rel=0.02)
    assert artifact.figures["read_noise_e"] == pytest.approx(2.5, rel=0.1)
    assert artifact.figures["hot_pixels"] == pytest.approx(12, abs=1)
    page = (context.store.folder(artifact) / "report.html").read_text()
    assert "data:image/png;base64" in page and "http" not in page.split("</style>")[1]


def test_wrong_scene_and_missing_input_say_what_to_do(context):
    with pytest.raises(StateError, match="needs an accepted sensor") as caught:
        run(PsfProcedure(), context)
    assert "calibrate all" in caught.value.hint
    context.operator = LazyOperator()
    with pytest.raises(StateError, match="sees light in the dark") as caught:
        run(SensorProcedure(), context)
    assert "cap" in caught.value.hint


def test_plans_touch_nothing(context):
    before = context.rig.clock.now_ns()
    plan = SensorProcedure().plan(context.rig.config)
    assert plan.exposures > 20 and plan.minutes > 0 and "cap" in plan.scene
    assert context.rig.clock.now_ns() == before

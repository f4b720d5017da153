"""All twin devices pass the contracts, in good weather and under each fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camera_rig.contracts import Camera, Light, Mirror, Stage
from camera_rig.errors import ConnectError, RigError, RigTimeoutError
from camera_rig.twin.faults import FaultKind
from tests.contract import (
    Cable,
    CameraContract,
    LightContract,
    MirrorContract,
    StageContract,
)
from tests.twin.worlds import Lab, lab

# Faults that a driver must ride out: the whole contract holds while they go on.
CAMERA_WEATHER: dict[str, dict[str, Any]] = {
    "none": {},
    "drop": {"rates": {"privacy": {"drop": 0.3}}},
    "freeze": {"rates": {"privacy": {"freeze": 0.3}}},
    "busy": {"rates": {"privacy": {"busy": 0.5}}},
    "stall": {"script": [{"kind": "stall", "device": "privacy", "at_s": 0.05, "for_s": 0.4}]},
    "burst of drops": {
        "script": [{"kind": "drop", "device": "privacy", "at_s": 0.08, "for_s": 0.3}]
    },
    "was unplugged": {
        "script": [{"kind": "unplug", "device": "privacy", "at_s": -1, "for_s": 0.9}]
    },
}


def weather(role: str) -> dict[str, dict[str, Any]]:
    """Transient faults of a device without frames."""
    return {
        "none": {},
        "busy": {"rates": {role: {"busy": 0.5}}},
        "was unplugged": {"script": [{"kind": "unplug", "device": role, "at_s": -1, "for_s": 0.9}]},
    }


def plug(made: Lab, role: str) -> Cable:
    """The cable of a twin device: out until it is put back."""

    def pull() -> None:
        made.inject("unplug", role)

    def put_back() -> None:
        made.clock.sleep(0.1)
        made.world.faults.end(FaultKind.UNPLUG, role, made.world.now_s())

    return Cable(pull, put_back)


@pytest.fixture(params=list(CAMERA_WEATHER))
def camera_lab(request: pytest.FixtureRequest) -> Lab:
    return lab(faults=CAMERA_WEATHER[request.param])


class TestTwinCamera(CameraContract):
    @pytest.fixture
    def camera(self, camera_lab: Lab) -> Camera:
        return camera_lab.device("privacy")

    @pytest.fixture
    def cable(self, camera_lab: Lab) -> Cable:
        return plug(camera_lab, "privacy")


class TestTwinSideCamera(CameraContract):
    @pytest.fixture
    def made(self) -> Lab:
        return lab()

    @pytest.fixture
    def camera(self, made: Lab) -> Camera:
        return made.device("side", serial="B")

    @pytest.fixture
    def cable(self, made: Lab) -> Cable:
        return plug(made, "side")


class TestTwinMirror(MirrorContract):
    readback_tolerance_v = 1e-9

    @pytest.fixture(params=list(weather("mirror")))
    def made(self, request: pytest.FixtureRequest) -> Lab:
        return lab(faults=weather("mirror")[request.param])

    @pytest.fixture
    def mirror(self, made: Lab) -> Mirror:
        return made.device("mirror")

    @pytest.fixture
    def cable(self, made: Lab) -> Cable:
        return plug(made, "mirror")


class TestTwinStage(StageContract):
    @pytest.fixture(params=list(weather("stage")))
    def made(self, request: pytest.FixtureRequest) -> Lab:
        return lab(faults=weather("stage")[request.param])

    @pytest.fixture
    def stage(self, made: Lab) -> Stage:
        return made.device("stage")

    @pytest.fixture
    def cable(self, made: Lab) -> Cable:
        return plug(made, "stage")


class TestTwinLight(LightContract):
    @pytest.fixture(params=list(weather("light")))
    def made(self, request: pytest.FixtureRequest) -> Lab:
        return lab(faults=weather("light")[request.param])

    @pytest.fixture
    def light(self, made: Lab) -> Light:
        return made.device("light")

    @pytest.fixture
    def output(self, made: Lab) -> Callable[[], float]:
        return lambda: made.world.lamp.level(made.world.now_s())

    @pytest.fixture
    def cable(self, made: Lab) -> Cable:
        return plug(made, "light")


USES: dict[str, list[Callable[[Any], object]]] = {
    "privacy": [
        lambda d: d.next_frame(0.2),
        lambda d: d.latest_frame(0.5),
        lambda d: (d.stop(), d.snap()),
        lambda d: d.start(),
    ],
    "mirror": [
        lambda d: d.read_back(),
        lambda d: d.apply(np.full(40, 100.0)),
        lambda d: list(d.relax()),
        lambda d: d.park(),
        lambda d: d.temperatures_c(),
    ],
    "stage": [lambda d: d.position_mm, lambda d: d.move_to(10.0, 20.0), lambda d: d.home(30.0)],
    "light": [lambda d: d.set(0.3), lambda d: d.shutter(True), lambda d: d.pulse(0.01)],
}
HARD = [
    (role, kind)
    for role, kinds in {
        "privacy": ("drop", "freeze", "stall", "busy", "timeout", "unplug"),
        "mirror": ("busy", "timeout", "unplug", "brown-out"),
        "stage": ("busy", "timeout", "unplug"),
        "light": ("busy", "timeout", "unplug"),
    }.items()
    for kind in kinds
]


@pytest.mark.parametrize(("role", "kind"), HARD)
def test_a_lasting_fault_gives_an_answer_or_a_told_error_and_never_hangs(
    role: str, kind: str
) -> None:
    made = lab()
    device = made.device(role)
    device.open()
    if role == "privacy":
        device.start()
        device.next_frame(1.0)
    made.inject(kind, role, for_s=30.0)
    errors: list[RigError] = []
    for use in USES[role] * 2:
        try:
            use(device)
        except RigError as error:
            errors.append(error)
    assert all(error.hint for error in errors)
    if kind in ("busy", "timeout", "unplug", "brown-out"):
        expected = ConnectError if kind in ("unplug", "brown-out") else RigTimeoutError
        assert errors
        assert any(isinstance(error, expected) for error in errors)
    device.close()
    made.clock.sleep(60.0)
    with device:
        if role == "privacy":
            device.start()
        for use in USES[role]:
            use(device)


def test_busy_for_a_moment_is_ridden_out() -> None:
    made = lab()
    mirror = made.device("mirror")
    with mirror:
        made.inject("busy", "mirror", for_s=0.2)
        mirror.apply(np.full(40, 120.0))
        np.testing.assert_array_equal(mirror.read_back(), np.full(40, 120.0))


def test_brown_out_takes_the_shape_and_says_so() -> None:
    made = lab()
    mirror = made.device("mirror")
    with mirror:
        mirror.apply(np.full(40, 200.0))
        made.inject("brown-out", "mirror", for_s=1.0)
        made.clock.sleep(0.2)
        assert not mirror.health().ok
        np.testing.assert_array_equal(mirror.read_back(), np.zeros(40))
        with pytest.raises(ConnectError, match="no supply"):
            mirror.apply(np.full(40, 200.0))
        made.clock.sleep(2.0)
        # Power is back, the shape is not: only reading back tells.
        assert mirror.health().ok
        np.testing.assert_array_equal(mirror.read_back(), np.zeros(40))
        mirror.apply(np.full(40, 200.0))
        np.testing.assert_array_equal(mirror.read_back(), np.full(40, 200.0))


def test_stage_can_be_halted_in_mid_move() -> None:
    made = lab()
    stage = made.device("stage")

    class Stopper:
        """Halts the stage from outside after three waits."""

        waits = 0

        def __call__(self, world_s: float) -> None:
            self.waits += 1
            made.clock.sleep(max(world_s - made.world.now_s(), 0.0))
            if self.waits == 3:
                stage.halt()

    with stage:
        stage.move_to(0.0, 60.0)
        made.world.wait_until = Stopper()  # type: ignore[method-assign]
        there = stage.move_to(100.0, 60.0)
        assert 0.0 < there < 10.0


def test_no_device_hands_out_the_truth() -> None:
    made = lab()
    camera = made.device("privacy")
    with camera:
        camera.start()
        frame = camera.next_frame(1.0)
        told = {**frame.meta, **camera.health().readings}
    hidden = {"offset", "drift", "wavefront", "true", "identity", "geometry"}
    assert not [name for name in told if any(word in name for word in hidden)]

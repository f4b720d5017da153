"""What every light driver must do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from camera_rig.contracts import DeviceKind, Light
from camera_rig.errors import SafetyError
from tests.contract.cable import Cable, LifeCycle


class LightContract(LifeCycle):
    """Subclass gives ``light``, unopened, and ``output``: what the lamp really gives now."""

    kind = DeviceKind.LIGHT

    @pytest.fixture
    def light(self) -> Light:
        raise NotImplementedError

    @pytest.fixture
    def output(self) -> Callable[[], float]:
        raise NotImplementedError

    def use(self, device: Light) -> object:
        device.set(0.5)
        return None

    def test_life_cycle(self, light: Light) -> None:
        self.check_opens_once_and_tells_who_it_is(light)

    def test_opens_again(self, light: Light) -> None:
        self.check_opens_again(light)

    def test_lost_link(self, light: Light, cable: Cable | None) -> None:
        self.check_lost_link(light, cable)

    def test_absent(self, light: Light, cable: Cable | None) -> None:
        self.check_absent_device(light, cable)

    def test_dark_when_opened_and_closed(self, light: Light, output: Callable[[], float]) -> None:
        with light:
            assert output() == 0.0
            light.set(0.7)
            assert output() == 0.0
            light.shutter(True)
            assert output() == pytest.approx(0.7, abs=0.01)
            light.shutter(False)
            assert output() == 0.0
            light.shutter(True)
        assert output() == 0.0

    def test_pulse_tells_its_start(self, light: Light) -> None:
        with light:
            light.set(1.0)
            before = light.clock.now_ns()
            start = light.pulse(0.02)
            assert before <= start <= light.clock.now_ns()

    def test_refuses_what_is_out_of_range(self, light: Light) -> None:
        with light:
            for level in (-0.1, 1.1, float("nan")):
                with pytest.raises(SafetyError):
                    light.set(level)
            for seconds in (0.0, -1.0, 11.0, float("nan")):
                with pytest.raises(SafetyError):
                    light.pulse(seconds)

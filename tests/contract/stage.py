"""What every stage driver must do."""

from __future__ import annotations

import pytest

from camera_rig.contracts import DeviceKind, Stage
from camera_rig.errors import RigTimeoutError, SafetyError
from tests.contract.cable import Cable, LifeCycle


class StageContract(LifeCycle):
    """Subclass gives the fixture ``stage``: an unopened stage."""

    kind = DeviceKind.STAGE
    tolerance_mm = 0.01
    timeout_s = 60.0

    @pytest.fixture
    def stage(self) -> Stage:
        raise NotImplementedError

    def use(self, device: Stage) -> object:
        return device.position_mm

    def test_life_cycle(self, stage: Stage) -> None:
        self.check_opens_once_and_tells_who_it_is(stage)

    def test_opens_again(self, stage: Stage) -> None:
        self.check_opens_again(stage)

    def test_lost_link(self, stage: Stage, cable: Cable | None) -> None:
        self.check_lost_link(stage, cable)

    def test_absent(self, stage: Stage, cable: Cable | None) -> None:
        self.check_absent_device(stage, cable)

    def test_opening_moves_nothing(self, stage: Stage) -> None:
        with stage:
            low, high = stage.limits_mm
            there = stage.move_to(low + 0.3 * (high - low), self.timeout_s)
        with stage:
            assert stage.position_mm == pytest.approx(there, abs=self.tolerance_mm)

    def test_moves_and_tells_where_it_is(self, stage: Stage) -> None:
        with stage:
            low, high = stage.limits_mm
            for share in (0.0, 1.0, 0.25):
                goal = low + share * (high - low)
                got = stage.move_to(goal, self.timeout_s)
                assert got == pytest.approx(goal, abs=self.tolerance_mm)
                assert stage.position_mm == pytest.approx(goal, abs=self.tolerance_mm)

    def test_refuses_to_leave_its_range(self, stage: Stage) -> None:
        with stage:
            before = stage.position_mm
            low, high = stage.limits_mm
            for bad in (low - 1.0, high + 1.0, float("nan"), float("inf")):
                with pytest.raises(SafetyError):
                    stage.move_to(bad, 1.0)
            assert stage.position_mm == pytest.approx(before, abs=self.tolerance_mm)

    def test_a_late_move_is_halted(self, stage: Stage) -> None:
        with stage:
            low, high = stage.limits_mm
            stage.move_to(low, self.timeout_s)
            with pytest.raises(RigTimeoutError):
                stage.move_to(high, 1e-3)
            stopped = stage.position_mm
            stage.clock.sleep(0.2)
            assert stage.position_mm == pytest.approx(stopped, abs=self.tolerance_mm)
            assert stopped < high - self.tolerance_mm

    def test_homes_when_asked(self, stage: Stage) -> None:
        with stage:
            stage.home(self.timeout_s)
            low, high = stage.limits_mm
            assert low - self.tolerance_mm <= stage.position_mm <= high + self.tolerance_mm
            stage.halt()

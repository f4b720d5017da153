"""What every mirror driver must do."""

from __future__ import annotations

import numpy as np
import pytest

from camera_rig.contracts import DeviceKind, Mirror, MirrorEvent
from camera_rig.errors import SafetyError, UnsupportedError
from tests.contract.cable import Cable, LifeCycle


class MirrorContract(LifeCycle):
    """Subclass gives the fixture ``mirror``: an unopened mirror."""

    kind = DeviceKind.MIRROR
    readback_tolerance_v = 0.5
    keeps_shape_over_open = True

    @pytest.fixture
    def mirror(self) -> Mirror:
        raise NotImplementedError

    def use(self, device: Mirror) -> object:
        return device.read_back()

    def some_command(self, mirror: Mirror, seed: int = 0) -> np.ndarray:
        low, high = mirror.limits.T
        return low + (high - low) * np.random.default_rng(seed).random(mirror.actuators)

    def test_life_cycle(self, mirror: Mirror) -> None:
        self.check_opens_once_and_tells_who_it_is(mirror)

    def test_opens_again(self, mirror: Mirror) -> None:
        self.check_opens_again(mirror)

    def test_lost_link(self, mirror: Mirror, cable: Cable | None) -> None:
        self.check_lost_link(mirror, cable)

    def test_absent(self, mirror: Mirror, cable: Cable | None) -> None:
        self.check_absent_device(mirror, cable)

    def test_limits_fit(self, mirror: Mirror) -> None:
        with mirror:
            assert mirror.limits.shape == (mirror.actuators, 2)
            assert (mirror.limits[:, 0] < mirror.limits[:, 1]).all()
            assert mirror.slew_v_per_s > 0
            assert mirror.settle_s >= 0

    def test_command_is_read_back(self, mirror: Mirror) -> None:
        with mirror:
            for seed in range(3):
                wanted = self.some_command(mirror, seed)
                mirror.apply(wanted, reason="contract")
                np.testing.assert_allclose(
                    mirror.read_back(), wanted, atol=self.readback_tolerance_v
                )

    def test_opening_moves_nothing(self, mirror: Mirror) -> None:
        if not self.keeps_shape_over_open:
            pytest.skip("the maker's library sets voltages when it opens")
        with mirror:
            wanted = self.some_command(mirror)
            mirror.apply(wanted)
        with mirror:
            np.testing.assert_allclose(mirror.read_back(), wanted, atol=self.readback_tolerance_v)

    def test_bad_commands_are_refused_before_anything_is_sent(self, mirror: Mirror) -> None:
        with mirror:
            before = mirror.read_back()
            middle = mirror.limits.mean(axis=1)
            high, low, nan = middle.copy(), middle.copy(), middle.copy()
            high[3] = mirror.limits[3, 1] + 1.0
            low[0] = mirror.limits[0, 0] - 1.0
            nan[-1] = np.nan
            for bad in (high, low, nan, middle[:-1], np.append(middle, 0.0)):
                assert mirror.why_not(bad)
                with pytest.raises(SafetyError):
                    mirror.apply(bad)
            np.testing.assert_allclose(mirror.read_back(), before, atol=self.readback_tolerance_v)

    def test_slew_is_walked_and_told(self, mirror: Mirror) -> None:
        told: list[MirrorEvent] = []
        mirror.observers.append(told.append)
        with mirror:
            low, high = mirror.limits.T
            mirror.apply(low, reason="down")
            mirror.apply(high, reason="up")
        assert [event.reason for event in told] == ["down", "up"]
        step = mirror.slew_v_per_s * mirror.step_s
        assert told[1].steps >= np.max(high - low) / step - 1e-6
        np.testing.assert_array_equal(told[1].command_v, high)

    def test_park_goes_to_the_safe_shape(self, mirror: Mirror) -> None:
        with mirror:
            safe = self.some_command(mirror, 9)
            mirror.set_safe_command(safe)
            mirror.park()
            np.testing.assert_allclose(mirror.read_back(), safe, atol=self.readback_tolerance_v)

    def test_relax_returns_to_the_shape_before(self, mirror: Mirror) -> None:
        with mirror:
            wanted = self.some_command(mirror, 4)
            mirror.apply(wanted)
            steps = list(mirror.relax())
            assert len(steps) == steps[0].total
            assert [step.index for step in steps] == list(range(len(steps)))
            np.testing.assert_allclose(mirror.read_back(), wanted, atol=self.readback_tolerance_v)
            sequence = mirror.relax()
            next(sequence)
            sequence.close()
            np.testing.assert_allclose(mirror.read_back(), wanted, atol=self.readback_tolerance_v)

    def test_hot_mirror_only_parks(self, mirror: Mirror) -> None:
        with mirror:
            if not mirror.temperatures_c():
                pytest.skip("this mirror has no thermometer")
            mirror.max_temperature_c = -100.0
            with pytest.raises(SafetyError):
                mirror.apply(mirror.limits.mean(axis=1))
            mirror.park()

    def test_maker_patterns_stay_in_range(self, mirror: Mirror) -> None:
        with mirror:
            try:
                flat = mirror.maker_pattern({})
            except UnsupportedError as error:
                assert error.hint
                return
            assert mirror.why_not(flat) == []
            assert mirror.why_not(mirror.maker_pattern({(2, 0): 0.5, (2, -2): -0.2})) == []
            with pytest.raises(SafetyError):
                mirror.maker_pattern({(2, 0): 1.5})

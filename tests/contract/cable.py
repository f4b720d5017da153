"""What every kind of device has in common: life cycle and a cable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from camera_rig.contracts import Device, DeviceInfo, DeviceKind
from camera_rig.errors import ConnectError, StateError


@dataclass
class Cable:
    """Pulls the plug of the device under test, and puts it back."""

    pull: Callable[[], None]
    put_back: Callable[[], None]


class LifeCycle:
    """Opening, closing and losing the link, for any device."""

    kind: DeviceKind

    @pytest.fixture
    def cable(self) -> Cable | None:
        """The plug, where the test peer has one."""
        return None

    def use(self, device: Device) -> object:
        """Do something that needs the link."""
        raise NotImplementedError

    def check_opens_once_and_tells_who_it_is(self, device: Device) -> None:
        assert not device.is_open
        assert not device.health().ok
        with pytest.raises(StateError):
            _ = device.info
        device.open()
        assert isinstance(device.info, DeviceInfo)
        assert device.info.kind is self.kind
        assert device.info.serial and device.info.driver
        assert device.health().ok
        with pytest.raises(StateError):
            device.open()
        device.close()
        device.close()
        assert not device.is_open
        with pytest.raises(StateError):
            self.use(device)

    def check_opens_again(self, device: Device) -> None:
        with device:
            self.use(device)
            serial = device.info.serial
        with device:
            self.use(device)
            assert device.info.serial == serial

    def check_lost_link(self, device: Device, cable: Cable | None) -> None:
        if cable is None:
            pytest.skip("this driver's test peer has no plug to pull")
        device.open()
        self.use(device)
        cable.pull()
        with pytest.raises(ConnectError) as told:
            self.use(device)
        assert told.value.hint
        assert not device.health().ok
        cable.put_back()
        # The state of the device is unknown: it must be opened anew, on purpose.
        with pytest.raises(ConnectError):
            self.use(device)
        device.close()
        with device:
            self.use(device)

    def check_absent_device(self, device: Device, cable: Cable | None) -> None:
        if cable is None:
            pytest.skip("this driver's test peer has no plug to pull")
        cable.pull()
        with pytest.raises(ConnectError):
            device.open()
        assert not device.is_open
        cable.put_back()
        with device:
            self.use(device)

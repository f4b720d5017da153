"""What all twin devices share: a world, and a cable to it."""

from __future__ import annotations

from collections.abc import Mapping

from camera_rig.contracts import Device, DeviceContext, DeviceInfo, Health
from camera_rig.errors import ConfigError
from camera_rig.twin.faults import Link
from camera_rig.twin.world import World

FIRMWARE = "1"


class Plugged:
    """What all twin devices share: a world and a cable."""

    def __init__(self, device: Device, context: DeviceContext, model: str) -> None:
        if not isinstance(context.world, World):
            raise ConfigError(
                f"{context.name} is a twin device, but there is no simulated world",
                hint="open it through the rig, or give the context a camera_rig.twin world",
            )
        self.world: World = context.world
        self.link: Link = self.world.link(context.name)
        self._device, self._model = device, model

    def command(self, answer_s: float) -> None:
        """Send one command and wait ``answer_s`` (s) for the answer."""
        self.link.call()
        self._device.clock.sleep(answer_s)

    def info(self) -> DeviceInfo:
        """Return who the device is."""
        device = self._device
        serial = device.options.serial or f"TWIN-{device.name.upper()}"
        return DeviceInfo(device.kind, self._model, serial, "twin", FIRMWARE)

    def health(self, readings: Mapping[str, float]) -> Health:
        """Return ``readings`` while the link stands, else that it is lost."""
        if self.link.lost:
            return Health(ok=False, warnings=(f"the link to {self._device.name} is lost",))
        return Health(ok=True, readings=readings)

"""The drivers of the twin's stage and light."""

from __future__ import annotations

import threading
from typing import Annotated, ClassVar

from pydantic import Field

from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Health, Light, Stage
from camera_rig.errors import RigTimeoutError
from camera_rig.twin._plug import Plugged
from camera_rig.twin.world import CLOCK_STEP_S


class TwinStageOptions(DriverOptions):
    """Settings of the twin stage's driver.

    Args:
        answer_s: Time that one command takes, s.
        limits_mm: Positions that may be driven to, mm; None: the whole travel.
    """

    answer_s: Annotated[float, Field(ge=0)] = 0.010
    limits_mm: tuple[float, float] | None = None


class TwinStage(Stage):
    """The stage of the twin: carries the point source to the right as it goes up."""

    Options: ClassVar[type[DriverOptions]] = TwinStageOptions
    options: TwinStageOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = Plugged(self, context, "Twin stage")
        self._halted = threading.Event()

    @property
    def limits_mm(self) -> tuple[float, float]:
        """Lowest and highest position, mm."""
        return self.options.limits_mm or self._plug.world.stage.travel_mm

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.command(self.options.answer_s)

    def _do_close(self) -> None:
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        return self._plug.health({})

    def _do_position_mm(self) -> float:
        self._plug.command(self.options.answer_s)
        return round(self._plug.world.stage.position_mm(self._plug.world.now_s()), 4)

    def _do_move_to(self, position_mm: float, timeout_s: float) -> None:
        world = self._plug.world
        self._plug.command(self.options.answer_s)
        self._halted.clear()
        now_s = world.now_s()
        ends_s, late_s = world.stage.move(position_mm, now_s), now_s + timeout_s
        while (now_s := world.now_s()) < ends_s - CLOCK_STEP_S:
            if self._halted.is_set():
                return
            if now_s >= late_s - CLOCK_STEP_S:
                raise RigTimeoutError(
                    f"{self.name} did not reach {position_mm:g} mm within {timeout_s:g} s",
                    hint="allow more time, or check that nothing blocks the stage",
                )
            world.wait_until(min(ends_s, now_s + 0.05, late_s))
            self._plug.link.check()

    def _do_home(self, timeout_s: float) -> None:
        self._do_move_to(self._plug.world.stage.travel_mm[0], timeout_s)

    def _do_halt(self) -> None:
        self._halted.set()
        self._plug.world.stage.halt(self._plug.world.now_s())


class TwinLightOptions(DriverOptions):
    """Settings of the twin light's driver.

    Args:
        answer_s: Time that one command takes, s.
    """

    answer_s: Annotated[float, Field(ge=0)] = 0.004


class TwinLight(Light):
    """The lamp of the twin: lights the scene, or the pinhole from behind."""

    Options: ClassVar[type[DriverOptions]] = TwinLightOptions
    options: TwinLightOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = Plugged(self, context, "Twin light")
        self._level, self._open = 0.0, False

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.command(self.options.answer_s)
        self._level, self._open = 0.0, False
        self._switch()

    def _do_close(self) -> None:
        # The box has a watchdog: without a host it goes dark by itself.
        self._level, self._open = 0.0, False
        self._switch()
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        return self._plug.health({"level": self._level, "shutter_open": float(self._open)})

    def _do_set(self, level: float) -> None:
        self._plug.command(self.options.answer_s)
        self._level = level
        self._switch()

    def _do_shutter(self, open: bool) -> None:
        self._plug.command(self.options.answer_s)
        self._open = open
        self._switch()

    def _do_pulse(self, seconds: float) -> int:
        world = self._plug.world
        self._plug.command(self.options.answer_s)
        start_s = world.now_s()
        world.lamp.switch(self._level, start_s)
        world.wait_until(start_s + seconds)
        world.lamp.switch(self._level if self._open else 0.0, start_s + seconds)
        return world.to_ns(start_s)

    def _switch(self) -> None:
        light = self._level if self._open else 0.0
        self._plug.world.lamp.switch(light, self._plug.world.now_s())

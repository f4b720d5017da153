"""Exposures released by the light box: both cameras answer to one pulse."""

from __future__ import annotations

import threading
from typing import Self

from camera_rig.contracts import Clock, Light
from camera_rig.errors import RigError, StateError
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.plan import TakePlan

__all__ = ["Trigger"]

_PULSE_UNCERTAINTY_NS = 1_000_000


class Trigger:
    """Pulses the box at a steady rate; late pulses are skipped, never bunched.

    Both cameras expose on the same pulse, so their stamps need no correction; what
    remains is the scatter of their stamps.
    """

    def __init__(self, light: Light, clock: Clock, rate_hz: float, pulse_s: float) -> None:
        self._light, self._clock = light, clock
        self._period_ns, self._pulse_s = round(1e9 / rate_hz), pulse_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trigger", daemon=True)
        self.error: RigError | None = None
        self.pulses = self.skipped = 0
        self.model = ClockModel(source="trigger", offset_uncertainty_ns=_PULSE_UNCERTAINTY_NS)

    @classmethod
    def for_plan(cls, plan: TakePlan, light: Light | None, clock: Clock) -> Self | None:
        """Return a trigger if the plan wants one.

        Raises:
            StateError: It wants one and there is no box.
        """
        if plan.trigger == "free":
            return None
        if light is None:
            raise StateError(
                "the plan wants triggered exposures and the rig has no light",
                hint="add 'devices.light' to the configuration, or use trigger: free",
            )
        return cls(light, clock, plan.trigger_hz, plan.trigger_pulse_s)

    def start(self) -> None:
        """Start pulsing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop pulsing and wait for the last one."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        due_ns = self._clock.now_ns()
        try:
            while not self._stop.is_set():
                wait_ns = due_ns - self._clock.now_ns()
                if wait_ns > 0:
                    self._clock.sleep(wait_ns * 1e-9)
                self._light.pulse(self._pulse_s)
                self.pulses += 1
                late = max(0, (self._clock.now_ns() - due_ns) // self._period_ns)
                self.skipped += late
                due_ns += (late + 1) * self._period_ns
        except RigError as error:
            self.error = error

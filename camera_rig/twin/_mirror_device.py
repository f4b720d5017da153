"""The driver of the twin's mirror."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from camera_rig.contracts import DeviceContext, DeviceInfo, DriverOptions, Health, Mirror, Volts
from camera_rig.errors import ConnectError, SafetyError, UnsupportedError
from camera_rig.twin._plug import Plugged
from camera_rig.twin.mirror import nominal_patterns


class TwinMirrorOptions(DriverOptions):
    """Settings of the twin mirror's driver, as a maker states them.

    Args:
        slew_v_per_s: Fastest change of one electrode, V/s.
        settle_s: Time after a command until the shape stands, s.
        answer_s: Time that one command takes, s.
    """

    slew_v_per_s: Annotated[float, Field(gt=0)] = 15_000.0
    settle_s: Annotated[float, Field(ge=0)] = 0.010
    answer_s: Annotated[float, Field(ge=0)] = 0.001


class TwinMirror(Mirror):
    """The mirror of the twin. Has patterns of its "maker" for the first twelve modes.

    Not offered: the maker's hysteresis compensation. The toolkit's own is what the
    twin is there to test.
    """

    Options: ClassVar[type[DriverOptions]] = TwinMirrorOptions
    options: TwinMirrorOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._plug = Plugged(self, context, "Twin mirror (40 electrodes)")
        self._patterns: dict[Any, Volts] | None = None

    @property
    def actuators(self) -> int:
        """Number of electrodes."""
        return self._plug.world.mirror.actuators

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per electrode, V, shape (electrodes, 2)."""
        return np.tile(self._plug.world.options.mirror.range_v, (self.actuators, 1))

    @property
    def slew_v_per_s(self) -> float:
        """Fastest change of one electrode, V/s."""
        return self.options.slew_v_per_s

    @property
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s."""
        return self.options.settle_s

    def maker_pattern(self, fractions: Mapping[tuple[int, int], float]) -> Volts:
        """Return the maker's voltages (V) for Zernike modes; sends nothing.

        Args:
            fractions: ``{(n, m): amplitude}``, each -1…1 of what the mode can do;
                n from 2 to 4.

        Raises:
            UnsupportedError: A mode that the maker does not offer.
            SafetyError: An amplitude, or the sum of all, is out of range.
        """
        if self._patterns is None:
            self._patterns = nominal_patterns(self._plug.world.bench)
        total = np.zeros(self.actuators)
        for mode, fraction in fractions.items():
            if mode not in self._patterns:
                raise UnsupportedError(
                    f"{self.name} has no maker's pattern for mode {mode}",
                    hint="n goes from 2 to 4; piston, tip and tilt cannot be made",
                )
            if not -1.0 <= fraction <= 1.0:
                raise SafetyError(
                    f"amplitude {fraction} of mode {mode} is outside -1 to 1",
                    hint="amplitudes are shares of what the mode can do",
                )
            total += fraction * self._patterns[mode]
        if np.abs(total).max() > 1.0 + 1e-12:
            raise SafetyError(
                f"the pattern needs {np.abs(total).max():.2f} of the range",
                hint="lower the amplitudes together",
            )
        low_v, high_v = self.limits.T
        return np.asarray(low_v + (high_v - low_v) * (np.clip(total, -1, 1) + 1.0) / 2.0)

    def _do_open(self) -> None:
        self._plug.link.connect()
        self._plug.command(self.options.answer_s)

    def _do_close(self) -> None:
        self._plug.link.disconnect()

    def _do_info(self) -> DeviceInfo:
        return self._plug.info()

    def _do_health(self) -> Health:
        health = self._plug.health(self._do_temperatures_c() if not self._plug.link.lost else {})
        if health.ok and not self._plug.world.mirror_has_power():
            return Health(False, health.readings, (f"{self.name} has no supply voltage",))
        return health

    def _do_apply(self, command_v: Volts) -> None:
        self._plug.command(self.options.answer_s)
        if not self._plug.world.mirror_has_power():
            raise ConnectError(
                f"{self.name} has no supply voltage; its shape is lost",
                hint="check the supply, then read back and apply the shape again",
            )
        self._plug.world.command_mirror(command_v)

    def _do_read_back(self) -> Volts:
        self._plug.command(self.options.answer_s)
        self._plug.world.settle_power()
        return self._plug.world.mirror.volts(self._plug.world.now_s())

    def _do_temperatures_c(self) -> Mapping[str, float]:
        self._plug.link.check()
        now_s = self._plug.world.now_s()
        mirror_c = round(self._plug.world.mirror.temperature_c(now_s), 2)
        return {"mirror_c": mirror_c, "electronics_c": round(mirror_c + 7.0, 2)}

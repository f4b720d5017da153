"""Thorlabs DMP40 and DMH40 mirrors through the maker's library (Windows)."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from camera_rig.contracts import (
    DeviceContext,
    DeviceInfo,
    DeviceKind,
    DriverOptions,
    Health,
    Mirror,
    Volts,
)
from camera_rig.drivers import _tldfm as lib
from camera_rig.drivers._tldfm import Library, Out
from camera_rig.errors import ConfigError, ConnectError, RigError, SafetyError, UnsupportedError

__all__ = ["ThorlabsMirror", "ThorlabsOptions"]

_log = logging.getLogger(__name__)

_SELF_TEST = {0x0001: "power", 0x0010: "temperature", 0xFFFF: "not possible"}
_MOST_RELAX_STEPS = 1000


class ThorlabsOptions(DriverOptions):
    """Settings of a Thorlabs mirror.

    Args:
        serial: Serial number; may be left out when only one mirror is plugged in.
        library_dir: Folder of the maker's libraries; None for where they install.
        base_library: Path of the base library itself, instead of the folder.
        extended_library: Path of the extended library itself.
        settle_s: Time after a command until the shape stands, s. The maker states none.
        slew_v_per_s: Fastest change of a segment, V/s. The maker states none.
        hysteresis_compensation: Let the maker's library compensate hysteresis.
        park_on_close: Walk to the safe shape before closing.
    """

    library_dir: Path | None = None
    base_library: Path | None = None
    extended_library: Path | None = None
    settle_s: Annotated[float, Field(ge=0.005, le=5.0)] = 0.02
    slew_v_per_s: Annotated[float, Field(gt=0, le=30000)] = 3000.0
    hysteresis_compensation: bool = True
    park_on_close: bool = True


@dataclass(frozen=True, slots=True)
class _Found:
    """One mirror that the library sees."""

    name: str
    serial: str
    resource: str
    available: bool


class ThorlabsMirror(Mirror):
    """A DMH40 (0 to 300 V) or DMP40 (0 to 200 V); limits are read from the device.

    The maker's initialisation resets all voltages, so what the mirror showed before is
    gone once it is opened; nothing here believes a shape that was not read back.

    Not offered: tilt arms (a DMH40 has none), the maker's reset (past the slew limit),
    and every function that writes into the device's own memory: they cannot be bound.
    """

    Options: ClassVar[type[DriverOptions]] = ThorlabsOptions
    options: ThorlabsOptions

    def __init__(self, options: DriverOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._library: Library | None = None
        self._session: int | None = None
        self._found: _Found | None = None
        self._compensates = False
        self._limits: npt.NDArray[np.float64] = np.zeros((0, 2))

    @property
    def actuators(self) -> int:
        """Number of segments, as the device tells."""
        self._need_open()
        return len(self._limits)

    @property
    def limits(self) -> npt.NDArray[np.float64]:
        """Lowest and highest voltage per segment, V, as the device tells."""
        self._need_open()
        return self._limits.copy()

    @property
    def slew_v_per_s(self) -> float:
        """Fastest change of one segment, V/s, from the options."""
        return self.options.slew_v_per_s

    @property
    def settle_s(self) -> float:
        """Time after a command until the shape stands, s, from the options."""
        return self.options.settle_s

    @property
    def compensates_hysteresis(self) -> bool:
        """Whether the maker's compensation is on, as it told when opened."""
        return self._compensates

    def maker_pattern(self, fractions: Mapping[tuple[int, int], float]) -> Volts:
        """Return the maker's voltages (V) for Zernike modes; sends nothing.

        Raises:
            UnsupportedError: A mode that the library has not, piston, tip and tilt among
                them.
            SafetyError: An amplitude is not a number or outside the library's range.
        """
        self._need_open()
        low, high = self._amplitude_range()
        amplitudes = Out(lib.ViReal64, lib.ZERNIKE_TERMS)
        for (n, m), share in fractions.items():
            if share == 0.0:
                continue
            number = (n * (n + 2) + m) // 2 + 1
            if not 4 <= number <= 3 + lib.ZERNIKE_TERMS:
                raise UnsupportedError(
                    f"the maker's library has no pattern for Z{number} (n={n}, m={m})",
                    hint="it has Z4 to Z15 in Thorlabs order: no piston, tip or tilt",
                )
            if not (math.isfinite(share) and low <= share <= high):
                raise SafetyError(
                    f"amplitude {share:g} of Z{number} is outside {low:g} to {high:g}",
                    hint="amplitudes are shares of what the mirror can do, never µm or waves",
                )
            amplitudes.array[number - 4] = share
        pattern = self._voltages_out()
        self._call("TLDFMX_calculate_zernike_pattern", lib.ALL_ZERNIKES, amplitudes, pattern)
        return self._as_volts(pattern)

    def _do_open(self) -> None:
        o = self.options
        self._library = Library(
            lib.find_libraries(o.base_library, o.extended_library, o.library_dir)
        )
        self._found = self._select(self._devices())
        session = Out(lib.ViSession)
        self._library.call("TLDFMX_init", self._found.resource.encode("latin-1"), 1, 0, session)
        self._session = int(session.value)
        self._self_test()
        self._read_limits()
        self._call(
            *("TLDFM_enable_hysteresis_compensation", lib.MIRROR_TARGET),
            int(o.hysteresis_compensation),
        )
        enabled = Out(lib.ViBoolean)
        self._call("TLDFM_enabled_hysteresis_compensation", lib.MIRROR_TARGET, enabled)
        self._compensates = bool(enabled.value)
        found_v = self._do_read_back()
        _log.info(
            "mirror_opened",
            extra={"lowest_v": float(found_v.min()), "highest_v": float(found_v.max())},
        )

    def _before_close(self) -> None:
        if self.options.park_on_close:
            self.park()

    def _do_close(self) -> None:
        session, self._session = self._session, None
        if session is not None and self._library is not None:
            try:
                self._library.call("TLDFMX_close", session)
            except RigError as error:
                # A mirror that is gone cannot be hung up on; the session is forgotten.
                _log.warning("mirror_not_closed", extra={"why": error.message})

    def _do_info(self) -> DeviceInfo:
        driver, firmware = Out(ctypes.c_char, lib.TEXT), Out(ctypes.c_char, lib.TEXT)
        self._call("TLDFMX_revision_query", driver, firmware)
        assert self._found is not None  # noqa: S101 - set by _do_open
        return DeviceInfo(
            DeviceKind.MIRROR,
            self._found.name,
            self._found.serial,
            f"thorlabs-dm {driver.text}".strip(),
            firmware.text,
        )

    def _do_apply(self, command_v: Volts) -> None:
        values = self._voltages_out()
        values.array[: len(command_v)] = command_v.tolist()
        self._call("TLDFM_set_segment_voltages", values)

    def _do_read_back(self) -> Volts:
        values = self._voltages_out()
        self._call("TLDFM_get_segment_voltages", values)
        return self._as_volts(values)

    def _do_temperatures_c(self) -> Mapping[str, float]:
        sensors = ("stage1", "stage2", "mirror", "electronics")
        read = [Out(lib.ViReal64) for _ in sensors]
        self._call("TLDFM_get_temperatures", *read)
        return {name: float(out.value) for name, out in zip(sensors, read, strict=True)}

    def _do_health(self) -> Health:
        assert self._library is not None  # noqa: S101 - open
        try:
            readings = {f"{name}_c": value for name, value in self._do_temperatures_c().items()}
        except RigError as error:
            return Health(False, warnings=(error.message,))
        return Health(True, readings, self._library.take_warnings())

    def _do_relax_commands(self) -> Iterator[Volts]:
        remaining = 1
        for step in range(_MOST_RELAX_STEPS):
            if remaining <= 0:
                return
            pattern, left = self._voltages_out(), Out(lib.ViInt32)
            # No arms, so no memory for them; nothing reloaded: the contract walks back.
            self._call("TLDFMX_relax", lib.MIRROR_TARGET, int(step == 0), 0, pattern, None, left)
            remaining = int(left.value)
            yield self._as_volts(pattern)
        raise ConnectError(
            f"the relax sequence did not end after {_MOST_RELAX_STEPS} steps",
            hint="close the rig, power-cycle the mirror, open again",
        )

    def _devices(self) -> list[_Found]:
        assert self._library is not None  # noqa: S101 - called from _do_open
        count = Out(lib.ViUInt32)
        self._library.call("TLDFM_get_device_count", 0, count)
        found = []
        for index in range(int(count.value)):
            maker, name = Out(ctypes.c_char, lib.TEXT), Out(ctypes.c_char, lib.NAME)
            serial, resource = Out(ctypes.c_char, lib.SERIAL), Out(ctypes.c_char, lib.RESOURCE)
            free = Out(lib.ViBoolean)
            self._library.call(
                *("TLDFM_get_device_information", 0, index),
                *(maker, name, serial, free, resource),
            )
            found.append(_Found(name.text, serial.text, resource.text, bool(free.value)))
        return found

    def _select(self, found: list[_Found]) -> _Found:
        if not found:
            raise ConnectError(
                "no Thorlabs mirror is plugged in", hint="check the USB cable and the supply"
            )
        wanted = self.options.serial
        serials = ", ".join(device.serial for device in found)
        if not wanted and len(found) > 1:
            raise ConfigError(
                f"several mirrors are plugged in: {serials}",
                hint="say which with 'serial:' in the configuration",
            )
        chosen = [device for device in found if not wanted or device.serial == wanted]
        if not chosen:
            raise ConnectError(
                f"there is no mirror {wanted!r}; plugged in: {serials}",
                hint="check the serial number on the housing and in the configuration",
            )
        if not chosen[0].available:
            raise ConnectError(
                f"mirror {chosen[0].serial} is held by another program",
                hint="close the maker's program, or the other rig process",
            )
        return chosen[0]

    def _self_test(self) -> None:
        result, text = Out(lib.ViInt16), Out(ctypes.c_char, lib.ERROR_TEXT)
        self._call("TLDFMX_self_test", result, text)
        code = int(result.value) & 0xFFFF
        if code == 0:
            return
        what = _SELF_TEST.get(code, f"0x{code:04X}")
        raise ConnectError(
            f"the mirror's self test failed ({what}): {text.text}",
            hint="switch on the mirror's own supply, let it cool, open again",
        )

    def _read_limits(self) -> None:
        count, low, high = Out(lib.ViUInt32), Out(lib.ViReal64), Out(lib.ViReal64)
        self._call("TLDFM_get_segment_count", count)
        self._call("TLDFM_get_segment_minimum", low)
        self._call("TLDFM_get_segment_maximum", high)
        span = (float(low.value), float(high.value))
        if not (0 < int(count.value) <= 4096 and math.isfinite(sum(span)) and span[0] < span[1]):
            raise ConnectError(
                f"the mirror tells {count.value} segments from {span[0]:g} to {span[1]:g} V",
                hint="its configuration is damaged; check it with the maker's program",
            )
        self._limits = np.tile(span, (int(count.value), 1))

    def _amplitude_range(self) -> tuple[float, float]:
        low, high = Out(lib.ViReal64), Out(lib.ViReal64)
        counts = [Out(lib.ViInt32) for _ in range(3)]
        self._call("TLDFMX_get_parameters", low, high, *counts)
        if int(counts[0].value) != lib.ZERNIKE_TERMS:
            raise UnsupportedError(
                f"the library tells {counts[0].value} Zernike terms, not {lib.ZERNIKE_TERMS}",
                hint="this version is not known; calibrate the influence matrix instead",
            )
        return float(low.value), float(high.value)

    def _voltages_out(self) -> Out:
        return Out(lib.ViReal64, len(self._limits))

    def _as_volts(self, values: Out) -> Volts:
        return np.array(values.array[:], dtype=np.float64)

    def _call(self, name: str, *arguments: Any) -> int:
        if self._library is None or self._session is None:
            raise ConnectError(f"{self.name} has no session", hint="open the rig again")
        return self._library.call(name, self._session, *arguments)

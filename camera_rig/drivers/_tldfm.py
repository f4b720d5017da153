"""The maker's mirror library, bound by ctypes: types, allow-list, statuses, loading.

Only functions of the table below can be called, each with the sizes that VISA states.
Output memory carries guard bytes behind it: a library newer than its header that
writes more than it used to is caught at once instead of corrupting the process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camera_rig.errors import (
    ConnectError,
    RigError,
    RigTimeoutError,
    SafetyError,
    StateError,
    UnsupportedError,
)

_log = logging.getLogger(__name__)

ViStatus = ctypes.c_int32
ViSession = ctypes.c_uint32
ViUInt32 = ctypes.c_uint32
ViInt32 = ctypes.c_int32
ViInt16 = ctypes.c_int16
ViBoolean = ctypes.c_uint16
ViReal64 = ctypes.c_double

TEXT, NAME, SERIAL, RESOURCE, ERROR_TEXT = 256, 28, 28, 256, 512
"""Output buffer sizes of the maker's header, bytes."""

MIRROR_TARGET = 0
ALL_ZERNIKES = 0xFFFFFFFF
ZERNIKE_TERMS = 12
NO_TILT_ARMS = 0x3FFC0910

_P = ctypes.POINTER
_text = ctypes.c_char_p
_shared: dict[str, tuple[Any, ...]] = {
    "init": (_text, ViBoolean, ViBoolean, _P(ViSession)),
    "close": (ViSession,),
    "self_test": (ViSession, _P(ViInt16), _text),
    "revision_query": (ViSession, _text, _text),
    "error_message": (ViSession, ViStatus, _text),
}
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "TLDFM_get_device_count": (ViSession, _P(ViUInt32)),
    "TLDFM_get_device_information": (
        *(ViSession, ViUInt32, _text, _text, _text, _P(ViBoolean), _text),
    ),
    "TLDFM_get_segment_count": (ViSession, _P(ViUInt32)),
    "TLDFM_get_segment_minimum": (ViSession, _P(ViReal64)),
    "TLDFM_get_segment_maximum": (ViSession, _P(ViReal64)),
    "TLDFM_get_tilt_count": (ViSession, _P(ViUInt32)),
    "TLDFM_get_segment_voltages": (ViSession, _P(ViReal64)),
    "TLDFM_set_segment_voltages": (ViSession, _P(ViReal64)),
    "TLDFM_enable_hysteresis_compensation": (ViSession, ViUInt32, ViBoolean),
    "TLDFM_enabled_hysteresis_compensation": (ViSession, ViUInt32, _P(ViBoolean)),
    "TLDFM_get_temperatures": (ViSession, *[_P(ViReal64)] * 4),
    **{f"TLDFMX_{name}": arguments for name, arguments in _shared.items()},
    "TLDFMX_get_parameters": (
        *(ViSession, _P(ViReal64), _P(ViReal64), _P(ViInt32), _P(ViInt32), _P(ViInt32)),
    ),
    "TLDFMX_relax": (
        *(ViSession, ViUInt32, ViBoolean, ViBoolean, _P(ViReal64), _P(ViReal64), _P(ViInt32)),
    ),
    "TLDFMX_calculate_zernike_pattern": (ViSession, ViUInt32, _P(ViReal64), _P(ViReal64)),
}
"""Everything that can be called. What could harm a mirror is not in it: it cannot be bound."""

_BASE, _EXTENDED = 0xBFFC0900, 0xBFFC09FF
_POWER = "switch on the mirror's own supply: USB alone does not feed it"
_COOL = "let it cool with the supply on, and check the air around it"
_STATUS: dict[int, tuple[type[RigError], str, str]] = {
    _BASE + 0x02: (UnsupportedError, "unknown command", "update the mirror's firmware"),
    _BASE + 0x05: (SafetyError, "a value is out of range", "see `rig mirror limits`"),
    _BASE + 0x07: (StateError, "a transmission is running already", "wait, then try again"),
    _BASE + 0x08: (SafetyError, "a higher access level is needed", "not offered here on purpose"),
    _BASE + 0x0A: (ConnectError, "the mirror's configuration cannot be read", "power-cycle it"),
    _BASE + 0x0B: (
        *(UnsupportedError, "the mirror holds no hysteresis data"),
        "set hysteresis_compensation: false and fit our own model",
    ),
    _BASE + 0x0C: (ConnectError, "no external power", _POWER),
    _BASE + 0x0D: (ConnectError, "no internal power", _POWER),
    _BASE + 0x0E: (SafetyError, "the electronics are too hot", _COOL),
    _BASE + 0x0F: (SafetyError, "the high-voltage stage is too hot", _COOL),
    _BASE + 0x10: (SafetyError, "the mirror is too hot", _COOL),
    _EXTENDED + 0x01: (StateError, "the library has no data yet", "open the mirror again"),
    _EXTENDED + 0x02: (StateError, "the library is not initialised", "open the mirror again"),
    _EXTENDED + 0x09: (SafetyError, "a Zernike amplitude is out of range", "use -1 … 1"),
    0xBFFF0011: (ConnectError, "the mirror is not there", "check cable, supply and USB port"),
    0xBFFF0015: (RigTimeoutError, "the mirror did not answer in time", "check the USB cable"),
    0xBFFF000E: (
        ConnectError,
        "the link was lost: the session is no longer valid",
        "close the rig and open it again",
    ),
}
_WARNING = {
    0x3FFC0900: "the electronics are getting hot",
    0x3FFC0901: "the high-voltage stage is getting hot",
    0x3FFC0903: "the mirror is getting hot",
}
_GUARD = b"\xee" * 16


class Out:
    """Memory for one output argument, zeroed, with guard bytes behind it.

    Args:
        ctype: Type of one element.
        count: Number of elements the library may write.
    """

    def __init__(self, ctype: Any, count: int = 1) -> None:
        self._size = ctypes.sizeof(ctype) * count
        self._memory = bytearray(self._size) + bytearray(_GUARD)
        self.array = (ctype * count).from_buffer(self._memory)

    @property
    def value(self) -> Any:
        """The first element."""
        return self.array[0]

    @property
    def text(self) -> str:
        """The bytes up to the first NUL, as text."""
        raw = bytes(self._memory[: self._size])
        return raw.split(b"\0", 1)[0].decode("latin-1")

    @property
    def overrun(self) -> bool:
        """Whether something wrote behind the memory."""
        return bytes(self._memory[self._size :]) != _GUARD


@dataclass(frozen=True)
class LibraryPlace:
    """Where the two files are, and what loads them (ctypes.CDLL unless a test says else)."""

    base: Path
    extended: Path
    loader: Callable[[str], Any]


class Library:
    """The two loaded files behind one call. Not thread-safe, as the maker's are not.

    Args:
        place: Where they are.

    Raises:
        UnsupportedError: Not on Windows, and no files were named.
        ConnectError: A file, or something it needs, is missing; says which.
    """

    def __init__(self, place: LibraryPlace) -> None:
        base, extended = _load(place)
        self.warnings: list[str] = []
        self._functions: dict[str, Any] = {}
        for name, arguments in PROTOTYPES.items():
            source = extended if name.startswith("TLDFMX_") else base
            function = getattr(source, name, None)
            if function is None:
                raise ConnectError(
                    f"the mirror library has no {name}",
                    hint="install the maker's driver package of 2019 or later",
                )
            function.argtypes, function.restype = list(arguments), ViStatus
            self._functions[name] = function

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the allow-list; return its status (0, or a warning above 0).

        Raises:
            SafetyError: ``name`` is not in the allow-list.
            RigError: The library reports an error; the class tells what kind.
        """
        if name not in self._functions:
            raise SafetyError(
                f"{name} cannot be called from here",
                hint="it could change the mirror for good; use the maker's program if you must",
            )
        outputs = [each for each in arguments if isinstance(each, Out)]
        plain = [each.array if isinstance(each, Out) else each for each in arguments]
        status = int(self._functions[name](*plain)) & 0xFFFFFFFF
        if any(out.overrun for out in outputs):
            raise RigError(
                f"{name} wrote past its memory",
                hint="this library differs from its header: stop, and report its version",
            )
        if status & 0x80000000:
            raise self._error(name, status, plain[0])
        if status:
            self._warn(name, status)
        return status

    def take_warnings(self) -> tuple[str, ...]:
        """Return the warnings since the last time, oldest first, and forget them."""
        told, self.warnings = tuple(self.warnings), []
        return told

    def _warn(self, name: str, status: int) -> None:
        if status == NO_TILT_ARMS:
            return  # every tilt call on a mirror without arms says so
        text = _WARNING.get(status, f"{name} warned 0x{status:08X}")
        if text not in self.warnings:
            self.warnings.append(text)
        _log.warning("mirror_warning", extra={"function": name, "status": f"0x{status:08X}"})

    def _error(self, name: str, status: int, session: Any) -> RigError:
        told = f"{name}: 0x{status:08X}"
        if status in _STATUS:
            kind, text, hint = _STATUS[status]
            return kind(f"{text} ({told})", hint=hint)
        described = Out(ctypes.c_char, ERROR_TEXT)
        handle = session if isinstance(session, int) else 0
        self._functions["TLDFMX_error_message"](
            handle, ctypes.c_int32(status).value, described.array
        )
        if described.overrun:
            described = Out(ctypes.c_char, ERROR_TEXT)
        return ConnectError(
            f"{described.text or 'the mirror library failed'} ({told})",
            hint="check cable and supply, then close the rig and open it again",
        )


def find_libraries(base: Path | None, extended: Path | None, folder: Path | None) -> LibraryPlace:
    """Return where the files are: as named, else in ``folder``, else where they install.

    Raises:
        UnsupportedError: Not on Windows and none was named.
    """
    if base is not None and extended is not None:
        return LibraryPlace(base, extended, _default_loader())
    if sys.platform != "win32" and folder is None:
        raise UnsupportedError(
            "the mirror maker's library exists for Windows only",
            hint="run `rig serve mirror` on a Windows host and use `driver: remote` here, "
            "or `driver: twin` to work without the mirror",
        )
    bits = 8 * struct.calcsize("P")
    programs = Path(os.environ.get("PROGRAMFILES", r"C:\Program Files"))
    where = folder or programs / "IVI Foundation" / "VISA" / f"Win{bits}" / "Bin"
    return LibraryPlace(
        base or where / f"TLDFM_{bits}.dll",
        extended or where / f"TLDFMX_{bits}.dll",
        _default_loader(),
    )


def _default_loader() -> Callable[[str], Any]:
    # On 32-bit Windows the maker's calling convention is stdcall; elsewhere there is one.
    if sys.platform == "win32" and struct.calcsize("P") == 4:
        return getattr(ctypes, "WinDLL")  # noqa: B009 - the name exists on Windows only
    return ctypes.CDLL


def _load(place: LibraryPlace) -> tuple[Any, Any]:
    missing = [str(path) for path in (place.base, place.extended) if not path.is_file()]
    if missing:
        raise ConnectError(
            f"the mirror driver is not installed: no {', '.join(missing)}",
            hint="install the maker's DMP40/DMH40 package, or set library_dir to its folder",
        )
    if sys.platform == "win32":
        os.add_dll_directory(str(place.base.parent.resolve()))
    try:
        # The extended library needs the base library: load that one first.
        return place.loader(str(place.base.resolve())), place.loader(str(place.extended.resolve()))
    except OSError as error:
        raise _load_error(place, error) from error


def _load_error(place: LibraryPlace, error: OSError) -> ConnectError:
    needs: Sequence[tuple[str, tuple[str, ...], str]] = (
        (
            "the LabWindows/CVI run-time engine",
            ("cvirte.dll",),
            "install the free LabWindows/CVI run-time of NI",
        ),
        ("a VISA library", ("visa64.dll", "visa32.dll"), "install NI-VISA or the maker's VISA"),
    )
    for what, files, hint in needs:
        if not any(_loads(place.loader, file) for file in files):
            return ConnectError(
                f"the mirror library is there, but {what} is missing ({files[0]})", hint=hint
            )
    return ConnectError(
        f"the mirror library cannot be loaded: {error}",
        hint="check that Python and the library are both 64-bit or both 32-bit",
    )


def _loads(loader: Callable[[str], Any], file: str) -> bool:
    try:
        loader(file)
    except OSError:
        return False
    return True

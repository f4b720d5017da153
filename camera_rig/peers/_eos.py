"""Words of Canon's PTP extension: codes, exposure scales, event records.

Only what the emulated body speaks. Codes are facts of the protocol; the scales are
Canon's, where eight steps are one stop.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

__all__ = [
    "APERTURES",
    "EXPOSURE_MODE_MANUAL",
    "IMAGE_FORMATS",
    "ISO_SPEEDS",
    "SHUTTER_SPEEDS",
    "Op",
    "Prop",
    "allowed_record",
    "aperture_of",
    "button_record",
    "exposure_s_of",
    "iso_of",
    "transfer_record",
    "value_record",
]


class Op(IntEnum):
    """Operations that the emulated body answers."""

    GET_DEVICE_INFO = 0x1001
    OPEN_SESSION = 0x1002
    CLOSE_SESSION = 0x1003
    GET_STORAGE_IDS = 0x1004
    GET_STORAGE_INFO = 0x1005
    GET_OBJECT_HANDLES = 0x1007
    GET_PARTIAL_OBJECT = 0x101B
    EOS_GET_STORAGE_IDS = 0x9101
    EOS_GET_STORAGE_INFO = 0x9102
    EOS_GET_DEVICE_INFO_EX = 0x9108
    EOS_SET_PROPERTY = 0x9110
    EOS_SET_REMOTE_MODE = 0x9114
    EOS_SET_EVENT_MODE = 0x9115
    EOS_GET_EVENT = 0x9116
    EOS_TRANSFER_COMPLETE = 0x9117
    EOS_PC_CAPACITY = 0x911A
    EOS_SET_UI_LOCK = 0x911B
    EOS_RESET_UI_LOCK = 0x911C
    EOS_KEEP_DEVICE_ON = 0x911D
    EOS_REQUEST_PROPERTY = 0x9127
    EOS_RELEASE_ON = 0x9128
    EOS_RELEASE_OFF = 0x9129
    EOS_SET_OLC_GROUP = 0x913D
    EOS_GET_VIEWFINDER = 0x9153
    EOS_DRIVE_LENS = 0x9155
    EOS_AF_CANCEL = 0x9160


class Prop(IntEnum):
    """Properties that the emulated body has."""

    APERTURE = 0xD101
    SHUTTER = 0xD102
    ISO = 0xD103
    EXPOSURE_COMPENSATION = 0xD104
    EXPOSURE_MODE = 0xD105
    DRIVE_MODE = 0xD106
    METERING = 0xD107
    FOCUS_MODE = 0xD108
    WHITE_BALANCE = 0xD109
    PICTURE_STYLE = 0xD110
    BATTERY = 0xD111
    CAMERA_TIME = 0xD113
    AUTO_POWER_OFF = 0xD114
    OWNER = 0xD115
    SHOTS_LEFT = 0xD11B
    CAPTURE_TARGET = 0xD11C
    IMAGE_FORMAT = 0xD120
    UTC_TIME = 0xD17C
    OLC_VERSION = 0xD199
    SERIAL_TEXT = 0xD1AF
    EVF_OUTPUT = 0xD1B0
    EVF_MODE = 0xD1B1
    LENS_NAME = 0xD1D8


TEXT_PROPS = frozenset({Prop.OWNER, Prop.SERIAL_TEXT, Prop.LENS_NAME})

_TRANSFER_REQUEST = 0xC186
_VALUE_CHANGED = 0xC189
_ALLOWED_CHANGED = 0xC18A
_OLC_CHANGED = 0xC1A5

EXPOSURE_MODE_MANUAL = 3
_THIRDS = (0, 3, 5)


def _scale(first: int, last: int) -> tuple[int, ...]:
    """Return the codes of all third stops from ``first`` to ``last``."""
    return tuple(
        code
        for stop in range(first & ~7, last + 8, 8)
        for code in (stop + third for third in _THIRDS)
        if first <= code <= last
    )


SHUTTER_SPEEDS = _scale(0x10, 0x98)  # 30 s … 1/4000 s
APERTURES = _scale(0x25, 0x50)  # f/3.5 … f/22
ISO_SPEEDS = _scale(0x48, 0x88)  # 100 … 25600

_JPEG_LARGE = struct.pack("<5I", 1, 0x10, 1, 0, 3)
_RAW = struct.pack("<5I", 1, 0x10, 6, 0, 4)
_RAW_AND_JPEG = struct.pack("<9I", 2, 0x10, 6, 0, 4, 0x10, 1, 0, 3)
IMAGE_FORMATS: tuple[bytes, ...] = (_JPEG_LARGE, _RAW, _RAW_AND_JPEG)
"""Large fine JPEG, RAW, and both, as the property packs them."""


def exposure_s_of(code: int) -> float:
    """Return the exposure time behind a shutter code, s."""
    return float(2.0 ** ((0x38 - code) / 8))


def aperture_of(code: int) -> float:
    """Return the f-number behind an aperture code."""
    return float(2.0 ** ((code - 0x08) / 16))


def iso_of(code: int) -> float:
    """Return the ISO speed behind a code."""
    return float(100 * 2.0 ** ((code - 0x48) / 8))


def _record(code: int, body: bytes) -> bytes:
    return struct.pack("<II", len(body) + 8, code) + body


def value_record(prop: int, value: bytes) -> bytes:
    """Return the event that tells a property's present value."""
    return _record(_VALUE_CHANGED, struct.pack("<I", prop) + value)


def allowed_record(prop: int, values: Iterable[bytes]) -> bytes:
    """Return the event that lists the values which a property may take."""
    listed = list(values)
    return _record(_ALLOWED_CHANGED, struct.pack("<III", prop, 3, len(listed)) + b"".join(listed))


def transfer_record(handle: int, object_format: int, size: int, name: str) -> bytes:
    """Return the event by which the body asks the host to fetch a file from its RAM."""
    body = struct.pack("<IHHIII", handle, object_format, 0, 0, size, 0)
    return _record(_TRANSFER_REQUEST, body + name.encode() + b"\0\0\0\0")


def button_record(button: int) -> bytes:
    """Return the display event that tells the shutter button's state."""
    body = struct.pack("<HHH", 0x0001, 0, button)
    return _record(_OLC_CHANGED, struct.pack("<I", len(body) + 4) + body)

"""A Canon EOS M50 that is not there: libgphoto2's real Canon code runs against it.

Live view in two sizes, stills as JPEG and RAW into camera RAM, events, settings, and
the field's scars on request: busy answers, not-ready live view, a body that falls
asleep, a pulled cable that comes back on another port, a slow link.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections import deque
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from camera_rig.peers import _m50_pictures as pictures
from camera_rig.peers._eos import (
    APERTURES,
    EXPOSURE_MODE_MANUAL,
    IMAGE_FORMATS,
    ISO_SPEEDS,
    SHUTTER_SPEEDS,
    TEXT_PROPS,
    Op,
    Prop,
    allowed_record,
    aperture_of,
    button_record,
    exposure_s_of,
    iso_of,
    transfer_record,
    value_record,
)
from camera_rig.peers.process import Command, serve_commands
from camera_rig.peers.ptpip import Operation, PtpIpServer, Reply, pack_array, pack_string

__all__ = ["EmulatedM50", "M50Options", "serve"]

_BUSY = Reply(0x2019)
_NOT_READY = Reply(0xA102)
_UNSUPPORTED = Reply(0x2005)
_NO_SUCH_OBJECT = Reply(0x2009)
_WELL_EXPOSED = 4000.0  # 1/125 s at ISO 100 and f/5.6
_FORMAT_JPEG, _FORMAT_CR3 = 0x3801, 0xB108
_EVF_LARGE, _EVF_SMALL = 0x02, 0x08
_TERMINATOR = struct.pack("<II", 8, 0)
_NUMBERS = {
    Prop.APERTURE: 0x30,
    Prop.SHUTTER: 0x70,
    Prop.ISO: 0x48,
    Prop.EXPOSURE_COMPENSATION: 0,
    Prop.EXPOSURE_MODE: EXPOSURE_MODE_MANUAL,
    Prop.DRIVE_MODE: 0,
    Prop.METERING: 3,
    Prop.FOCUS_MODE: 3,
    Prop.WHITE_BALANCE: 0,
    Prop.PICTURE_STYLE: 0x87,
    Prop.BATTERY: 2,
    Prop.AUTO_POWER_OFF: 60,
    Prop.SHOTS_LEFT: 1284,
    Prop.CAPTURE_TARGET: 2,
    Prop.OLC_VERSION: 0x10,
    Prop.EVF_OUTPUT: 0,
    Prop.EVF_MODE: 1,
}
_ALLOWED = {
    Prop.APERTURE: APERTURES,
    Prop.SHUTTER: SHUTTER_SPEEDS,
    Prop.ISO: ISO_SPEEDS,
    Prop.EXPOSURE_MODE: (EXPOSURE_MODE_MANUAL,),
    Prop.FOCUS_MODE: (0, 3),
    Prop.CAPTURE_TARGET: (2, 4),
    Prop.EVF_OUTPUT: (0, 1, 2, 3, 8, 9),
    Prop.EVF_MODE: (0, 1),
}


class M50Options(BaseModel):
    """How the emulated body is and how it misbehaves.

    Args:
        serial: Twelve digits, what ``eosserialnumber`` tells.
        port: TCP port on loopback; 0 takes a free one.
        fps: Live-view pictures per second.
        small_size: Small live view, px.
        large_size: Large live view, px.
        still_size: JPEG and RAW stills, px.
        not_ready: Answers "not ready" after live view is switched on.
        busy_chance: Chance that a release is answered "busy".
        seed: Seed of the busy answers.
        autofocus_fails: Whether a release ends in "no focus".
        sleep_after_s: Falls asleep after so long without keep-alive, s; 0 is never.
        clock_offset_s: How far the body's clock is ahead of the host's, s.
        link_bytes_per_s: Speed of the link, bytes/s; 0 is as fast as it goes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: Annotated[str, Field(pattern=r"^\d{12}$")] = "663000000001"
    port: int = 0
    fps: Annotated[float, Field(gt=0)] = 30.0
    small_size: tuple[int, int] = (512, 288)
    large_size: tuple[int, int] = (1024, 576)
    still_size: tuple[int, int] = (1500, 1000)
    not_ready: int = 2
    busy_chance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int = 0
    autofocus_fails: bool = False
    sleep_after_s: float = 0.0
    clock_offset_s: float = 0.0
    link_bytes_per_s: float = 0.0


class EmulatedM50:
    """The body behind the transport: properties, viewfinder, release, RAM files."""

    def __init__(self, options: M50Options) -> None:
        self.options = options
        self._random = random.Random(options.seed)
        self._lock = threading.Lock()
        self.values: dict[int, bytes] = {
            prop: struct.pack("<I", value) for prop, value in _NUMBERS.items()
        }
        for prop, text in (
            (Prop.SERIAL_TEXT, options.serial),
            (Prop.OWNER, "camera-rig"),
            (Prop.LENS_NAME, "EF-M15-45mm f/3.5-6.3 IS STM"),
        ):
            self.values[prop] = text.encode() + b"\0"
        self.values[Prop.IMAGE_FORMAT] = IMAGE_FORMATS[0]
        self._events: deque[bytes] = deque()
        self._ram: dict[int, bytes] = {}
        self._handles = 0
        self._not_ready = 0
        self._live_since_s: float | None = None
        self._last_live = -1
        self.busy_next = 0
        self.last_kept_on_s = time.monotonic()
        self.counts = {"live": 0, "live_skipped": 0, "stills": 0, "busy": 0, "kept_on": 0}
        self._handlers = {
            Op.GET_DEVICE_INFO: self._device_info,
            Op.OPEN_SESSION: self._open_session,
            Op.GET_STORAGE_IDS: self._storage_ids,
            Op.GET_STORAGE_INFO: self._storage_info,
            Op.GET_OBJECT_HANDLES: lambda _: Reply(data=pack_array((), "I")),
            Op.GET_PARTIAL_OBJECT: self._partial_object,
            Op.EOS_GET_STORAGE_IDS: self._storage_ids,
            Op.EOS_GET_STORAGE_INFO: self._storage_info,
            Op.EOS_GET_DEVICE_INFO_EX: lambda _: Reply(data=struct.pack("<4I", 16, 0, 0, 0)),
            Op.EOS_SET_PROPERTY: self._set_property,
            Op.EOS_GET_EVENT: self._get_events,
            Op.EOS_TRANSFER_COMPLETE: self._transfer_complete,
            Op.EOS_KEEP_DEVICE_ON: self._keep_on,
            Op.EOS_REQUEST_PROPERTY: self._request_property,
            Op.EOS_RELEASE_ON: self._release,
            Op.EOS_GET_VIEWFINDER: self._viewfinder,
        }

    def handle(self, operation: Operation) -> Reply:
        """Answer one operation of the host."""
        with self._lock:
            handler = self._handlers.get(Op(operation.code)) if operation.code in _KNOWN else None
            if handler is not None:
                return handler(operation)
        return Reply() if operation.code in _KNOWN else _UNSUPPORTED

    def disconnected(self) -> None:
        """Forget what belongs to a session, as a body does when its host goes."""
        with self._lock:
            self._events.clear()
            self._ram.clear()
            self._live_since_s = None

    def _device_info(self, _: Operation) -> Reply:
        info = struct.pack("<HIH", 100, 0x0B, 100) + pack_string("") + struct.pack("<H", 0)
        info += pack_array(tuple(Op))
        info += pack_array((0x4009, 0xC181, 0xC186, 0xC189, 0xC18A, 0xC1A5))
        info += pack_array((0xD402, 0xD406, 0xD407)) + pack_array(()) + pack_array((0x3801, 0xB108))
        long_serial = f"{int(self.options.serial):032x}"
        for text in ("Canon.Inc", "Canon EOS M50", "3-1.0.0", long_serial):
            info += pack_string(text)
        return Reply(data=info)

    def _open_session(self, _: Operation) -> Reply:
        self._tell_time()
        for prop, value in self.values.items():
            self._events.append(value_record(prop, value))
        for prop, allowed in _ALLOWED.items():
            self._events.append(
                allowed_record(prop, [struct.pack("<I", value) for value in allowed])
            )
        self._events.append(allowed_record(Prop.IMAGE_FORMAT, IMAGE_FORMATS))
        return Reply()

    def _tell_time(self) -> None:
        seconds = struct.pack("<I", int(time.time() + self.options.clock_offset_s))
        for prop in (Prop.UTC_TIME, Prop.CAMERA_TIME):
            self.values[prop] = seconds

    def _storage_ids(self, _: Operation) -> Reply:
        return Reply(data=pack_array((0x00020001,), "I"))

    def _storage_info(self, _: Operation) -> Reply:
        sizes = struct.pack("<HHHQQI", 4, 3, 0, 32 << 30, 16 << 30, 1284)
        return Reply(data=sizes + pack_string("SD") + pack_string(""))

    def _request_property(self, operation: Operation) -> Reply:
        prop = operation.params[0]
        self._tell_time()
        if prop not in self.values:
            return _UNSUPPORTED
        self._events.append(value_record(prop, self.values[prop]))
        return Reply()

    def _set_property(self, operation: Operation) -> Reply:
        prop = struct.unpack_from("<I", operation.data, 4)[0]
        value = operation.data[8:]
        if prop == Prop.AUTO_POWER_OFF:
            return _BUSY  # so do real bodies while they are remote-controlled
        if prop not in TEXT_PROPS and prop != Prop.IMAGE_FORMAT:
            value = value[:4].ljust(4, b"\0")
            allowed = _ALLOWED.get(Prop(prop)) if prop in self.values else None
            if allowed is not None and struct.unpack("<I", value)[0] not in allowed:
                return Reply(0x201C)  # invalid property value
        if prop == Prop.EVF_OUTPUT:
            on = struct.unpack("<I", value)[0] & ~1
            self._live_since_s = time.monotonic() if on else None
            self._not_ready, self._last_live = self.options.not_ready, -1
        self.values[prop] = value
        self._events.append(value_record(prop, value))
        return Reply()

    def _get_events(self, _: Operation) -> Reply:
        records = b"".join(self._events)
        self._events.clear()
        return Reply(data=records + _TERMINATOR)

    def _keep_on(self, _: Operation) -> Reply:
        self.last_kept_on_s = time.monotonic()
        self.counts["kept_on"] += 1
        return Reply()

    def _number(self, prop: Prop) -> int:
        return int(struct.unpack("<I", self.values[prop])[0])

    def _gain(self) -> float:
        exposure_s = exposure_s_of(self._number(Prop.SHUTTER))
        speed = iso_of(self._number(Prop.ISO)) / 100
        stop = aperture_of(self._number(Prop.APERTURE))
        return float(exposure_s * speed / stop**2 * _WELL_EXPOSED)

    def _viewfinder(self, _: Operation) -> Reply:
        if self._live_since_s is None:
            return _BUSY
        if self._not_ready > 0:
            self._not_ready -= 1
            return _NOT_READY
        # The newest picture, each given once: wait for the next if this one is old.
        period_s = 1 / self.options.fps
        number = int((time.monotonic() - self._live_since_s) / period_s)
        if number == self._last_live:
            number += 1
            time.sleep(max(0.0, self._live_since_s + number * period_s - time.monotonic()))
        if self._last_live >= 0:
            self.counts["live_skipped"] += number - self._last_live - 1
        self._last_live = number
        self.counts["live"] += 1
        small = self._number(Prop.EVF_OUTPUT) & _EVF_SMALL
        size = self.options.small_size if small else self.options.large_size
        picture = pictures.with_comment(
            pictures.jpeg(size, number % 32, self._gain()), f"live {number}"
        )
        return Reply(data=struct.pack("<II", len(picture) + 8, 1) + picture)

    def _release(self, _: Operation) -> Reply:
        busy = self._random.random() < self.options.busy_chance
        if busy or self.busy_next > 0 or self._ram:
            self.busy_next = max(0, self.busy_next - 1)
            self.counts["busy"] += 1
            return _BUSY
        if self.options.autofocus_fails:
            self._events.append(button_record(1))
            return Reply()
        time.sleep(exposure_s_of(self._number(Prop.SHUTTER)))
        self._events.append(button_record(4))
        self.counts["stills"] += 1
        wanted = self.values[Prop.IMAGE_FORMAT]
        if wanted != IMAGE_FORMATS[0]:
            self._offer(_FORMAT_CR3, "CR3")
        if wanted != IMAGE_FORMATS[1]:
            self._offer(_FORMAT_JPEG, "JPG")
        return Reply()

    def _offer(self, object_format: int, suffix: str) -> None:
        number, size = self.counts["stills"], self.options.still_size
        if object_format == _FORMAT_CR3:
            data = pictures.raw_dng(size, number % 4, self._gain())
        else:
            data = pictures.with_comment(
                pictures.jpeg(size, number % 4, self._gain()), f"still {number}"
            )
        self._handles += 1
        self._ram[self._handles] = data
        name = f"IMG_{number:04d}.{suffix}"
        self._events.append(transfer_record(self._handles, object_format, len(data), name))

    def _partial_object(self, operation: Operation) -> Reply:
        handle, offset, count = operation.params[:3]
        if handle not in self._ram:
            return _NO_SUCH_OBJECT
        part = self._ram[handle][offset : offset + count]
        return Reply(data=part, params=(len(part),))

    def _transfer_complete(self, operation: Operation) -> Reply:
        self._ram.pop(operation.params[0], None)
        return Reply()


_KNOWN = frozenset(int(op) for op in Op)


def serve(options: M50Options) -> None:
    """Run one emulated body until standard input ends.

    Commands on standard input: ``unplug``, ``plug [PORT]``, ``sleep``, ``busy N``,
    ``speed BYTES_PER_S``, ``stats``, ``quit``.
    """
    body = EmulatedM50(options)
    server = PtpIpServer(body, "Canon EOS M50", options.link_bytes_per_s)
    port = server.listen(options.port)

    def plug(words: list[str]) -> dict[str, Any]:
        body.last_kept_on_s = time.monotonic()
        now = server.listen(int(words[0]) if words else 0)
        return {"port": f"ptpip:127.0.0.1:{now}"}

    def busy(words: list[str]) -> None:
        body.busy_next = int(words[0])

    def speed(words: list[str]) -> None:
        server.bytes_per_s = float(words[0])

    if options.sleep_after_s:
        threading.Thread(target=_doze, args=(body, server), daemon=True).start()
    commands: dict[str, Command] = {
        "unplug": lambda _: server.unplug(),
        "sleep": lambda _: server.unplug(),
        "plug": plug,
        "busy": busy,
        "speed": speed,
        "stats": lambda _: {**body.counts, "bytes": server.bytes_sent},
    }
    address = {"port": f"ptpip:127.0.0.1:{port}", "serial": options.serial}
    serve_commands(address, commands)


def _doze(body: EmulatedM50, server: PtpIpServer) -> None:
    while time.monotonic() - body.last_kept_on_s < body.options.sleep_after_s:
        time.sleep(0.02)
    server.unplug()

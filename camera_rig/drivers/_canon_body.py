"""One Canon body through libgphoto2. Lives in the worker process, in one thread.

Everything here that looks roundabout is a scar of the field: abilities and port are
set before init (autodetect opens the first body it meets), ports change at each
replug, file names repeat, files left in camera RAM make the next picture busy, and
the bytes of a CameraFile die with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import gphoto2 as gp

from camera_rig.drivers._canon_messages import BodyFacts, StillFile, StillNote
from camera_rig.drivers._gphoto_errors import BUSY, is_busy, rig_error
from camera_rig.drivers._shared_frames import SharedFrames
from camera_rig.errors import ConfigError, ConnectError, RigError, RigTimeoutError, UnsupportedError

__all__ = ["LIBRARY_ERROR", "CanonBody", "as_rig_error", "list_bodies"]

LIBRARY_ERROR: type[Exception] = gp.GPhoto2Error

T = TypeVar("T")

_NETWORK_MODEL = "PTP/IP Camera"
_SERIAL_NAMES = ("eosserialnumber", "serialnumber")
_RADIO = (gp.GP_WIDGET_RADIO, gp.GP_WIDGET_MENU)
_BUSY_RETRY_S = 10.0
_STICK_S = 1.0
_PREPARE_S = 1.0


@contextlib.contextmanager
def port_lock(port: str) -> Iterator[None]:
    """One probe of a port at a time on this machine: a probe claims the body there."""
    _occupy_descriptor_0()
    name = hashlib.sha256(port.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"camera-rig-{os.getuid()}-{name}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _occupy_descriptor_0() -> None:
    """Keep a dummy where libgphoto2 strikes: leaving a network camera closes descriptor 0.

    Without it, the next file or socket of this process would get that number, and
    be closed under its owner by the camera after.
    """
    try:
        os.fstat(0)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)


@functools.cache
def _lists() -> tuple[Any, Any]:
    """Abilities and ports, loaded once per process: loading is not thread-safe."""
    abilities = gp.CameraAbilitiesList()
    abilities.load()
    ports = gp.PortInfoList()
    ports.load()
    return abilities, ports


def _candidates(ports: tuple[str, ...], hint: str) -> list[tuple[str, str]]:
    """Return ``(model, port)`` of every place to look, the last known port first."""
    abilities, port_list = _lists()
    found: list[tuple[str, str]] = []
    for entry in ports:
        if entry.startswith("ptpip:"):
            if entry.count(":") != 2:
                raise ConfigError(
                    f"port {entry!r} is not ptpip:HOST:PORT",
                    hint="for example ptpip:10.0.0.5:15740",
                )
            found.append((_NETWORK_MODEL, entry))
        elif entry == "usb:":
            found.extend((model, port) for model, port in abilities.detect(port_list).items())
        else:
            raise ConfigError(
                f"port {entry!r} is unknown",
                hint="use 'usb:' (all USB ports) or ptpip:HOST:PORT; never usb:BUS,DEVICE, "
                "which changes at each replug",
            )
    return sorted(found, key=lambda item: item[1] != hint)


def _connect(model: str, port: str) -> Any:
    abilities, port_list = _lists()
    path = f"{port}:{port.rsplit(':', 1)[1]}" if model == _NETWORK_MODEL else port
    camera = gp.Camera()
    camera.set_abilities(abilities[abilities.lookup_model(model)])
    camera.set_port_info(port_list[port_list.lookup_path(path)])
    camera.init()
    return camera


def list_bodies(ports: tuple[str, ...]) -> list[dict[str, str]]:
    """Return port, model and serial of every body found; "held" ones are told too."""
    rows = []
    for model, port in _candidates(ports, ""):
        row = {"port": port, "model": model, "serial": "", "note": ""}
        try:
            with port_lock(port):
                body = CanonBody(model, port)
                row["serial"], row["model"] = body.serial(), body.text("cameramodel", model)
                body.close()
        except gp.GPhoto2Error as error:
            row["note"] = rig_error(error.code, error.string, f"opening {port}").message
        rows.append(row)
    return rows


class CanonBody:
    """An initialised camera, and everything that is done with it."""

    def __init__(self, model: str, port: str) -> None:
        began_s = time.time()
        self._camera = _connect(model, port)
        self._session = (began_s, time.time() - began_s)
        self.port = port
        self.stray_files = 0

    @classmethod
    def find(cls, serial: str, ports: tuple[str, ...], hint: str) -> CanonBody:
        """Open the body with this serial number, wherever it is plugged in.

        Raises:
            ConnectError: It was not found; tells what was found instead.
        """
        seen = []
        for model, port in _candidates(ports, hint):
            with port_lock(port):
                try:
                    body = cls(model, port)
                    other = body.serial()
                except gp.GPhoto2Error as error:
                    seen.append(rig_error(error.code, error.string, f"opening {port}").message)
                    continue
                if other == serial:
                    return body
                seen.append(f"{port} has serial {other}")
                body.close()
        raise ConnectError(
            f"no camera with serial {serial}: " + ("; ".join(seen) or "no camera found at all"),
            hint="check cable and power, compare `rig camera list`; if a port cannot be claimed, "
            "stop the desktop's volume monitor: systemctl --user stop gvfs-gphoto2-volume-monitor",
        )

    def close(self) -> None:
        """Leave remote control."""
        with contextlib.suppress(gp.GPhoto2Error):  # a body that is gone is closed already
            self._camera.exit()

    def prepare(self, live_view_size: str) -> BodyFacts:
        """Set what the driver leans on and return what is constant about the body."""
        warnings = []
        for name, value in (
            ("capturetarget", "Internal RAM"),
            ("liveviewsize", live_view_size.capitalize()),
            ("autopoweroff", "0"),
        ):
            try:
                self._set_raw(name, value)
            except gp.GPhoto2Error as error:
                if error.code not in (BUSY, gp.GP_ERROR_BAD_PARAMETERS):
                    raise
                warnings.append(f"{name} could not be set to {value} ({error.string})")
        offset_s, uncertainty_s = self._clock_offset()
        choices = {
            name: found
            for name in ("shutterspeed", "iso", "aperture", "imageformat", "liveviewsize")
            if (found := self._choices(name))
        }
        return BodyFacts(
            model=self.text("cameramodel", "unknown"),
            serial=self.serial(),
            firmware=self.text("deviceversion", ""),
            port=self.port,
            library=f"libgphoto2 {gp.gp_library_version(gp.GP_VERSION_SHORT)[0]}",
            choices=choices,
            clock_offset_s=offset_s,
            clock_uncertainty_s=uncertainty_s,
            warnings=tuple(warnings),
        )

    def serial(self) -> str:
        """Return the body's own serial number; never the USB one."""
        for name in _SERIAL_NAMES:
            if found := self.text(name, ""):
                return found
        return ""

    def text(self, name: str, default: str) -> str:
        """Return a setting as text, or ``default`` where the body has none of this name."""
        try:
            return str(self._camera.get_single_config(name).get_value())
        except gp.GPhoto2Error as error:
            if error.code == gp.GP_ERROR_BAD_PARAMETERS:
                return default
            raise

    def _clock_offset(self) -> tuple[float | None, float]:
        """Return camera clock minus host clock (s) and its standard deviation (s).

        The library answers from what the body told when the session began (and may
        tell again about a second later), so that moment is compared, not now.
        """
        camera_s = self.text("datetimeutc", "")
        if not camera_s.isdigit() or camera_s == "0":
            return None, 0.0
        began_s, init_s = self._session
        widths_s = (1.0, _PREPARE_S, init_s)  # whole seconds, second telling, slow init
        uncertainty_s = math.sqrt(sum(width**2 for width in widths_s) / 12)
        return int(camera_s) + 0.5 - (began_s + init_s / 2), uncertainty_s

    def _choices(self, name: str) -> tuple[str, ...]:
        try:
            widget = self._camera.get_single_config(name)
        except gp.GPhoto2Error:
            return ()
        return tuple(widget.get_choices()) if widget.get_type() in _RADIO else ()

    def _set_raw(self, name: str, value: str) -> None:
        widget = self._camera.get_single_config(name)
        if widget.get_type() == gp.GP_WIDGET_TOGGLE:
            widget.set_value(int(value))
        else:
            widget.set_value(value)
        self._camera.set_single_config(name, widget)

    def set(self, name: str, value: str) -> str:
        """Set one setting and return what reads back.

        Raises:
            UnsupportedError: Unknown, read-only, not offered, or it does not stick.
        """
        widget = self._camera.get_single_config(name)
        if widget.get_readonly():
            raise UnsupportedError(
                f"setting {name} is read-only now",
                hint="turn the mode dial to M: shutter and aperture follow the dial",
            )
        if widget.get_type() in _RADIO and value not in (choices := list(widget.get_choices())):
            raise UnsupportedError(
                f"setting {name} cannot be {value!r}", hint=f"it takes one of {', '.join(choices)}"
            )
        self._patiently(lambda: self._set_raw(name, value))
        until_s = time.monotonic() + _STICK_S
        while (now := self.text(name, "")) != value and time.monotonic() < until_s:
            time.sleep(0.02)
        if widget.get_type() in _RADIO and now != value:
            raise UnsupportedError(
                f"setting {name} was set to {value!r} but reads {now!r}",
                hint="turn the mode dial to M and leave the camera's menus",
            )
        return now

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return every setting: value, choices, whether it is read-only, its label."""
        rows: dict[str, dict[str, Any]] = {}

        def walk(widget: Any) -> None:
            if widget.count_children():
                for index in range(widget.count_children()):
                    walk(widget.get_child(index))
                return
            try:
                value = widget.get_value()
            except gp.GPhoto2Error:
                return  # a heading without a value
            rows[widget.get_name()] = {
                "label": widget.get_label(),
                "value": value if isinstance(value, (int, float)) else str(value),
                "choices": list(widget.get_choices()) if widget.get_type() in _RADIO else [],
                "read_only": bool(widget.get_readonly()),
            }

        walk(self._camera.get_config())
        return rows

    def live_frame(self) -> Any:
        """Return the newest live picture as a CameraFile; keep it while its bytes are read."""
        return self._camera.capture_preview()

    def snap_live(self, frames: SharedFrames) -> StillNote:
        """Put one live picture, exposed after this call, into the still area."""
        asked_ns = time.monotonic_ns()
        self._patiently(self.live_frame)  # may have been exposed before we asked
        released_ns = time.monotonic_ns()
        file = self._patiently(self.live_frame)
        data = file.get_data_and_size()  # dies with ``file``, which must outlive the copy
        length = frames.write_still(data, 0)
        now_ns = time.monotonic_ns()
        files = (StillFile(0, length, "preview.jpg"),)
        return StillNote(files, asked_ns, released_ns, now_ns, now_ns, 0)

    def still(self, frames: SharedFrames, files: int, timeout_s: float) -> StillNote:
        """Release, fetch ``files`` files out of camera RAM, and drain what else comes.

        Raises:
            RigTimeoutError: Busy for too long, or not all files came.
        """
        self.drain()
        asked_ns = time.monotonic_ns()
        tries: list[int] = []

        def release() -> None:
            tries.append(time.monotonic_ns())
            self._camera.trigger_capture()

        self._patiently(release)
        released_ns = time.monotonic_ns()
        got: list[StillFile] = []
        offset = 0
        until_s = time.monotonic() + timeout_s
        while len(got) < files:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise RigTimeoutError(
                    f"the camera gave {len(got)} of {files} file(s) within {timeout_s:g} s",
                    hint="check the image format on the camera; a long exposure needs more time",
                )
            for folder, name in self._new_files(min(left_s, 0.2)):
                length = self._fetch(frames, folder, name, offset)
                got.append(StillFile(offset, length, name))
                offset += length
        fetched_ns = time.monotonic_ns()
        self.drain()
        return StillNote(tuple(got), asked_ns, tries[-1], released_ns, fetched_ns, len(tries) - 1)

    def _fetch(self, frames: SharedFrames, folder: str, name: str, offset: int) -> int:
        file = self._patiently(lambda: self._camera.file_get(folder, name, gp.GP_FILE_TYPE_NORMAL))
        data = file.get_data_and_size()  # dies with ``file``, which must outlive the copy
        length = frames.write_still(data, offset)
        self._forget(folder, name)
        return length

    def _forget(self, folder: str, name: str) -> None:
        """Drop the library's copy of a RAM file, or a long session eats the memory."""
        if folder == "/":
            self._camera.file_delete(folder, name)

    def _new_files(self, timeout_s: float) -> list[tuple[str, str]]:
        """Return files announced within ``timeout_s``; empty once nothing comes."""
        kind, data = self._camera.wait_for_event(max(1, int(timeout_s * 1000)))
        if kind == gp.GP_EVENT_FILE_ADDED:
            return [(data.folder, data.name)]
        if kind == gp.GP_EVENT_TIMEOUT:
            time.sleep(0.001)  # the virtual USB camera answers at once; do not spin
        return []

    def drain(self) -> None:
        """Take every waiting event; files that nobody asked for are dropped and counted."""
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            kind, data = self._camera.wait_for_event(1)
            if kind == gp.GP_EVENT_TIMEOUT:
                return
            if kind == gp.GP_EVENT_FILE_ADDED:
                self.stray_files += 1
                self._forget(data.folder, data.name)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call that the body answers with "busy", a little later each time."""
        until_s = time.monotonic() + _BUSY_RETRY_S
        wait_s = 0.02
        while True:
            try:
                return call()
            except gp.GPhoto2Error as error:
                if not is_busy(error.code) or time.monotonic() > until_s:
                    raise
            time.sleep(wait_s)
            wait_s = min(0.5, wait_s * 1.5)
            self.drain()


def as_rig_error(error: Exception, doing: str) -> RigError:
    """Return the toolkit's error for whatever a call on the body raised."""
    if isinstance(error, RigError):
        return error
    assert isinstance(error, gp.GPhoto2Error)  # noqa: S101 - callers catch these two only
    return rig_error(error.code, error.string, doing)

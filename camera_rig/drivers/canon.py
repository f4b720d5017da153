"""Canon EOS bodies over USB or network, by libgphoto2 (Linux and macOS).

Each body has a process of its own (see ``_canon_worker``): the C library may crash,
hang or leak there without taking the rig down, and is started again when it does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import time
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from camera_rig.contracts import (
    Camera,
    CameraCapabilities,
    CameraMode,
    CameraSettings,
    DeviceContext,
    DeviceInfo,
    DriverOptions,
    Frame,
    Health,
)
from camera_rig.drivers._canon_labels import nearest, number, numbers
from camera_rig.drivers._canon_link import WorkerLink
from camera_rig.drivers._canon_messages import BodyFacts, StillFile, StillNote
from camera_rig.drivers._canon_owner import CanonOwner, LivePicture, RestartPolicy
from camera_rig.drivers._raw import decode_raw
from camera_rig.errors import ConnectError, RigTimeoutError, StateError, UnsupportedError
from camera_rig.jpeg import coded_rgb, jpeg_size

__all__ = ["CanonCamera", "CanonOptions", "find_canons"]

_EXPOSURE_TOLERANCE = 0.125
"""Half of a third of a stop: within the range the nearest step is taken, and read back."""
_NAMES = {"exposure_s": "shutterspeed", "iso": "iso", "aperture": "aperture"}


class CanonOptions(DriverOptions):
    """Which body, and how patient to be.

    Args:
        serial: The body's own serial number (``eosserialnumber``), see ``rig camera list``.
        ports: Where to look: ``usb:`` is every USB port, ``ptpip:HOST:PORT`` a network body.
        live_view_size: Live view to ask for; the real size is read from the pictures.
        live_view_delay_s: From exposure to arrival of a live picture, s, as measured.
        open_s: Longest time for finding and opening the body, s.
        still_timeout_s: Longest time from release to file, beside the exposure, s.
        reconnect_s: How long to look for a lost body before giving up, s.
        stall_s: Live view without a picture for so long counts as a loss, s.
        queue_frames: Live pictures kept for a slow reader; older ones become gaps.
    """

    serial: Annotated[str, Field(min_length=1)]
    ports: Annotated[tuple[str, ...], Field(min_length=1)] = ("usb:",)
    live_view_size: Literal["large", "small"] = "large"
    live_view_delay_s: Annotated[float, Field(ge=0)] = 0.0
    open_s: Annotated[float, Field(gt=0)] = 30.0
    still_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    reconnect_s: Annotated[float, Field(ge=0)] = 30.0
    stall_s: Annotated[float, Field(gt=0)] = 10.0
    queue_frames: Annotated[int, Field(gt=0)] = 64


def find_canons(
    ports: tuple[str, ...] = ("usb:",), timeout_s: float = 60.0
) -> list[dict[str, str]]:
    """Return port, model, serial and a note for every body that can be seen.

    Looks from a process of its own. A body that another program (or rig) holds is
    told in ``note``.
    """
    _need_gphoto2()
    link = WorkerLink(lambda *_: None, lambda *_: None, stall_s=timeout_s)
    try:
        rows: list[dict[str, str]] = link.ask("list", ports, timeout_s=timeout_s)
        return rows
    finally:
        link.close()


class CanonCamera(Camera):
    """A Canon EOS body under remote control.

    Sequence numbers count the live pictures fetched from the body; pictures that the
    body made and nobody fetched cannot be told by the protocol. A gap appears when
    the reader is too slow, and after a restart, where its length is estimated from
    the rate before and told in ``meta["restart"]``.

    Not offered: stills during live view. The body then answers "busy" for seconds,
    and live view often does not come back.
    """

    Options = CanonOptions
    options: CanonOptions

    def __init__(self, options: CanonOptions, context: DeviceContext) -> None:
        super().__init__(options, context)
        self._owner_or_none: CanonOwner | None = None
        self._stills = 0
        self._live_newest: Frame | None = None
        self._latency_s: dict[str, float] = {}
        self._size: tuple[int, int] | None = None

    @property
    def worker_pid(self) -> int:
        """Process id of the worker that owns the body; 0 while there is none."""
        return 0 if self._owner_or_none is None else self._owner_or_none.worker_pid

    @property
    def port(self) -> str:
        """Where the body is plugged in now; may change with each replug."""
        return self._facts.port

    def all_settings(self) -> dict[str, dict[str, Any]]:
        """Return every setting of the body: label, value, choices, read_only."""
        self._need_open()
        rows: dict[str, dict[str, Any]] = self._owner.ask("settings")
        return rows

    def set_setting(self, name: str, value: str) -> str:
        """Set one body setting by name and return what reads back.

        Raises:
            UnsupportedError: The body has none of this name, or does not take the value.
            StateError: Live view is running.
        """
        self._need_open()
        if self.is_streaming:
            raise StateError(f"{self.name} is streaming", hint="stop the stream first")
        self._owner.apply({name: value})
        return str(self._owner.ask("read", (name,))[name])

    @property
    def _owner(self) -> CanonOwner:
        if self._owner_or_none is None:
            raise StateError(f"{self.name} is not open", hint="open the rig first")
        return self._owner_or_none

    @property
    def _facts(self) -> BodyFacts:
        return self._owner.facts

    def _do_open(self) -> None:
        _need_gphoto2()
        o = self.options
        self._owner_or_none = CanonOwner(
            RestartPolicy(
                serial=o.serial,
                ports=o.ports,
                live_view_size=o.live_view_size,
                open_s=o.open_s,
                reconnect_s=o.reconnect_s,
                stall_s=o.stall_s,
                queue_frames=o.queue_frames,
            )
        )
        self._settings = self._read_back(CameraSettings())

    def _do_close(self) -> None:
        owner, self._owner_or_none = self._owner_or_none, None
        if owner is not None:
            owner.close()

    def _do_info(self) -> DeviceInfo:
        facts = self._facts
        return DeviceInfo(
            kind=self.kind,
            model=facts.model,
            serial=facts.serial,
            driver=f"canon ({facts.library}) at {facts.port}",
            firmware=facts.firmware,
        )

    def _do_health(self) -> Health:
        owner = self._owner
        readings = {
            "live_fps": owner.live_fps,
            "frames_dropped_by_host": float(owner.dropped),
            "restarts": float(owner.restarts),
            "last_gap_s": owner.last_gap_s,
            **self._latency_s,
        }
        if owner.facts.clock_offset_s is not None:
            readings["camera_clock_offset_s"] = owner.facts.clock_offset_s
            readings["camera_clock_uncertainty_s"] = owner.facts.clock_uncertainty_s
        warnings = [*owner.facts.warnings]
        ok = True
        try:
            readings |= owner.ask("status", timeout_s=5.0, kill=False)
        except RigTimeoutError:
            warnings.append("the camera is busy and did not tell its state")
        except ConnectError as error:
            ok = False
            warnings.insert(0, error.message)
        return Health(ok, readings, tuple(warnings))

    def _do_capabilities(self) -> CameraCapabilities:
        choices = self._facts.choices
        exposures = sorted(numbers(choices.get("shutterspeed", ())).values())
        raw = any("RAW" in label for label in choices.get("imageformat", ()))
        return CameraCapabilities(
            modes=(CameraMode.LIVE, CameraMode.STILL),
            exposure_s=(exposures[0], exposures[-1]) if exposures else None,
            iso=tuple(int(v) for v in numbers(choices.get("iso", ())).values()),
            aperture=tuple(numbers(choices.get("aperture", ())).values()),
            linear_modes=(CameraMode.STILL,) if raw else (),
        )

    def _do_configure(self, settings: CameraSettings) -> CameraSettings:
        wanted = self._labels(settings)
        if settings.mode is CameraMode.LIVE:
            self._choose_live_size(settings.size)
        elif settings.size is not None:
            raise UnsupportedError(
                f"{self.name}: the size of a still follows its image format",
                hint="set `imageformat` by `rig camera set`, and leave size out",
            )
        self._owner.apply(wanted)
        return self._read_back(settings)

    def _labels(self, settings: CameraSettings) -> dict[str, str]:
        """Return the camera's own labels for what is asked; refuse before any is set."""
        labels, why = {}, []
        if settings.gain is not None:
            why.append("it has ISO instead of gain")
        for field, name in _NAMES.items():
            value = getattr(settings, field)
            if value is None:
                continue
            offered = numbers(self._facts.choices.get(name, ()))
            tolerance = _EXPOSURE_TOLERANCE if field == "exposure_s" else 1e-6
            near = nearest(offered, value, tolerance)
            if near is None:
                why.append(f"{name} has no {value:g}")
            else:
                labels[name] = near
        if settings.mode is CameraMode.STILL and "imageformat" in self._facts.choices:
            try:
                labels["imageformat"] = self._image_format(settings.linear)
            except UnsupportedError as error:
                why.append(error.message)
        if why:
            raise UnsupportedError(
                f"{self.name} cannot be set so: " + "; ".join(why),
                hint="choose values from `rig camera settings`",
            )
        return labels

    def _image_format(self, linear: bool) -> str:
        now = str(self._owner.ask("read", ("imageformat",))["imageformat"])
        if ("RAW" in now) == linear and "+" not in now:
            return now
        for label in self._facts.choices["imageformat"]:
            if ("RAW" in label) == linear and "+" not in label:
                return label
        raise UnsupportedError(
            f"it has no {'RAW' if linear else 'JPEG'} format", hint="see `rig camera settings`"
        )

    def _choose_live_size(self, wanted: tuple[int, int] | None) -> None:
        self._size = self._live_size()
        if wanted in (None, self._size):
            return
        other: Literal["large", "small"] = (
            "small" if self._owner.policy.live_view_size == "large" else "large"
        )
        seen = [self._size]
        for size in (other, self._owner.policy.live_view_size):
            self._owner.ask("set", {"liveviewsize": size.capitalize()})
            self._size = self._live_size()
            if self._size == wanted:
                self._owner.policy = replace(self._owner.policy, live_view_size=size)
                return
            seen.append(self._size)
        offered = ", ".join(f"{w}x{h}" for w, h in sorted(set(seen)))
        raise UnsupportedError(
            f"{self.name} has no live view of {wanted}; it gives {offered}",
            hint="leave size out, or choose one of these",
        )

    def _live_size(self) -> tuple[int, int]:
        note: StillNote = self._owner.ask("snap_live")
        file = note.files[0]
        return jpeg_size(self._owner.read_still(file.offset, file.length))

    def _read_back(self, settings: CameraSettings) -> CameraSettings:
        values = self._owner.ask("read", tuple(_NAMES.values()))
        told = {
            field: number(values[name]) if values[name] else None for field, name in _NAMES.items()
        }
        iso = told["iso"]
        return replace(
            settings,
            exposure_s=told["exposure_s"],
            iso=None if iso is None else int(iso),
            aperture=told["aperture"],
            # A still's size is known once one was taken; the contract wants no guess.
            size=self._size if settings.mode is CameraMode.LIVE else None,
            gain=None,
        )

    def _do_start(self) -> None:
        if self._settings.mode is CameraMode.STILL:
            raise StateError(
                f"{self.name} is set up for stills", hint="configure mode live, then start"
            )
        self._live_newest = None
        self._owner.start()

    def _do_stop(self) -> None:
        # A body that is gone streams no more.
        with contextlib.suppress(ConnectError, RigTimeoutError):
            self._owner.stop()

    def _do_next_frame(self, timeout_s: float) -> Frame | None:
        picture = self._owner.next(timeout_s)
        return None if picture is None else self._live_frame(picture)

    def _do_latest_frame(self) -> Frame | None:
        picture = self._owner.newest()
        return None if picture is None else self._live_frame(picture)

    def _live_frame(self, picture: LivePicture) -> Frame:
        if self._live_newest is not None and self._live_newest.sequence == picture.sequence:
            return self._live_newest
        fps = self._owner.live_fps
        span_s = (picture.got_ns - picture.asked_ns) * 1e-9
        spread_s = math.hypot(span_s, 1 / fps if fps else 0.1) / math.sqrt(12)
        middle_ns = (picture.asked_ns + picture.got_ns) // 2
        delay_ns = round(self.options.live_view_delay_s * 1e9)
        self._latency_s["live_request_s"] = span_s
        self._live_newest = Frame(
            picture=coded_rgb(picture.encoded),
            camera=self.options.serial,
            sequence=picture.sequence,
            captured_ns=self._rig_ns(middle_ns) - delay_ns,
            uncertainty_ns=round(spread_s * 1e9),
            exposure_s=self._settings.exposure_s or 0.0,
            meta={"live_fps": round(fps, 3), "request_s": round(span_s, 6), **picture.facts},
        )
        return self._live_newest

    def _do_snap(self) -> Frame:
        if self._settings.mode is CameraMode.LIVE:
            note: StillNote = self._owner.ask("snap_live")
        else:
            patience_s = self.options.still_timeout_s + (self._settings.exposure_s or 0.0)
            note = self._owner.ask("still", 1, patience_s, timeout_s=patience_s + 20.0)
        self._latency_s["command_to_frame_s"] = (note.fetched_ns - note.asked_ns) * 1e-9
        self._latency_s["command_to_release_s"] = (note.released_ns - note.asked_ns) * 1e-9
        return self._still_frame(note, note.files[0])

    def _still_frame(self, note: StillNote, file: StillFile) -> Frame:
        encoded = self._owner.read_still(file.offset, file.length)
        linear = self._settings.linear
        self._stills += 1
        suffix = file.camera_name.rpartition(".")[2] or "jpg"
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.clock.wall_ns() / 1e9))
        return Frame(
            picture=decode_raw(encoded) if linear else coded_rgb(encoded),
            camera=self.options.serial,
            sequence=self._stills - 1,
            captured_ns=self._rig_ns((note.tried_ns + note.released_ns) // 2),
            uncertainty_ns=round((note.released_ns - note.tried_ns) / math.sqrt(12)),
            exposure_s=self._settings.exposure_s or 0.0,
            linear=linear,
            encoded=encoded,
            meta={
                "name": f"{self.options.serial}_{stamp}_{self._stills:06d}.{suffix}",
                "camera_name": file.camera_name,
                "command_to_frame_s": (note.fetched_ns - note.asked_ns) * 1e-9,
                "command_to_release_s": (note.released_ns - note.asked_ns) * 1e-9,
                "busy_answers": note.busy_answers,
                "camera_clock_offset_s": self._facts.clock_offset_s,
                "library": self._facts.library,
            },
        )

    def _rig_ns(self, monotonic_ns: int) -> int:
        """Return a moment of the worker's clock (the machine's) on the rig's clock, ns."""
        return self.clock.now_ns() - (time.monotonic_ns() - monotonic_ns)


def _need_gphoto2() -> None:
    if importlib.util.find_spec("gphoto2") is None:
        raise ConnectError(
            "the Canon driver needs the Python package gphoto2",
            hint="`pip install 'camera-rig[canon]'`; there is none for Windows, "
            "see docs/windows.md for the routes there",
        )

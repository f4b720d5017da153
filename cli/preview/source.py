"""Where pictures come from: the live pipeline, or two cameras that look at targets.

The two never meet: a preview of people has a :class:`LiveSource` and no way to a side
frame; a preview of calibration targets has a :class:`TargetSource` and no pipeline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from camera_rig.contracts import Camera, Clock, Frame
from camera_rig.errors import RigError, RigTimeoutError
from cli.preview.hub import Shown, View

if TYPE_CHECKING:
    from models.runtime.live import LivePipeline
    from models.runtime.live_data import LiveFrame

__all__ = ["LiveSource", "Source", "TargetSource"]

_QUALITY = 80
_MAX_SIDE_PX = 1280


S = TypeVar("S", bound=Shown)


class Source(Protocol[S]):
    """What the server needs to know of either; each gives out moments of its own kind."""

    views: tuple[View, ...]
    """What can be looked at, the first one large."""

    def on_news(self, callback: Callable[[S], None]) -> Callable[[], None]:
        """Call back with every new moment, from another thread; return how to stop it."""
        ...

    def coded(self, shown: S, views: frozenset[View]) -> dict[View, bytes]:
        """Return the JPEGs wanted of a moment, each made at most once; may take ms."""
        ...

    def note_sent(self, shown: S) -> None:
        """Note that a moment has left for a viewer."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what to tell besides pictures; JSON-able."""
        ...


class LiveSource:
    """The de-identified stream, and beside it what the privacy camera saw.

    Args:
        live: The pipeline, entered.
    """

    views: tuple[View, ...] = (View.FACE, View.PRIVACY)

    def __init__(self, live: LivePipeline) -> None:
        self._live = live

    def on_news(self, callback: Callable[[LiveFrame], None]) -> Callable[[], None]:
        """Call back with every face or card."""
        return self._live.on_frame(callback)

    def coded(self, shown: LiveFrame, views: frozenset[View]) -> dict[View, bytes]:
        """Return the face or card, and the privacy view while faces are shown."""
        parts = {}
        if View.FACE in views:
            parts[View.FACE] = shown.jpeg
        if View.PRIVACY in views and not shown.blank:
            beside = self._live.privacy_view()
            if beside is not None:
                parts[View.PRIVACY] = beside.jpeg
        return parts

    def note_sent(self, shown: LiveFrame) -> None:
        """Tell the pipeline, whose figures end there."""
        self._live.note_sent(shown)

    def state(self) -> dict[str, Any]:
        """Return the pipeline's status."""
        return self._live.status().to_dict()


@dataclass(frozen=True, eq=False)
class _Targets:
    """One look at the targets."""

    number: int
    captured_s: float | None
    frames: Mapping[View, Frame]
    coded: dict[View, bytes]
    why: str | None = None


class TargetSource:
    """Both cameras as they are, for calibration targets: nobody stands before them.

    Args:
        privacy: The camera behind the mirror.
        side: The sharp camera.
        clock: The rig's clock.
    """

    views: tuple[View, ...] = (View.SIDE, View.PRIVACY)

    def __init__(self, privacy: Camera, side: Camera, clock: Clock) -> None:
        self._cameras = {View.PRIVACY: privacy, View.SIDE: side}
        self._clock = clock
        self._callbacks: list[Callable[[_Targets], None]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="targets", daemon=True)
        self._failed = ""
        self._numbers: list[int] = []

    def __enter__(self) -> TargetSource:
        """Start both cameras."""
        for camera in self._cameras.values():
            camera.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both cameras."""
        self._stop.set()
        self._thread.join()
        for camera in self._cameras.values():
            camera.stop()

    def on_news(self, callback: Callable[[_Targets], None]) -> Callable[[], None]:
        """Call back with every new pair."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def coded(self, shown: _Targets, views: frozenset[View]) -> dict[View, bytes]:
        """Return the frames wanted, made smaller where they are large."""
        with self._lock:
            for view in views & shown.frames.keys() - shown.coded.keys():
                shown.coded[view] = _jpeg(shown.frames[view])
        return {view: shown.coded[view] for view in views if view in shown.coded}

    def note_sent(self, shown: _Targets) -> None:
        """Need not know."""

    def state(self) -> dict[str, Any]:
        """Return that this is a look at targets, and what failed."""
        return {"targets": True, "showing": not self._failed, "reason": self._failed}

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            frames = {}
            for view, camera in self._cameras.items():
                try:
                    frames[view] = camera.next_frame(0.5)
                except RigTimeoutError:
                    continue
                except RigError as error:
                    self._failed = error.message
                    return
            if not frames:
                continue
            number += 1
            captured_s = max(frame.captured_ns for frame in frames.values()) * 1e-9
            shown = _Targets(number, captured_s, frames, {})
            for callback in list(self._callbacks):
                callback(shown)


def _jpeg(frame: Frame) -> bytes:
    import cv2

    pixels = frame.pixels
    if pixels.dtype != "uint8":
        pixels = (pixels >> 8).astype("uint8")
    shrink = max(frame.size) / _MAX_SIDE_PX
    if shrink > 1.0:
        size = tuple(round(length / shrink) for length in frame.size)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(coded)

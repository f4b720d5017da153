"""The newest frame of the privacy camera, and the camera back again when it was lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from camera_rig.config import CameraConfig
from camera_rig.contracts import Frame
from camera_rig.errors import RigError, RigTimeoutError, StorageError
from camera_rig.rig import Rig
from models.runtime.live_data import CameraFigures, PrivacyFrame
from models.runtime.meter import Rate

__all__ = ["FrameReader"]

_log = logging.getLogger(__name__)
_LOOK_S, _LOOK_CLOSER_S = 0.004, 0.001
_MAX_AGE_S = 0.5
_PAUSE_S = 0.05


class FrameReader:
    """Reads one rig's privacy camera. :meth:`next` and :meth:`close` belong to one thread.

    Args:
        rig: Open rig with a privacy camera.
        recover_s: Pause between tries to open a lost camera again, s.
        shrink: How far a frame of so many px width may be shrunk: 1, 2, 4 or 8.
    """

    def __init__(
        self, rig: Rig, recover_s: float, shrink: Callable[[int], int] = lambda _: 1
    ) -> None:
        self._rig, self._recover_s, self._shrink = rig, recover_s, shrink
        self._camera = rig.privacy
        self._serial = self._camera.info.serial
        self._lock = threading.Lock()  # held while the camera is in use by this reader
        self._shared = 0
        self._lost_link = False
        self._tried_ns: int | None = None
        self._previous: Frame | None = None
        self._rate = Rate()
        self._received_ns = 0
        self._received = self._lost = self._skipped = self._reopened = 0
        self.trouble = ""
        """What is wrong with the camera, for a person; empty while frames come."""

    def next(self, timeout_s: float) -> PrivacyFrame | None:
        """Return the next new frame, or None when none came within ``timeout_s`` (s).

        A camera that is lost is opened again from time to time; a picture that only
        repeats the one before, or does not decode, is not a new frame.
        """
        try:
            with self._lock:
                frame = self._look(timeout_s) if self._shared else self._own(timeout_s)
            if frame is not None:
                return self._accepted(frame)
        except RigTimeoutError as error:
            self.trouble = error.message
            return None
        except RigError as error:
            self._note_lost(error)
            return None
        if self._shared:
            self._rig.clock.sleep(self._look_again_s())
        return None

    def skipped(self) -> None:
        """Count a frame that a newer one overtook."""
        self._skipped += 1

    def close(self) -> None:
        """Stop the stream, unless it is somebody else's."""
        with self._lock:
            if not self._shared:
                self._end_stream()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Leave the camera to somebody else; look only at its newest frame meanwhile."""
        with self._lock:
            if not self._shared:
                self._end_stream()
            self._shared += 1
        try:
            yield
        finally:
            with self._lock:
                self._shared -= 1

    def figures(self) -> CameraFigures:
        """Return the counters and the present rate."""
        return CameraFigures(
            fps=self._rate.per_s(self._rig.clock.now_ns() * 1e-9),
            received=self._received,
            lost=self._lost,
            skipped=self._skipped,
            reopened=self._reopened,
        )

    def _own(self, timeout_s: float) -> Frame | None:
        if self._lost_link and not self._open_again():
            self._rig.clock.sleep(min(timeout_s, _PAUSE_S))
            return None
        if not self._camera.is_streaming:
            self._camera.start()
        return self._camera.next_frame(timeout_s)

    def _look(self, timeout_s: float) -> Frame | None:
        if not self._camera.is_open or not self._camera.is_streaming:
            self.trouble = "the camera is being made ready"
            self._rig.clock.sleep(min(timeout_s, _PAUSE_S))
            return None
        frame = self._camera.latest_frame(_MAX_AGE_S)
        known = self._previous
        return None if known is not None and frame.sequence == known.sequence else frame

    def _look_again_s(self) -> float:
        """Return when to look again: soon while the next picture is due, s."""
        now_ns = self._rig.clock.now_ns()
        fps = self._rate.per_s(now_ns * 1e-9)
        waited = (now_ns - self._received_ns) * 1e-9 * fps  # frame periods
        return _LOOK_CLOSER_S if 0.7 < waited < 2.0 else _LOOK_S

    def _accepted(self, frame: Frame) -> PrivacyFrame | None:
        now_ns = self._rig.clock.now_ns()
        previous, self._previous = self._previous, frame
        if previous is not None:
            if frame.encoded is not None and frame.encoded == previous.encoded:
                self.trouble = "the camera repeats one picture"
                return None
            self._lost += max(0, frame.sequence - previous.sequence - 1)
        try:
            accepted = PrivacyFrame(frame, self._serial, now_ns, self._shrink(frame.size[0]))
        except StorageError as error:  # a picture that was damaged on its way: the link stands
            self.trouble = error.message
            self._lost += 1
            return None
        self.trouble, self._received_ns = "", now_ns
        self._received += 1
        self._rate.tick(now_ns * 1e-9)
        return accepted

    def _note_lost(self, error: RigError) -> None:
        self.trouble = error.message
        if not self._shared:
            if not self._lost_link:
                _log.warning("camera_lost", extra={"why": error.message})
            self._lost_link = True
        self._rig.clock.sleep(_PAUSE_S)

    def _open_again(self) -> bool:
        now_ns = self._rig.clock.now_ns()
        if self._tried_ns is not None and now_ns - self._tried_ns < self._recover_s * 1e9:
            return False
        self._tried_ns = now_ns
        self._camera.close()
        self._camera.open()
        entry = self._rig.config.devices["privacy"]
        if isinstance(entry, CameraConfig) and entry.settings:
            self._camera.configure(entry.settings.to_settings())
        self._lost_link, self._previous = False, None
        self._reopened += 1
        _log.info("camera_reopened")
        return True

    def _end_stream(self) -> None:
        self._previous = None
        try:
            self._camera.stop()
        except RigError as error:
            _log.warning("stream_not_stopped", extra={"why": error.message})

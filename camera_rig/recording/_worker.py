"""One thread per camera: it alone talks to the camera while the recorder runs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from camera_rig.contracts import Camera, Clock, Frame
from camera_rig.errors import RigError, RigTimeoutError
from camera_rig.recording._lockstep import Lockstep

__all__ = ["CameraWorker", "FrameSink", "SourceRate"]


class FrameSink(Protocol):
    """What takes a worker's frames and news; called in the worker's thread."""

    def frame(self, role: str, frame: Frame, received_ns: int) -> None:
        """Take a frame."""
        ...

    def stalled(self, role: str, silent_s: float) -> None:
        """Note that no frame came for ``silent_s`` (s)."""
        ...

    def lost(self, role: str, error: Exception) -> None:
        """Note that no more frames will come."""
        ...


@dataclass(frozen=True, slots=True)
class SourceRate:
    """What a camera gives: frames per second and bytes per frame (as it sends them)."""

    fps: float
    frame_bytes: float


class CameraWorker:
    """Streams one camera into a sink that may be changed while it runs.

    Args:
        role: ``privacy`` or ``side``.
        camera: Open, configured, not streaming; this thread alone uses it from now on.
        clock: The rig's clock.
        timeout_s: A stall is told after this, s.
        stall_limit_s: A longer stall ends the worker, s.
        listen: Sees every frame, also between takes (the clock estimate).
        lockstep: Orders the workers where the clock is moved by hand.
    """

    def __init__(
        self,
        role: str,
        camera: Camera,
        clock: Clock,
        *,
        timeout_s: float,
        stall_limit_s: float,
        listen: Callable[[str, Frame, int], None],
        lockstep: Lockstep | None = None,
    ) -> None:
        self.role, self.camera = role, camera
        self._clock, self._timeout_s, self._stall_limit_s = clock, timeout_s, stall_limit_s
        self._listen, self._lockstep = listen, lockstep
        self._stop = threading.Event()
        self._seen = threading.Event()
        self._recent: deque[tuple[int, int]] = deque(maxlen=90)
        self._thread = threading.Thread(target=self._run, name=f"camera-{role}", daemon=True)
        self.sink: FrameSink | None = None
        self.latest: Frame | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        """Start the thread; the camera starts in it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and wait for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self._timeout_s * 2 + 5.0)

    def wait_first(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` (s, real time) for a first frame or an error."""
        return self._seen.wait(timeout_s)

    @property
    def rate(self) -> SourceRate:
        """Rate over the last frames; zeros until there are two."""
        recent = list(self._recent)
        span_ns = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0
        if span_ns <= 0:
            return SourceRate(0.0, 0.0)
        mean = sum(size for _, size in recent) / len(recent)
        return SourceRate((len(recent) - 1) / (span_ns * 1e-9), mean)

    def _run(self) -> None:
        try:
            self.camera.start()
            try:
                self._stream()
            finally:
                self.camera.stop()
        except Exception as error:  # the thread's edge: whatever it is, the recorder must know
            self.error = error
            if self.sink is not None:
                self.sink.lost(self.role, error)
        finally:
            if self._lockstep is not None:
                self._lockstep.leave(self.role)
            self._seen.set()

    def _stream(self) -> None:
        last_ns = self._clock.now_ns()
        while not self._stop.is_set():
            try:
                frame = self._next()
            except RigTimeoutError as error:
                silent_s = (self._clock.now_ns() - last_ns) * 1e-9
                if self.sink is not None:
                    self.sink.stalled(self.role, silent_s)
                if silent_s > self._stall_limit_s:
                    raise _lost(self.role, silent_s) from error
                continue
            received_ns = last_ns = self._clock.now_ns()
            size = len(frame.encoded) if frame.encoded is not None else frame.pixels.nbytes
            self._recent.append((frame.captured_ns, size))
            self._listen(self.role, frame, received_ns)
            self.latest = frame
            self._seen.set()
            sink = self.sink
            if sink is not None:
                sink.frame(self.role, frame, received_ns)

    def _next(self) -> Frame:
        if self._lockstep is None:
            return self.camera.next_frame(self._timeout_s)
        self._lockstep.wait_turn(self.role, self._stop)
        frame: Frame | None = None
        before_ns = self._clock.now_ns()
        try:
            frame = self.camera.next_frame(self._timeout_s)
            return frame
        finally:
            if frame is not None or self.latest is not None:
                # A camera still without a frame keeps its turn until it gives up.
                now_ns = self._clock.now_ns()
                self._lockstep.went(self.role, now_ns, waited=now_ns > before_ns)


def _lost(role: str, silent_s: float) -> RigError:
    return RigTimeoutError(
        f"the {role} camera gave no frame for {silent_s:.1f} s",
        hint="check cable, power and live view; `rig doctor` looks at all of them",
    )

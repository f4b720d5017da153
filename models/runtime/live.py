"""The live de-identified view: newest frame in, new face out, or a card that says why not.

::

    with Rig.open("lab.yaml", only={"privacy", "mirror"}) as rig:
        with LivePipeline(open_bundle("bundles/mine"), rig) as live:
            frame = live.wait(after=0, timeout_s=5.0)

Four threads, each with one job and a slot for one frame between them, so that nothing can
pile up: the *reader* takes the newest frame of the privacy camera, the *painter* is the
one inference thread, the *watch* reads the mirror back while the painter works, and the
*publisher* joins both and gives out. A frame that a newer one overtakes is counted and
dropped. The sharp camera is not known here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Self, TypeVar

from camera_rig.contracts import Mirror
from camera_rig.errors import ConfigError, RigError
from camera_rig.private_shape import PrivateShape
from camera_rig.rig import Rig
from models.runtime.bundle import Bundle
from models.runtime.core import LiveCore, Painting
from models.runtime.live_data import (
    Blank,
    LiveFrame,
    LiveSettings,
    LiveStatus,
    PrivacyFrame,
    PrivacyView,
)
from models.runtime.meter import Rate
from models.runtime.pick import EngineChoice, pick_engine
from models.runtime.reader import FrameReader
from models.runtime.references import Reference
from models.runtime.watch import Confirmed, MirrorWatch

__all__ = ["LiveFrame", "LivePipeline", "LiveSettings", "LiveStatus", "PrivacyView"]

_log = logging.getLogger(__name__)
_WAIT_S = 0.1
_MIRROR_ANSWER_S = 0.5
T = TypeVar("T")


class _Slot(Generic[T]):
    """Room for one thing between two threads; a newer one takes the older one's place."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._thing: T | None = None

    def put(self, thing: T) -> bool:
        """Put a thing in; return whether an older one was pushed out."""
        with self._state:
            pushed = self._thing is not None
            self._thing = thing
            self._state.notify()
            return pushed

    def take(self, timeout_s: float) -> T | None:
        """Take the thing out, waiting up to ``timeout_s`` (s)."""
        with self._state:
            if self._thing is None:
                self._state.wait(timeout_s)
            thing, self._thing = self._thing, None
            return thing


class LivePipeline:
    """A live view of one rig through one bundle. Use as a context manager.

    Thread-safe: every public method may be called from any thread. While it runs it owns
    the privacy camera and the mirror; see :meth:`shared_camera` and :meth:`mirror`.

    Failure: trouble with mirror, optics, camera, engine or calibration is never raised
    here; the output is a card with the reason, and the pipeline goes on trying.

    Not offered: the camera's frame as a fallback. What is not painted is not shown.

    Args:
        bundle: The trained system.
        rig: Open rig with privacy camera and mirror; open it without the side camera
            (``only={"privacy", "mirror"}``) unless takes are recorded meanwhile.
        settings: How to run.
        checks: Each returns reasons why nothing may be shown, such as a stale
            calibration; asked every few seconds on the watch's thread.

    Raises:
        ConfigError: The bundle has no reference of that name.
        StorageError: The bundle's rules or references cannot be read.
        StateError: The rig has no privacy camera or no mirror.
    """

    def __init__(
        self,
        bundle: Bundle,
        rig: Rig,
        settings: LiveSettings | None = None,
        checks: Sequence[Callable[[], Sequence[str]]] = (),
    ) -> None:
        self.settings = settings or LiveSettings()
        self._bundle, self._rig = bundle, rig
        self._core = LiveCore(bundle, rig.config.bench, rig.clock, self.settings)
        self._watch = MirrorWatch(rig, self.settings.recover_s, checks)
        self._reader = FrameReader(rig, self.settings.recover_s, self._core.shrink_for)
        _ = rig.mirror  # a rig without one is refused now, not in a thread
        self._choice: EngineChoice | None = None
        self._engine_error = self._trouble = ""
        self._optics: tuple[PrivateShape | None, str] = (None, "")
        self._frames: _Slot[PrivacyFrame] = _Slot()
        self._paintings: _Slot[Painting] = _Slot()
        self._news = threading.Condition()
        self._newest = self._core.blank(Blank.STARTING, "")
        self._view: PrivacyView | None = None
        self._listeners: list[Callable[[LiveFrame], None]] = []
        self._rate = Rate()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._began_ns = rig.clock.now_ns()

    def __enter__(self) -> Self:
        """Start. The first faces come when the engine is chosen and the mirror stands."""
        works = {
            "live-watch": self._watch.run,
            "live-reader": self._read,
            "live-painter": self._paint,
            "live-publisher": self._publish,
        }
        self._threads = [
            threading.Thread(target=self._guarded, args=(name, work), name=name, daemon=True)
            for name, work in works.items()
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all threads and the camera's stream; the last frame given out is a card."""
        self._stopping.set()
        self._watch.stop()
        for thread in self._threads:
            thread.join()
        self._give(self._core.blank(Blank.STOPPED, ""), None)

    def latest(self) -> LiveFrame:
        """Return the newest frame at once; a card while nothing came yet."""
        with self._news:
            return self._newest

    def wait(self, after: int, timeout_s: float = 1.0) -> LiveFrame | None:
        """Return the newest frame whose number is above ``after``, or None in time.

        Each viewer remembers the number it saw last. A slow one skips numbers; nothing
        is queued for it.

        Args:
            after: Number of the last frame seen; 0 for none.
            timeout_s: Longest wait, s.
        """
        with self._news:
            self._news.wait_for(lambda: self._newest.number > after, timeout_s)
            return self._newest if self._newest.number > after else None

    def on_frame(self, listener: Callable[[LiveFrame], None]) -> Callable[[], None]:
        """Call ``listener`` with each frame on the publisher's thread; return how to end it.

        It must only hand over. One that raises is logged and called no more.
        """
        with self._news:
            self._listeners.append(listener)

        def remove() -> None:
            with self._news:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return remove

    def note_sent(self, frame: LiveFrame) -> None:
        """Tell that a frame has left for a viewer, for ``captured_to_sent`` in the status."""
        if frame.captured_s is not None:
            now_s = self._rig.clock.now_ns() * 1e-9
            wall_ms = 1e3 * (now_s - frame.captured_s)
            self._core.meter.take({"captured_to_sent": (wall_ms, 0.0)})

    def privacy_view(self) -> PrivacyView | None:
        """Return what the privacy camera saw for the newest face; None while a card is shown."""
        with self._news:
            return self._view

    def status(self) -> LiveStatus:
        """Return a snapshot of everything."""
        now_ns = self._rig.clock.now_ns()
        newest, choice, core = self.latest(), self._choice, self._core
        standing = self._standing()
        return LiveStatus(
            showing=not newest.blank,
            reason=newest.reason,
            standing=() if standing is None else (standing[1],),
            engine="" if choice is None else choice.engine.name,
            engine_times_ms={} if choice is None else dict(choice.times_ms),
            bundle=self._bundle.card.name,
            reference=core.reference,
            references=tuple(core.references),
            fps=self._rate.per_s(now_ns * 1e-9),
            faces=core.meter.counts("faces").get("", 0),
            blanks=core.meter.counts("blank/"),
            failures=core.meter.counts("failure/"),
            stages=core.meter.figures(),
            camera=self._reader.figures(),
            mirror=self._watch.state(),
            box=core.box,
            uptime_s=(now_ns - self._began_ns) * 1e-9,
        )

    @property
    def references(self) -> Mapping[str, Reference]:
        """The public faces whose style can be painted, with their pictures."""
        return self._core.references

    def choose_reference(self, name: str) -> None:
        """Paint in another style from the next frame on.

        Raises:
            ConfigError: The bundle has no such reference.
        """
        self._core.choose_reference(name)

    @property
    def shape(self) -> PrivateShape | None:
        """The shape that hides faces, once it is loaded."""
        return self._watch.shape

    def mirror_why_not(self) -> list[str]:
        """Ask the mirror now whether it hides faces; the guard for a recorder."""
        return self._watch.why_not()

    @contextmanager
    def mirror(self) -> Iterator[Mirror]:
        """Lend the mirror, the one way to it while this runs.

        The output is a card from here on, until the mirror is read back in its shape.
        """
        with self._watch.borrowed() as mirror:
            yield mirror

    def restore_shape(self) -> None:
        """Load the private shape again: one way back after :meth:`mirror`.

        Raises:
            RigError: It cannot be loaded; the output stays a card.
        """
        self._watch.restore()

    @contextmanager
    def shared_camera(self) -> Iterator[None]:
        """Let somebody else start, own and stop the privacy camera, such as a recorder.

        Inside, the pipeline only looks at the newest frame. On leaving it starts its own
        stream again.
        """
        with self._reader.shared():
            yield

    # The work of the threads

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                work()
            except Exception:
                # A thread must not die in silence: the silence of the others becomes a card.
                _log.exception("live_thread_failed", extra={"work": name})
                self._trouble = f"{name} failed and is started again"
                self._core.meter.count(f"failure/{name}")
                self._stopping.wait(self.settings.recover_s)

    def _read(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._reader.next(_WAIT_S)
                if frame is not None:
                    self._watch.ask()
                    if self._frames.put(frame):
                        self._reader.skipped()
        finally:
            self._reader.close()

    def _paint(self) -> None:
        if self._choice is None:
            self._choose_engine()
        choice = self._choice
        if choice is None:
            self._stopping.wait(self.settings.recover_s)
            return
        while not self._stopping.is_set():
            frame = self._frames.take(_WAIT_S)
            if frame is not None:
                painting = self._core.paint(frame, choice.engine)
                if self._paintings.put(painting):
                    self._reader.skipped()

    def _choose_engine(self) -> None:
        try:
            self._choice = pick_engine(self._bundle, self.settings.engine, int8=self.settings.int8)
            self._engine_error = ""
        except RigError as error:
            _log.warning("no_engine", extra={"why": error.message})
            self._engine_error = error.message

    def _publish(self) -> None:
        quiet_s = time.monotonic()
        while not self._stopping.is_set():
            painting = self._paintings.take(_WAIT_S)
            if painting is not None:
                self._trouble = ""
                proof = self._proof(painting)
                self._give(*self._core.show(painting, proof, self._standing()))
                quiet_s = time.monotonic()
            elif time.monotonic() - quiet_s >= self.settings.silence_s:
                self._give(self._core.blank(*self._why_silent()), None)
                quiet_s = time.monotonic()

    def _proof(self, painting: Painting) -> Confirmed | str:
        begin_s = time.perf_counter()
        proof = self._watch.confirm(painting.frame, _MIRROR_ANSWER_S)
        painting.spent.add("mirror", time.perf_counter() - begin_s)
        return proof

    def _standing(self) -> tuple[Blank, str] | None:
        """A reason that no frame can cure."""
        shape = self._watch.shape
        if shape is not None:
            judged, why = self._optics
            if judged is not shape:
                why = self._why_other_optics(shape)
                self._optics = (shape, why)
            if why:
                return Blank.OPTICS, why
        for reason in self._watch.standing:
            return Blank.CALIBRATION, reason
        return None

    def _why_other_optics(self, shape: PrivateShape) -> str:
        """Why the bundle was not trained for this shape; empty when it was."""
        try:
            self._bundle.check_optics([shape.coefficients], self.settings.calibrations)
        except ConfigError as error:
            return error.message
        except RigError as error:
            return f"the shape cannot be compared with the bundle's: {error.message}"
        return ""

    def _why_silent(self) -> tuple[Blank, str]:
        if standing := self._standing():
            return standing
        if self._choice is None:
            return Blank.STARTING, self._engine_error or "choosing the fastest engine"
        if self._trouble:
            return Blank.FAILED, self._trouble
        state = self._watch.state()
        if not state.confirmed:
            return Blank.MIRROR, state.reasons[0] if state.reasons else "not asked yet"
        return Blank.CAMERA, self._reader.trouble or "the camera sends no new frame"

    def _give(self, frame: LiveFrame, view: PrivacyView | None) -> None:
        self._rate.tick(frame.out_s)
        with self._news:
            self._newest, self._view = frame, view
            listeners = list(self._listeners)
            self._news.notify_all()
        for listener in listeners:
            try:
                listener(frame)
            except Exception:
                # A viewer's mistake must not stop the others.
                _log.exception("live_listener_failed")
                with self._news:
                    if listener in self._listeners:
                        self._listeners.remove(listener)

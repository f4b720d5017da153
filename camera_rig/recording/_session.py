"""One take while it is being recorded: the writer's thread and its bookkeeping."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camera_rig.contracts import Clock, Frame
from camera_rig.errors import PrivacyError, RigError, StateError, StorageError
from camera_rig.recording._queue import BoundedQueue
from camera_rig.recording.clockmodel import ClockModel
from camera_rig.recording.manifest import FinishReason, Seal
from camera_rig.recording.packing import Group, PackedFrame, Packer
from camera_rig.recording.pairing import Pairer
from camera_rig.recording.plan import OverloadPolicy, TakePlan
from camera_rig.recording.take import TakeWriter

__all__ = ["Counts", "TakeSession"]

_log = logging.getLogger(__name__)
_WALL_STEP_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class _Note:
    """News from a worker for the journal and for the end of the take."""

    kind: str
    role: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Counts:
    """Running counts of a take; written by the writer's thread, read by anybody."""

    frames: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unpaired: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    over_tolerance: int = 0
    longest_write_ns: int = 0
    skews_ns: list[int] = field(default_factory=list)


def _wall_minus_ns(clock: Clock) -> int:
    """Return civil minus monotonic time, ns, from the tightest of a few readings.

    The two cannot be read at once, and a busy machine may pause between them: a pause
    must not look like a stepped clock.
    """
    readings = []
    for _ in range(8):
        before_ns, wall_ns, after_ns = clock.now_ns(), clock.wall_ns(), clock.now_ns()
        readings.append((after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2))
    return min(readings)[1]


class TakeSession:
    """Takes frames from the workers and stores them until the take has ended.

    Args:
        writer: The take on disk; used by this session's thread alone.
        packers: One per role.
        plan: Settings.
        clock: The rig's clock.
        model: Asked once a second for the newest clock model.
        begin_ns: First capture time to store (privacy time), ns.
    """

    def __init__(
        self,
        writer: TakeWriter,
        packers: Mapping[str, Packer],
        plan: TakePlan,
        clock: Clock,
        *,
        model: Callable[[], ClockModel],
        begin_ns: int,
    ) -> None:
        self._writer, self._packers, self._plan, self._clock = writer, packers, plan, clock
        self._model = model
        self._begin_ns = begin_ns
        self._end_ns = begin_ns + round(plan.duration_s * 1e9)
        self._pairer = Pairer(model(), plan.pairing)
        self._queue: BoundedQueue[PackedFrame | _Note] = BoundedQueue(round(plan.buffer_mb * 1e6))
        self._open = set(packers)
        self._reason: FinishReason | None = None
        self._wall_minus_ns = _wall_minus_ns(clock)
        self._checked_ns = clock.now_ns()
        self.counts = Counts()
        self.preview = True
        self.error: RigError | None = None
        self.result: Seal | None = None
        self._thread = threading.Thread(target=self._run, name="take-writer", daemon=True)

    # Called by the workers

    def frame(self, role: str, frame: Frame, received_ns: int) -> None:
        """Pack a frame in the worker's thread and hand it over, or count it as dropped."""
        at_ns = self._pairer.model.corrected_ns(role, frame.captured_ns)
        if at_ns < self._begin_ns or role not in self._open:
            return
        if at_ns >= self._end_ns or self._reason is not None:
            self._end(role)
            return
        try:
            packed = self._packers[role].pack(frame, received_ns)
        except RigError as error:
            self._fail(error, FinishReason.FAILED)
            return
        if not self._queue.offer(packed, len(packed.blob)):
            self._overloaded(role, frame.sequence)

    def stalled(self, role: str, silent_s: float) -> None:
        """Put a stall into the journal."""
        self._queue.force(_Note("event", role, {"event": "stall", "silent_s": round(silent_s, 3)}))

    def lost(self, role: str, error: Exception) -> None:
        """End the take: a camera is gone."""
        text = error.message if isinstance(error, RigError) else f"{type(error).__name__}: {error}"
        self._queue.force(_Note("event", role, {"event": "camera lost", "why": text}))
        self._finish(FinishReason.CAMERA_LOST)
        self._end(role)

    # Called by the recorder

    def start(self) -> None:
        """Start the writer's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the take now; what came so far is stored and sealed."""
        self._finish(FinishReason.STOPPED)

    def exposed(self, why: Sequence[str]) -> None:
        """End the take: the privacy camera may see a face."""
        self._queue.force(_Note("event", "privacy", {"event": "exposed", "why": list(why)}))
        error = PrivacyError(
            f"the take was ended: {'; '.join(why)}",
            hint="look at the mirror with `rig doctor`, then redo the take",
        )
        self._fail(error, FinishReason.EXPOSED)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the seal; return whether it is there (or has failed)."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def depth(self) -> Any:
        """How full the queue is and was."""
        return self._queue.depth

    @property
    def stored_bytes(self) -> int:
        """Bytes stored so far."""
        return self._writer.stored_bytes

    def report(self) -> dict[str, Any]:
        """Return the figures of the run, JSON-able."""
        depth, counts = self._queue.depth, self.counts
        skews = np.abs(counts.skews_ns) * 1e-6 if counts.skews_ns else np.zeros(1)
        return {
            "queue_high_frames": depth.high_items,
            "queue_high_mb": round(depth.high_bytes / 1e6, 3),
            "queue_limit_mb": round(depth.limit_bytes / 1e6, 3),
            "longest_write_ms": round(counts.longest_write_ns * 1e-6, 3),
            "skew_p50_ms": round(float(np.percentile(skews, 50)), 3),
            "skew_p99_ms": round(float(np.percentile(skews, 99)), 3),
            "codecs": {
                role: packer.codec.name for role, packer in self._packers.items() if packer.codec
            },
            "preview_kept": self.preview,
            "error": self.error.message if self.error else "",
        }

    # The ends of a take

    def _end(self, role: str) -> None:
        self._queue.force(_Note("end", role))

    def _finish(self, reason: FinishReason) -> None:
        if self._reason is None:
            self._reason = reason

    def _fail(self, error: RigError, reason: FinishReason) -> None:
        self.error = self.error or error
        self._finish(reason)

    def _overloaded(self, role: str, sequence: int) -> None:
        facts = {"count": 1, "cause": "overload", "before_sequence": sequence + 1}
        self._queue.force(_Note("gap", role, facts))
        self.preview = False
        if self._plan.on_overload is not OverloadPolicy.DROP_COUNTED:
            self._finish(FinishReason.OVERLOAD)

    # The writer's thread

    def _run(self) -> None:
        try:
            while self._open and not self._is_overdue():
                item = self._queue.take(0.1)
                if self._plan.on_overload is OverloadPolicy.DROP_PREVIEW:
                    self._shed_preview()
                self._handle(item)
                self._look_around()
            self._drain()
        except StorageError as error:
            self._fail(error, _reason_of(error))
        except Exception as error:  # the thread's edge: the take must be sealed all the same
            _log.exception("take_writer_failed")
            told = StateError(f"the take's writer failed: {error!r}", hint="see the run log")
            self._fail(told, FinishReason.FAILED)
        self._seal()

    def _handle(self, item: PackedFrame | _Note | None) -> None:
        if isinstance(item, PackedFrame):
            self._take_in(item)
        elif item is None:
            self._store(self._pairer.tick(self._clock.now_ns()))
        elif item.kind == "end":
            if item.role in self._open:
                self._open.discard(item.role)
                self._store(self._pairer.end(item.role, self._clock.now_ns()))
        else:
            if item.kind == "gap":
                self.counts.dropped[item.role] += item.facts["count"]
            self._writer.note(item.kind, role=item.role, **item.facts)
            self._store(self._pairer.tick(self._clock.now_ns()))

    def _take_in(self, frame: PackedFrame) -> None:
        lost = int(frame.facts["meta"].get("lost_before", 0))
        if lost and self.counts.frames[frame.role]:
            self.counts.lost[frame.role] += lost
            self._writer.note(
                "gap", role=frame.role, count=lost, cause="camera", before_sequence=frame.sequence
            )
        self.counts.frames[frame.role] += 1
        self._store(self._pairer.add(frame))

    def _store(self, groups: Any) -> None:
        for group in groups:
            start_ns = self._clock.now_ns()
            self._writer.write(group)
            took_ns = self._clock.now_ns() - start_ns
            self.counts.longest_write_ns = max(self.counts.longest_write_ns, took_ns)
            self._count(group)

    def _count(self, group: Group) -> None:
        if group.is_pair:
            self.counts.pairs += 1
            self.counts.over_tolerance += group.over_tolerance
            self.counts.skews_ns.append(group.skew_ns or 0)
        else:
            self.counts.unpaired.update(group.frames.keys())

    def _is_overdue(self) -> bool:
        """Whether the take has ended although a camera never said so, or must end now."""
        if self._reason is not None:
            return True
        limit_ns = self._end_ns + round(self._plan.stall_limit_s * 1e9)
        return self._clock.now_ns() > limit_ns

    def _drain(self) -> None:
        """Store what the workers had handed over when the take ended."""
        while (item := self._queue.take(0.0)) is not None:
            self._handle(item)
        for role in sorted(self._open):
            self._store(self._pairer.end(role, self._clock.now_ns()))
        self._open.clear()

    def _shed_preview(self) -> None:
        depth = self._queue.depth
        self.preview = depth.size_bytes < depth.limit_bytes // 2

    def _look_around(self) -> None:
        """Once a second: the newest clock model, civil time, free space."""
        now_ns = self._clock.now_ns()
        if now_ns - self._checked_ns < 1_000_000_000:
            return
        self._checked_ns = now_ns
        self._pairer.use(self._model())
        wall_minus_ns = _wall_minus_ns(self._clock)
        step_ns = wall_minus_ns - self._wall_minus_ns
        if abs(step_ns) > _WALL_STEP_NS:
            self._writer.note("event", event="wall clock stepped", step_ns=step_ns)
            self._wall_minus_ns = wall_minus_ns
        free = shutil.disk_usage(self._writer.folder).free
        if free < self._plan.min_free_gb * 1e9:
            self._writer.note("event", event="disk nearly full", free_bytes=free)
            self._finish(FinishReason.DISK_FULL)

    def _seal(self) -> None:
        reason = self._reason or FinishReason.DURATION
        try:
            self.result = self._writer.seal(reason, self._model(), self.report())
        except RigError as error:
            self._fail(error, FinishReason.FAILED)


def _reason_of(error: StorageError) -> FinishReason:
    cause = error.__cause__
    full = isinstance(cause, OSError) and cause.errno in {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
    }
    return FinishReason.DISK_FULL if full else FinishReason.FAILED

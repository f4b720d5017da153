"""Takes from the preview: one subject, chosen at the command line, with the consent shown."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camera_rig.errors import PrivacyError, RigError, StateError, StorageError
from camera_rig.interrupt import SafeInterrupt

if TYPE_CHECKING:
    from camera_rig.recording.consent import RecordingPermit
    from camera_rig.recording.plan import TakePlan
    from camera_rig.recording.recorder import Recorder, RecorderStatus, TakeContext, TakeReport
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig
    from models.runtime.live import LivePipeline

__all__ = ["TakeDesk", "TakeParts"]

_log = logging.getLogger(__name__)
SIMULATED = "simulated"
"""What is agreed to where nobody is recorded."""


@dataclass(frozen=True)
class TakeParts:
    """What a take needs.

    Args:
        rig: The open rig, with both cameras.
        store: Where takes go.
        permit: Who may be recorded, and for what.
        plan: Settings of a take.
    """

    rig: Rig
    store: DataStore
    permit: RecordingPermit
    plan: TakePlan


class TakeDesk:
    """Starts and stops takes of one subject. Safe from any thread.

    The side camera runs during a take alone, and no way leads from it to a page.

    Args:
        live: The pipeline, entered; it shares the privacy camera during a take.
        parts: What a take needs.
    """

    def __init__(self, live: LivePipeline, parts: TakeParts) -> None:
        self._live, self._parts = live, parts
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._recorder: Recorder | None = None
        self._stop = threading.Event()
        self._phase = "idle"
        self._seen: RecorderStatus | None = None
        self._last: dict[str, Any] | None = None

    @property
    def agreed(self) -> str:
        """What the operator must confirm: the id of the consent, or that nobody is there."""
        consent = self._parts.permit.consent
        return SIMULATED if consent is None else consent.record

    def busy(self) -> str:
        """Return why the mirror must stand still now; empty when it may move."""
        return "a take is being recorded" if self._running() else ""

    def start(self, agreed: str, prompt: str = "") -> dict[str, Any]:
        """Begin a take; returns at once.

        Args:
            agreed: The id of the consent that was shown to the operator.
            prompt: What the subject was asked to do.

        Raises:
            PrivacyError: Another consent was shown, it is no longer in force, or the
                mirror does not hide faces.
            StateError: A take runs already.
        """
        if agreed != self.agreed:
            raise PrivacyError(
                "this is not the consent of the person to be recorded",
                hint="look at the consent shown beside the button, and start again",
            )
        self._still_permitted()
        if why := self._live.mirror_why_not():
            raise PrivacyError(
                f"no take now: {'; '.join(why)}", hint="bring the learned shape back first"
            )
        with self._lock:
            if self._running():
                raise StateError("a take runs already", hint="stop it first")
            self._stop.clear()
            self._phase, self._seen, self._last = "warming up", None, None
            self._thread = threading.Thread(target=self._run, args=(prompt,), name="take")
            self._thread.start()
        return self.state()

    def stop(self) -> dict[str, Any]:
        """End the running take, sealed; harmless when none runs."""
        self._stop.set()
        if self._recorder is not None:
            self._recorder.stop()
        return self.state()

    def close(self) -> None:
        """End a running take and wait until it is sealed; a Ctrl-C waits too."""
        with SafeInterrupt():
            self.stop()
            if self._thread is not None:
                self._thread.join()

    def state(self) -> dict[str, Any]:
        """Return consent, phase, counts of the running take and how the last one ended."""
        permit, seen = self._parts.permit, self._seen
        told: dict[str, Any] = {
            "subject": permit.subject.pseudonym,
            "simulated": permit.simulated,
            "agreed": self.agreed,
            "consent": permit.consent.model_dump(mode="json") if permit.consent else None,
            "phase": self._phase,
            "duration_s": self._parts.plan.duration_s,
            "last": self._last,
        }
        if seen is not None:
            told |= {
                "elapsed_s": seen.elapsed_s,
                "remaining_s": seen.remaining_s,
                "pairs": seen.pairs,
                "over_tolerance": seen.over_tolerance,
                "lost": sum(seen.lost.values()),
                "dropped": sum(seen.dropped.values()),
                "stored_mb": seen.stored_bytes / 1e6,
            }
        return told

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _still_permitted(self) -> None:
        """Ask again before every take: a consent may be withdrawn while the preview runs."""
        from camera_rig.recording.consent import permit_recording

        permit, store = self._parts.permit, self._parts.store
        now = permit_recording(
            permit.subject.pseudonym, store.keys, store.consents, simulated=permit.simulated
        )
        if now.consent != permit.consent:
            raise PrivacyError(
                f"the consent of {permit.subject.pseudonym} is another one by now",
                hint="start the preview again, and look at the consent it shows",
            )

    def _run(self, prompt: str) -> None:
        try:
            report = self._record(prompt)
            self._last = _told(report)
        except RigError as error:
            _log.warning("take_failed", extra={"why": error.message})
            self._last = {"take": "", "clean": False, "reason": error.message}
        except Exception as error:
            _log.exception("take_failed")
            self._last = {"take": "", "clean": False, "reason": f"{error!r}; see the run log"}
        finally:
            self._recorder, self._phase = None, "idle"

    def _record(self, prompt: str) -> TakeReport | None:
        from camera_rig.recording.recorder import Recorder

        parts = self._parts
        cameras = {"privacy": parts.rig.privacy, "side": parts.rig.side}
        guard = self._live.mirror_why_not
        with (
            self._live.shared_camera(),
            Recorder(cameras, parts.rig.clock, parts.plan, guard=guard) as recorder,
        ):
            recorder.warm_up()
            self._refuse_unless_it_fits(recorder)
            if self._stop.is_set():
                return None
            self._recorder = recorder
            self._phase = "recording"
            report = recorder.record(
                parts.permit, parts.store.takes, self._context(prompt), on_status=self._look
            )
        self._phase = "sealing"
        self._keep(report)
        return report

    def _look(self, status: RecorderStatus) -> None:
        self._seen = status
        if self._stop.is_set() and self._recorder is not None:  # asked before it had begun
            self._recorder.stop()

    def _refuse_unless_it_fits(self, recorder: Recorder) -> None:
        from camera_rig.recording.plan import estimate, measure_disk_rate

        takes, plan = self._parts.store.takes, self._parts.plan
        rates = {role: rate.fps * rate.frame_bytes for role, rate in recorder.rates.items()}
        if why := estimate(plan, rates, takes, measure_disk_rate(takes)).why_not(plan):
            raise StorageError(
                "this cannot be recorded: " + "; ".join(why),
                hint="free space, or start the preview with a shorter --duration",
            )

    def _context(self, prompt: str) -> TakeContext:
        from camera_rig.recording.recorder import TakeContext

        rig, shape = self._parts.rig, self._live.shape
        return TakeContext(
            config=rig.config.model_dump(mode="json", by_alias=True),
            mirror={
                "serial": rig.mirror.info.serial,
                "model": rig.mirror.info.model,
                "shape": None if shape is None else shape.to_dict(),
            },
            prompt=prompt,
        )

    def _keep(self, report: TakeReport) -> None:
        """Catalogue the take; a simulated one also gets the truth of its world."""
        from camera_rig.recording.reading import Take

        if report.seal is None:
            return
        take, rig = Take(report.folder), self._parts.rig
        self._parts.store.catalog.put(take)
        if self._parts.permit.simulated and rig.twin is not None and take.groups:
            from camera_rig.recording.truth import write_truth

            write_truth(take, rig.twin.truth, {"privacy": 1, "side": 1})


def _told(report: TakeReport | None) -> dict[str, Any]:
    if report is None:
        return {"take": "", "clean": False, "reason": "stopped before it began"}
    told = {"take": report.folder.name, "clean": report.is_clean}
    if report.seal is None:
        why = report.error.message if report.error else "unknown"
        return {**told, "reason": f"not sealed: {why}; `rig take recover`"}
    totals = report.seal.totals
    return {
        **told,
        "reason": report.error.message if report.error else str(report.seal.reason),
        "pairs": totals.pairs,
        "seconds": totals.duration_s,
        "dropped": sum(totals.dropped.values()),
        "lost": sum(totals.lost.values()),
    }

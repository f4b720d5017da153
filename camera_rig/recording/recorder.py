"""The recorder: both cameras free-run; takes are cut out of the stream and stored.

::

    with Recorder({"privacy": rig.privacy, "side": rig.side}, rig.clock, plan) as recorder:
        recorder.warm_up()
        report = recorder.record(permit, store.takes)
"""

from __future__ import annotations

import hashlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import camera_rig
from camera_rig.clock import ManualClock
from camera_rig.contracts import Camera, Clock, Frame, Light
from camera_rig.errors import PrivacyError, RigError, StateError
from camera_rig.interrupt import SafeInterrupt
from camera_rig.recording._files import canonical_json
from camera_rig.recording._lockstep import Lockstep
from camera_rig.recording._session import TakeSession
from camera_rig.recording._trigger import Trigger
from camera_rig.recording._worker import CameraWorker, SourceRate
from camera_rig.recording.clockmodel import ArrivalEstimator, ClockModel
from camera_rig.recording.consent import RecordingPermit
from camera_rig.recording.manifest import (
    Anchor,
    CameraRecord,
    TakeManifest,
    new_take_id,
)
from camera_rig.recording.memory import forbid_core_dumps
from camera_rig.recording.packing import Packer
from camera_rig.recording.plan import TakePlan
from camera_rig.recording.status import Phase, RecorderStatus, TakeContext, TakeReport
from camera_rig.recording.take import TakeWriter
from camera_rig.recording.vault import FrameClass, SealedKeys, new_keys

__all__ = ["Phase", "Recorder", "RecorderStatus", "TakeContext", "TakeReport"]

_LOOKS_PER_GUARD = 5  # of 0.1 s each

StatusHook = Callable[[RecorderStatus], None]


class Recorder:
    """Keeps the cameras streaming and records takes from them.

    While it is open the cameras belong to its workers, one thread each. The side
    camera is recorded only with a permit, which only a valid consent (or a wholly
    simulated rig) gives.

    Args:
        cameras: ``privacy`` and ``side``, open and configured.
        clock: The rig's clock.
        plan: Settings.
        clock_model: From calibration; None estimates one from arrivals.
        light: The trigger box, for ``plan.trigger == "light"``.
        guard: Asked about twice a second while recording: reasons why faces may no
            longer be hidden. Any reason ends the take.

    Not offered: a raw dump of the side camera. There is no path to disk around the vault.
    """

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        clock: Clock,
        plan: TakePlan,
        *,
        clock_model: ClockModel | None = None,
        light: Light | None = None,
        guard: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        if set(cameras) != {"privacy", "side"}:
            raise StateError(
                f"pairs need a privacy and a side camera, got {', '.join(cameras) or 'none'}",
                hint="open both cameras of the rig",
            )
        self._cameras, self._clock, self.plan = dict(cameras), clock, plan
        self._fixed_model, self._guard = clock_model, guard
        self._estimator = ArrivalEstimator()
        self._lock = threading.Lock()
        self._workers: dict[str, CameraWorker] = {}
        self._session: TakeSession | None = None
        self._trigger = Trigger.for_plan(plan, light, clock)
        self._lockstep = Lockstep(cameras) if isinstance(clock, ManualClock) else None
        self._begin_ns = 0
        self._idle = threading.Event()
        self.phase = Phase.IDLE

    def __enter__(self) -> Self:
        """Start both cameras. With a manual clock they take turns, and time waits for them."""
        forbid_core_dumps()
        for role, camera in self._cameras.items():
            self._workers[role] = CameraWorker(
                role,
                camera,
                self._clock,
                timeout_s=self.plan.frame_timeout_s,
                stall_limit_s=self.plan.stall_limit_s,
                listen=self._listen,
                lockstep=self._lockstep,
            )
        for worker in self._workers.values():
            worker.start()
        if self._trigger is not None:
            self._trigger.start()
        self.phase = Phase.STREAMING
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Seal a running take and stop both cameras."""
        if self._session is not None:
            self._session.stop()
            self._session.join(30.0)
        if self._trigger is not None:
            self._trigger.stop()
        for worker in self._workers.values():
            worker.stop()
        self.phase = Phase.CLOSED

    @property
    def clock_model(self) -> ClockModel:
        """The model in use: calibrated, triggered, or the best estimate so far."""
        if self._fixed_model is not None:
            return self._fixed_model
        if self._trigger is not None:
            return self._trigger.model
        with self._lock:
            return self._estimator.model()

    def check_clock_model(self) -> None:
        """Compare a given clock model with what the arrivals say by now.

        Raises:
            StateError: They contradict each other: a camera was opened anew since, or the
                model is of other cameras.
        """
        with self._lock:
            seen = self._estimator.model()
        given = self._fixed_model
        if given is None or seen.source == "none":
            return
        at_ns = seen.reference_ns
        apart_ns = given.corrected_ns("side", at_ns) - seen.corrected_ns("side", at_ns)
        sigma_ns = math.hypot(given.uncertainty_ns(at_ns), seen.uncertainty_ns(at_ns))
        if abs(apart_ns) > 4 * sigma_ns:
            raise StateError(
                f"the clock model is {apart_ns * 1e-6:.1f} ms from what arrives "
                f"(± {sigma_ns * 1e-6:.1f} ms)",
                hint="run `rig calibrate run sync` again, or leave --sync away",
            )

    @property
    def rates(self) -> dict[str, SourceRate]:
        """What each camera gives."""
        return {role: worker.rate for role, worker in self._workers.items()}

    def warm_up(self) -> dict[str, SourceRate]:
        """Let the cameras run for the plan's time, so that rates and clocks are known.

        Raises:
            RigError: A camera did not start or gave nothing.
        """
        with self._running(self._clock.now_ns() + 1):  # one frame each
            for worker in self._workers.values():
                worker.wait_first(max(10.0, self.plan.stall_limit_s))
        self.wait(self.plan.warm_up_s)
        return self.rates

    def wait(
        self, seconds: float, on_status: Callable[[RecorderStatus, float], None] | None = None
    ) -> None:
        """Let the cameras run for ``seconds`` (s); ``on_status`` also gets the time left (s).

        Raises:
            RigError: A camera was lost.
        """
        end_ns = self._clock.now_ns() + round(seconds * 1e9)
        with self._running(end_ns):
            while (left_s := (end_ns - self._clock.now_ns()) * 1e-9) > 0:
                self._check_workers()
                if on_status is not None:
                    on_status(self.status(), left_s)
                if self._lockstep is None:
                    self._clock.sleep(min(0.1, left_s))
                else:
                    self._idle.wait(0.002)  # the cameras move this clock, nobody else
        self._check_workers()

    def record(
        self,
        permit: RecordingPermit,
        takes: Path,
        context: TakeContext | None = None,
        on_status: StatusHook | None = None,
    ) -> TakeReport:
        """Record one take now and return when it is sealed.

        The first Ctrl-C ends the take sealed; a second one stops at once.

        Args:
            permit: Who may be recorded, and for what.
            takes: Folder of all takes.
            context: What else goes into the manifest.
            on_status: Called about ten times a second.

        Raises:
            PrivacyError: The permit is not for these cameras, or a person would be
                recorded without a guard.
            StorageError: The take could not be begun.
        """
        self._check_workers()
        permit.check({role: w.camera.info for role, w in self._workers.items()})
        if not permit.simulated and self._guard is None:
            raise PrivacyError(
                "nothing watches that the mirror hides faces, so no person is recorded",
                hint="record inside `private_shape(rig)` and give its why_not as guard",
            )
        writer, session = self._begin(permit, takes, context or TakeContext())
        self._session = session
        try:
            with SafeInterrupt(on_first=session.stop):
                session.start()
                for worker in self._workers.values():
                    worker.sink = session
                    if worker.error is not None:  # it died before it could tell the session
                        session.lost(worker.role, worker.error)
                self.phase = Phase.RECORDING
                with self._running():
                    for look in itertools.count():
                        if look % _LOOKS_PER_GUARD == 0 and self._guard and (why := self._guard()):
                            session.exposed(why)
                        if session.join(0.1):
                            break
                        if on_status is not None:
                            on_status(self.status())
        finally:
            for worker in self._workers.values():
                worker.sink = None
            self._session = None
            self.phase = Phase.STREAMING
        return TakeReport(writer.folder, session.result, session.error)

    def stop(self) -> None:
        """End the running take, sealed; harmless when none runs. From any thread."""
        session = self._session
        if session is not None:
            session.stop()

    def status(self) -> RecorderStatus:
        """Return one look at the recorder."""
        worker = self._workers.get("privacy")
        session = self._session
        common: dict[str, Any] = {
            "rates": self.rates,
            "clock_model": self.clock_model,
            "privacy": worker.latest if worker else None,
        }
        if session is None:
            return RecorderStatus(self.phase, **common)
        counts = session.counts
        elapsed_s = max(0.0, (self._clock.now_ns() - self._begin_ns) * 1e-9)
        if not session.preview:
            common["privacy"] = None
        return RecorderStatus(
            phase=self.phase,
            elapsed_s=elapsed_s,
            remaining_s=max(0.0, self.plan.duration_s - elapsed_s),
            pairs=counts.pairs,
            over_tolerance=counts.over_tolerance,
            unpaired=dict(counts.unpaired),
            lost=dict(counts.lost),
            dropped=dict(counts.dropped),
            last_skew_ms=counts.skews_ns[-1] * 1e-6 if counts.skews_ns else 0.0,
            queue=session.depth,
            stored_bytes=session.stored_bytes,
            **common,
        )

    def _begin(
        self, permit: RecordingPermit, takes: Path, context: TakeContext
    ) -> tuple[TakeWriter, TakeSession]:
        take = new_take_id(permit.subject.pseudonym, self._clock.wall_ns())
        keys, sealed = new_keys(take, permit.subject)
        manifest = self._manifest(take, sealed, permit, context)
        fps = sum(rate.fps for rate in self.rates.values())
        rules = self.plan.disk_rules(fps)
        writer = TakeWriter(takes / take, manifest, keys, self._clock, rules)
        packers = {}
        for role in self._cameras:
            clear = role == "privacy" and not self.plan.encrypt_privacy
            sealer = None if clear else keys.sealers[FrameClass(role)]
            budget_ms = 1e3 * self.plan.pack_share / max(self.rates[role].fps, 1.0)
            packers[role] = Packer(role, sealer, budget_ms)
        self._begin_ns = self._clock.now_ns()
        session = TakeSession(
            writer,
            packers,
            self.plan,
            self._clock,
            model=lambda: self.clock_model,
            begin_ns=self._begin_ns,
        )
        return writer, session

    def _manifest(
        self, take: str, sealed: SealedKeys, permit: RecordingPermit, context: TakeContext
    ) -> TakeManifest:
        config = dict(context.config)
        cameras = {
            role: CameraRecord(
                model=camera.info.model,
                serial=camera.info.serial,
                driver=camera.info.driver,
                firmware=camera.info.firmware,
                settings=asdict(camera.settings),
                encrypted=role == "side" or self.plan.encrypt_privacy,
            )
            for role, camera in self._cameras.items()
        }
        return TakeManifest(
            take=take,
            subject=permit.subject.pseudonym,
            simulated=permit.simulated,
            consent=permit.consent,
            keys=sealed,
            anchor=Anchor(monotonic_ns=self._clock.now_ns(), wall_ns=self._clock.wall_ns()),
            cameras=cameras,
            tolerance_ns=self.plan.pairing.tolerance_ns,
            software=camera_rig.__version__,
            config=config,
            config_sha256=hashlib.sha256(canonical_json(config)).hexdigest(),
            mirror=dict(context.mirror),
            calibrations=dict(context.calibrations),
            plan=self.plan.model_dump(mode="json"),
            series=context.series,
            prompt=context.prompt,
        )

    @contextmanager
    def _running(self, until_ns: int | None = None) -> Iterator[None]:
        """Let hand-clocked cameras run for the length of a block; others always do."""
        if self._lockstep is not None:
            self._lockstep.open(until_ns)
        try:
            yield
        finally:
            if self._lockstep is not None:
                self._lockstep.shut()

    def _listen(self, role: str, frame: Frame, received_ns: int) -> None:
        with self._lock:
            self._estimator.add(
                role, frame.captured_ns, received_ns, frame.uncertainty_ns, frame.exposure_s
            )

    def _check_workers(self) -> None:
        if self._trigger is not None and self._trigger.error is not None:
            raise self._trigger.error
        for role, worker in self._workers.items():
            if isinstance(worker.error, RigError):
                raise worker.error
            if worker.error is not None:
                raise StateError(
                    f"the {role} camera's worker died: {worker.error!r}",
                    hint="this is a fault of its driver; see the log",
                ) from worker.error

"""One base for all procedures: declare → plan → measure → fit → check → accept.

A procedure measures in small named steps. Each is kept as soon as it is done, so Ctrl-C
loses at most one step and a second run goes on where the first stopped. Nothing is
taken into use that did not improve a measurement which the fit had not seen. A run that
found the wrong scene, no light or no fit is kept as rejected, with what to do next.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from numpy.linalg import LinAlgError

from calibration.artifact import (
    Artifact,
    CalibrationStore,
    HeldOut,
    Partial,
    Present,
    config_hash,
    new_id,
)
from calibration.operator import Operator, SceneRequest
from camera_rig import __version__
from camera_rig.config import RigConfig
from camera_rig.errors import RigError, StateError, UnsupportedError
from camera_rig.interrupt import SafeInterrupt
from camera_rig.rig import Rig

__all__ = ["Context", "Fitted", "Plan", "Procedure", "Progress", "Step", "present", "run"]

_NOT_CHECKED = HeldOut(metric="nothing was measured", before=0.0, after=0.0)

Progress = Callable[[str, int, int], None]
"""Told after each step: what, how many are done, how many there are."""


@dataclass(frozen=True)
class Plan:
    """What a run would do; made without touching a device.

    Args:
        moves: Commands to the mirror or stage.
        exposures: Pictures.
        minutes: Time it should take.
        scene: What must stand before the rig, as words.
        notes: Sentences for a person.
    """

    moves: int
    exposures: int
    minutes: float
    scene: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One resumable piece of measuring.

    Args:
        name: Unique within the procedure, fit for a file name.
        label: For the progress line.
        measure: Does it; returns arrays to keep.
    """

    name: str
    label: str
    measure: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Fitted:
    """What a procedure found.

    Args:
        figures: Results as numbers, the unit in the key.
        uncertainty: One standard deviation of some of them.
        held_out: Check on data that the fit did not see.
        payload: Everything else, JSON-able.
        arrays: Arrays to keep.
        texts: Further files, by name.
        pictures: Figures for the report: (title, caption, function that draws on a figure).
        problems: Reasons to reject beside the held-out check.
        advice: What to do next if this is rejected; empty for the procedure's own words.
        notes: Sentences for a person.
    """

    figures: dict[str, float]
    held_out: HeldOut
    uncertainty: dict[str, float] = field(default_factory=dict)
    payload: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    pictures: Sequence[tuple[str, str, Callable[[Any], None]]] = ()
    problems: tuple[str, ...] = ()
    advice: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class Context:
    """What a procedure works with.

    Args:
        rig: The open rig.
        store: Where calibrations lie.
        operator: Who puts scenes before the rig.
        progress: Told after each step.
        interrupt: Asked between steps.
    """

    rig: Rig
    store: CalibrationStore
    operator: Operator
    progress: Progress = lambda label, done, total: None
    interrupt: SafeInterrupt = field(default_factory=SafeInterrupt)

    def optional(self, procedure: str) -> Artifact | None:
        """Return the calibration of another procedure if one is in use and still holds."""
        found = self.store.active(procedure)
        if found is None or self.store.stale(found, present(self.rig)):
            return None
        return found

    def input(self, procedure: str) -> Artifact:
        """Return the calibration of another procedure that is in use.

        Raises:
            StateError: There is none.
        """
        found = self.store.active(procedure)
        if found is None:
            raise StateError(
                f"there is no accepted {procedure} calibration",
                hint=f"run `rig calibrate run {procedure}` first",
            )
        return found


class Procedure(ABC):
    """Base of all calibrations. Subclasses hold their settings as plain attributes.

    Not offered: skipping the check. A procedure that cannot tell whether it helped is
    not a calibration.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    """Calibrations that make it better where they are there and still hold."""
    scene: ClassVar[SceneRequest | None] = None
    resumable: ClassVar[bool] = True
    advice: ClassVar[str] = "look at the report, see that the scene is right, and run it again"
    """What to do when a run is rejected for no reason of its own."""

    def roles(self, there: Collection[str]) -> tuple[str, ...]:
        """Return the devices it needs, by role, on a rig that has those that are ``there``."""
        return self.devices

    @abstractmethod
    def plan(self, config: RigConfig) -> Plan:
        """Return what a run would do on the rig of a configuration; no device is touched."""

    @abstractmethod
    def steps(self, context: Context) -> Iterator[Step]:
        """Yield the steps in order; a later step may use what an earlier one found."""

    @abstractmethod
    def fit(self, context: Context, data: Mapping[str, Mapping[str, Any]]) -> Fitted:
        """Turn the data of all steps (by step name) into results."""

    def taken_into_use(self, context: Context, artifact: Artifact) -> None:  # noqa: B027
        """Give what others drive the instrument by; called once it is accepted."""

    def key(self) -> str:
        """Return what makes two runs the same run: the settings."""
        return json.dumps({k: repr(v) for k, v in sorted(vars(self).items())})

    def why_not(
        self,
        there: Collection[str],
        store: CalibrationStore,
        now: Present,
        coming: Collection[str] = (),
    ) -> list[str]:
        """Return every reason why it cannot run.

        Args:
            there: Roles of the devices that the rig has.
            store: Where calibrations lie.
            now: What the rig is now.
            coming: Procedures that will have been run before it.
        """
        why = [f"the rig has no {role}" for role in self.roles(there) if role not in there]
        for name in self.needs:
            found = store.active(name)
            if name in coming:
                continue
            if found is None:
                why.append(f"it needs an accepted {name} calibration")
            elif stale := store.stale(found, now):
                why.append(f"its input {name} is stale: {stale[0]}")
        return why


def run(procedure: Procedure, context: Context) -> Artifact:
    """Run one procedure from scene to accepted (or rejected) artifact.

    Interrupted, it raises KeyboardInterrupt after the present step, with the mirror
    parked and the light off; called again it goes on from there. A run that fails begins
    anew next time: a step that was measured wrongly must not come back.

    Raises:
        StateError: It cannot run (every reason is told), or it found the wrong scene, no
            light or no fit; the attempt is kept as a rejected artifact.
    """
    rig = context.rig
    why = procedure.why_not(rig.devices, context.store, present(rig))
    if why:
        raise StateError(
            f"{procedure.name} cannot run: " + "; ".join(why),
            hint="`rig calibrate all` runs what is missing in the right order",
        )
    partial = context.store.partial(procedure.name)
    if not procedure.resumable:
        partial.clear()
    resumed = partial.begin(f"{config_hash(rig.config)} {procedure.key()}")
    try:
        fitted = _measured_and_fitted(procedure, context, partial)
    except (StateError, UnsupportedError) as error:
        partial.clear()
        failed = _record(procedure, context, (error.message,), error.hint)
        _write(failed, Fitted({}, _NOT_CHECKED), context, procedure.title)
        report = context.store.folder(failed) / "report.html"
        told = f"{error.hint} (the attempt is kept as rejected: {report})"
        raise type(error)(error.message, hint=told) from error
    except RigError as error:
        # A cable, a disk: what was measured before is right, and waits.
        if procedure.resumable and partial.steps():
            error.hint += "; what was measured is kept, the same command goes on from there"
        raise
    reasons = (*fitted.problems, *filter(None, [fitted.held_out.why_rejected]))
    artifact = _record(procedure, context, reasons, fitted.advice or procedure.advice)
    artifact = artifact.model_copy(
        update={
            "figures": {k: float(v) for k, v in fitted.figures.items()},
            "uncertainty": {k: float(v) for k, v in fitted.uncertainty.items()},
            "held_out": fitted.held_out,
            "payload": fitted.payload,
            "notes": (*fitted.notes, *(["taken up after an interruption"] if resumed else [])),
        }
    )
    _write(artifact, fitted, context, procedure.title)
    partial.clear()
    if artifact.status == "accepted":
        context.store.use(artifact)
        procedure.taken_into_use(context, artifact)
    return context.store.load(artifact.id)


def _measured_and_fitted(procedure: Procedure, context: Context, partial: Partial) -> Fitted:
    """Walk the steps, keep each, and fit; leave the rig safe whatever happens."""
    data: dict[str, Mapping[str, Any]] = {}
    try:
        if procedure.scene is not None:
            context.operator.provide(procedure.scene)
        steps = list(procedure.steps(context))
        known = partial.steps()
        for place, step in enumerate(steps):
            if step.name in known:
                data[step.name] = partial.get(step.name)
            else:
                context.interrupt.check()
                context.progress(step.label, place, len(steps))
                data[step.name] = dict(step.measure())
                partial.put(step.name, data[step.name])
            context.progress(step.label, place + 1, len(steps))
        context.progress("fitting", len(steps), len(steps))
        return procedure.fit(context, data)
    except LinAlgError as error:
        raise StateError(
            f"the pictures of {procedure.name} do not determine a result ({error})",
            hint=f"is this the right scene? {procedure.advice}",
        ) from error
    finally:
        _leave_safe(context.rig)


def present(rig: Rig) -> Present:
    """Return what the rig is now, as far as staleness goes."""
    serials = {role: device.info.serial for role, device in rig.devices.items()}
    return Present(
        now=_now(rig).isoformat(),
        config_hash=config_hash(rig.config),
        serials=serials,
        mirror_c=_mirror_c(rig),
        max_age_h=rig.config.calibration.max_age_h,
    )


def _record(
    procedure: Procedure, context: Context, reasons: Sequence[str], advice: str
) -> Artifact:
    """Return the stamped record of a run, accepted when there are no reasons against it."""
    rig = context.rig
    now, roles = present(rig), procedure.roles(rig.devices)
    inputs = {
        **{name: context.optional(name) for name in procedure.uses},
        **{name: context.input(name) for name in procedure.needs},
    }
    return Artifact(
        id=new_id(_now(rig)),
        procedure=procedure.name,
        status="rejected" if reasons else "accepted",
        reason="; ".join(reasons),
        advice=advice if reasons else "",
        made_at=now.now,
        config_hash=now.config_hash,
        serials={role: s for role, s in now.serials.items() if role in roles},
        software=__version__,
        inputs={name: found.id for name, found in inputs.items() if found is not None},
        mirror_c=now.mirror_c if "mirror" in roles else None,
    )


def _write(artifact: Artifact, fitted: Fitted, context: Context, title: str) -> None:
    from calibration.report import render

    texts = {**fitted.texts, "report.html": render(artifact, fitted.pictures, title)}
    context.store.save(artifact, fitted.arrays, texts)


def _leave_safe(rig: Rig) -> None:
    """Park the mirror and shut the light, whatever happened."""
    failures: list[RigError] = []
    ways: tuple[tuple[str, Callable[[Rig], None]], ...] = (("mirror", _park), ("light", _dark))
    for role, leave in ways:
        if rig.has(role):
            try:
                leave(rig)
            except RigError as error:
                failures.append(error)
    if failures:
        raise failures[0]


def _park(rig: Rig) -> None:
    rig.mirror.park()


def _dark(rig: Rig) -> None:
    rig.light.shutter(False)
    rig.light.set(0.0)


def _mirror_c(rig: Rig) -> float | None:
    if not rig.has("mirror"):
        return None
    return rig.mirror.temperatures_c().get("mirror_c")


def _now(rig: Rig) -> datetime:
    return datetime.fromtimestamp(rig.clock.wall_ns() * 1e-9, tz=UTC)

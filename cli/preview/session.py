"""What a preview opens: rig, pipeline, desks; and how all of it is closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camera_rig.errors import ConfigError, PrivacyError
from cli.preview.app import Desks
from cli.preview.source import LiveSource, Source, TargetSource

if TYPE_CHECKING:
    from camera_rig.config import RigConfig
    from camera_rig.recording.consent import RecordingPermit
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig
    from models.runtime.live import LivePipeline
    from models.runtime.live_data import LiveSettings

__all__ = [
    "LiveSession",
    "PreviewRequest",
    "Session",
    "live_session",
    "target_session",
    "why_no_side",
]

TARGETS = frozenset({"flat", "wedge", "point", "charuco", "blink"})
"""Scenes of the twin that show nobody."""


@dataclass(frozen=True)
class PreviewRequest:
    """What the user asked for.

    Args:
        config: Configuration file or name.
        bundle: Folder of the bundle.
        settings: Of the pipeline.
        subject: Pseudonym of who may be recorded; empty for nobody.
        simulated: Whether the subject is the twin's.
        duration_s: Longest take, s.
    """

    config: RigConfig
    bundle: Path
    settings: LiveSettings
    subject: str = ""
    simulated: bool = False
    duration_s: float = 20.0


@dataclass(frozen=True)
class Session:
    """An open preview.

    Args:
        rig: The open rig.
        source: What is shown.
        desks: What else the page may ask.
    """

    rig: Rig
    source: Source[Any]
    desks: Desks


@dataclass(frozen=True)
class LiveSession(Session):
    """An open preview of people.

    Args:
        live: The pipeline.
    """

    live: LivePipeline


@contextmanager
def live_session(request: PreviewRequest) -> Iterator[LiveSession]:
    """Open a preview of people: the side camera is opened only if somebody may be recorded.

    Raises:
        PrivacyError: No consent of the subject is in force, or the rig has no private shape.
        RigError: A device or the bundle could not be opened.
    """
    from camera_rig.optics import Coefficients
    from camera_rig.private_shape import wanted_shape
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig
    from camera_rig.runlog import run_log
    from cli._live import calibration_checks
    from cli.preview import psf
    from cli.preview.mirror import MirrorDesk
    from cli.preview.references import ReferenceDesk
    from cli.preview.takes import TakeDesk, TakeParts
    from models.runtime.bundle import open_bundle
    from models.runtime.live import LivePipeline

    config = request.config
    learned = Coefficients.load(wanted_shape(config))
    store = DataStore.of(config.storage)
    # Before any camera runs: no consent, no side camera.
    permit = _permit(request, store)
    roles = {"privacy", "mirror"} | ({"side"} if permit else set())
    bundle = open_bundle(request.bundle)
    with ExitStack() as stack:
        stack.enter_context(run_log(config.storage.root / "logs", config.name))
        rig = stack.enter_context(Rig.open(config, only=roles))
        checks = calibration_checks(rig)
        live = stack.enter_context(LivePipeline(bundle, rig, request.settings, checks=checks))
        takes = None
        if permit is not None:
            takes = TakeDesk(live, TakeParts(rig, store, permit, _take_plan(request)))
            stack.callback(takes.close)
        desks = Desks(
            mirror=MirrorDesk(live, rig, learned, takes.busy if takes else _never),
            takes=takes,
            references=ReferenceDesk(live),
            measured_psf=psf.measured(config),
        )
        yield LiveSession(rig, LiveSource(live), desks, live)


@contextmanager
def target_session(config: RigConfig, subject: str, *, no_person: bool) -> Iterator[Session]:
    """Open a look at calibration targets, the sharp camera included.

    Raises:
        PrivacyError: A person may be before the rig.
    """
    from camera_rig.recording.store import DataStore
    from camera_rig.rig import Rig
    from camera_rig.runlog import run_log

    if why := why_no_side(config, DataStore.of(config.storage), subject, no_person=no_person):
        raise PrivacyError(
            f"the side camera is not shown: {'; '.join(why)}",
            hint="--show-side is for calibration targets alone; people are shown without it",
        )
    with (
        run_log(config.storage.root / "logs", config.name),
        Rig.open(config, only={"privacy", "side"}) as rig,
        TargetSource(rig.privacy, rig.side, rig.clock) as source,
    ):
        yield Session(rig, source, Desks())


def why_no_side(config: RigConfig, store: DataStore, subject: str, *, no_person: bool) -> list[str]:
    """Return every reason why the sharp camera must not be shown; empty for targets."""
    why = []
    if subject:
        why.append(f"a take of {subject} is configured")
    if not no_person:
        why.append("nobody said that the view is clear (--no-person)")
    scene = getattr(getattr(config.twin, "scene", None), "kind", "head")
    if config.simulated and scene not in TARGETS:
        why.append(f"the simulated scene ({scene}) may show a person")
    consented = [each for each in store.consents.subjects() if _in_force(store, each)]
    if consented and not config.simulated:
        why.append(f"consents to record people are in force here ({', '.join(consented[:3])})")
    return why


def _in_force(store: DataStore, pseudonym: str) -> bool:
    try:
        store.consents.active(pseudonym)
    except PrivacyError:
        return False
    return True


def _permit(request: PreviewRequest, store: DataStore) -> RecordingPermit | None:
    from camera_rig.recording.consent import permit_recording

    if not request.subject:
        if request.simulated:
            raise ConfigError(
                "--simulated says who is recorded, but nobody is",
                hint="add --subject NAME, or leave --simulated away",
            )
        return None
    if request.simulated and not request.config.simulated:
        raise PrivacyError(
            f"rig {request.config.name!r} has real devices",
            hint="leave --simulated away, file a consent",
        )
    return permit_recording(
        request.subject, store.keys, store.consents, simulated=request.simulated
    )


def _take_plan(request: PreviewRequest) -> Any:
    from camera_rig.recording.plan import TakePlan

    storage = request.config.storage
    return TakePlan(
        duration_s=request.duration_s, fsync_s=storage.fsync_s, min_free_gb=storage.min_free_gb
    )


def _never() -> str:
    return ""

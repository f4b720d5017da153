"""One privacy frame from crop to picture, step by step, without threads.

The order is the promise: a :class:`LiveFrame` with a face is made only by
:meth:`LiveCore.show`, which asks for the mirror's proof and the gate's proof; every other
way out of here is a card.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camera_rig.bench import Bench
from camera_rig.contracts import Clock
from camera_rig.errors import ConfigError, RigError
from models.data import planar
from models.heatmaps import layout_named
from models.runtime.bundle import Bundle
from models.runtime.cards import Stage
from models.runtime.engine import Engine
from models.runtime.gate import (
    FaceRules,
    Finding,
    Passed,
    Refused,
    judge_frame,
    judge_painting,
    measure,
)
from models.runtime.live_data import (
    Blank,
    Coded,
    FaceBox,
    LiveFrame,
    LiveSettings,
    Picture,
    PrivacyFrame,
    PrivacyView,
)
from models.runtime.meter import Meter, Spent
from models.runtime.references import Reference
from models.runtime.smooth import Smoother
from models.runtime.tracker import Tracker, Window, cut
from models.runtime.watch import Confirmed

__all__ = ["LiveCore", "Painting"]

_log = logging.getLogger(__name__)
_VIEW_WIDTH_PX = 640
_DETAIL_PX = 256
"""Size at which the gate looks for detail, whatever the networks' size."""


_NEAREST_WINDOW = 0.75
"""Windows down to this share of the expected one keep all their detail."""


@dataclass(frozen=True, eq=False)
class Painting:
    """What came of one privacy frame, before anybody may see it.

    Args:
        frame: The frame, for its times and for the view of the privacy camera.
        verdict: The gate's word.
        spent: Times so far.
        face: ``(size, size, 3)``, grey values 0 … 255; None when refused.
        box: Window of the face; None when refused.
        landmarks_px: On the frame, px; None when refused.
        track: Number of the track.
        reference: Style it was painted in.
    """

    frame: PrivacyFrame
    verdict: Passed | Refused
    spent: Spent
    face: npt.NDArray[np.float32] | None = None
    box: FaceBox | None = None
    landmarks_px: npt.NDArray[np.float32] | None = None
    track: int = 0
    reference: str = ""


class LiveCore:
    """The stages of one live view. :meth:`paint` and the rest may run on two threads.

    Args:
        bundle: The trained system.
        bench: Gives the size of a head on the privacy camera.
        clock: The rig's clock.
        settings: How to run.
        search_per_frame: Windows tried on one frame while no head is followed.

    Raises:
        ConfigError: The bundle has no such reference.
        StorageError: The bundle's rules or references cannot be read.
    """

    def __init__(
        self,
        bundle: Bundle,
        bench: Bench,
        clock: Clock,
        settings: LiveSettings,
        search_per_frame: int = 2,
    ) -> None:
        self.settings, self._clock, self._bench = settings, clock, bench
        self.references: Mapping[str, Reference] = bundle.references()
        self.rules = FaceRules.of_bundle(bundle.folder)
        self.meter = Meter()
        self._size_px = bundle.card.sizes.size_px
        self._layout = layout_named(bundle.card.layout)
        self._search_per_frame = search_per_frame
        self._tracker: Tracker | None = None
        self._tracker_width, self._tracker_shrink = 0, 1
        self._smoother = Smoother(settings.smooth)
        self._stage = Stage(settings)
        self._numbers = itertools.count(1)
        self._reference = next(iter(self.references))
        if settings.reference is not None:
            self.choose_reference(settings.reference)

    @property
    def reference(self) -> str:
        """Name of the style now."""
        return self._reference

    @property
    def box(self) -> FaceBox | None:
        """Where the head is followed, px of the privacy frame as the camera sent it."""
        box = None if self._tracker is None else self._tracker.box
        by = self._tracker_shrink
        return box and FaceBox(
            (box.x_px + 0.5) * by - 0.5, (box.y_px + 0.5) * by - 0.5, box.size_px * by
        )

    def choose_reference(self, name: str) -> None:
        """Paint in another style from the next frame on.

        Raises:
            ConfigError: The bundle has no such reference.
        """
        if name not in self.references:
            raise ConfigError(
                f"the bundle has no reference {name!r}",
                hint=f"choose one of: {', '.join(self.references)}",
            )
        self._reference = name

    def restart(self) -> None:
        """Forget head and past, as before frames of another origin."""
        self._tracker = None
        self._smoother.reset()

    def paint(self, frame: PrivacyFrame, engine: Engine) -> Painting:
        """Find the head and paint a new face; any failure is a refusal with its reason."""
        spent = Spent()
        try:
            return self._paint(frame, engine, spent)
        except Exception as error:
            # Whatever goes wrong in a stage must end as a card, not as a dead thread.
            return Painting(frame, self._failed("paint", error), spent)

    def show(
        self, painting: Painting, proof: Confirmed | str, standing: tuple[Blank, str] | None
    ) -> tuple[LiveFrame, PrivacyView | None]:
        """Return what may be seen of a painting: the face with all proofs, else a card.

        Args:
            painting: From :meth:`paint`.
            proof: The mirror's, or why there is none.
            standing: A reason that no frame can cure, with its kind; None without one.
        """
        if standing is not None:
            return self.blank(*standing, painting=painting), None
        if not isinstance(proof, Confirmed):
            return self.blank(Blank.MIRROR, proof, painting=painting), None
        if not isinstance(painting.verdict, Passed):
            verdict = painting.verdict
            return self.blank(verdict.why, verdict.reason, painting=painting), None
        age_s = (self._clock.now_ns() - painting.frame.received_ns) * 1e-9
        if age_s > self.settings.max_age_s:
            reason = f"the face was ready later than {self.settings.max_age_s:g} s after its frame"
            return self.blank(Blank.LATE, reason, painting=painting), None
        try:
            return self._faced(painting)
        except Exception as error:
            refused = self._failed("compose", error)
            return self.blank(refused.why, refused.reason, painting=painting), None

    def blank(self, why: Blank, reason: str, painting: Painting | None = None) -> LiveFrame:
        """Return a card; the past is forgotten, so that no old face shines through later."""
        self._smoother.reset()
        self.meter.count(f"blank/{why.value}")
        picture = self._stage.card(why, reason)
        return self._frame(picture, painting, why=why, reason=reason)

    def _paint(self, frame: PrivacyFrame, engine: Engine, spent: Spent) -> Painting:
        tracker = self._tracker_for(frame)
        height, width = frame.pixels.shape[:2]
        name = self._reference
        style = self.references[name].style[None]
        best: Refused | None = None
        following = tracker.box is not None
        for box in tracker.windows(width, height):
            with spent.on("crop"):
                window = cut(frame.pixels, box, self._size_px)
                tensor = planar(window.picture)[None]
            with spent.on("gate"):
                fine = window if self._size_px == _DETAIL_PX else cut(frame.pixels, box, _DETAIL_PX)
                sharp = judge_frame(fine.picture, self.rules)
            if sharp is not None:
                tracker.lose()
                return Painting(frame, sharp, spent)
            with spent.on("infer"):
                faces, maps = engine(tensor, style)
            if faces.shape != tensor.shape:
                raise ValueError("the engine painted another size")
            with spent.on("gate"):
                found = measure(maps[0], self._layout)
                verdict = judge_painting(faces[0], found, self.rules)
            if isinstance(verdict, Passed) and (following or _centred(found, self.rules)):
                tracker.found(window, found)
                return self._painting(frame, verdict, spent, (faces[0], window, found), name)
            if isinstance(verdict, Passed) or verdict.why is not Blank.NO_FACE:
                tracker.found(window, found)  # a head, but off the middle: next frame is better
            if isinstance(verdict, Passed):
                verdict = Refused(Blank.NO_FACE, "a face was just found")
            best = verdict if best is None or verdict.why is not Blank.NO_FACE else best
            if tracker.box is not None and not following:
                break
        if following:
            tracker.missed()
        return Painting(frame, best or Refused(Blank.NO_FACE, "no face found"), spent)

    def _painting(
        self,
        frame: PrivacyFrame,
        verdict: Passed,
        spent: Spent,
        made: tuple[npt.NDArray[np.float32], Window, Finding],
        name: str,
    ) -> Painting:
        face, window, found = made
        tracker = self._tracker_for(frame)
        return Painting(
            frame,
            verdict,
            spent,
            face=np.ascontiguousarray(face.transpose(1, 2, 0)) * np.float32(255.0),
            box=_box_of(window),
            landmarks_px=window.to_frame(found.landmarks),
            track=hash((tracker.track, name)),
            reference=name,
        )

    def _faced(self, painting: Painting) -> tuple[LiveFrame, PrivacyView]:
        face, box, places = painting.face, painting.box, painting.landmarks_px
        if face is None or box is None or places is None:
            raise ValueError("a painting that passed has no face")
        frame, spent = painting.frame, painting.spent
        with spent.on("compose"):
            smooth = self._smoother(face, painting.track)
            picture = self._stage.face(smooth, box, (frame.pixels.shape[1], frame.pixels.shape[0]))
        shown = self._frame(picture, painting)
        self.meter.count("faces")
        shrink = min(1.0, _VIEW_WIDTH_PX / frame.pixels.shape[1])
        quality = self.settings.jpeg_quality
        return shown, PrivacyView(frame.pixels, shrink, shown.number, box, places, quality)

    def _frame(
        self,
        picture: Picture,
        painting: Painting | None,
        *,
        why: Blank | None = None,
        reason: str = "",
    ) -> LiveFrame:
        now_ns = self._clock.now_ns()
        spent: Mapping[str, tuple[float, float]] = {}
        captured_s = received_s = sequence = None
        if painting is not None:
            frame = painting.frame
            captured_s, received_s = frame.captured_ns * 1e-9, frame.received_ns * 1e-9
            sequence = frame.sequence
            painting.spent.add("received_to_out", (now_ns - frame.received_ns) * 1e-9)
            painting.spent.add("captured_to_out", (now_ns - frame.captured_ns) * 1e-9)
            spent = painting.spent
            self.meter.take(spent)
        return LiveFrame(
            picture=picture,
            number=next(self._numbers),
            captured_s=captured_s,
            received_s=received_s,
            out_s=now_ns * 1e-9,
            stages_ms={stage: wall for stage, (wall, _) in spent.items()},
            blank=why is not None,
            reason=reason,
            why=why,
            sequence=sequence,
            reference="" if painting is None else painting.reference,
            coded=Coded(picture, self.settings.jpeg_quality),
        )

    def _tracker_for(self, frame: PrivacyFrame) -> Tracker:
        height, width = frame.pixels.shape[:2]
        if self._tracker is None or self._tracker_width != width:
            nominal_px = min(self._window_px(width * frame.shrink) / frame.shrink, width, height)
            self._tracker = Tracker(nominal_px, self.rules, self._search_per_frame)
            self._tracker_width, self._tracker_shrink = width, frame.shrink
            self._stage = Stage(self.settings, width / height)
        return self._tracker

    def shrink_for(self, width: int) -> int:
        """Return how far a frame of this width (px) may be shrunk before the networks see it.

        A window that is already smaller than they need costs detail; one that is larger is
        made smaller anyway, and a JPEG is much cheaper to decode at half its size.
        """
        least_px = self._window_px(width) * _NEAREST_WINDOW
        return max(by for by in (1, 2, 4, 8) if by == 1 or least_px / by >= self._size_px)

    def _window_px(self, width: int) -> float:
        """Side of the window around a head that stands where the bench expects it."""
        if self.settings.window_px is not None:
            return self.settings.window_px
        optics, distance_mm = self._bench.privacy, self._bench.object_distance_mm
        px_per_mm = optics.magnification(distance_mm) * width / optics.sensor_width_mm
        return self.settings.face_mm * px_per_mm

    def _failed(self, stage: str, error: Exception) -> Refused:
        self.meter.count(f"failure/{stage}")
        told = error.message if isinstance(error, RigError) else type(error).__name__
        _log.error("live_stage_failed", extra={"stage": stage, "why": told}, exc_info=error)
        return Refused(Blank.FAILED, f"stage {stage} failed: {told}")


def _centred(found: Finding, rules: FaceRules) -> bool:
    off = np.hypot(found.middle[0] - rules.middle_x, found.middle[1] - rules.middle_y)
    return bool(off < 0.5 * rules.max_off_middle)


def _box_of(window: Window) -> FaceBox:
    half = window.side_px / 2
    return FaceBox(window.left_px + half - 0.5, window.top_px + half - 0.5, float(window.side_px))

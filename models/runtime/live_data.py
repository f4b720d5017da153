"""What the live pipeline takes and gives: settings, frames, views, figures.

Nothing here can hold a frame of the sharp camera: :class:`PrivacyFrame` refuses every
serial but the privacy camera's, and :class:`LiveFrame` holds painted pixels or a card.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.contracts import Frame
from camera_rig.errors import PrivacyError, UnsupportedError

__all__ = [
    "Blank",
    "CameraFigures",
    "Coded",
    "FaceBox",
    "LiveFrame",
    "LiveSettings",
    "LiveStatus",
    "MirrorState",
    "Picture",
    "PrivacyFrame",
    "PrivacyView",
    "StageFigures",
]

Picture = npt.NDArray[np.uint8]
"""``(height, width, 3)``, RGB, 8 bit."""


class Blank(StrEnum):
    """Why a card is shown instead of a face."""

    STARTING = "starting"
    STOPPED = "stopped"
    MIRROR = "mirror"
    """The mirror was not confirmed in its private shape before and after the exposure."""
    OPTICS = "optics"
    """The bundle was not trained for the shape on the mirror."""
    CALIBRATION = "calibration"
    CAMERA = "camera"
    """No frame comes, or the camera is gone."""
    FAILED = "failed"
    """A stage raised an error."""
    LATE = "late"
    NO_FACE = "no face"
    SHARP = "sharp"
    """The frame holds more detail than the private shape lets through."""
    UNSURE = "unsure"
    """A face was painted, but the gate does not trust it."""


class LiveSettings(BaseModel):
    """How the pipeline runs. All lengths of time are seconds.

    Args:
        engine: ``auto`` tries what the bundle holds and takes the fastest that agrees
            with torch; or the start of a name: ``torch``, ``onnx``, ``openvino``.
        int8: Whether int8 exports may be chosen.
        reference: Name of the public reference face whose style is painted; None takes
            the first. Fixed for a track unless :meth:`LivePipeline.choose_reference`.
        view: ``face``: the painted square alone. ``room``: the square where it stands,
            on a plain card of the camera's shape; nothing of the frame is around it.
        height_px: Height of the picture sent; a face is square, a room 3:2 or as the
            camera is.
        smooth: Temporal smoothing of what does not move, 0 (none) to 0.9.
        max_age_s: A face later than this after its delivery by the camera is not shown.
        silence_s: Without a new frame for so long, a card says so; repeated each time.
        recover_s: Pause between tries to get a lost camera or mirror back.
        jpeg_quality: Of :attr:`LiveFrame.jpeg`.
        calibrations: Ids of the calibrations in force, for bundles that name theirs.
        face_mm: Width of the window around a head, mm at the bench's object distance.
        window_px: The same in px of the frame, for frames of another bench; None takes
            ``face_mm``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str = "auto"
    int8: bool = True
    reference: str | None = None
    view: Literal["face", "room"] = "face"
    height_px: int = Field(512, ge=64, le=2160)
    smooth: float = Field(0.5, ge=0.0, le=0.9)
    max_age_s: float = Field(0.4, gt=0.0)
    silence_s: float = Field(0.5, gt=0.0)
    recover_s: float = Field(1.0, gt=0.0)
    jpeg_quality: int = Field(85, ge=30, le=100)
    calibrations: tuple[str, ...] = ()
    face_mm: float = Field(260.0, gt=0.0)
    window_px: float | None = Field(None, ge=16.0)


@dataclass(frozen=True, slots=True)
class FaceBox:
    """The square window around a head on the privacy frame.

    Args:
        x_px: Centre, px.
        y_px: Centre, px.
        size_px: Side length, px.
    """

    x_px: float
    y_px: float
    size_px: float


class PrivacyFrame:
    """A frame of the camera behind the mirror, and of no other.

    Args:
        frame: What the camera gave.
        serial: Serial number of the rig's privacy camera.
        received_ns: When it was handed over, ns on the rig clock.
        shrink: 1, 2, 4 or 8: take the picture at this fraction of its size.

    Raises:
        PrivacyError: The frame is another camera's.
        UnsupportedError: Not 8-bit RGB live view.
    """

    __slots__ = ("captured_ns", "exposure_s", "pixels", "received_ns", "sequence", "shrink")

    def __init__(self, frame: Frame, serial: str, received_ns: int, shrink: int = 1) -> None:
        if not serial or frame.camera != serial:
            raise PrivacyError(
                f"a frame of camera {frame.camera!r} reached the live view",
                hint=f"only {serial!r}, the camera behind the mirror, may be shown",
            )
        pixels = frame.shrunk(shrink)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or frame.linear:
            raise UnsupportedError(
                "the live view takes 8-bit RGB frames", hint="set the privacy camera to live view"
            )
        self.pixels: Picture = np.asarray(pixels, dtype=np.uint8)
        self.shrink = shrink
        self.sequence, self.captured_ns = frame.sequence, frame.captured_ns
        self.exposure_s, self.received_ns = frame.exposure_s, received_ns


class Coded:
    """A picture that is coded as JPEG at most once, whoever asks first."""

    __slots__ = ("_jpeg", "_lock", "_quality", "picture")

    def __init__(self, picture: Picture, quality: int) -> None:
        self.picture, self._quality = picture, quality
        self._jpeg: bytes | None = None
        self._lock = threading.Lock()

    @property
    def jpeg(self) -> bytes:
        """The JPEG, made now if it was not yet."""
        with self._lock:
            if self._jpeg is None:
                self._jpeg = encode_jpeg(self.picture, self._quality)
            return self._jpeg


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """Return the JPEG of an RGB picture."""
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    good, coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    if not good:
        raise UnsupportedError("OpenCV could not code a JPEG", hint="check the OpenCV build")
    return coded.tobytes()


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One picture that may be shown to anybody: a painted face, or a card.

    Args:
        picture: RGB, read-only. Never a pixel of a camera.
        number: Counts up by one for each frame given out, from 1.
        captured_s: Middle of the exposure, s on the rig clock; None for a card without
            a frame.
        received_s: When the camera delivered it; None as above.
        out_s: When this frame was given out.
        stages_ms: Time that each stage took for this frame, ms.
        blank: Whether it is a card.
        reason: What the card says; empty for a face.
        why: Kind of reason; None for a face.
        sequence: Number the camera gave to the frame; None for a card without one.
        reference: Name of the style; empty for a card.
        coded: Holds the JPEG, made when first asked for.
    """

    picture: Picture
    number: int
    captured_s: float | None
    received_s: float | None
    out_s: float
    stages_ms: Mapping[str, float]
    blank: bool
    reason: str
    why: Blank | None
    sequence: int | None
    reference: str
    coded: Coded = field(repr=False)

    @property
    def jpeg(self) -> bytes:
        """The picture as JPEG, made once for all viewers. Safe from any thread."""
        return self.coded.jpeg


class PrivacyView:
    """What the privacy camera saw: the distorted frame of the last face shown.

    Only of a moment at which the mirror was confirmed in its private shape. Made small and
    coded when first asked for: mostly nobody looks.

    Args:
        pixels: The privacy frame, RGB.
        shrink: Size of the view over that of the frame, at most 1.
        number: Number of the :class:`LiveFrame` it belongs to.
        box: Where the face was found, px of the frame.
        landmarks_px: ``(points, 2)`` as read off the heatmaps, px of the frame.
        jpeg_quality: Of :attr:`jpeg`.
    """

    def __init__(
        self,
        pixels: Picture,
        shrink: float,
        number: int,
        box: FaceBox,
        landmarks_px: npt.NDArray[np.float32],
        jpeg_quality: int,
    ) -> None:
        self._pixels, self._shrink, self._quality = pixels, shrink, jpeg_quality
        self._lock = threading.Lock()
        self._coded: Coded | None = None
        self.number = number
        self.box = FaceBox(box.x_px * shrink, box.y_px * shrink, box.size_px * shrink)
        """Where the face was found, px of the picture."""
        self.landmarks_px = landmarks_px * np.float32(shrink)
        """``(points, 2)``, px of the picture."""

    @property
    def picture(self) -> Picture:
        """The view, RGB, read-only. Safe from any thread."""
        return self._made().picture

    @property
    def jpeg(self) -> bytes:
        """The picture as JPEG, made once for all viewers. Safe from any thread."""
        return self._made().jpeg

    def _made(self) -> Coded:
        import cv2

        with self._lock:
            if self._coded is None:
                small = self._pixels
                if self._shrink < 1.0:
                    size = tuple(round(n * self._shrink) for n in small.shape[1::-1])
                    small = np.asarray(
                        cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8
                    )
                small.setflags(write=False)
                self._coded = Coded(small, self._quality)
            return self._coded


@dataclass(frozen=True)
class StageFigures:
    """How long one stage takes, over the last few hundred frames.

    Args:
        p50_ms: Median, ms.
        p95_ms: 95th percentile, ms.
        p99_ms: 99th percentile, ms.
        core_p50_ms: Median processor time of its thread, ms; 0 where that has no meaning.
        count: Frames it is taken from.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    core_p50_ms: float
    count: int


@dataclass(frozen=True)
class MirrorState:
    """The mirror as last asked.

    Args:
        confirmed: Whether it stood in its private shape.
        reasons: Why not; empty while confirmed.
        age_s: How long ago that was asked, s; None before the first time.
        temperatures_c: By sensor, °C.
        shape: Name of the coefficient file; empty before it was loaded.
    """

    confirmed: bool
    reasons: tuple[str, ...]
    age_s: float | None
    temperatures_c: Mapping[str, float]
    shape: str


@dataclass(frozen=True)
class CameraFigures:
    """The privacy camera's stream.

    Args:
        fps: Frames received per second, over the last seconds.
        received: Frames received.
        lost: Frames that never arrived, by their numbers.
        skipped: Frames not painted because a newer one had come.
        reopened: Times the camera was opened anew.
    """

    fps: float
    received: int
    lost: int
    skipped: int
    reopened: int


@dataclass(frozen=True)
class LiveStatus:
    """One snapshot of the pipeline; plain data, JSON-able by :meth:`to_dict`.

    Args:
        showing: Whether the newest frame is a face.
        reason: What the newest card says; empty while showing.
        standing: Reasons that no frame can cure: optics, calibration.
        engine: What runs the networks, with precision: ``OpenVINO fp32``.
        engine_times_ms: Warm-up median of every engine tried, ms per frame.
        bundle: Name of the bundle.
        reference: Name of the style.
        references: Names that can be chosen.
        fps: Frames given out per second, cards included, over the last seconds.
        faces: Faces given out.
        blanks: Cards given out, by kind of reason.
        failures: Errors inside stages, by stage.
        stages: By name: ``read``, ``crop``, ``infer``, ``gate``, ``mirror`` (wait for
            the read-back), ``compose``, ``encode``, and end to end
            ``received_to_out``, ``captured_to_out``, ``captured_to_sent``.
        camera: The stream.
        mirror: The mirror.
        box: Where the face is, px of the privacy frame; None while none is followed.
        uptime_s: Since the start, s.
    """

    showing: bool
    reason: str
    standing: tuple[str, ...]
    engine: str
    engine_times_ms: Mapping[str, float]
    bundle: str
    reference: str
    references: tuple[str, ...]
    fps: float
    faces: int
    blanks: Mapping[str, int]
    failures: Mapping[str, int]
    stages: Mapping[str, StageFigures]
    camera: CameraFigures
    mirror: MirrorState
    box: FaceBox | None
    uptime_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        from dataclasses import asdict

        return asdict(self)

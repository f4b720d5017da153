"""Which pairs are good enough to learn from, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from camera_rig.recording.faces import Face
from camera_rig.recording.reading import StoredGroup
from camera_rig.recording.registration import CropBox

__all__ = ["Measures", "QualityRules", "judge", "measure"]

Share = Annotated[float, Field(ge=0, le=1)]


class QualityRules(BaseModel):
    """Limits of a good pair.

    Args:
        min_sharpness_share: Sharpness of the side face over the take's median.
        max_eyes_closed: 0 open to 1 closed.
        max_yaw_deg: Largest turn of the head, degrees.
        max_skew_ms: Largest skew, ms; None takes the take's own tolerance.
        max_outside: Share of the crop that may lie outside the frame.
        min_score: Least sureness of the detector; below it counts as occluded.
        min_mean: Least mean grey value of the face, 0 to 255.
        max_mean: Largest mean grey value of the face, 0 to 255.
        min_novelty: Least mean difference to the last kept face, grey values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_sharpness_share: Share = 0.4
    max_eyes_closed: Share = 0.6
    max_yaw_deg: float = 60.0
    max_skew_ms: float | None = None
    max_outside: Share = 0.05
    min_score: float = 0.0
    min_mean: float = 15.0
    max_mean: float = 240.0
    min_novelty: float = 0.5


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one pair; numbers only, no picture.

    Args:
        sharpness: Variance of the Laplacian of the face at 128 px.
        mean: Mean grey value of the face.
        skew_ms: Absolute skew, ms.
        outside: Share of the crop outside the frame.
        score: Sureness of the detector.
        eyes_closed: 0 to 1, or None.
        yaw_deg: Turn of the head, degrees, or None.
    """

    sharpness: float
    mean: float
    skew_ms: float
    outside: float
    score: float
    eyes_closed: float | None
    yaw_deg: float | None


def measure(
    crop: npt.NDArray[np.uint8], group: StoredGroup, box: CropBox, face: Face
) -> tuple[Measures, npt.NDArray[np.float32]]:
    """Return the figures of a pair, and a 24 px grey print of the face (keep in memory)."""
    import cv2

    grey = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)
    side = group.frames["side"]
    measures = Measures(
        sharpness=round(float(cv2.Laplacian(small, cv2.CV_32F).var()), 3),
        mean=round(float(small.mean()), 2),
        skew_ms=round(abs(side.skew_ns or 0) * 1e-6, 4),
        outside=round(box.outside_share(side.width_px, side.height_px), 4),
        score=round(face.score, 4),
        eyes_closed=None if face.eyes_closed is None else round(face.eyes_closed, 4),
        yaw_deg=None if face.yaw_deg is None else round(face.yaw_deg, 3),
    )
    # 24 px after a strong average: noise vanishes, expression and pose remain.
    tiny = cv2.resize(small, (24, 24), interpolation=cv2.INTER_AREA)
    return measures, np.asarray(tiny, dtype=np.float32)


def judge(
    m: Measures, rules: QualityRules, median_sharpness: float, tolerance_ms: float
) -> list[str]:
    """Return every reason against a pair; empty if it is good.

    Args:
        m: Figures of the pair.
        rules: Limits.
        median_sharpness: Of all pairs of the take, in squared grey values.
        tolerance_ms: The take's own limit of the skew, ms.
    """
    limit_ms = tolerance_ms if rules.max_skew_ms is None else rules.max_skew_ms
    why = []
    if m.sharpness < rules.min_sharpness_share * median_sharpness:
        why.append("blurred")
    if m.eyes_closed is not None and m.eyes_closed > rules.max_eyes_closed:
        why.append("eyes closed")
    if m.yaw_deg is not None and abs(m.yaw_deg) > rules.max_yaw_deg:
        why.append("turned away")
    if m.skew_ms > limit_ms:
        why.append("skew")
    if m.outside > rules.max_outside:
        why.append("outside the frame")
    if m.score < rules.min_score:
        why.append("occluded")
    if not rules.min_mean <= m.mean <= rules.max_mean:
        why.append("exposure")
    return why

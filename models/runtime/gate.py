"""The quality gate: is there a face, is it hidden, is what was painted one to show?

Every question is asked of numbers that the pipeline has anyway: the heatmaps, the
landmarks read off them, the painted picture, and how much detail the frame holds. A
gate that cannot tell says no.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camera_rig.errors import StorageError
from models.heatmaps import LandmarkLayout
from models.runtime.live_data import Blank, Picture

__all__ = ["FaceRules", "Finding", "Passed", "Refused", "judge_frame", "judge_painting", "measure"]

RULES = "live.json"
"""File of a bundle with rules of its own."""

Points = npt.NDArray[np.float32]
_REACH = 3
"""Neighbours of a peak that are averaged, each way, px of the maps."""


class FaceRules(BaseModel):
    """What counts as a face in a window, and what as too sharp. Shares of the window.

    Defaults are of rendered heads in a window of 260 mm seen through the published shape;
    a bundle with a ``live.json`` brings its own.

    Args:
        middle_x: Mean of the landmarks, from the window's middle, to the right.
        middle_y: The same, downwards.
        spread: RMS distance of the landmarks from their mean.
        spread_range: Smallest and largest spread over ``spread`` that can be a face.
        min_peak: Least median height of the heatmaps' peaks, 0 … 1.
        least_peak: Least height of the tenth-lowest of a hundred peaks, 0 … 1.
        max_off_middle: Farthest mean of the landmarks from its place.
        max_detail: Most detail (2 to 4 px) over coarse detail (8 to 16 px) of a frame in
            the private shape; measured 0.14 to 0.19 there, 0.28 and more with a flat mirror.
        detail_floor: Detail below this is noise, grey values RMS.
        min_contrast: Least standard deviation of a painted face, 0 … 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    middle_x: float = 0.0
    middle_y: float = 0.05
    spread: float = Field(0.202, gt=0)
    spread_range: tuple[float, float] = (0.6, 1.6)
    min_peak: float = Field(0.30, ge=0, le=1)
    least_peak: float = Field(0.10, ge=0, le=1)
    max_off_middle: float = Field(0.30, gt=0)
    max_detail: float = Field(0.24, gt=0)
    detail_floor: float = Field(0.8, ge=0)
    min_contrast: float = Field(0.02, ge=0)

    @classmethod
    def of_bundle(cls, folder: Path) -> FaceRules:
        """Return a bundle's rules, or the defaults.

        Raises:
            StorageError: Its file cannot be read.
        """
        file = folder / RULES
        if not file.exists():
            return cls()
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise StorageError(
                f"{file} cannot be read: {error}", hint="remove the file or make the bundle again"
            ) from error


@dataclass(frozen=True, eq=False)
class Finding:
    """What the heatmaps of one window tell.

    Args:
        landmarks: ``(points, 2)``, shares of the window from its upper left corner.
        peak: Median height of the peaks, 0 … 1.
        weak_peak: Height that nine of ten peaks exceed.
        middle: Mean of the landmarks, shares from the window's middle.
        spread: RMS distance from their mean, share of the window.
        upright: Whether the eyes are above the mouth's and nose's mean.
    """

    landmarks: Points
    peak: float
    weak_peak: float
    middle: tuple[float, float]
    spread: float
    upright: bool


class Passed:
    """Proof that the gate let a painting through; only :func:`judge_painting` makes one."""

    __slots__ = ()


@dataclass(frozen=True)
class Refused:
    """A no of the gate.

    Args:
        why: Kind.
        reason: For a person.
    """

    why: Blank
    reason: str


def measure(maps: npt.NDArray[np.float32], layout: LandmarkLayout) -> Finding:
    """Return what one window's heatmaps ``(points + 1, h, w)`` tell."""
    from models.heatmaps import STRIDE

    spots = maps[: layout.points]
    size_px = maps.shape[-1] * STRIDE
    places, peaks = _read(spots)
    landmarks = ((places + 0.5) * STRIDE / size_px).astype(np.float32)
    middle = landmarks.mean(axis=0)
    eyes, inner = landmarks[list(layout.eyes)], landmarks[list(layout.inner)]
    return Finding(
        landmarks=landmarks,
        peak=float(np.median(peaks)),
        weak_peak=float(np.quantile(peaks, 0.1)),
        middle=(float(middle[0] - 0.5), float(middle[1] - 0.5)),
        spread=float(np.sqrt(((landmarks - middle) ** 2).sum(axis=1).mean())),
        upright=bool(eyes[:, 1].mean() < inner[:, 1].mean()),
    )


def _read(spots: npt.NDArray[np.float32]) -> tuple[Points, npt.NDArray[np.float32]]:
    """Return peaks (x, y), px of the maps, and their heights.

    What :func:`models.heatmaps.read_landmarks` gives, from the few pixels that count.
    """
    count, height, width = spots.shape
    at = spots.reshape(count, -1).argmax(axis=1)
    rows, columns = at // width, at % width
    peaks = spots[np.arange(count), rows, columns]
    reach = np.arange(-_REACH, _REACH + 1)
    y, x = rows[:, None] + reach, columns[:, None] + reach
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    near = spots[
        np.arange(count)[:, None, None],
        np.clip(y, 0, height - 1)[:, :, None],
        np.clip(x, 0, width - 1)[:, None, :],
    ]
    weight = np.where(inside, np.maximum(near, 0.0), 0.0)
    total = np.maximum(weight.sum(axis=(1, 2)), 1e-12)
    found_x = (weight.sum(axis=1) * x).sum(axis=1) / total
    found_y = (weight.sum(axis=2) * y).sum(axis=1) / total
    return np.stack([found_x, found_y], axis=1).astype(np.float32), peaks


def why_no_face(found: Finding, rules: FaceRules) -> str:
    """Return why a window holds no face; empty when it does."""
    numbers = (found.peak, found.weak_peak, found.spread, *found.middle)
    if not np.all(np.isfinite(numbers)):
        return "the heatmaps are not numbers"
    if found.peak < rules.min_peak or found.weak_peak < rules.least_peak:
        return "the landmarks are faint"
    low, high = rules.spread_range
    if not low <= found.spread / rules.spread <= high:
        return "the landmarks are not as far apart as a face's"
    off = np.hypot(found.middle[0] - rules.middle_x, found.middle[1] - rules.middle_y)
    if off > rules.max_off_middle:
        return "the landmarks lie at the window's edge"
    return "" if found.upright else "the landmarks stand on their head"


def detail(window: Picture) -> tuple[float, float]:
    """Return (fine over coarse detail, fine detail in grey values RMS) of an RGB window.

    A window of 256 px shows 260 mm, so fine is 2 to 4 mm: what tells faces apart, and
    what the private shape takes away.
    """
    import cv2

    grey = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY).astype(np.float32)
    share = grey.shape[0] / 256.0
    fine = cv2.GaussianBlur(grey, (0, 0), 2 * share) - cv2.GaussianBlur(grey, (0, 0), 4 * share)
    # Coarse bands are smooth: half the pixels, half the work.
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(half, (0, 0), 4 * share) - cv2.GaussianBlur(half, (0, 0), 8 * share)
    edge = max(1, round(16 * share))
    fine_rms = float(fine[edge:-edge, edge:-edge].std())
    coarse_rms = float(
        coarse[edge // 2 : -(edge // 2) or None, edge // 2 : -(edge // 2) or None].std()
    )
    return fine_rms / max(coarse_rms, 1e-6), fine_rms


def judge_frame(window: Picture, rules: FaceRules) -> Refused | None:
    """Refuse a frame that is sharper than the private shape allows; None lets it go on."""
    ratio, fine = detail(window)
    if fine > rules.detail_floor and ratio > rules.max_detail:
        return Refused(
            Blank.SHARP, "the camera sees more detail than the private shape lets through"
        )
    return None


def judge_painting(
    face: npt.NDArray[np.float32], found: Finding, rules: FaceRules
) -> Passed | Refused:
    """Return the gate's word on a painted face ``(3, size, size)`` in 0 … 1.

    Args:
        face: What G painted.
        found: What the heatmaps of the same window tell.
        rules: What counts as a face.
    """
    if why := why_no_face(found, rules):
        return Refused(Blank.NO_FACE, f"no face found: {why}")
    if not np.isfinite(face).all():
        return Refused(Blank.UNSURE, "the painted face is not made of numbers")
    if float(face.std()) < rules.min_contrast:
        return Refused(Blank.UNSURE, "the painted face is empty")
    return Passed()

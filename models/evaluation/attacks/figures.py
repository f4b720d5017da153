"""What an attack brought: figures with intervals over people, and how each cell is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.evaluation.attacks.frames import Split
from models.evaluation.embedders import Picture
from models.evaluation.identity import Floats, Labels, mean_by_identity, rank_hits, unit
from models.evaluation.quality import psnr_db, ssim

__all__ = ["CellResult", "CurveRecord", "Range", "Ranks", "fidelity", "ranks"]

_DRAWS = 500


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Stored):
    """A figure with its 95 % interval over people (bootstrap)."""

    value: float
    low: float
    high: float


class Ranks(_Stored):
    """How often the right person is found.

    Args:
        rank1: Share of probes whose nearest person of a sharp gallery is the right one.
        rank5: Share with the right person among the nearest five.
        own_gallery: Rank-1 when the gallery went through the same camera and attack;
            None where that was not tried.
        chance: Rank-1 of guessing.
    """

    rank1: Range
    rank5: Range
    own_gallery: Range | None
    chance: float


class CurveRecord(_Stored):
    """Learning curve of a trained attacker.

    Args:
        figure: What was measured on held-out data.
        steps: Updates done at each look.
        held_out: The figure there.
        seconds: Wall time of the training, s.
        still_rising: Whether it had not levelled off: more training would bring more.
    """

    figure: str
    steps: tuple[int, ...]
    held_out: tuple[float, ...]
    seconds: float
    still_rising: bool


class CellResult(_Stored):
    """One attack on one camera.

    Args:
        attack: Name of the attack.
        camera: Name of the camera.
        detail: The camera's strength.
        knows: What the attacker was given.
        ranks: Recogniser to what it finds.
        psnr_db: PSNR of the attacker's pictures, dB; None for vectors.
        ssim: SSIM of them.
        curve: Learning curve of what was trained.
        extra: Further figures by name.
        notes: What a reader must know.
        seconds: Wall time of the whole cell, s.
    """

    attack: str
    camera: str
    detail: str
    knows: tuple[str, ...]
    ranks: dict[str, Ranks] = Field(default_factory=dict)
    psnr_db: Range | None = None
    ssim: Range | None = None
    curve: CurveRecord | None = None
    extra: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def ranks(gallery: Floats, probes: Floats, labels: Labels, split: Split) -> tuple[Range, Range]:
    """Return rank-1 and rank-5 with intervals over the people sought.

    Args:
        gallery: Vectors of the gallery rows.
        probes: Vectors of the probe rows.
        labels: Who, for all rows of the table.
        split: Which rows are which.
    """
    known, sought = list(labels[split.gallery]), labels[split.probes]
    gallery, probes = unit(gallery), unit(probes)
    found = []
    for rank in (1, 5):
        found.append(_range(rank_hits(gallery, known, probes, list(sought), rank), sought))
    return found[0], found[1]


def fidelity(found: Picture, truth: Picture, labels: Labels) -> tuple[Range, Range]:
    """Return PSNR in dB and SSIM of pictures ``(n, h, w, 3)``, with intervals over people."""
    pairs = list(zip(found, truth, strict=True))
    db = [min(psnr_db(a, b, full_scale=255.0), 99.0) for a, b in pairs]
    alike = [ssim(_scaled(a), _scaled(b)) for a, b in pairs]
    return _range(np.array(db), labels), _range(np.array(alike), labels)


def _scaled(picture: Picture) -> Floats:
    return np.asarray(picture, dtype=np.float64) / 255.0


def _range(values: Any, labels: Labels) -> Range:
    interval = mean_by_identity(np.asarray(values, dtype=np.float64), list(labels), draws=_DRAWS)
    return Range(value=interval.value, low=interval.low, high=interval.high)

"""The attacks that end with pictures, carried out and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor

from camera_rig.errors import UnsupportedError
from models.camera import to_display, to_linear
from models.evaluation.attacks.cameras import Victim
from models.evaluation.attacks.figures import CellResult, CurveRecord, Ranks, fidelity, ranks
from models.evaluation.attacks.frames import photographed, to_pictures, to_planes
from models.evaluation.attacks.ground import Ground
from models.evaluation.attacks.learning import Curve
from models.evaluation.attacks.prior import FacePrior, Rounds, plug_and_play
from models.evaluation.attacks.restore import RIM_SHARE, Restorer
from models.evaluation.attacks.richardson_lucy import richardson_lucy
from models.evaluation.attacks.wiener import WIDE_STRENGTHS, best_wiener
from models.evaluation.embedders import Picture

__all__ = ["PICTURE_ATTACKS", "Recovered", "curve_record", "judged"]

_CHUNK = 16
RICHARDSON_LUCY_ROUNDS = (3, 10, 30)
"""Rounds that the attacker tries."""

_LIGHTS: tuple[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], ...] = (
    (lambda stored: stored, lambda stored: stored),
    (to_linear, to_display),
)
"""Ways to filter and back: stored values as they are, or the light behind the display curve.
A lens blurs light, and an attacker who does not try that has not tried."""


@dataclass(frozen=True, eq=False)
class Recovered:
    """What an attack made of the frames.

    Args:
        pictures: One for every row of the people sought.
        curve: Learning curve, when something was trained.
        extra: Further figures by name.
        notes: What a reader must know.
    """

    pictures: Picture
    curve: Curve | None = None
    extra: dict[str, float] | None = None
    notes: tuple[str, ...] = ()


def judged(ground: Ground, cell: CellResult, found: Recovered) -> CellResult:
    """Return a cell with the figures of recovered pictures.

    Args:
        ground: What it was done on.
        cell: The cell without figures.
        found: What the attack made.
    """
    table, split = ground.sought, ground.split
    outcome: dict[str, Ranks] = {}
    for name in ground.recognisers:
        vectors = ground.vectors(name, found.pictures, table)
        probes = vectors[split.probes]
        first, fifth = ranks(ground.gallery_vectors[name], probes, table.labels, split)
        own, _ = ranks(vectors[split.gallery], probes, table.labels, split)
        chance = 1.0 / len(split.gallery)
        outcome[name] = Ranks(rank1=first, rank5=fifth, own_gallery=own, chance=chance)
    rows = split.probes
    db, alike = fidelity(found.pictures[rows], table.sharp[rows], table.labels[rows])
    return cell.model_copy(
        update={
            "ranks": outcome,
            "psnr_db": db,
            "ssim": alike,
            "curve": curve_record(found.curve),
            "extra": found.extra or {},
            "notes": found.notes,
        }
    )


def curve_record(curve: Curve | None) -> CurveRecord | None:
    """Return a learning curve as it is stored."""
    if curve is None:
        return None
    return CurveRecord(
        figure=curve.figure,
        steps=curve.steps,
        held_out=curve.held_out,
        seconds=curve.seconds,
        still_rising=curve.still_rising,
    )


def frame(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Take the frames as they are."""
    return Recovered(ground.sought_frames(victim))


def wiener(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Filter with the PSF, at the best strength of each picture, in the better of two lights."""
    return Recovered(_filtered(ground, victim, ground.sought_frames(victim)))


def lucy(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Run Richardson–Lucy with the PSF, best number of rounds of each picture."""
    rim = ground.settings.size_px // RIM_SHARE

    def restored(frames: Tensor, scenes: Tensor) -> Tensor:
        tries = [frames]
        for there, back in _LIGHTS:
            seen = fn.pad(there(frames), (rim,) * 4, mode="reflect")
            for rounds in RICHARDSON_LUCY_ROUNDS:
                whole = richardson_lucy(seen, victim.psf, rounds)
                tries.append(back(whole[..., rim:-rim, rim:-rim]))
        return _nearest(tries, scenes)

    return Recovered(_by_chunks(ground, ground.sought_frames(victim), restored))


def restore(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Train filter and U-Net on pairs, then restore."""
    lessons = ground.lessons
    return _restored(ground, ground.lesson_frames(victim), lessons.sharp, (victim, kept))


def theft(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Train on frames re-simulated with wrong coefficients, restore true frames.

    Raises:
        UnsupportedError: The camera has no coefficients.
    """
    if ground.stolen is None:
        raise UnsupportedError(
            f"{victim.name} has no coefficients to steal", hint="leave out the attack `theft`"
        )
    settings, lessons = ground.settings, ground.lessons
    wrong = ground.stolen(settings.theft_error).camera
    frames = photographed(wrong, lessons.sharp, settings.seed + 101)
    found = _restored(ground, frames, lessons.sharp, (victim, kept))
    seen, extra = ground.sought_frames(victim), {}
    rows = ground.split.probes
    for error in settings.theft_sweep:
        pictures = _filtered(ground, ground.stolen(error), seen)
        db, alike = fidelity(pictures[rows], ground.sought.sharp[rows], ground.sought.labels[rows])
        extra[f"Wiener at {error:.0%} error, PSNR dB"] = db.value
        extra[f"Wiener at {error:.0%} error, SSIM"] = alike.value
    note = f"coefficients wrong by {settings.theft_error:.0%} of their length"
    return Recovered(found.pictures, found.curve, extra, (note,))


def prior(ground: Ground, victim: Victim, kept: Path) -> Recovered:
    """Train a denoiser on faces, once for all cameras, then restore with the camera's model."""
    denoiser = FacePrior(ground.settings.prior)
    curve = denoiser.train(ground.lessons.sharp, kept.with_name("prior"))
    frames = ground.sought_frames(victim)
    pictures = plug_and_play(frames, victim.camera, denoiser, Rounds(), victim.noise)
    return Recovered(pictures, curve)


PICTURE_ATTACKS: dict[str, Callable[[Ground, Victim, Path], Recovered]] = {
    "frame": frame,
    "wiener": wiener,
    "richardson-lucy": lucy,
    "restore": restore,
    "prior": prior,
    "theft": theft,
}
"""Carries out an attack by name; the path (without suffix) is where an attacker is kept."""


def _restored(
    ground: Ground, frames: Picture, scenes: Picture, what: tuple[Victim, Path]
) -> Recovered:
    victim, kept = what
    restorer = Restorer(ground.settings.size_px, ground.settings.restore)
    curve = restorer.train(frames, scenes, kept)
    return Recovered(restorer.restored(ground.sought_frames(victim)), curve)


def _filtered(ground: Ground, victim: Victim, frames: Picture) -> Picture:
    rim = ground.settings.size_px // RIM_SHARE

    def restored(seen: Tensor, scenes: Tensor) -> Tensor:
        tries = []
        for there, back in _LIGHTS:
            found, _ = best_wiener(
                there(scenes), there(seen), victim.psf, victim.noise,
                border_px=rim, strengths=WIDE_STRENGTHS,
            )  # fmt: skip
            tries.append(back(found))
        return _nearest(tries, scenes)

    return _by_chunks(ground, frames, restored)


def _nearest(tries: Sequence[Tensor], scenes: Tensor) -> Tensor:
    """Return for every picture the try that comes nearest to the truth."""
    errors = torch.stack([(one - scenes).square().mean((1, 2, 3)) for one in tries])
    return torch.stack(list(tries))[errors.argmin(0), torch.arange(len(scenes))]


@torch.no_grad()
def _by_chunks(
    ground: Ground, frames: Picture, restored: Callable[[Tensor, Tensor], Tensor]
) -> Picture:
    truth = ground.sought.sharp
    return np.concatenate(
        [
            to_pictures(
                restored(
                    to_planes(frames[start : start + _CHUNK]),
                    to_planes(truth[start : start + _CHUNK]),
                )
            )
            for start in range(0, len(frames), _CHUNK)
        ]
    )

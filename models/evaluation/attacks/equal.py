"""Plain blurs that leave as much of the use as the bundle's camera: landmarks, as U reads them.

At equal PSNR a plain blur may look safer only because it leaves less to use. So the landmark
error of a small U, taught on each camera's own frames, is made alike: the strength is turned
until it is, and what was reached stands beside each camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.evaluation.attacks.cameras import CONTROL, OWN, Victim
from models.evaluation.attacks.ground import Ground
from models.evaluation.attacks.landmarks import TOLD_AT_PX, LandmarkReader

__all__ = ["equally_useful", "strength_of"]

TRIES = 3
"""Strengths that are tried for each blur; a network is taught for every one."""

NEAR_ENOUGH = 0.05
"""Difference of landmark errors, relative, that two trainings of one camera may have."""

Progress = Callable[[int, int, str], None]


def equally_useful(ground: Ground, folder: Path, progress: Progress | None = None) -> Ground:
    """Return the ground with blurs turned until landmarks are read as well as behind the bundle's.

    Args:
        ground: As :func:`ground_for` makes it, blurs set by PSNR.
        folder: Keeps the readers, so that the same call goes on where it was stopped.
        progress: Called with readers taught, readers in all at most, and what is next.
    """
    # A folder may hold readers of other faces or settings: those of a stopped run that changed.
    folder = folder / ground.fingerprint()
    blurs = [victim for victim in ground.victims if victim.dial is not None]
    plain = [v for v in ground.victims if v.dial is None and v.name != CONTROL]
    total, taught = len(plain) + TRIES * len(blurs), 0

    def error_px(victim: Victim) -> float:
        nonlocal taught
        if progress is not None:
            progress(taught, total, f"teaching U behind {victim.name}")
        taught += 1
        return _error_px(ground, victim, folder)

    found = {victim.name: (victim, error_px(victim)) for victim in plain}
    wanted_px = found[OWN][1]
    for victim in blurs:
        found[victim.name] = strength_of(victim, wanted_px, error_px)
    told = {name: _told(victim, px) for name, (victim, px) in found.items()}
    return replace(ground, victims=tuple(told.get(v.name, v) for v in ground.victims))


def strength_of(
    victim: Victim, wanted_px: float, error_px: Callable[[Victim], float]
) -> tuple[Victim, float]:
    """Return a blur that leaves the landmark error wanted, and what it leaves, px.

    Errors grow as some power of the strength; of what was tried, the nearest is taken.

    Args:
        victim: A blur with a dial.
        wanted_px: Landmark error wanted, px.
        error_px: Measures it behind a camera.
    """
    assert victim.dial is not None  # noqa: S101 - only blurs are turned
    tried = [(victim, error_px(victim))]
    while len(tried) < TRIES:
        best, reached_px = min(tried, key=lambda one: abs(np.log(one[1] / wanted_px)))
        if abs(reached_px / wanted_px - 1.0) < NEAR_ENOUGH:
            break
        dial = best.dial
        assert dial is not None  # noqa: S101
        strength = dial.at * (wanted_px / reached_px) ** (1.0 / _power(tried))
        strength = float(np.clip(strength, 0.25 * dial.at, min(4.0 * dial.at, dial.most)))
        turned = dial.turned(strength)
        tried.append((turned, error_px(turned)))
    return min(tried, key=lambda one: abs(np.log(one[1] / wanted_px)))


def _power(tried: list[tuple[Victim, float]]) -> float:
    """Return how the error grows with the strength; 1 as long as that is not known."""
    if len(tried) < 2:
        return 1.0
    at = np.log([victim.dial.at for victim, _ in tried if victim.dial is not None])
    px = np.log([error for _, error in tried])
    slope = np.ptp(px) / max(np.ptp(at), 1e-6)
    return float(np.clip(slope, 0.5, 3.0))


def _error_px(ground: Ground, victim: Victim, folder: Path) -> float:
    settings, lessons = ground.settings, ground.lessons
    reader = LandmarkReader(settings.size_px, settings.landmarks)
    reader.train(ground.lesson_frames(victim), lessons.landmarks_px, folder / _slug(victim))
    errors = reader.errors_px(ground.sought_frames(victim), ground.sought.landmarks_px)
    return float(errors.mean())


def _told(victim: Victim, px: float) -> Victim:
    return replace(victim, detail=f"{victim.detail}, landmarks {px:.1f} px at {TOLD_AT_PX}")


def _slug(victim: Victim) -> str:
    # No dot: what follows one would be taken for a suffix, and strengths for each other.
    at = "" if victim.dial is None else f"-{1e4 * victim.dial.at:.0f}"
    return "".join(c if c.isalnum() else "-" for c in victim.name.lower()) + at

"""Moments that both cameras see, from the rig's own lamp switched at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.camera_pair import CameraPair
from calibration.operator import SceneRequest
from calibration.procedure import Context
from calibration.switches import edge_times_ns, light_of
from camera_rig.contracts import Frame
from camera_rig.errors import StateError

__all__ = ["LAMP_LIT", "burst", "matched"]

Vector = npt.NDArray[np.float64]

LAMP_LIT = SceneRequest(
    "lamp",
    "Hold a white sheet before the rig so that the rig's own lamp lights it, and darken the "
    "room, then go on.",
)
EXPOSURE_S = 1 / 34
"""Nearly the whole frame period, so that no switch falls between two exposures."""
_PAUSE_S = (0.13, 0.3)
_SAME_NS = 0.12e9
"""Switches of one kind are at least a quarter of a second apart."""


def burst(context: Context, number: int, seconds: float) -> dict[str, Any]:
    """Switch the lamp for some seconds; return stamps (ns) and levels of both cameras."""
    rig = context.rig
    pair = CameraPair(rig, EXPOSURE_S)
    # Seeded by the burst, so that two runs do the same.
    rng = np.random.default_rng([number, 7])
    rows: dict[str, list[tuple[int, float, float]]] = {role: [] for role in pair.cameras}
    lit, next_ns = True, 0
    try:
        rig.light.set(1.0)
        rig.light.shutter(True)
        pair.expose(dimmable=True)
        with pair.streaming():
            level = _lamp_level(context, pair)
            next_ns = rig.clock.now_ns() + round(0.3e9)

            def take(role: str, frame: Frame) -> None:
                nonlocal lit, next_ns
                rows[role].append((frame.captured_ns, light_of(frame), frame.exposure_s))
                if rig.clock.now_ns() >= next_ns:
                    # Not in step with either camera: wait a random part of a period first.
                    rig.clock.sleep(float(rng.uniform(0.0, 0.034)))
                    lit = not lit
                    rig.light.set(level if lit else 0.0)
                    next_ns = rig.clock.now_ns() + round(1e9 * rng.uniform(*_PAUSE_S))

            pair.read(seconds, take)
    finally:
        rig.light.shutter(False)
    kept: dict[str, Any] = {}
    for role, found in rows.items():
        kept[f"{role}_ns"] = np.array([row[0] for row in found], dtype=np.int64)
        kept[f"{role}_level"] = np.array([row[1] for row in found])
        kept[f"{role}_exposure_s"] = np.array([row[2] for row in found])
    return kept


def matched(bursts: Mapping[str, Mapping[str, Any]]) -> tuple[Vector, Vector]:
    """Return stamps (privacy, side), ns, of the switches that both cameras saw.

    Raises:
        StateError: A camera saw none at all; names it.
    """
    privacy: list[float] = []
    side: list[float] = []
    for name in sorted(bursts):
        part = bursts[name]
        edges = {
            role: edge_times_ns(
                part[f"{role}_ns"], part[f"{role}_level"], float(part[f"{role}_exposure_s"][0])
            )
            for role in ("privacy", "side")
        }
        blind = [role for role, found in edges.items() if not len(found)]
        if blind:
            raise StateError(
                f"the {' and the '.join(blind)} camera does not see the lamp switch",
                hint="point the lamp at the sheet, darken the room, take the caps off; without "
                "a lamp: `rig calibrate run sync --sync-by motion`",
            )
        for at in edges["privacy"]:
            same = edges["side"][np.sign(edges["side"]) == np.sign(at)]
            if same.size == 0:
                continue
            near = same[np.argmin(np.abs(same - at))]
            if abs(near - at) < _SAME_NS:
                privacy.append(abs(at))
                side.append(abs(near))
    if not privacy:
        raise StateError(
            "no switch of the lamp was seen by both cameras",
            hint="point the lamp at the sheet so that it lights both pictures, and darken the room",
        )
    return np.array(privacy), np.array(side)


def _lamp_level(context: Context, pair: CameraPair) -> float:
    """Return a lamp level at which neither camera's picture of the sheet is burnt."""
    level = 1.0
    for _ in range(6):
        context.rig.light.set(level)
        brightest = 0.0
        for camera in pair.cameras.values():
            frames = [camera.next_frame(timeout_s=2.0) for _ in range(5)]
            brightest = max(brightest, light_of(frames[-1], 99.0))
        if brightest <= 0.8:
            return level
        level *= 0.4
    raise StateError(
        "the sheet is too bright for the cameras even with the lamp almost off",
        hint="darken the room, or move the lamp away",
    )

"""Moments that both cameras see without a lamp: motion for both, a mirror's clap for one.

Something moves before the rig and both cameras film it: laid over each other, the films
tell how far apart the stamps are. The side camera cannot see the mirror, but the privacy
camera can: a flip of the mirror to a known defocus and back, at a known moment of the
rig's clock, is for it what a film maker's clapperboard is. The clap ties its stamps to the
commands of the mirror, which motion alone cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import stacks
from calibration.camera_pair import CameraPair
from calibration.motion import Delay, Film, coarse_map, find_delay, follow_delay, stretches
from calibration.operator import SceneRequest
from calibration.procedure import Context
from calibration.switches import edge_times_ns, linear_light
from camera_rig.contracts import Frame
from camera_rig.errors import StateError

__all__ = ["MOVING", "STILL", "burst", "clap", "clap_ms", "matched"]

Vector = npt.NDArray[np.float64]

STILL = SceneRequest(
    "still",
    "Hold a poster, or any printed thing rich in detail, still before the rig in the light "
    "of the room. No person need be in the picture.",
)
MOVING = SceneRequest(
    "moving",
    "Wave the poster from side to side and up and down, without a steady beat, until told "
    "otherwise.",
)
LONGEST_S = 1 / 34
CLAP_WAVES = 2.0
"""Defocus of a clap, waves RMS at 550 nm: far more than the eye of any camera overlooks."""
CLAPS = 12
_STRETCH_S = 0.5
_LEAST_EXPLAINED, _LEAST_RIVAL, _LEAST_CONTRAST = 0.5, 1.6, 3.0


def clap(context: Context, number: int) -> dict[str, Any]:
    """Flip the mirror to and fro before a still scene.

    Returns:
        When it flipped, rig clock and signed as switches are (plus: to sharp), and what the
        privacy camera saw: stamps, ns, and how sharp each frame is, from 0 to 1.
    """
    rig, rng = context.rig, np.random.default_rng([number, 9])
    ones = np.ones(rig.mirror.actuators)
    unit = 0.55 * CLAP_WAVES / stacks.defocus_um_per_unit(rig.config.bench)
    shapes = [stacks.to_volts(rig.mirror, k * unit * ones) for k in (0.0, 1.0)]
    camera = rig.privacy
    exposure_s = CameraPair(rig, LONGEST_S).expose()["privacy"]
    flips: list[float] = []
    frames: list[tuple[int, Vector]] = []
    camera.start()
    try:
        for flip in range(2 * CLAPS):
            # Frames come in step with the cameras; a flip must not.
            rig.clock.sleep(float(rng.uniform(0.0, 0.034)))
            rig.mirror.apply(shapes[(flip + 1) % 2], reason="sync: clap")
            at_ns = rig.clock.now_ns() - 1e9 * rig.mirror.settle_s
            flips.append(at_ns if flip % 2 else -at_ns)
            wait_ns = rig.clock.now_ns() + 1e9 * rng.uniform(0.25, 0.32)
            while rig.clock.now_ns() < wait_ns:
                frame = camera.next_frame(timeout_s=2.0)
                frames.append((frame.captured_ns, _fine_map(frame)))
    finally:
        camera.stop()
    stamps = np.array([at for at, _ in frames], dtype=np.int64)
    return {
        "flips_ns": np.array(flips),
        "privacy_ns": stamps,
        "sharp": _sharpness(stamps, np.array([seen for _, seen in frames]), np.array(flips)),
        "exposure_s": exposure_s,
    }


def clap_ms(data: Mapping[str, Any]) -> Vector:
    """Return privacy stamp minus rig clock of each clap that was seen, ms.

    The glass takes a millisecond or two to bend: flips to sharp and to blurred are late by
    unlike shares of it, so a mean over both kinds is right to about that much.
    """
    edges = edge_times_ns(data["privacy_ns"], data["sharp"], float(data["exposure_s"]))
    found = []
    for flip in np.asarray(data["flips_ns"]):
        same = edges[np.sign(edges) == np.sign(flip)]
        if same.size:
            gap = abs(same[np.argmin(np.abs(same - flip))]) - abs(flip)
            if abs(gap) < 0.15e9:
                found.append(1e-6 * gap)
    return np.array(found)


def burst(context: Context, seconds: float) -> dict[str, Any]:
    """Film what moves with both cameras for ``seconds``; only coarse maps of light are kept."""
    pair = CameraPair(context.rig, LONGEST_S)
    pair.expose()
    rows: dict[str, list[tuple[int, Any]]] = {role: [] for role in pair.cameras}

    def take(role: str, frame: Frame) -> None:
        rows[role].append((frame.captured_ns, coarse_map(frame)))

    with pair.streaming():
        pair.read(seconds, take)
    kept: dict[str, Any] = {}
    for role, found in rows.items():
        kept[f"{role}_ns"] = np.array([at for at, _ in found], dtype=np.int64)
        kept[f"{role}_maps"] = np.array([seen for _, seen in found])
    return kept


def matched(bursts: Mapping[str, Mapping[str, Any]]) -> tuple[Vector, Vector, list[Delay]]:
    """Return stamps (privacy, side), ns, of one moment per stretch, and each burst's fit.

    Raises:
        StateError: Nothing moved, the cameras saw different things, or the motion repeats.
    """
    privacy: list[float] = []
    side: list[float] = []
    whole: list[Delay] = []
    for name in sorted(bursts):
        part = bursts[name]
        # Stamps of hours lose nothing when they are counted from the burst's own start.
        start_ns = int(part["privacy_ns"][0])
        films = {
            role: Film((part[f"{role}_ns"] - start_ns) * 1e-9, part[f"{role}_maps"])
            for role in ("privacy", "side")
        }
        found = find_delay(films["privacy"], films["side"])
        _judge(found)
        whole.append(found)
        times_s = films["side"].stamps_s
        for start_s, stop_s in stretches(times_s[0] + 0.2, times_s[-1] - 0.2, _STRETCH_S):
            stretch = films["side"].part(start_s, stop_s)
            near = follow_delay(films["privacy"], stretch, found)
            middle_ns = float(start_ns) + 1e9 * float(np.mean(stretch.stamps_s))
            side.append(middle_ns)
            privacy.append(middle_ns - 1e9 * near.delay_s)
    return np.array(privacy), np.array(side), whole


def _judge(found: Delay) -> None:
    if found.explained < _LEAST_EXPLAINED:
        if found.contrast < _LEAST_CONTRAST:
            raise StateError(
                "nothing moves before the cameras",
                hint="wave a poster, large and without a steady beat, and run again",
            )
        raise StateError(
            f"the two cameras do not see the same motion: only {found.explained:.0%} agree",
            hint="wave the poster where both cameras see it, see that nothing covers a lens "
            "and that the light does not flicker, and run again",
        )
    if found.rival < _LEAST_RIVAL:
        raise StateError(
            "the motion repeats itself, so the delay is ambiguous",
            hint="wave the poster without a steady beat, in both directions, and run again",
        )


def _fine_map(frame: Frame) -> Vector:
    """Return a frame's light on a grid that a sharp picture fills and a blurred one does not."""
    import cv2

    pixels = frame.pixels[..., 1] if frame.pixels.ndim == 3 else frame.pixels
    light = linear_light(pixels, linear=frame.linear).astype(np.float32)
    height, width = light.shape
    small = cv2.resize(light, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel(), dtype=np.float32)


def _sharpness(stamps_ns: npt.NDArray[np.int64], seen: Vector, flips_ns: Vector) -> Vector:
    """Return where each frame lies between the blurred (0) and the sharp picture (1).

    Raises:
        StateError: The flips make no difference.
    """
    # Frames well after a flip and before the next show one shape, whatever the clocks' gap.
    place = np.searchsorted(np.abs(flips_ns), stamps_ns) - 1
    after_s = (stamps_ns - np.abs(flips_ns)[np.maximum(place, 0)]) * 1e-9
    standing = (place >= 0) & (after_s > 0.12) & (after_s < 0.22)
    is_sharp = flips_ns[np.maximum(place, 0)] > 0
    kinds = [seen[standing & kind] for kind in (~is_sharp, is_sharp)]
    if min(len(kind) for kind in kinds) < 4:
        raise StateError(
            "too few frames came while the mirror clapped", hint="run `rig camera test`"
        )
    blurred, sharp = (kind.mean(axis=0) for kind in kinds)
    change = sharp - blurred
    size = float(change @ change)
    spread = max(float(np.std((kind - kind.mean(axis=0)) @ change)) / size for kind in kinds)
    if spread > 0.1:
        raise StateError(
            "the privacy camera does not see the mirror flip",
            hint="hold something rich in detail still before the rig, see that the mirror has "
            "its supply (`rig doctor`) and that nothing covers the lens",
        )
    return np.asarray((seen - blurred) @ change / size)

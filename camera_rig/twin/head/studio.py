"""Lamps, garment and wall around a head, drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camera_rig.twin.head.assets import Floats
from camera_rig.twin.scene import Field


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Light and surroundings of a clip.

    Args:
        seed: Decides everything below; the same seed gives the same studio.
        lights: ``(3, 7)`` key, fill and rim: direction to the lamp, colour, 1 if it casts
            shadows.
        ambient: ``(4, 3)`` light from all around: mean and its slope along x, y, z.
        cloth_rgb: Linear reflectance of the garment.
        neckline: Radius of the collar and how far its V reaches down, in dm.
        stripes: Stripes over the height of the picture (0 none) and their relative light.
    """

    seed: int
    lights: Floats
    ambient: Floats
    cloth_rgb: tuple[float, float, float]
    neckline: tuple[float, float]
    stripes: tuple[float, float]

    @classmethod
    def from_seed(cls, seed: int) -> Studio:
        """Return the studio that a seed stands for."""
        rng = np.random.default_rng([0x57D0, seed])
        side = rng.choice([-1.0, 1.0])
        warmth = rng.normal(0, 0.35)
        key = _lamp(
            side * rng.uniform(12, 52), rng.uniform(16, 46), rng.uniform(0.85, 1.35), warmth
        )
        fill = _lamp(
            -side * rng.uniform(30, 70), rng.uniform(0, 25), rng.uniform(0.15, 0.5), -0.5 * warmth
        )
        rim = _lamp(
            -side * rng.uniform(125, 155), rng.uniform(15, 45), rng.uniform(0.1, 0.7), 0.3 * warmth
        )
        level = rng.uniform(0.16, 0.32)
        tint = np.array([1 - 0.08 * warmth, 1.0, 1 + 0.08 * warmth])
        ambient = np.array([[1.0], [0.12 * side], [0.38], [0.22]]) * level * tint
        value = rng.uniform(0.03, 0.6) ** 1.4
        hue = np.array([1, 1, 1]) + rng.uniform(0, 0.7) * rng.normal(0, 0.5, 3)
        cloth = np.clip(value * hue, 0.012, 0.75)
        stripes = rng.uniform(150, 420) if rng.random() < 0.25 else 0.0
        return cls(
            seed=seed,
            lights=np.stack([[*key, 1.0], [*fill, 0.0], [*rim, 0.0]]).astype(np.float32),
            ambient=ambient.astype(np.float32),
            cloth_rgb=(float(cloth[0]), float(cloth[1]), float(cloth[2])),
            neckline=(float(rng.uniform(0.68, 0.95)), float(rng.choice([0.0, 0.1, 0.22]))),
            stripes=(float(stripes), float(rng.uniform(0.4, 1.6))),
        )


def _lamp(azimuth_deg: float, height_deg: float, strength: float, warmth: float) -> list[float]:
    around, up = np.deg2rad([azimuth_deg, height_deg])
    colour = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.14 * warmth]) * strength
    direction = [np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)]
    return [float(v) for v in (*direction, *colour)]


def background(studio: Studio, field: Field) -> Floats:
    """Return an out-of-focus room behind the head, ``(H, W, 3)`` linear light."""
    import cv2

    rng = np.random.default_rng([0xBAC6, studio.seed])
    height, width = field.height_px, field.width_px
    small_h, small_w = 96, max(8, round(96 * width / height))
    wall = rng.uniform(0.05, 0.5) * (1 + 0.08 * rng.normal(0, 1, 3))
    room = np.ones((small_h, small_w, 3), np.float32) * wall.astype(np.float32)
    for _ in range(int(rng.integers(4, 14))):
        x, y = rng.integers(-10, small_w), rng.integers(-10, small_h)
        w, h = rng.integers(4, small_w // 2), rng.integers(4, small_h // 2)
        shade = np.clip(wall * rng.uniform(0.35, 1.7) * (1 + 0.09 * rng.normal(0, 1, 3)), 0.01, 0.8)
        room[max(y, 0) : y + h, max(x, 0) : x + w] = shade
    if rng.random() < 0.4:
        left = int(rng.integers(0, small_w))
        room[:60, left : left + 14] += rng.uniform(0.2, 0.6) * np.array([0.9, 1.0, 1.1], np.float32)
    blurred = cv2.GaussianBlur(room, (0, 0), float(rng.uniform(2.5, 6.5)))
    large = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - 0.22 * (rows**2 + columns**2)
    return np.asarray(np.clip(large * vignette[..., None], 0.004, 0.85), dtype=np.float32)

"""Skin of one identity, painted once: a colour map and a detail atlas around the head.

The shipped skins are 512 pixels for a whole body, so a face has 100 of them across. What
a camera sees beyond that is painted here, procedurally, in cylinder coordinates around the
resting head: blotches, pores, freckles, lips, stubble, the root zone of the hair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.head.assets import Floats, HeadModel, head_model, texture
from camera_rig.twin.head.identity import Identity

_HEIGHT, _WIDTH = 960, 1536
_TOP_DM, _BOTTOM_DM = 8.8, 4.6  # as in materials.py
_AXIS_Z_DM = 0.35
_PX_PER_DM = _HEIGHT / (_TOP_DM - _BOTTOM_DM)
_TINT_ROOM = 1.42  # the atlas stores the root of the tint over this, so tints reach 2

# Linear reflectance of skin from pale to dark; between them in the logarithm.
_TONES = np.log(
    np.array(
        [
            (0.72, 0.48, 0.385),
            (0.60, 0.37, 0.265),
            (0.43, 0.235, 0.150),
            (0.235, 0.118, 0.070),
            (0.105, 0.054, 0.036),
            (0.050, 0.028, 0.021),
        ]
    )
)


@dataclass(frozen=True)
class Skin:
    """Maps for the shader.

    Args:
        base: ``(512, 512, 3)`` uint8, root of the reflectance in the model's own map.
        atlas: ``(960, 1536, 8)`` uint8: root tint (3), slopes (2), gloss, lips, thinness.
    """

    base: NDArray[np.uint8]
    atlas: NDArray[np.uint8]


def atlas_coordinates(rest: Floats) -> Floats:
    """Return the place in the atlas, 0 to 1 each way, of points of the resting head in dm."""
    around = np.arctan2(rest[:, 0], rest[:, 2] - _AXIS_Z_DM) / (2 * np.pi) + 0.5
    down = (_TOP_DM - rest[:, 1]) / (_TOP_DM - _BOTTOM_DM)
    return np.stack([around, down], axis=1).astype(np.float32)


def paint_skin(identity: Identity) -> Skin:
    """Return the maps of an identity; the same identity gives the same maps."""
    rng = np.random.default_rng([0x5C1B, identity.seed])
    tone = _tone(identity)
    zones = _zones()
    colour = _colour(identity, zones, rng)
    hair = _hair_on_skin(identity, zones, rng)
    tint = colour * hair[..., None] + (1 - hair[..., None]) * _ink(identity, tone)
    slope_x, slope_y = _slopes(identity, zones, rng, hair)
    gloss = _gloss(zones, hair, rng)
    planes = [
        *np.moveaxis(np.sqrt(np.clip(tint, 0, 2)) / _TINT_ROOM, -1, 0),
        slope_x * 0.5 + 128 / 255,
        slope_y * 0.5 + 128 / 255,
        gloss,
        zones["lips"],
        zones["thin"],
    ]
    atlas = np.stack([np.clip(plane, 0, 1) for plane in planes], axis=-1)
    return Skin(
        base=_base(identity, tone, rng), atlas=np.asarray(np.rint(atlas * 255), dtype=np.uint8)
    )


def _tone(identity: Identity) -> NDArray[np.float64]:
    place = identity.melanin * (len(_TONES) - 1)
    low = min(int(place), len(_TONES) - 2)
    tone = np.exp(_TONES[low] + (place - low) * (_TONES[low + 1] - _TONES[low]))
    redder = (identity.blood - 0.45) * (1 - 0.6 * identity.melanin)
    return np.asarray(tone * np.array([1 + 0.03 * redder, 1 - 0.22 * redder, 1 - 0.20 * redder]))


def _base(
    identity: Identity, tone: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Blend two shipped skins of the right age and sex and bring them to the tone."""
    first, second = (_relative_skin(name) for name in _skin_names(identity))
    share = rng.uniform(0.1, 0.9)
    relative = first ** np.float32(share) * second ** np.float32(1 - share)
    reflectance = np.clip(relative * tone.astype(np.float32), 0, 1)
    return np.asarray(np.rint(np.sqrt(reflectance) * 255), dtype=np.uint8)


def _skin_names(identity: Identity) -> tuple[str, str]:
    years = identity.age_years
    age = "young" if years < 36 else "middleage" if years < 56 else "old"
    if identity.melanin > 0.62:
        # One dark skin per age and sex is shipped: a neighbouring age makes the second.
        other = {"young": "middleage", "middleage": "young", "old": "middleage"}[age]
        names = (f"{age}_darkskinned_{identity.sex}", f"{other}_darkskinned_{identity.sex}")
        return (f"{names[0]}_diffuse", f"{names[1]}_diffuse")
    name = f"{age}_lightskinned_{identity.sex}_diffuse"
    if age != "young":
        return (name, f"{name}2")
    return (name, f"{name}{2 + identity.seed % 2}")


@cache
def _relative_skin(name: str) -> Floats:
    """A shipped skin over its mean in the face: what is left are features, not tone."""
    linear = (texture(f"skins/{name}").astype(np.float32) / 255) ** 2.2 + 1e-3
    face = linear[200:330, 400:500].reshape(-1, 3)
    relative = linear / np.median(face, axis=0)
    # Painted light and over-red lips of the originals are tamed.
    grey = relative.mean(axis=-1, keepdims=True)
    return np.asarray(np.clip(grey * (relative / grey) ** 0.75, 0.12, 1.8) ** 0.85)


@cache
def _noise(kind: str) -> Floats:
    """Shared fields of noise, zero mean, unit spread; identities use shifted copies."""
    import cv2

    rng = np.random.default_rng([0x0153, sum(kind.encode())])
    white = rng.standard_normal((_HEIGHT, _WIDTH)).astype(np.float32)
    margin = 160  # wrapped round, so that shifted copies show no seam
    white = np.pad(white, margin, mode="wrap")
    sigma = {
        "pore": ((1.1, 1.1), (2.4, 2.4)),
        "grain": ((2.0, 2.0), (5.0, 5.0)),
        "blotch": ((7.0, 7.0), (22.0, 22.0)),
        "cloud": ((26.0, 26.0), (90.0, 90.0)),
        "strand": ((0.8, 3.2), (3.0, 9.0)),
    }[kind]
    fine, coarse = (cv2.GaussianBlur(white, (0, 0), sx, sigmaY=sy) for sx, sy in sigma)
    field = (fine - coarse)[margin:-margin, margin:-margin]
    return np.asarray(field / field.std(), dtype=np.float32)


def _shifted(kind: str, rng: np.random.Generator) -> Floats:
    shift = (int(rng.integers(_HEIGHT)), int(rng.integers(_WIDTH)))
    return np.roll(_noise(kind), shift, axis=(0, 1))


@cache
def _zones() -> dict[str, Floats]:
    """Soft masks on the atlas, drawn from the landmarks of the resting head."""
    import cv2

    model = head_model()
    at = _landmarks_px(model)
    px = _PX_PER_DM

    def spot(x: float, y: float, rx: float, ry: float) -> Floats:
        rows, columns = np.mgrid[:_HEIGHT, :_WIDTH].astype(np.float32)
        across, down = (columns - x) / (rx * px), (rows - y) / (ry * px)
        return np.asarray(np.exp(-(across**2) - down**2))

    def area(points: NDArray[np.float64], blur_px: float) -> Floats:
        mask = np.zeros((_HEIGHT, _WIDTH), np.float32)
        cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), blur_px), dtype=np.float32)

    def both(x: float, y: float, rx: float, ry: float) -> Floats:
        return spot(x, y, rx, ry) + spot(_WIDTH - x, y, rx, ry)

    under_eye = (at[40] + at[41]) / 2
    nose, chin, mouth = at[30], at[8], at[66]
    cheek = (at[2] + at[31]) / 2
    lips = area(at[48:60], 2.5)
    return {
        "lips": lips,
        "cheeks": both(cheek[0] + 0.02 * px, cheek[1] - 0.08 * px, 0.30, 0.24),
        "nose": spot(nose[0], nose[1], 0.16, 0.16) + both(at[31][0], at[31][1], 0.1, 0.1),
        "forehead": spot(nose[0], at[27][1] - 0.75 * px, 0.75, 0.45),
        "chin": spot(chin[0], chin[1] - 0.10 * px, 0.22, 0.16),
        "bags": both(under_eye[0], under_eye[1] + 0.07 * px, 0.17, 0.055),
        "lids": both(under_eye[0], at[37][1] - 0.02 * px, 0.2, 0.07),
        "beard": area(_beard_outline(at, px), 9.0) * (1 - area(at[48:60], 3.5)),
        "goatee": spot(mouth[0], mouth[1] + 0.12 * px, 0.30, 0.42),
        "scalp": area(_hairline(at, px), 12.0),
        "thin": np.clip(both(at[0][0] - 0.25 * px, at[0][1] - 0.02 * px, 0.25, 0.4), 0, 1)
        + 0.4 * spot(nose[0], nose[1], 0.14, 0.12),
    }


def _landmarks_px(model: HeadModel) -> NDArray[np.float64]:
    place = atlas_coordinates(model.vertices[model.landmarks]).astype(np.float64)
    return np.asarray(place * np.array([_WIDTH, _HEIGHT]))


def _mirrored(left: NDArray[np.float64]) -> NDArray[np.float64]:
    right = left[::-1] * np.array([-1, 1]) + np.array([_WIDTH, 0])
    return np.concatenate([left, right])


def _beard_outline(at: NDArray[np.float64], px: float) -> NDArray[np.float64]:
    left = [
        at[33] + [0, 0.03 * px],
        at[31] + [-0.02 * px, 0.06 * px],
        at[48] + [-0.14 * px, -0.07 * px],
        0.5 * (at[3] + at[48]) + [-0.05 * px, -0.02 * px],
        at[2] + [0.10 * px, 0],
        at[0] + [0.06 * px, -0.05 * px],
        at[0] + [-0.12 * px, -0.05 * px],
        at[4] + [-0.22 * px, 0.10 * px],
        at[6] + [-0.12 * px, 0.17 * px],
        at[8] + [0, 0.17 * px],
    ]
    return _mirrored(np.array(left))


def _hairline(at: NDArray[np.float64], px: float) -> NDArray[np.float64]:
    top = at[27][1]
    left = [
        [_WIDTH / 2, top - 0.86 * px],
        [at[17][0] + 0.22 * px, top - 0.80 * px],
        [at[17][0] - 0.02 * px, top - 0.45 * px],
        [at[0][0] - 0.02 * px, top - 0.12 * px],
        [at[0][0] - 0.20 * px, top + 0.15 * px],
        [at[0][0] - 0.70 * px, top + 0.50 * px],
        [0, top + 0.70 * px],
        [0, 0],
        [_WIDTH / 2, 0],
    ]
    return _mirrored(np.array(left))


def _colour(identity: Identity, zones: dict[str, Floats], rng: np.random.Generator) -> Floats:
    """Tint of the bare skin: blood, pigment and make-up."""
    light = 1 - identity.melanin
    blood = 0.08 * _shifted("blotch", rng) + 0.07 * _shifted("cloud", rng)
    strength = (0.3 + identity.blood) * (0.35 + 0.65 * light)
    blood += strength * rng.uniform(0.3, 0.9) * zones["cheeks"]
    blood += strength * (0.8 * zones["nose"] + 0.35 * zones["chin"] - 0.25 * zones["forehead"])
    pigment = 0.05 * _shifted("grain", rng) + 0.07 * _shifted("cloud", rng)
    pigment += rng.uniform(0.05, 0.45) * zones["bags"] + rng.uniform(0.0, 0.25) * zones["lids"]
    aged = np.clip((identity.age_years - 40) / 40, 0, 1)
    spots = np.clip(_shifted("grain", rng) - 1.7, 0, 1) * _shifted("cloud", rng).clip(0, 1)
    pigment += aged * 0.9 * spots
    freckles = np.clip(_shifted("grain", rng) - 1.1, 0, 1)
    pigment += identity.freckles * 0.8 * freckles * (zones["cheeks"] + zones["nose"]).clip(0, 1)
    lips = zones["lips"]
    tint = np.exp(
        -blood[..., None] * np.array([0.02, 0.30, 0.27], np.float32)
        - pigment[..., None] * np.array([0.55, 0.80, 0.95], np.float32)
    )
    rouge = np.array([0.95, 0.62, 0.64], np.float32) ** (0.3 + identity.make_up * 1.7)
    tint *= 1 + lips[..., None] * (rouge - 1)
    shadow = np.array([0.72, 0.66, 0.70], np.float32) ** identity.make_up
    tint *= 1 + zones["lids"][..., None] * (shadow - 1)
    return np.asarray(tint, dtype=np.float32)


def _ink(identity: Identity, tone: NDArray[np.float64]) -> Floats:
    """Tint that turns skin into hair of this colour, seen through stubble."""
    hair = np.array(identity.hair_rgb) * 0.8 + 0.004
    return np.asarray(np.clip(hair / tone, 0.02, 2.0), dtype=np.float32)


def _hair_on_skin(
    identity: Identity,
    zones: dict[str, Floats],
    rng: np.random.Generator,
) -> Floats:
    """Share of bare skin between short hairs: beard, stubble and the roots of the hair."""
    strength, cut = identity.beard
    strands = 0.5 + 0.25 * _shifted("strand", rng) + 0.1 * _shifted("pore", rng)
    patch = 1 + 0.12 * _shifted("cloud", rng)
    zone = zones["beard"] * ((1 - cut) + cut * zones["goatee"])
    density = zone * patch * strength * 1.25
    cover = np.clip(density * (0.55 + 0.9 * (strands - 0.5)) + 0.25 * (density - 0.6), 0, 0.93)
    roots = {"none": 0.0 if identity.seed % 2 else 0.55}.get(identity.hair_style, 0.8)
    scalp = zones["scalp"] * roots
    scalp = np.clip(scalp * (0.75 + 0.6 * (strands - 0.5)), 0, 0.95)
    return np.asarray((1 - cover) * (1 - scalp), dtype=np.float32)


def _slopes(
    identity: Identity, zones: dict[str, Floats], rng: np.random.Generator, hair: Floats
) -> tuple[Floats, Floats]:
    """Slopes of the skin's relief: pores, lip grooves, wrinkles, short hairs."""
    aged = float(np.clip((identity.age_years - 25) / 45, 0, 1))
    relief = (0.04 + 0.03 * aged) * _shifted("pore", rng)
    relief += (0.05 + 0.09 * aged) * _shifted("grain", rng)
    relief += 0.16 * (0.4 + aged) * _shifted("blotch", rng)
    relief *= 1 - 0.6 * zones["lips"]
    columns = np.arange(_WIDTH, dtype=np.float32)
    wobble = _shifted("cloud", rng)
    relief += 0.22 * zones["lips"] * np.sin(columns * 0.9 + 2.5 * wobble)
    rows = np.arange(_HEIGHT, dtype=np.float32)[:, None]
    creases = np.clip(np.sin(rows * 0.26 + 1.1 * wobble) - 0.55, 0, 1)
    relief -= 2.6 * aged * rng.uniform(0.3, 1.0) * zones["forehead"] * creases
    relief += 0.5 * (1 - hair) * _shifted("strand", rng)
    slope_x = 0.5 * (np.roll(relief, -1, 1) - np.roll(relief, 1, 1))
    slope_y = 0.5 * (np.roll(relief, -1, 0) - np.roll(relief, 1, 0))
    return (0.75 * slope_x).astype(np.float32), (-0.75 * slope_y).astype(np.float32)


def _gloss(zones: dict[str, Floats], hair: Floats, rng: np.random.Generator) -> Floats:
    oily = 0.30 + 0.28 * zones["nose"] + 0.16 * zones["forehead"] + 0.08 * zones["chin"]
    oily = oily * rng.uniform(0.7, 1.35) + 0.07 * _shifted("grain", rng)
    return np.asarray((oily + 0.25 * zones["lips"]) * hair, dtype=np.float32)

"""All textures of an identity, ready for the shader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.head.assets import texture
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.skin import paint_skin


@dataclass(frozen=True)
class Maps:
    """All textures of an identity, 8 bit; colours hold the root of linear light."""

    base: NDArray[np.uint8]
    atlas: NDArray[np.uint8]
    iris: NDArray[np.uint8]
    teeth: NDArray[np.uint8]
    hair: NDArray[np.uint8]
    brow: NDArray[np.uint8]
    lash: NDArray[np.uint8]

    @classmethod
    def of(cls, identity: Identity) -> Maps:
        """Return the textures of an identity."""
        skin = paint_skin(identity)
        return cls(
            base=skin.base,
            atlas=skin.atlas,
            iris=_iris(identity),
            teeth=_rooted(texture("teeth/teeth")),
            hair=hair_map(identity.hair_style),
            brow=np.ascontiguousarray(texture(f"eyebrows/{identity.brow_style}")[..., :1]),
            lash=np.ascontiguousarray(texture(f"eyelashes/{identity.lash_style}")[..., :1]),
        )


def _rooted(srgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(np.rint((srgb / 255.0) ** 1.1 * 255), dtype=np.uint8)


def _iris(identity: Identity) -> NDArray[np.uint8]:
    """The shipped iris maps are bright; people's are darker, and brown ones mostly dark."""
    rng = np.random.default_rng([0x1815, identity.seed])
    srgb = texture(f"eyes/{identity.eye_colour}").astype(np.float64)
    strongest = srgb.max(axis=-1)
    colourful = np.clip(((strongest - srgb.min(axis=-1)) / (strongest + 1) - 0.18) * 6, 0, 1)
    brown = identity.eye_colour == "brownlight_eye"
    gain = rng.uniform(0.28, 0.75) if brown else rng.uniform(0.55, 0.85)
    grey = srgb.mean(axis=-1, keepdims=True)
    tamed = (grey + 0.62 * (srgb - grey)) * gain
    mixed = srgb + colourful[..., None] * (tamed - srgb)
    return _rooted(mixed.astype(np.uint8))


@cache
def hair_map(style: str) -> NDArray[np.uint8]:
    """Tone and coverage of a hair map, the tone brought to a mean of one half."""
    if style == "none":
        return np.zeros((2, 2, 2), np.uint8)
    name = {"afro01": "afro", "Braid01": "braid01"}.get(style, style)
    source = texture(f"hair/{name}_diffuse").astype(np.float64)
    tone, cover = source[..., 0], source[..., 3]
    level = np.median(tone[cover > 128]) + 4
    # The painted cap of the afro shows tiles when it is as contrasty as strands are.
    power = 0.25 if style == "afro01" else 0.7
    tone = 128 * ((tone + 4) / level) ** power
    return np.stack([np.clip(tone, 12, 255), cover], axis=-1).astype(np.uint8)

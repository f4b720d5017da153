"""A picture of what a bundle does: people, what its camera sees, and who they become."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.data import planar
from models.runtime.bundle import Bundle
from models.runtime.painter import Painter
from models.runtime.references import references_of
from models.training.sources import front_end
from models.training.task import tiles

_FRAMES_BETWEEN_S = 0.37


@torch.inference_mode()
def sheet(bundle: Bundle, people: int, styles: int) -> np.ndarray:
    """Return rows of pictures ``(h, w, 3)`` uint8: heads, frames, then one row for each style.

    Only synthetic heads that no training may use are shown.

    Args:
        bundle: What paints.
        people: Columns.
        styles: References shown, spread over the bundle's.
    """
    from models.training.config import FaceConfig

    scenes = torch.stack([_head(k, bundle.card.sizes.size_px) for k in range(people)])
    camera = front_end(FaceConfig(), bundle.trained, bundle.card.optics)
    rng = torch.Generator().manual_seed(0)
    frames = camera(scenes, torch.randn(scenes.shape, generator=rng))
    painter = Painter(bundle)
    known = list(references_of(bundle).values())
    count = min(styles, len(known))
    rows = [_padded(scenes), _padded(frames)]
    for number in range(count):
        reference = known[number * len(known) // count]
        code = torch.from_numpy(reference.style)[None].expand(people, -1)
        faces, _ = painter(frames, code)
        shown = None if reference.picture is None else torch.from_numpy(planar(reference.picture))
        rows.append(_padded(faces, shown))
    return tiles(rows)


def _head(number: int, size_px: int) -> Tensor:
    from camera_rig.twin.heads import HeadScene, HeadSettings, film_curve
    from camera_rig.twin.scene import Field
    from models.heads import TEST_SEEDS

    seed = TEST_SEEDS[number]
    window = Field(height_px=size_px, width_px=size_px, width_mm=260.0)
    settings = HeadSettings(identity_seed=seed, clip_seed=seed, studio_seed=seed, field=window)
    scene = HeadScene(settings)
    return torch.from_numpy(planar(film_curve(scene.radiance(_FRAMES_BETWEEN_S * (number + 1)))))


def _padded(row: Tensor, first: Tensor | None = None) -> Tensor:
    """A row with the reference, or nothing, before it."""
    return torch.cat([torch.ones_like(row[:1]) if first is None else first[None], row])

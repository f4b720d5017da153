"""Landmarks to heatmaps and back, and the two masks that guide the generator.

Coordinates are (x, y) in pixels of the face picture, pixel centres at whole
numbers. A heatmap is a quarter of the picture: its pixel h stands at
``4 (h + 0.5) - 0.5``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as fn
from torch import Tensor

from camera_rig.errors import ConfigError

STRIDE = 4
"""Picture pixels per heatmap pixel."""


@dataclass(frozen=True)
class LandmarkLayout:
    """Which landmark means what.

    Args:
        name: Name in files.
        points: Number of landmarks.
        curves: Index runs that trace a facial line; a run that ends where it
            began is closed. Together they draw the boundary map.
        outline: Landmarks of the coarse mask (jaw and brows).
        inner: Landmarks of the fine mask (nose, eyes, mouth).
        eyes: Outer corner of each eye, the distance errors are divided by.
        keys: Places that tell pose and expression together; each the mean of some
            landmarks. Both layouts have the same ones in the same order.
    """

    name: str
    points: int
    curves: tuple[tuple[int, ...], ...]
    outline: tuple[int, ...]
    inner: tuple[int, ...]
    eyes: tuple[int, int]
    keys: tuple[tuple[int, ...], ...]


def _run(first: int, last: int, *, closed: bool = False) -> tuple[int, ...]:
    return (*range(first, last + 1), first) if closed else tuple(range(first, last + 1))


IBUG68 = LandmarkLayout(
    name="ibug68",
    points=68,
    curves=(
        _run(0, 16), _run(17, 21), _run(22, 26), _run(27, 30), _run(31, 35),
        _run(36, 41, closed=True), _run(42, 47, closed=True),
        _run(48, 59, closed=True), _run(60, 67, closed=True),
    ),
    outline=tuple(range(27)),
    inner=tuple(range(27, 68)),
    eyes=(36, 45),
    keys=(
        (36,), (37, 38), (39,), (40, 41), (42,), (43, 44), (45,), (46, 47),
        (19,), (24,), (27,), (30,), (33,),
        (48,), (54,), (51,), (57,), (62,), (66,),
        (3,), (8,), (13,),
    ),
)  # fmt: skip

WFLW98 = LandmarkLayout(
    name="wflw98",
    points=98,
    curves=(
        _run(0, 32), _run(33, 41, closed=True), _run(42, 50, closed=True), _run(51, 54),
        _run(55, 59), _run(60, 67, closed=True), _run(68, 75, closed=True),
        _run(76, 87, closed=True), _run(88, 95, closed=True),
    ),
    outline=tuple(range(51)),
    inner=tuple(range(51, 98)),
    eyes=(60, 72),
    keys=(
        (60,), (61, 62, 63), (64,), (65, 66, 67), (68,), (69, 70, 71), (72,), (73, 74, 75),
        (35,), (44,), (51,), (54,), (57,),
        (76,), (82,), (79,), (85,), (90,), (94,),
        (6,), (16,), (26,),
    ),
)  # fmt: skip

MASKS = 2
"""First channels of the guide: outline, inner features."""

GUIDE = MASKS + 2 * len(IBUG68.keys)
"""Channels of the guide of G: the masks, then x and y of the way to every key place."""

LAYOUTS = {layout.name: layout for layout in (IBUG68, WFLW98)}


def layout_named(name: str) -> LandmarkLayout:
    """Return the layout of that name.

    Raises:
        ConfigError: No such layout.
    """
    if name not in LAYOUTS:
        raise ConfigError(
            f"unknown landmark layout {name!r}", hint=f"use one of: {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[name]


def to_map(xy_px: Tensor) -> Tensor:
    """Return heatmap coordinates of picture coordinates (pixels)."""
    return (xy_px + 0.5) / STRIDE - 0.5


def to_picture(xy_map: Tensor) -> Tensor:
    """Return picture coordinates (pixels) of heatmap coordinates."""
    return (xy_map + 0.5) * STRIDE - 0.5


def draw_targets(
    landmarks_px: Tensor, layout: LandmarkLayout, size_px: int, sigma_map: float = 1.5
) -> Tensor:
    """Return the heatmaps a perfect U would give: one per landmark, then the boundary.

    Args:
        landmarks_px: ``(batch, points, 2)``, pixels of the picture.
        layout: What the landmarks mean.
        size_px: Height and width of the picture.
        sigma_map: Width of the spots, heatmap pixels. The boundary line is
            two thirds as wide.

    Returns:
        ``(batch, points + 1, size/4, size/4)`` in 0 … 1.
    """
    size = size_px // STRIDE
    centre = to_map(landmarks_px)
    line = torch.arange(size, dtype=centre.dtype, device=centre.device)
    dx = line - centre[..., 0:1]
    dy = line - centre[..., 1:2]
    scale = -0.5 / sigma_map**2
    spots = (
        torch.exp(scale * dy.square())[..., :, None] * torch.exp(scale * dx.square())[..., None, :]
    )
    boundary = _draw_curves(centre, layout, line, sigma_map / 1.5)
    return torch.cat([spots, boundary[:, None]], 1)


def _draw_curves(centre: Tensor, layout: LandmarkLayout, line: Tensor, sigma: float) -> Tensor:
    begin = torch.tensor([i for c in layout.curves for i in c[:-1]], device=centre.device)
    end = torch.tensor([i for c in layout.curves for i in c[1:]], device=centre.device)
    a = centre[:, begin, None, None, :]
    ab = centre[:, end, None, None, :] - a
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    ap = grid - a
    along = ((ap * ab).sum(-1) / ab.square().sum(-1).clamp(min=1e-9)).clamp(0.0, 1.0)
    nearest = (ap - along[..., None] * ab).square().sum(-1).amin(1)
    return torch.exp(-0.5 * nearest / sigma**2)


def read_landmarks(maps: Tensor, layout: LandmarkLayout, reach: int = 3) -> Tensor:
    """Return ``(batch, points, 2)`` picture coordinates, pixels.

    The peak's neighbourhood is averaged with the map as weight, so the result is
    finer than a heatmap pixel and differentiable in the maps.

    Args:
        maps: From U, ``(batch, points + 1, h, w)``.
        layout: What the maps mean.
        reach: Neighbours each way, heatmap pixels.
    """
    spots = maps[:, : layout.points]
    height, width = spots.shape[-2:]
    # Column and row of the peak each for itself: runtimes sort all of a map to find one place.
    peak_x, peak_y = spots.amax(-2).argmax(-1), spots.amax(-1).argmax(-1)
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype)
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype)
    near_x = (columns - peak_x[..., None]).abs() <= reach
    near_y = (rows - peak_y[..., None]).abs() <= reach
    weight = fn.relu(spots) * (near_y[..., :, None] & near_x[..., None, :])
    total = weight.sum((-2, -1)).clamp(min=1e-12)
    x = (weight.sum(-2) * columns).sum(-1) / total
    y = (weight.sum(-1) * rows).sum(-1) / total
    return to_picture(torch.stack([x, y], -1))


def guide(
    maps: Tensor, layout: LandmarkLayout, points_px: Tensor | None = None, floor: float = 0.1
) -> Tensor:
    """Return what guides G, ``(batch, GUIDE, h, w)``.

    First the two masks, 0 … 1. Then for every pixel the way to each key place, x and
    y in units of half the picture: where a pixel lies in the face, and, as the
    difference of two ways, how the face is turned and what it does.

    Args:
        maps: From U.
        layout: What the maps mean.
        points_px: Landmarks when they are known better than from the maps.
        floor: Values of maps below are noise and become 0.
    """
    maps = maps.float()
    spots = fn.threshold(maps[:, : layout.points], floor, 0.0)
    outline = spots[:, list(layout.outline)].sum(1)
    inner = spots[:, list(layout.inner)].sum(1)
    masks = torch.stack([outline, inner], 1).clamp(0.0, 1.0)
    points = read_landmarks(maps, layout) if points_px is None else points_px
    return torch.cat([masks, _ways(to_map(points), layout, maps.shape[-1])], 1)


def _ways(points: Tensor, layout: LandmarkLayout, size: int) -> Tensor:
    """Return ``(batch, 2 keys, size, size)``: from each pixel of the maps to each key place."""
    keys = torch.stack([points[:, list(key)].mean(1) for key in layout.keys], 1)
    line = torch.arange(size, dtype=points.dtype, device=points.device)
    x = (line - keys[..., 0:1])[:, :, None, :].expand(-1, -1, size, -1)
    y = (line - keys[..., 1:2])[:, :, :, None].expand(-1, -1, -1, size)
    return torch.cat([x, y], 1) / (size / 2)


def whole_mask(maps: Tensor, layout: LandmarkLayout, size_px: int) -> Tensor:
    """Return one soft mask ``(batch, 1, size, size)`` of all landmarks, 0 … 1 (m of eq. 12)."""
    both = guide(maps, layout)[:, :MASKS].amax(1, keepdim=True)
    return fn.interpolate(both, size=(size_px, size_px), mode="bilinear", align_corners=False)

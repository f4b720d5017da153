"""Where light reaches: ambient occlusion of an identity and the key lamp's shadow map."""

from __future__ import annotations

import numpy as np

from camera_rig.twin.head._compiled import compiled
from camera_rig.twin.head.assets import Floats, Ints
from camera_rig.twin.head.raster import draw_depth

_SHADOW_SIZE = 256
_SHADOW_RADIUS_DM = 2.1
_SHADOW_BLUR_PX = 2.2
_SHADOW_FLOOR_DM = -2.3
_CENTRE = np.array([0.0, 6.95, 0.55], np.float32)


def _frame(direction: Floats) -> Floats:
    """Return rows right, up, towards the lamp."""
    forward = direction / np.linalg.norm(direction)
    right = np.cross([0.0, 1.0, 0.0] if abs(forward[1]) < 0.95 else [0.0, 0.0, 1.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]).astype(np.float32)


def _to_map(points: Floats, frame: Floats, size: int, radius_dm: float) -> Floats:
    """Return points as seen from a lamp: x, y in texels (y down), z in dm towards it."""
    seen = (points - _CENTRE) @ frame.T
    scale = np.float32(size / (2 * radius_dm))
    seen[:, 0] = seen[:, 0] * scale + size / 2
    seen[:, 1] = size / 2 - seen[:, 1] * scale
    return np.ascontiguousarray(seen, dtype=np.float32)


class ShadowMap:
    """Exponential shadow map of one lamp.

    Args:
        direction: Direction to the lamp.
        casters: Triangles that throw shadows, over points.
        sharpness: Decay of light behind a surface per dm.
    """

    def __init__(self, direction: Floats, casters: Ints, sharpness: float) -> None:
        self._frame = _frame(direction)
        self._casters = casters
        self._sharpness = np.float32(sharpness)
        self._depth = np.empty((_SHADOW_SIZE, _SHADOW_SIZE), np.float32)

    def draw(self, points: Floats) -> Floats:
        """Return the blurred map ``exp(-sharpness z)`` for posed points in dm."""
        import cv2

        self._depth.fill(_SHADOW_FLOOR_DM)
        seen = _to_map(points, self._frame, _SHADOW_SIZE, _SHADOW_RADIUS_DM)
        draw_depth(seen, self._casters, self._depth)
        return np.asarray(
            cv2.GaussianBlur(np.exp(-self._sharpness * self._depth), (0, 0), _SHADOW_BLUR_PX)
        )

    def coordinates(self, points: Floats, normals: Floats) -> Floats:
        """Return where points look up the map, moved off their own surface."""
        lifted = points + np.float32(0.045) * normals + np.float32(0.03) * self._frame[2]
        return _to_map(lifted, self._frame, _SHADOW_SIZE, _SHADOW_RADIUS_DM)


@compiled
def _add_visible(
    seen: Floats, facing: Floats, depth: Floats, open_sky: Floats, whole_sky: Floats
) -> None:
    size = depth.shape[0]
    for i in range(seen.shape[0]):
        cosine = facing[i]
        if cosine <= 0:
            continue
        whole_sky[i] += cosine
        x, y = int(seen[i, 0]), int(seen[i, 1])
        if 0 <= x < size and 0 <= y < size:
            covered = (depth[y, x] - seen[i, 2]) * np.float32(12.0)
            open_sky[i] += cosine * (1 - min(max(covered, 0.0), 1.0))
        else:
            open_sky[i] += cosine


def ambient_occlusion(points: Floats, normals: Floats, casters: Ints) -> Floats:
    """Return for each point the share of the sky above it that is open, 0 to 1."""
    size, radius_dm, directions = 160, 2.6, 72
    k = np.arange(directions) + 0.5
    z, around = 1 - 2 * k / directions, np.pi * (1 + 5**0.5) * k
    sphere = np.stack([np.sqrt(1 - z**2) * np.cos(around), np.sqrt(1 - z**2) * np.sin(around), z])
    open_sky, whole_sky = np.zeros((2, len(points)), np.float32)
    depth = np.empty((size, size), np.float32)
    for direction in sphere.T.astype(np.float32):
        frame = _frame(direction)
        depth.fill(-9.0)
        draw_depth(_to_map(points, frame, size, radius_dm), casters, depth)
        lifted = _to_map(points + np.float32(0.03) * normals, frame, size, radius_dm)
        lifted[:, 2] += np.float32(0.05)
        _add_visible(lifted, normals @ frame[2], depth, open_sky, whole_sky)
    return np.asarray(open_sky / np.maximum(whole_sky, 1e-3))

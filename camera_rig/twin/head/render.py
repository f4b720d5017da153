"""The renderer: one identity, one studio, one frame after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import StateError
from camera_rig.twin.head.assets import Floats, Ints, head_model
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.light import ShadowMap, ambient_occlusion
from camera_rig.twin.head.materials import COLUMNS, SHADOW_SHARPNESS
from camera_rig.twin.head.model import GAZE_CENTRE, HeadShape, Material
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.head.raster import collect_layers, draw_nearest
from camera_rig.twin.head.shading import shade, shoulder
from camera_rig.twin.head.skin import atlas_coordinates
from camera_rig.twin.head.studio import Studio, background
from camera_rig.twin.head.textures import Maps
from camera_rig.twin.scene import Field, Radiance

_CAMERA_DM = 14.0
_KNEE = 0.75
_FRAGMENTS_PER_PX = 8


@dataclass(frozen=True)
class Rendered:
    """One frame and what is where in it.

    Args:
        radiance: ``(H, W, 3)`` float32 linear light, 0 to 1.
        parts: ``(H, W)`` uint8 :class:`camera_rig.twin.heads.Part`.
        landmarks_px: ``(68, 2)`` x, y; pixel centres are whole numbers.
    """

    radiance: Radiance
    parts: NDArray[np.uint8]
    landmarks_px: NDArray[np.float32]


class HeadRenderer:
    """Renders one identity in one studio. Not for use from two threads at once.

    Args:
        identity: Who it is.
        studio: Light, garment and wall.
        field: Window to fill; the head is centred in it.
        maps: Textures of the identity when they are at hand: painting them is most of
            the work of a new renderer.
    """

    def __init__(
        self, identity: Identity, studio: Studio, field: Field, maps: Maps | None = None
    ) -> None:
        self.field = field
        self._shape = HeadShape(head_model(), identity)
        self._dress(studio)
        self._maps = Maps.of(identity) if maps is None else maps
        self._look = _look(identity, studio)
        self._studio = studio
        self._background = background(studio, field)
        self._table = self._constant_columns()
        casters = self._casters()
        self._shadow = ShadowMap(studio.lights[0, :3], casters, float(SHADOW_SHARPNESS))
        self._occlude(casters)
        self._buffers = _Buffers.of(field)
        mesh = self._shape.mesh
        self._layer_bias = np.where(mesh.material == Material.HAIR, 0.01, 0.03).astype(np.float32)

    def render(self, coefficients: Floats, pose: HeadPose) -> Rendered:
        """Return one frame.

        Args:
            coefficients: ``(52,)`` strengths of the face units, 0 to 1.
            pose: Where the head is.
        """
        return self._render(coefficients, pose, lambda stage: None)

    def timed(self, coefficients: Floats, pose: HeadPose) -> dict[str, float]:
        """Render one frame and return the seconds of processor time of each stage."""
        marks = [("", time.thread_time())]
        self._render(coefficients, pose, lambda stage: marks.append((stage, time.thread_time())))
        return {name: at - before for (_, before), (name, at) in pairwise(marks)}

    def _render(
        self, coefficients: Floats, pose: HeadPose, done: Callable[[str], None]
    ) -> Rendered:
        points = self._shape.points(coefficients, pose)
        normals = self._shape.normals(points)
        done("geometry")
        shadow = self._shadow.draw(points)
        done("shadow")
        screen = self._project(points)
        self._fill_table(points, normals, screen)
        done("table")
        self._rasterise()
        done("raster")
        radiance, parts = self._shade(screen, points, shadow, pose)
        done("shade")
        landmarks = screen[self._shape.landmarks, :2] / 2 - 0.5
        return Rendered(radiance, parts, landmarks.astype(np.float32))

    def _project(self, points: Floats) -> Floats:
        """Return x, y in half-pixel samples and z in dm."""
        samples_per_dm = 200.0 / self.field.mm_per_px
        near = samples_per_dm * _CAMERA_DM / (_CAMERA_DM - (points[:, 2] - GAZE_CENTRE[2]))
        screen = np.empty_like(points)
        screen[:, 0] = self.field.width_px + (points[:, 0] - GAZE_CENTRE[0]) * near
        screen[:, 1] = self.field.height_px - (points[:, 1] - GAZE_CENTRE[1]) * near
        screen[:, 2] = points[:, 2]
        return screen

    def _fill_table(self, points: Floats, normals: Floats, screen: Floats) -> None:
        spread = self._shape.spread
        lamp = self._shadow.coordinates(points, normals)
        self._table[:, 0:9] = spread(np.hstack([screen, normals, lamp]))

    def _rasterise(self) -> None:
        mesh, buffers = self._shape.mesh, self._buffers
        corners = np.ascontiguousarray(self._table[:, :3])
        buffers.clear()
        opaque = mesh.tri[: mesh.opaque]
        draw_nearest(corners, opaque, mesh.two_sided, buffers.depth, buffers.owner)
        count = collect_layers(
            corners, mesh.tri, mesh.opaque, self._layer_bias, buffers.depth, *buffers.layers
        )
        if count < 0:
            raise StateError(
                "the head's hair has more layers than the renderer holds",
                hint="use a wider field, so that the head does not fill it",
            )

    def _shade(
        self, screen: Floats, points: Floats, shadow: Floats, pose: HeadPose
    ) -> tuple[Radiance, NDArray[np.uint8]]:
        mesh, buffers, maps = self._shape.mesh, self._buffers, self._maps
        field = self.field
        radiance = np.empty(field.shape, np.float32)
        parts = np.empty(field.shape[:2], np.uint8)
        camera = np.array(
            [_CAMERA_DM, 200.0 / field.mm_per_px, field.width_px, field.height_px], np.float32
        )
        shade(
            self._table, mesh.tri, mesh.material, buffers.owner, buffers.depth, *buffers.layers,
            self._studio.lights, self._studio.ambient, shadow,
            maps.base, maps.atlas, maps.iris, maps.teeth, maps.hair, maps.brow, maps.lash,
            _up(pose), camera, self._look, _lids(screen, self._shape.landmarks),
            _mouth(points, self._shape.landmarks), self._background, radiance, parts,
        )  # fmt: skip
        shoulder(radiance, _KNEE)
        return radiance, parts

    def _constant_columns(self) -> Floats:
        mesh = self._shape.mesh
        table = np.zeros((len(mesh.point), COLUMNS), np.float32)
        table[:, 9:11] = mesh.uv
        table[:, 11:13] = atlas_coordinates(mesh.rest)
        table[:, 13] = 1.0
        table[:, 14:16] = mesh.rest[:, [0, 2]]
        return table

    def _dress(self, studio: Studio) -> None:
        """Lift the garment off the skin."""
        rest = self._shape.rest_points
        x, z = rest[:, 0], rest[:, 2] - 0.05
        radius, v_depth = studio.neckline
        front = np.where(z > 0, np.clip(1 - 1.8 * np.abs(x), 0, 1), 0)
        inside = np.hypot(0.9 * x, z) - radius - v_depth * front  # as in materials.py
        inside = np.maximum(inside, 5.25 - rest[:, 1])
        worn = np.where(rest[:, 1] < 6.02, np.clip(inside * 0.8, 0, 0.05), 0)
        self._shape.thicken(worn.astype(np.float32))

    def _casters(self) -> Ints:
        """Opaque triangles, and hair where its sheet is mostly there."""
        mesh, hair = self._shape.mesh, self._maps.hair
        centre = mesh.uv[mesh.tri].mean(axis=1)
        height, width = hair.shape[:2]
        columns = np.clip(centre[:, 0] * width, 0, width - 1).astype(int)
        rows = np.clip(centre[:, 1] * height, 0, height - 1).astype(int)
        dense = (mesh.material == Material.HAIR) & (hair[rows, columns, 1] > 110)
        return np.ascontiguousarray(mesh.point[mesh.tri[(mesh.material < Material.HAIR) | dense]])

    def _occlude(self, casters: Ints) -> None:
        points = self._shape.points(np.zeros(52, np.float32), HeadPose())
        occlusion = ambient_occlusion(points, self._shape.normals(points), casters)
        self._table[:, 13] = np.clip(occlusion, 0.03, 1)[self._shape.mesh.point]


def _look(identity: Identity, studio: Studio) -> Floats:
    hair = np.array(identity.hair_rgb)
    look = np.zeros(26, np.float32)
    look[0:3] = studio.cloth_rgb
    look[3:5] = studio.neckline
    look[5:8] = np.minimum(hair * 0.55 + 0.004, 0.2)
    look[8:11] = studio.stripes[0], 0.55 if studio.stripes[0] else -2.0, studio.stripes[1]
    if not studio.stripes[0]:
        look[10] = 1.0
    look[11] = 0.9
    look[14:17] = 0.30, 0.075, 0.065
    look[17:20] = np.array([0.42, 0.20, 0.17]) * (1 - 0.6 * identity.melanin)
    look[20:23] = 0.008, 0.006, 0.005
    look[23:26] = hair
    return look


def _up(pose: HeadPose) -> Floats:
    """Return the head's own up direction."""
    yaw, pitch, roll = pose.angles_rad.astype(float)
    x, y, z = 0.0, np.cos(pitch), np.sin(pitch)
    x, z = np.sin(yaw) * z, np.cos(yaw) * z
    turned = [np.cos(roll) * x - np.sin(roll) * y, np.sin(roll) * x + np.cos(roll) * y, z]
    return np.array(turned, np.float32)


def _lids(screen: Floats, landmarks: Ints) -> Floats:
    """Per eye: middle of the upper lid, direction to the lower lid, split column, opening."""
    at = screen[landmarks, :2]
    lids = np.empty((2, 6), np.float32)
    for row, upper, lower in ((0, (37, 38), (40, 41)), (1, (43, 44), (46, 47))):
        top, low = at[list(upper)].mean(axis=0), at[list(lower)].mean(axis=0)
        opening = float(np.linalg.norm(low - top))
        direction = (low - top) / max(opening, 1e-3)
        lids[row] = (*top, *direction, at[27, 0], opening)
    return lids


def _mouth(points: Floats, landmarks: Ints) -> Floats:
    """Depth of the lips in dm, and how much light enters between them."""
    lips = points[landmarks[60:68]]
    opening = float(np.linalg.norm(lips[2] - lips[6]))
    return np.array([lips[:, 2].max() + 0.02, 0.55 + min(opening * 1.2, 0.45)], np.float32)


@dataclass(frozen=True)
class _Buffers:
    """Reused from frame to frame: fresh ones would cost page faults."""

    depth: Floats
    owner: Ints
    layers: tuple[Ints, Ints, Ints, Floats, NDArray[np.uint8]]

    @classmethod
    def of(cls, field: Field) -> _Buffers:
        fine = (2 * field.height_px, 2 * field.width_px)
        room = _FRAGMENTS_PER_PX * field.height_px * field.width_px
        return cls(
            depth=np.empty(fine, np.float32),
            owner=np.empty(fine, np.int32),
            layers=(
                np.empty(field.shape[:2], np.int32),
                np.empty(room, np.int32),
                np.empty(room, np.int32),
                np.empty(room, np.float32),
                np.empty(room, np.uint8),
            ),
        )

    def clear(self) -> None:
        self.depth.fill(-1e30)
        self.owner.fill(-1)
        self.layers[0].fill(-1)

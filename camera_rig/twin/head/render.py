"""The renderer: one identity, one studio, one frame after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camera_rig.errors import StateError
from camera_rig.twin.head.assets import Floats, Ints, head_model, texture
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.light import ShadowMap, ambient_occlusion
from camera_rig.twin.head.model import GAZE_CENTRE, HeadShape, Material
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.head.raster import collect_layers, draw_nearest
from camera_rig.twin.head.shading import SHADOW_SHARPNESS, VERTEX_COLUMNS, shade, shoulder
from camera_rig.twin.head.skin import atlas_coordinates, paint_skin
from camera_rig.twin.head.studio import Studio, background
from camera_rig.twin.scene import Field

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

    radiance: Floats
    parts: NDArray[np.uint8]
    landmarks_px: Floats


class HeadRenderer:
    """Renders one identity in one studio. Not for use from two threads at once.

    Args:
        identity: Who it is.
        studio: Light, garment and wall.
        field: Window to fill; the head is centred in it.
    """

    def __init__(self, identity: Identity, studio: Studio, field: Field) -> None:
        self.field = field
        self._shape = HeadShape(head_model(), identity)
        self._dress(studio)
        self._maps = _Maps.of(identity)
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
        points = self._shape.points(coefficients, pose)
        normals = self._shape.normals(points)
        shadow = self._shadow.draw(points)
        screen = self._project(points)
        self._fill_table(points, normals, screen)
        self._rasterise()
        radiance, parts = self._shade(screen, points, shadow, pose)
        landmarks = screen[self._shape.landmarks, :2] / 2 - 0.5
        return Rendered(radiance, parts, landmarks)

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
        draw_nearest(corners, mesh.tri[: mesh.opaque], buffers.depth, buffers.owner)
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
    ) -> tuple[Floats, NDArray[np.uint8]]:
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
        table = np.zeros((len(mesh.point), VERTEX_COLUMNS), np.float32)
        table[:, 9:11] = mesh.uv
        table[:, 11:13] = atlas_coordinates(mesh.rest)
        table[:, 13] = 1.0
        table[:, 14] = self._cloth[mesh.point]
        return table

    def _dress(self, studio: Studio) -> None:
        """Mark where the garment is, and lift it off the skin."""
        rest = self._shape.rest_points
        radius, v_depth = studio.neckline
        angle = np.arctan2(rest[:, 0], rest[:, 2])
        collar = radius + v_depth * np.exp(-((angle / 0.42) ** 2))
        outside = np.hypot(rest[:, 0] * 0.9, rest[:, 2] - 0.05) - collar
        self._cloth = np.where(
            rest[:, 1] < 6.02, np.maximum(outside, 5.2 - rest[:, 1]), -1.0
        ).astype(np.float32)
        self._shape.thicken(np.clip(self._cloth * 0.8, 0, 0.05).astype(np.float32))

    def _casters(self) -> Ints:
        """Opaque triangles, and hair where its sheet is mostly there."""
        mesh, hair = self._shape.mesh, self._maps.hair
        centre = mesh.uv[mesh.tri].mean(axis=1)
        columns, rows = (np.clip(centre * 512, 0, 511)).astype(int).T
        dense = (mesh.material == Material.HAIR) & (hair[rows, columns, 1] > 110)
        return np.ascontiguousarray(mesh.point[mesh.tri[(mesh.material < Material.HAIR) | dense]])

    def _occlude(self, casters: Ints) -> None:
        points = self._shape.points(np.zeros(52, np.float32), HeadPose())
        occlusion = ambient_occlusion(points, self._shape.normals(points), casters)
        self._table[:, 13] = np.clip(occlusion, 0.03, 1)[self._shape.mesh.point]


@dataclass(frozen=True)
class _Maps:
    """All textures of an identity, 8 bit; colours hold the root of linear light."""

    base: NDArray[np.uint8]
    atlas: NDArray[np.uint8]
    iris: NDArray[np.uint8]
    teeth: NDArray[np.uint8]
    hair: NDArray[np.uint8]
    brow: NDArray[np.uint8]
    lash: NDArray[np.uint8]

    @classmethod
    def of(cls, identity: Identity) -> _Maps:
        skin = paint_skin(identity)
        return cls(
            base=skin.base,
            atlas=skin.atlas,
            iris=_iris(identity),
            teeth=_rooted(texture("teeth/teeth")),
            hair=_hair(identity.hair_style),
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


def _hair(style: str) -> NDArray[np.uint8]:
    """Tone and coverage of a hair map, the tone brought to a mean of one half."""
    if style == "none":
        return np.zeros((2, 2, 2), np.uint8)
    name = {"afro01": "afro", "Braid01": "braid01"}.get(style, style)
    source = texture(f"hair/{name}_diffuse").astype(np.float64)
    tone, cover = source[..., 0], source[..., 3]
    level = np.median(tone[cover > 128]) + 4
    tone = 128 * ((tone + 4) / level) ** 0.7
    return np.stack([np.clip(tone, 12, 255), cover], axis=-1).astype(np.uint8)


def _look(identity: Identity, studio: Studio) -> Floats:
    hair = np.array(identity.hair_rgb)
    look = np.zeros(26, np.float32)
    look[0:3] = studio.cloth_rgb
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

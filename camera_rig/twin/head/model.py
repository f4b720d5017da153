"""From identity and expression to vertices: one mesh of all parts, posed frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.head.assets import Floats, HeadModel, Ints, Proxy, Target
from camera_rig.twin.head.geometry import bend, gather, ride, vertex_normals
from camera_rig.twin.head.hem import hem_below
from camera_rig.twin.head.identity import Identity
from camera_rig.twin.head.pose import HeadPose
from camera_rig.twin.head.textures import hair_map

# The head turns about a point between skull and neck, in dm of the model at rest.
PIVOT = np.array([0.0, 6.35, 0.25], np.float32)
# What the camera looks at when the head stands straight.
GAZE_CENTRE = np.array([0.0, 7.02, 0.9], np.float32)


class Material(IntEnum):
    """Which shader a triangle takes."""

    SKIN = 0
    NECK = 1
    SOCKET = 2
    MOUTH = 3
    EYE = 4
    TEETH = 5
    HAIR = 6
    BROW = 7
    LASH = 8


@dataclass(frozen=True)
class Mesh:
    """All triangles of one identity, with the constants of their vertices.

    Args:
        point: ``(n,)`` which posed point each render vertex is: seams of the texture split points.
        uv: ``(n, 2)`` texture coordinates, v down, 0 to 1.
        rest: ``(n, 3)`` place of each vertex on the neutral model: the same for all people.
        tri: ``(m, 3)`` triangles of render vertices, opaque ones first.
        material: ``(m,)`` :class:`Material` of each triangle.
        two_sided: First opaque triangle that shows both sides: dense hair.
        opaque: Number of opaque triangles.
    """

    point: Ints
    uv: Floats
    rest: Floats
    tri: Ints
    material: NDArray[np.uint8]
    two_sided: int
    opaque: int


@dataclass(frozen=True)
class _Layer:
    material: NDArray[np.uint8]
    tri: Ints
    uv: Floats
    tri_uv: Ints
    first_point: int


class HeadShape:
    """The mesh of one identity and the way to pose it.

    Args:
        model: The shipped model.
        identity: Who it is.
    """

    def __init__(self, model: HeadModel, identity: Identity) -> None:
        self.neutral = _identity_vertices(model, identity)
        self.landmarks = model.landmarks
        self._units = _dense_units(model)
        self._proxies = [
            _resized(model.proxies[name], model.vertices, self.neutral)
            for name in _proxy_names(identity)
        ]
        self._heads = len(model.vertices)
        self._hem = hem_below(model, self._heads + sum(len(p.ref) for p in self._proxies))
        riding = [*self._proxies, self._hem]
        self._ref = np.concatenate([p.ref for p in riding])
        self._weight = np.concatenate([p.weight for p in riding])
        self._offset = np.concatenate([p.offset for p in riding])
        self.rest_points = self._with_proxies(model.vertices.copy())
        self._share = _neck_share(self.rest_points)
        cover = hair_map(identity.hair_style)[..., 1]
        self.mesh = _merged(self._layers(model, identity), self.rest_points, cover)
        self._point_tri = np.ascontiguousarray(self.mesh.point[self.mesh.tri])

    def thicken(self, thickness: Floats) -> None:
        """Push points of the neutral head outwards, as a garment does.

        Args:
            thickness: dm for each point; those of riding meshes do not matter.
        """
        normals = self.normals(self._with_proxies(self.neutral))[: self._heads]
        self.neutral += normals * thickness[: self._heads, None]

    def points(self, coefficients: Floats, pose: HeadPose) -> Floats:
        """Return all points in dm under an expression and a pose.

        Args:
            coefficients: ``(52,)`` strengths of the face units, 0 to 1.
            pose: Where the head is.
        """
        index, deltas = self._units
        head = self.neutral.copy()
        active = np.nonzero(coefficients)[0]
        if active.size:
            moved = np.tensordot(coefficients[active], deltas[active], axes=1)
            head[index] += moved
        points = self._with_proxies(head)
        move = np.array(pose.shift_mm, np.float32) / 100.0
        bend(points, self._share, pose.angles_rad, PIVOT, move)
        return points

    def normals(self, points: Floats) -> Floats:
        """Return the unit normals of all points."""
        normals = np.empty_like(points)
        vertex_normals(points, self._point_tri, normals)
        return normals

    def spread(self, values: Floats) -> Floats:
        """Return values of points for each render vertex."""
        out = np.empty((len(self.mesh.point), values.shape[1]), np.float32)
        gather(values, self.mesh.point, out)
        return out

    def _with_proxies(self, head: Floats) -> Floats:
        points = np.empty((len(head) + len(self._ref), 3), np.float32)
        points[: len(head)] = head
        ride(head, self._ref, self._weight, self._offset, points[len(head) :])
        return points

    def _layers(self, model: HeadModel, identity: Identity) -> list[_Layer]:
        layers = [_Layer(_islands(model), model.tri, model.uv, model.tri_uv, 0)]
        first = self._heads
        for name, proxy in zip(_proxy_names(identity), self._proxies, strict=True):
            material = _MATERIALS[name.split("/")[0]]
            kept = _without_cornea(proxy) if material == Material.EYE else proxy
            filled = np.full(len(kept.tri), material, np.uint8)
            layers.append(_Layer(filled, kept.tri, kept.uv, kept.tri_uv, first))
            first += len(proxy.ref)
        hem = self._hem
        worn = np.full(len(hem.tri), Material.NECK, np.uint8)
        layers.append(_Layer(worn, hem.tri, hem.uv, hem.tri_uv, 0))
        return layers


_MATERIALS = {
    "eyes": Material.EYE,
    "teeth": Material.TEETH,
    "hair": Material.HAIR,
    "eyebrows": Material.BROW,
    "eyelashes": Material.LASH,
}


def _proxy_names(identity: Identity) -> list[str]:
    names = ["eyes/HighPolyEyes", "teeth/Teeth_Base"]
    names += [f"eyebrows/{identity.brow_style}", f"eyelashes/{identity.lash_style}"]
    return names + ([f"hair/{identity.hair_style}"] if identity.hair_style != "none" else [])


def _identity_vertices(model: HeadModel, identity: Identity) -> Floats:
    vertices = model.vertices.copy()
    for name, strength in (identity.macro_weights() | identity.local).items():
        target: Target = model.targets[name]
        vertices[target.index] += strength * target.delta
    # Tall and short people are brought before the camera by moving, not by scaling.
    eyes = model.landmarks[36:48]
    shift = model.vertices[eyes].mean(axis=0) - vertices[eyes].mean(axis=0)
    return np.asarray(vertices + shift, dtype=np.float32)


def _dense_units(model: HeadModel) -> tuple[NDArray[np.intp], Floats]:
    """Stack the face units over the vertices that any of them moves."""
    units = [model.targets[f"faceunit/{name}"] for name in model.face_units]
    index = np.unique(np.concatenate([unit.index for unit in units]))
    deltas = np.zeros((len(units), len(index), 3), np.float32)
    for row, unit in zip(deltas, units, strict=True):
        row[np.searchsorted(index, unit.index)] = unit.delta
    return index, deltas


def _resized(proxy: Proxy, rest: Floats, shape: Floats) -> Proxy:
    """Scale what a riding mesh adds to the head by how large this head is."""
    skull = slice(0, 4000)
    ratio = np.ptp(shape[skull], axis=0) / np.ptp(rest[skull], axis=0)
    return replace(proxy, offset=(proxy.offset * ratio).astype(np.float32))


def _neck_share(rest: Floats) -> Floats:
    """How far each point follows the head: 0 at the shoulders, 1 from the jaw upwards."""
    chin = np.clip((rest[:, 1] - 5.5) / 0.4, 0, 1) * np.clip(rest[:, 2] - 0.45, 0, 1)
    height = rest[:, 1] + 0.45 * chin
    x = np.clip((height - 5.35) / (6.35 - 5.35), 0, 1)
    return np.asarray(x * x * (3 - 2 * x), dtype=np.float32)


def _islands(model: HeadModel) -> NDArray[np.uint8]:
    """Tell face, neck, eye sockets and mouth apart by where they lie in the map."""
    centre = model.uv[model.tri_uv].mean(axis=1)
    material = np.full(len(model.tri), Material.SKIN, np.uint8)
    material[(centre[:, 0] < 0.6) & (centre[:, 1] > 0.75)] = Material.NECK
    material[centre[:, 0] < 0.16] = Material.SOCKET
    material[(centre[:, 0] > 0.7) & (centre[:, 1] < 0.15)] = Material.MOUTH
    return material


def _without_cornea(proxy: Proxy) -> Proxy:
    """Drop the clear shell over the iris; its glint comes from the eyeball itself."""
    centre = proxy.uv[proxy.tri_uv].mean(axis=1)
    seen = ~((centre[:, 0] > 0.85) & (centre[:, 1] < 0.15))
    return replace(proxy, tri=proxy.tri[seen], tri_uv=proxy.tri_uv[seen])


def _merged(layers: list[_Layer], rest: Floats, hair_cover: NDArray[np.uint8]) -> Mesh:
    """Join all layers into one list of render vertices and triangles, opaque first."""
    point, uv, tri, material = [], [], [], []
    count = 0
    for layer in layers:
        pairs = np.stack([layer.tri.ravel() + layer.first_point, layer.tri_uv.ravel()], axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        point.append(unique[:, 0])
        uv.append(layer.uv[unique[:, 1]])
        tri.append(inverse.reshape(-1, 3) + count)
        material.append(layer.material)
        count += len(unique)
    materials, tris = np.concatenate(material), np.concatenate(tri)
    upright = (np.concatenate(uv) * [1, -1] + [0, 1]).astype(np.float32)
    solid = np.zeros(len(tris), bool)
    strands = materials == Material.HAIR
    solid[strands] = _is_solid(upright[tris[strands]], hair_cover)
    layer_of = np.where(materials < Material.HAIR, 0, np.where(solid, 1, 2))
    order = np.argsort(layer_of, kind="stable")
    points = np.concatenate(point).astype(np.int32)
    return Mesh(
        point=points,
        uv=upright,
        rest=rest[points],
        tri=np.ascontiguousarray(tris[order], dtype=np.int32),
        material=materials[order],
        two_sided=int((layer_of == 0).sum()),
        opaque=int((layer_of < 2).sum()),
    )


def _is_solid(corners_uv: Floats, cover: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell the hair triangles without a gap, which need no sorting: most of them."""
    steps = np.linspace(0, 1, 6)
    shares = [(1 - a - b, a, b) for a in steps for b in steps if a + b <= 1 + 1e-9]
    places = np.einsum("sk,tkd->tsd", np.array(shares), corners_uv)
    height, width = cover.shape
    columns = np.clip(places[..., 0] * width, 0, width - 1).astype(int)
    rows = np.clip(places[..., 1] * height, 0, height - 1).astype(int)
    return np.asarray((cover[rows, columns] > 247).all(axis=1))

"""Compiled geometry of a head: riding meshes, bending neck, normals."""

from __future__ import annotations

import numpy as np

from camera_rig.twin.head._compiled import compiled
from camera_rig.twin.head.assets import Floats, Ints


@compiled
def ride(head: Floats, ref: Ints, weight: Floats, offset: Floats, out: Floats) -> None:
    """Place the vertices of riding meshes on the head."""
    for i in range(ref.shape[0]):
        for k in range(3):
            out[i, k] = (
                head[ref[i, 0], k] * weight[i, 0]
                + head[ref[i, 1], k] * weight[i, 1]
                + head[ref[i, 2], k] * weight[i, 2]
                + offset[i, k]
            )


@compiled
def bend(points: Floats, share: Floats, angles_rad: Floats, pivot: Floats, move: Floats) -> None:
    """Turn points about the neck in place by their share of R = Rz(roll) Ry(yaw) Rx(pitch).

    Args:
        points: ``(n, 3)`` in dm, changed in place.
        share: ``(n,)`` 0 for the shoulders, 1 for the head.
        angles_rad: yaw, pitch, roll.
        pivot: Point about which the head turns, in dm.
        move: Shift of the whole head in dm, by share.
    """
    for i in range(points.shape[0]):
        s = share[i]
        cy, sy = np.cos(angles_rad[0] * s), np.sin(angles_rad[0] * s)
        cp, sp = np.cos(angles_rad[1] * s), np.sin(angles_rad[1] * s)
        cr, sr = np.cos(angles_rad[2] * s), np.sin(angles_rad[2] * s)
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        y, z = cp * y - sp * z, sp * y + cp * z
        x, z = cy * x + sy * z, -sy * x + cy * z
        x, y = cr * x - sr * y, sr * x + cr * y
        points[i, 0] = x + pivot[0] + s * move[0]
        points[i, 1] = y + pivot[1] + s * move[1]
        points[i, 2] = z + pivot[2] + s * move[2]


@compiled
def vertex_normals(points: Floats, tri: Ints, out: Floats) -> None:
    """Write the unit normals of vertices: area-weighted means of their triangles."""
    out[:] = 0.0
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        ux, uy, uz = (
            points[b, 0] - points[a, 0],
            points[b, 1] - points[a, 1],
            points[b, 2] - points[a, 2],
        )
        vx, vy, vz = (
            points[c, 0] - points[a, 0],
            points[c, 1] - points[a, 1],
            points[c, 2] - points[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 1e-12:
            out[i, 0] /= length
            out[i, 1] /= length
            out[i, 2] /= length


@compiled
def gather(source: Floats, index: Ints, out: Floats) -> None:
    """Copy rows by number."""
    for i in range(index.shape[0]):
        for k in range(source.shape[1]):
            out[i, k] = source[index[i], k]

"""Compiled rasteriser: nearest surface on a grid, and a list of see-through layers per pixel.

Opaque triangles are tested on a grid of 2 x 2 samples per pixel, and the nearest one is
kept, so that edges come out smooth though each surface is shaded once per pixel. Hair,
brows and lashes are see-through: every triangle leaves a fragment with the samples it
covers, and the shader blends them from back to front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camera_rig.twin.head._compiled import Scalar, compiled, inlined
from camera_rig.twin.head.assets import Floats, Ints

Bytes = NDArray[np.uint8]
F = np.float32


@inlined
def _inverse(slope: Scalar) -> Scalar:
    """Return 1 over a slope, or 0 for one too flat to tell where it crosses zero."""
    return F(1) / slope if abs(slope) > F(1e-4) else F(0)


@inlined
def _first(left: Scalar, inverse: Scalar, at: Scalar, origin: Scalar) -> Scalar:
    """Return the column, at least left, from which a weight that grows with x is not negative.

    ``at`` is the weight at ``origin``. A column too many does no harm: each is tested.
    """
    return max(left, np.floor(origin - at * inverse)) if inverse > 0 else left


@inlined
def _last(right: Scalar, inverse: Scalar, at: Scalar, origin: Scalar) -> Scalar:
    """Return the column, at most right, up to which a weight that falls with x is not negative."""
    return min(right, np.ceil(origin - at * inverse)) if inverse < 0 else right


@compiled
def draw_nearest(corners: Floats, tri: Ints, two_sided: Scalar, depth: Floats, owner: Ints) -> None:
    """Keep the nearest front-facing triangle at each sample.

    Args:
        corners: ``(n, 3)`` x, y in samples (sample centres at halves), z growing to the viewer.
        tri: ``(m, 3)`` triangles.
        two_sided: First triangle of those that show both sides.
        depth: ``(H, W)`` z of what was kept so far; changed in place.
        owner: ``(H, W)`` its triangle; changed in place.
    """
    height, width = depth.shape
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        x0, y0 = corners[a, 0], corners[a, 1]
        x1, y1 = corners[b, 0] - x0, corners[b, 1] - y0
        x2, y2 = corners[c, 0] - x0, corners[c, 1] - y0
        # y grows downwards here, so a front face runs clockwise.
        area = x2 * y1 - x1 * y2
        if area <= F(1e-6) and (t < two_sided or area >= F(-1e-6)):
            continue
        left = max(0, int(np.ceil(x0 + min(F(0), x1, x2) - F(0.5))))
        right = min(width - 1, int(np.floor(x0 + max(F(0), x1, x2) - F(0.5))))
        top = max(0, int(np.ceil(y0 + min(F(0), y1, y2) - F(0.5))))
        bottom = min(height - 1, int(np.floor(y0 + max(F(0), y1, y2) - F(0.5))))
        if left > right or top > bottom:
            continue
        inv = F(1) / area
        b1x, b1y = -y2 * inv, x2 * inv
        b2x, b2y = y1 * inv, -x1 * inv
        z0 = corners[a, 2]
        dz1, dz2 = corners[b, 2] - z0, corners[c, 2] - z0
        i1, i2, i0 = _inverse(b1x), _inverse(b2x), _inverse(-b1x - b2x)
        origin = x0 - F(0.5)
        for y in range(top, bottom + 1):
            py = F(y) + F(0.5) - y0
            r1, r2 = py * b1y, py * b2y
            r0 = F(1) - r1 - r2
            low = _first(_first(_first(F(left), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            high = _last(_last(_last(F(right), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            for x in range(int(low), int(high) + 1):
                px = F(x) + F(0.5) - x0
                w1 = px * b1x + py * b1y
                w2 = px * b2x + py * b2y
                if w1 >= 0 and w2 >= 0 and w1 + w2 <= 1:
                    z = z0 + w1 * dz1 + w2 * dz2
                    if z > depth[y, x]:
                        depth[y, x] = z
                        owner[y, x] = t


@compiled
def draw_depth(corners: Floats, tri: Ints, depth: Floats) -> None:
    """Keep the largest z at each sample, whichever way the triangle faces."""
    height, width = depth.shape
    for t in range(tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        x0, y0 = corners[a, 0], corners[a, 1]
        x1, y1 = corners[b, 0] - x0, corners[b, 1] - y0
        x2, y2 = corners[c, 0] - x0, corners[c, 1] - y0
        area = x2 * y1 - x1 * y2
        if abs(area) <= F(1e-6):
            continue
        left = max(0, int(np.ceil(x0 + min(F(0), x1, x2) - F(0.5))))
        right = min(width - 1, int(np.floor(x0 + max(F(0), x1, x2) - F(0.5))))
        top = max(0, int(np.ceil(y0 + min(F(0), y1, y2) - F(0.5))))
        bottom = min(height - 1, int(np.floor(y0 + max(F(0), y1, y2) - F(0.5))))
        inv = F(1) / area
        b1x, b1y = -y2 * inv, x2 * inv
        b2x, b2y = y1 * inv, -x1 * inv
        z0 = corners[a, 2]
        dz1, dz2 = corners[b, 2] - z0, corners[c, 2] - z0
        i1, i2, i0 = _inverse(b1x), _inverse(b2x), _inverse(-b1x - b2x)
        origin = x0 - F(0.5)
        for y in range(top, bottom + 1):
            py = F(y) + F(0.5) - y0
            r1, r2 = py * b1y, py * b2y
            r0 = F(1) - r1 - r2
            low = _first(_first(_first(F(left), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            high = _last(_last(_last(F(right), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            for x in range(int(low), int(high) + 1):
                px = F(x) + F(0.5) - x0
                w1 = px * b1x + py * b1y
                w2 = px * b2x + py * b2y
                if w1 >= 0 and w2 >= 0 and w1 + w2 <= 1:
                    z = z0 + w1 * dz1 + w2 * dz2
                    if z > depth[y, x]:
                        depth[y, x] = z


@compiled
def collect_layers(
    corners: Floats,
    tri: Ints,
    first: Scalar,
    bias: Floats,
    depth: Floats,
    head: Ints,
    link: Ints,
    frag_tri: Ints,
    frag_z: Floats,
    frag_cover: Bytes,
) -> Scalar:
    """Chain the see-through fragments of each pixel, unsorted.

    Args:
        corners: ``(n, 3)`` as for :func:`draw_nearest`, two samples per pixel each way.
        tri: ``(m, 3)`` triangles; those from ``first`` on are drawn.
        first: First see-through triangle.
        bias: ``(m,)`` z by which a triangle is moved to the viewer when hidden surfaces are cut.
        depth: ``(2 H, 2 W)`` z of the opaque surfaces.
        head: ``(H, W)`` number of the first fragment of a pixel, -1 for none; changed.
        link: Next fragment of the same pixel, -1 for none; changed.
        frag_tri: Triangle of each fragment; changed.
        frag_z: z of each fragment; changed.
        frag_cover: Number of the four samples that a fragment covers; changed.

    Returns:
        Number of fragments, or -1 when there was no room for all.
    """
    rows, columns = head.shape
    count = 0
    for t in range(first, tri.shape[0]):
        a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
        x0, y0 = corners[a, 0], corners[a, 1]
        x1, y1 = corners[b, 0] - x0, corners[b, 1] - y0
        x2, y2 = corners[c, 0] - x0, corners[c, 1] - y0
        area = x2 * y1 - x1 * y2
        if abs(area) <= F(1e-5):
            continue
        left = max(0, int(np.floor(x0 + min(F(0), x1, x2))) // 2)
        right = min(columns - 1, int(np.floor(x0 + max(F(0), x1, x2))) // 2)
        top = max(0, int(np.floor(y0 + min(F(0), y1, y2))) // 2)
        bottom = min(rows - 1, int(np.floor(y0 + max(F(0), y1, y2))) // 2)
        inv = F(1) / area
        b1x, b1y = -y2 * inv, x2 * inv
        b2x, b2y = y1 * inv, -x1 * inv
        # No sample of a pixel lies further from its middle than half a sample each way.
        reach1 = F(0.5) * (abs(b1x) + abs(b1y))
        reach2 = F(0.5) * (abs(b2x) + abs(b2y))
        z0 = corners[a, 2]
        dz1, dz2 = corners[b, 2] - z0, corners[c, 2] - z0
        lift = bias[t]
        # Nor is any nearer than its middle by more than this.
        slope_x, slope_y = dz1 * b1x + dz2 * b2x, dz1 * b1y + dz2 * b2y
        reach_z = lift + F(0.5) * (abs(slope_x) + abs(slope_y)) + F(1e-5)
        # Slopes per pixel: two samples.
        i1, i2 = _inverse(F(2) * b1x), _inverse(F(2) * b2x)
        i0 = _inverse(F(-2) * (b1x + b2x))
        origin = F(0.5) * (x0 - F(1))
        for y in range(top, bottom + 1):
            py = F(2 * y + 1) - y0
            r1, r2 = py * b1y + reach1, py * b2y + reach2
            r0 = F(1) + F(2) * (reach1 + reach2) - r1 - r2
            low = _first(_first(_first(F(left), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            high = _last(_last(_last(F(right), i1, r1, origin), i2, r2, origin), i0, r0, origin)
            for x in range(int(low), int(high) + 1):
                px = F(2 * x + 1) - x0
                m1 = px * b1x + py * b1y
                m2 = px * b2x + py * b2y
                if m1 < -reach1 or m2 < -reach2 or m1 + m2 > F(1) + reach1 + reach2:
                    continue
                behind = min(depth[2 * y, 2 * x], depth[2 * y, 2 * x + 1])
                behind = min(behind, depth[2 * y + 1, 2 * x], depth[2 * y + 1, 2 * x + 1])
                if z0 + m1 * dz1 + m2 * dz2 + reach_z < behind:
                    continue
                cover = 0
                nearest = F(-1e30)
                for k in range(4):
                    ex, ey = F(k & 1) - F(0.5), F(k >> 1) - F(0.5)
                    w1 = m1 + ex * b1x + ey * b1y
                    w2 = m2 + ex * b2x + ey * b2y
                    if w1 >= 0 and w2 >= 0 and w1 + w2 <= 1:
                        z = z0 + w1 * dz1 + w2 * dz2
                        if z + lift > depth[2 * y + (k >> 1), 2 * x + (k & 1)]:
                            cover += 1
                            nearest = max(nearest, z)
                if cover == 0:
                    continue
                # Neighbouring triangles of one sheet share the pixel on their common edge:
                # one fragment with both covers, else the sheet would show its seams.
                joined = False
                at = head[y, x] if cover < 4 else -1
                while at >= 0:
                    if frag_cover[at] + cover <= 4 and abs(frag_z[at] - nearest) < F(0.02):
                        frag_cover[at] += cover
                        joined = True
                        break
                    at = link[at]
                if joined:
                    continue
                if count >= link.shape[0]:
                    return -1
                frag_tri[count], frag_z[count], frag_cover[count] = t, nearest, cover
                link[count] = head[y, x]
                head[y, x] = count
                count += 1
    return count

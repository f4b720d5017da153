"""Compiled frame shader: what each pixel shows, blended front to back in linear light."""

from __future__ import annotations

import numpy as np

from camera_rig.twin.head._compiled import Scalar, compiled, inlined
from camera_rig.twin.head.assets import Floats, Ints
from camera_rig.twin.head.materials import (
    AO,
    COLUMNS,
    NX,
    NY,
    NZ,
    U,
    V,
    X,
    Y,
    Z,
    inside_garment,
    look_up,
    shade_cloth,
    shade_eye,
    shade_inner,
    shade_skin,
    shade_strand,
    shade_teeth,
    strand_contrast,
)
from camera_rig.twin.head.raster import Bytes

F = np.float32

# Numbers of Material and Part for the compiler, which knows no enums; a test compares them.
NECK, SOCKET, MOUTH, EYE, TEETH, HAIR, BROW = 1, 2, 3, 4, 5, 6, 7
PART_SKIN, PART_HAIR, PART_BROW, PART_EYE, PART_TEETH, PART_CLOTH = 1, 2, 3, 4, 5, 6
PART_LIPS, PART_NECK, PART_MOUTH, PARTS = 7, 8, 9, 10

_CHAIN = 64  # see-through layers sorted per pixel
_CLEAR = np.float32(0.004)  # less cover than this cannot be seen
_DENSE = np.float32(0.025)  # what is behind so little light is not shaded
_MINOR = np.float32(0.15)  # a strand of so little weight takes the light of the one before it


@inlined
def _place(vertex: Floats, tri: Ints, t: Scalar, x: Scalar, y: Scalar, share: Floats) -> None:
    """Write the shares of a triangle's corners at a sample position."""
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    x0, y0 = vertex[a, X], vertex[a, Y]
    x1, y1 = vertex[b, X] - x0, vertex[b, Y] - y0
    x2, y2 = vertex[c, X] - x0, vertex[c, Y] - y0
    inv = F(1) / (x2 * y1 - x1 * y2)
    px, py = x - x0, y - y0
    # A pixel's centre may lie just outside the triangle that owns its samples.
    w1 = min(max((py * x2 - px * y2) * inv, F(0)), F(1))
    w2 = min(max((px * y1 - py * x1) * inv, F(0)), F(1) - w1)
    share[0], share[1], share[2] = F(1) - w1 - w2, w1, w2


@inlined
def _column(vertex: Floats, tri: Ints, t: Scalar, share: Floats, k: Scalar) -> Scalar:
    return (
        share[0] * vertex[tri[t, 0], k]
        + share[1] * vertex[tri[t, 1], k]
        + share[2] * vertex[tri[t, 2], k]
    )


@inlined
def _row(vertex: Floats, tri: Ints, t: Scalar, share: Floats, f: Floats) -> None:
    """Write the interpolated vertex row, with a unit normal."""
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    w0, w1, w2 = share[0], share[1], share[2]
    for k in range(COLUMNS):
        f[k] = w0 * vertex[a, k] + w1 * vertex[b, k] + w2 * vertex[c, k]
    inv = F(1) / (np.sqrt(f[NX] * f[NX] + f[NY] * f[NY] + f[NZ] * f[NZ]) + F(1e-9))
    f[NX] *= inv
    f[NY] *= inv
    f[NZ] *= inv


@inlined
def _sorted_chain(head: Scalar, link: Ints, frag_z: Floats, chain: Ints) -> Scalar:
    """Write a pixel's fragments nearest first; returns their number."""
    count = 0
    at = head
    while at >= 0 and count < _CHAIN:
        place = count
        while place > 0 and frag_z[chain[place - 1]] < frag_z[at]:
            chain[place] = chain[place - 1]
            place -= 1
        chain[place] = at
        count += 1
        at = link[at]
    return count


@compiled
def shade(
    vertex: Floats, tri: Ints, material: Bytes, owner: Ints, depth: Floats,
    head: Ints, link: Ints, frag_tri: Ints, frag_z: Floats, frag_cover: Bytes,
    lights: Floats, ambient: Floats, shadow: Floats,
    base: Bytes, atlas: Bytes, iris: Bytes, teeth: Bytes, hair: Bytes, brow: Bytes, lash: Bytes,
    up: Floats, camera: Floats, look: Floats, lids: Floats, mouth: Floats,
    background: Floats, out: Floats, parts: Bytes,
) -> None:  # fmt: skip
    """Shade all pixels: see-through layers from the front, then the surfaces behind them.

    ``vertex``, ``tri`` and ``material`` are the mesh; ``owner`` and ``depth`` the nearest
    opaque triangle of each sample and its z in dm; ``head`` to ``frag_cover`` the layers of
    :func:`camera_rig.twin.head.raster.collect_layers`. ``lights`` are the lamps, direction,
    colour and whether they cast shadows. ``base`` to ``lash`` are the textures. ``up`` is the
    head's own up direction; ``camera`` its distance in dm, samples per dm, and the picture's
    centre in samples. ``look`` holds the colours of cloth 0:3, collar 3:5, brows 5:8, stripes
    8:11, the cover of brows 11, and the colours of mouth 14:17, eye sockets 17:20, lashes 20:23
    and hair 23:26. ``lids`` and ``mouth`` say where lids and lips are. ``out``, linear light,
    and ``parts`` are written.
    """
    rows, columns = head.shape
    f, rgb, share = np.zeros(COLUMNS, F), np.zeros(3, F), np.zeros(3, F)
    total, view, votes = np.zeros(3, F), np.zeros(3, F), np.zeros(PARTS, F)
    values, albedo = np.zeros(8, F), np.zeros(3, F)
    chain = np.zeros(_CHAIN, np.int32)
    brow_rgb, lash_rgb, hair_rgb = look[5:8], look[20:23], look[23:26]
    mouth_rgb, socket_rgb = look[14:17], look[17:20]
    for y in range(rows):
        for x in range(columns):
            empty = owner[2 * y, 2 * x] < 0 and owner[2 * y, 2 * x + 1] < 0
            empty &= owner[2 * y + 1, 2 * x] < 0 and owner[2 * y + 1, 2 * x + 1] < 0
            if empty and head[y, x] < 0:
                parts[y, x] = 0
                for c in range(3):
                    out[y, x, c] = background[y, x, c]
                continue
            cx, cy = F(2 * x + 1), F(2 * y + 1)
            vx, vy = (camera[2] - cx) / camera[1], (cy - camera[3]) / camera[1]
            inv = F(1) / np.sqrt(vx * vx + vy * vy + camera[0] * camera[0])
            view[0], view[1], view[2] = vx * inv, vy * inv, camera[0] * inv
            for p in range(PARTS):
                votes[p] = F(0)
            for c in range(3):
                total[c] = F(0)
            clear = F(1)
            lit_tone = F(-1)
            for n in range(_sorted_chain(head[y, x], link, frag_z, chain)):
                at = chain[n]
                t = frag_tri[at]
                kind = material[t]
                _place(vertex, tri, t, cx, cy, share)
                u, v = _column(vertex, tri, t, share, U), _column(vertex, tri, t, share, V)
                alpha = F(frag_cover[at]) * F(0.25)
                part = PART_BROW
                if kind == HAIR:
                    alpha *= look_up(hair, u, v, 1)
                    part = PART_HAIR
                elif kind == BROW:
                    alpha *= look_up(brow, u, v, 0) * look[11]
                else:
                    alpha *= look_up(lash, u, v, 0) * F(0.85)
                if alpha < _CLEAR:
                    continue
                alpha *= clear
                if kind == HAIR:
                    tone = look_up(hair, u, v, 0)
                    if lit_tone >= 0 and alpha < _MINOR:
                        ratio = strand_contrast(tone) / strand_contrast(lit_tone)
                        for c in range(3):
                            rgb[c] *= ratio
                    else:
                        _row(vertex, tri, t, share, f)
                        shade_strand(f, up, view, lights, ambient, shadow, tone, hair_rgb, rgb)
                    lit_tone = tone
                else:
                    _row(vertex, tri, t, share, f)
                    thin_rgb = brow_rgb if kind == BROW else lash_rgb
                    shade_strand(f, up, view, lights, ambient, shadow, F(0.4), thin_rgb, rgb)
                    lit_tone = F(-1)
                for c in range(3):
                    total[c] += alpha * rgb[c]
                votes[part] += alpha
                clear -= alpha
                if clear < _DENSE:
                    break
            done = 15 if clear < _DENSE else 0
            for k in range(4):
                if done & (1 << k):
                    continue
                sx, sy = 2 * x + (k & 1), 2 * y + (k >> 1)
                t = owner[sy, sx]
                weight = F(0.25)
                if t < 0:
                    weight *= clear
                    for c in range(3):
                        total[c] += weight * background[y, x, c]
                    votes[0] += weight
                    continue
                # Samples of the same surface at about the same depth share one shading; the
                # less of it shines through the hair before it, the less exact.
                kind = material[t]
                for m in range(k + 1, 4):
                    mx, my = 2 * x + (m & 1), 2 * y + (m >> 1)
                    other = owner[my, mx]
                    if other >= 0 and not done & (1 << m):
                        same = material[other] == kind
                        if same and abs(depth[my, mx] - depth[sy, sx]) * clear < F(0.06):
                            done |= 1 << m
                            weight += F(0.25)
                alone = weight < F(0.3)
                px = F(sx) + F(0.5) if alone else cx
                py = F(sy) + F(0.5) if alone else cy
                _place(vertex, tri, t, px, py, share)
                _row(vertex, tri, t, share, f)
                if kind <= NECK:
                    inside = inside_garment(f, look)
                    if inside > 0:
                        shade_cloth(f, view, lights, ambient, shadow, atlas, look, inside, rgb)
                        part = PART_CLOTH
                    else:
                        lips = shade_skin(
                            f, up, view, lights, ambient, shadow, base, atlas, values, albedo, rgb
                        )
                        part = PART_LIPS if lips > F(0.5) else PART_SKIN
                        if kind == NECK:
                            part = PART_NECK
                elif kind == EYE:
                    shade_eye(f, view, lights, ambient, shadow, iris, lids, rgb)
                    part = PART_EYE
                elif kind == TEETH:
                    shade_teeth(f, lights, ambient, shadow, teeth, mouth, rgb)
                    part = PART_TEETH
                elif kind == HAIR:
                    tone = look_up(hair, f[U], f[V], 0)
                    shade_strand(f, up, view, lights, ambient, shadow, tone, hair_rgb, rgb)
                    part = PART_HAIR
                elif kind == MOUTH:
                    shade_inner(f, lights, ambient, mouth_rgb, mouth[0], rgb)
                    part = PART_MOUTH
                else:
                    shade_inner(f, lights, ambient, socket_rgb, f[Z], rgb)
                    part = PART_SKIN
                weight *= clear
                votes[part] += weight
                for c in range(3):
                    total[c] += weight * rgb[c]
            best = 0
            for p in range(1, PARTS):
                if votes[p] > votes[best]:
                    best = p
            parts[y, x] = best
            # Light that was not followed behind dense hair is taken to be the hair's.
            gain = F(1) / (F(1) - clear) if done == 15 and clear < _DENSE else F(1)
            for c in range(3):
                out[y, x, c] = total[c] * gain


@compiled
def shoulder(picture: Floats, knee: Scalar) -> None:
    """Bend light above the knee so that it nears 1 and never passes it, in place."""
    room = F(1) - F(knee)
    flat = picture.reshape(-1)
    for i in range(flat.size):
        over = flat[i] - F(knee)
        if over > 0:
            flat[i] = F(knee) + room * over / (over + room)


__all__ = ["AO", "shade", "shoulder"]

"""Compiled shaders: skin, eyes, teeth, cloth and hair in linear light.

The models are the cheap ones of games: wrapped diffuse light that reaches further in red
(blood under the skin), two specular lobes, an exponential shadow map, baked ambient
occlusion, and a hair highlight along the strands. Every constant that has no unit is
chosen by eye.
"""

from __future__ import annotations

import numpy as np

from camera_rig.twin.head._compiled import compiled
from camera_rig.twin.head.assets import Floats, Ints
from camera_rig.twin.head.raster import Bytes

# Columns of the vertex table that the renderer fills.
X, Y, Z, NX, NY, NZ, LX, LY, LZ, U, V, S, T, AO, CLOTH = range(15)
VERTEX_COLUMNS = 15

# Materials and parts, as plain numbers for the compiler.
_NECK, _SOCKET, _MOUTH, _EYE, _TEETH, _BROW, _LASH = 1, 2, 3, 4, 5, 7, 8
_P_SKIN, _P_HAIR, _P_BROW, _P_EYE, _P_TEETH, _P_CLOTH = 1, 2, 3, 4, 5, 6
_P_LIPS, _P_NECK, _P_MOUTH = 7, 8, 9

SHADOW_SHARPNESS = np.float32(24.0)  # per dm: how fast light dies behind a surface


@compiled
def _texel(picture, u, v, k):  # type: ignore[no-untyped-def]
    """Bilinear look-up of channel k; 8-bit values hold the square root of light."""
    height, width = picture.shape[0], picture.shape[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max(v * height - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    top = picture[j, i, k] * (1 - fx) + picture[j, i + 1, k] * fx
    low = picture[j + 1, i, k] * (1 - fx) + picture[j + 1, i + 1, k] * fx
    return (top * (1 - fy) + low * fy) * np.float32(1 / 255)


@compiled
def _lit(shadow, x, y, z):  # type: ignore[no-untyped-def]
    """Share of the key light that arrives, 0 to 1, from the blurred exponential map."""
    size = shadow.shape[0]
    x = min(max(x - 0.5, 0.0), size - 1.001)
    y = min(max(y - 0.5, 0.0), size - 1.001)
    i, j = int(x), int(y)
    fx, fy = x - i, y - j
    top = shadow[j, i] * (1 - fx) + shadow[j, i + 1] * fx
    low = shadow[j + 1, i] * (1 - fx) + shadow[j + 1, i + 1] * fx
    blocker = top * (1 - fy) + low * fy
    # The map holds exp(-c z): nearer blockers make it smaller.
    return min(1.0, blocker * np.exp(SHADOW_SHARPNESS * z))


@compiled
def _wrapped(n_dot_l, wrap):  # type: ignore[no-untyped-def]
    lit = (n_dot_l + wrap) / (1 + wrap)
    return lit / (1 + wrap) if lit > 0 else 0.0


@compiled
def _glint(n_dot_h, roughness):  # type: ignore[no-untyped-def]
    """GGX distribution of facets, over four."""
    a2 = roughness**4
    d = n_dot_h * n_dot_h * (a2 - 1) + 1
    return a2 / (4 * np.pi * d * d)


@compiled
def _ambient(ambient, nx, ny, nz, k):  # type: ignore[no-untyped-def]
    light = ambient[0, k] + ambient[1, k] * nx + ambient[2, k] * ny + ambient[3, k] * nz
    return max(light, 0.0)


@compiled
def _interpolate(vertex, tri, t, x, y, out):  # type: ignore[no-untyped-def]
    """Write the vertex table's row at a sample position, inside the triangle."""
    a, b, c = tri[t, 0], tri[t, 1], tri[t, 2]
    x0, y0 = vertex[a, X], vertex[a, Y]
    x1, y1 = vertex[b, X] - x0, vertex[b, Y] - y0
    x2, y2 = vertex[c, X] - x0, vertex[c, Y] - y0
    inv = 1.0 / (x2 * y1 - x1 * y2)
    px, py = x - x0, y - y0
    # A pixel's centre may lie just outside the triangle that owns its samples.
    w1 = min(max((py * x2 - px * y2) * inv, 0.0), 1.0)
    w2 = min(max((px * y1 - py * x1) * inv, 0.0), 1.0 - w1)
    w0 = 1 - w1 - w2
    for k in range(Z, VERTEX_COLUMNS):
        out[k] = w0 * vertex[a, k] + w1 * vertex[b, k] + w2 * vertex[c, k]
    length = np.sqrt(out[NX] ** 2 + out[NY] ** 2 + out[NZ] ** 2) + np.float32(1e-9)
    out[NX] /= length
    out[NY] /= length
    out[NZ] /= length


@compiled
def _skin(f, up, view, lights, ambient, shadow, base, atlas, part, out):  # type: ignore[no-untyped-def]
    """Shade skin at an interpolated vertex row; returns the part it belongs to."""
    u, v, s, t = f[U], f[V], f[S], f[T]
    nx, ny, nz = f[NX], f[NY], f[NZ]
    # Bumps tilt the normal along the head's own right and up.
    tx, ty, tz = up[1] * nz - up[2] * ny, up[2] * nx - up[0] * nz, up[0] * ny - up[1] * nx
    length = np.sqrt(tx * tx + ty * ty + tz * tz) + np.float32(1e-6)
    tx, ty, tz = tx / length, ty / length, tz / length
    bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
    gx = (_texel(atlas, s, t, 3) - np.float32(128 / 255)) * np.float32(2.0)
    gy = (_texel(atlas, s, t, 4) - np.float32(128 / 255)) * np.float32(2.0)
    mx, my, mz = nx - gx * tx - gy * bx, ny - gx * ty - gy * by, nz - gx * tz - gy * bz
    length = np.sqrt(mx * mx + my * my + mz * mz)
    mx, my, mz = mx / length, my / length, mz / length
    gloss = _texel(atlas, s, t, 5)
    lips = _texel(atlas, s, t, 6)
    thin = _texel(atlas, s, t, 7)
    ao = f[AO]
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    n_dot_v = max(mx * view[0] + my * view[1] + mz * view[2], np.float32(0.02))
    shine = np.float32(0.0)
    for c in range(3):
        out[c] = 0.0
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else np.float32(1.0) * ao
        smooth = nx * lx + ny * ly + nz * lz
        rough = mx * lx + my * ly + mz * lz
        # Red light wanders below the skin: softer edge, less relief, warmer shadow border.
        reds = _wrapped(0.6 * smooth + 0.4 * rough, np.float32(0.30) + np.float32(0.3) * thin)
        greens = _wrapped(0.3 * smooth + 0.7 * rough, np.float32(0.13))
        blues = _wrapped(0.2 * smooth + 0.8 * rough, np.float32(0.09))
        root = np.sqrt(arrives)
        out[0] += lights[i, 3] * reds * (0.65 * arrives + 0.35 * root)
        out[1] += lights[i, 4] * greens * arrives
        out[2] += lights[i, 5] * blues * arrives
        if rough > 0:
            hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
            length = np.sqrt(hx * hx + hy * hy + hz * hz)
            n_dot_h = max((mx * hx + my * hy + mz * hz) / length, 0.0)
            v_dot_h = (hx * view[0] + hy * view[1] + hz * view[2]) / length
            fresnel = np.float32(0.028) + np.float32(0.97) * (1 - v_dot_h) ** 5
            wide = np.float32(0.56) - np.float32(0.16) * gloss - np.float32(0.10) * lips
            lobe = 0.75 * _glint(n_dot_h, wide) + 0.25 * _glint(n_dot_h, 0.62 * wide)
            grazing = max(n_dot_v, np.float32(0.25)) + np.float32(0.1)
            shine += lights[i, 4] * arrives * fresnel * lobe * min(rough, 1.0) / grazing
    sheen = np.float32(0.10) * (1 - n_dot_v) ** 4 * ao
    gain = np.float32(0.35) + np.float32(1.5) * gloss + np.float32(0.5) * lips
    for c in range(3):
        albedo = _texel(base, u, v, c)
        tint = _texel(atlas, s, t, c) * np.float32(1.42)
        # Light that bounces in a skin fold takes the skin's colour: ao is warmer in red.
        fold = ao ** (np.float32(0.75) if c == 0 else np.float32(1.05))
        sky = _ambient(ambient, mx, my, mz, c)
        out[c] = albedo * albedo * tint * tint * (out[c] + sky * fold) + (
            shine * gain + sheen * sky * (0.4 + gloss)
        )
    if part == _NECK:
        return _P_NECK
    return _P_LIPS if lips > 0.5 else _P_SKIN


@compiled
def _cloth(f, view, lights, ambient, shadow, look, out):  # type: ignore[no-untyped-def]
    """Shade the garment: woven, matt, with a rim at the collar."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    weave = np.sin(f[S] * 1900.0) * np.sin(f[T] * 880.0)
    rim = min(f[CLOTH] * np.float32(14.0), 1.0)
    rib = np.float32(1.0)
    if f[CLOTH] < np.float32(0.10):
        rib = np.float32(0.88) + np.float32(0.10) * np.sin(f[S] * 900.0)
    band = np.float32(1.0) if np.sin(f[T] * look[8]) > look[9] else look[10]
    tone = (1 + np.float32(0.06) * weave) * rib * band * (0.55 + 0.45 * rim)
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    n_dot_v = max(nx * view[0] + ny * view[1] + nz * view[2], 0.0)
    fuzz = np.float32(0.25) * (1 - n_dot_v) ** 3
    for c in range(3):
        light = _ambient(ambient, nx, ny, nz, c) * f[AO]
        for i in range(lights.shape[0]):
            n_dot_l = nx * lights[i, 0] + ny * lights[i, 1] + nz * lights[i, 2]
            arrives = lit if lights[i, 6] > 0 else f[AO]
            light += lights[i, 3 + c] * arrives * _wrapped(n_dot_l, np.float32(0.15))
        out[c] = look[c] * tone * light * (1 + fuzz)
    return _P_CLOTH


@compiled
def _eye(f, view, lights, ambient, shadow, iris, lids, out):  # type: ignore[no-untyped-def]
    """Shade an eyeball: soft white, shade of the upper lid, sharp glints of the lamps."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    side = 0 if f[X] < lids[0, 4] else 1
    # Shade falls from the upper lid and, weaker, rises from the lower one.
    along = (f[X] - lids[side, 0]) * lids[side, 2] + (f[Y] - lids[side, 1]) * lids[side, 3]
    span = max(lids[side, 5], np.float32(1e-3))
    depth = along / span
    lid_shade = min(max((depth + np.float32(0.08)) * np.float32(2.3), 0.22), 1.0)
    lid_shade *= min(max((np.float32(1.12) - depth) * np.float32(4.0), 0.45), 1.0)
    lit = _lit(shadow, f[LX], f[LY], f[LZ]) * np.float32(0.7) + np.float32(0.3)
    shine = np.float32(0.0)
    for c in range(3):
        out[c] = _ambient(ambient, nx, ny, nz, c) * np.float32(0.85)
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else np.float32(0.8)
        diffuse = _wrapped(nx * lx + ny * ly + nz * lz, np.float32(0.35)) * arrives
        hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
        length = np.sqrt(hx * hx + hy * hy + hz * hz)
        n_dot_h = max((nx * hx + ny * hy + nz * hz) / length, 0.0)
        shine += lights[i, 4] * _glint(n_dot_h, np.float32(0.20)) * np.float32(0.028)
        for c in range(3):
            out[c] += lights[i, 3 + c] * diffuse
    shine = min(shine, np.float32(1.2)) * min(lid_shade * np.float32(1.6), 1.0)
    for c in range(3):
        albedo = _texel(iris, f[U], f[V], c)
        out[c] = albedo * albedo * out[c] * lid_shade * np.float32(0.82) + shine
    return _P_EYE


@compiled
def _teeth(f, lights, ambient, shadow, teeth, mouth, out):  # type: ignore[no-untyped-def]
    """Shade teeth and gums: darker the deeper in the mouth, with a wet gleam."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    inside = min(max(1 - (mouth[0] - f[Z]) * np.float32(2.4), 0.04), 1.0)
    lit = np.float32(0.45) + np.float32(0.55) * _lit(shadow, f[LX], f[LY], f[LZ])
    for c in range(3):
        light = _ambient(ambient, nx, ny, nz, c)
        for i in range(lights.shape[0]):
            n_dot_l = nx * lights[i, 0] + ny * lights[i, 1] + nz * lights[i, 2]
            light += lights[i, 3 + c] * lit * _wrapped(n_dot_l, np.float32(0.5))
        albedo = _texel(teeth, f[U], f[V], c)
        out[c] = albedo * albedo * light * inside * inside * mouth[1]
    return _P_TEETH


@compiled
def _inner(f, lights, ambient, colour, depth_z, out):  # type: ignore[no-untyped-def]
    """Shade the inside of the mouth and the rims of the eyes: wet, red, dark inside."""
    inside = min(max(1 - (depth_z - f[Z]) * np.float32(2.6), 0.03), 1.0)
    for c in range(3):
        light = _ambient(ambient, f[NX], f[NY], f[NZ], c)
        for i in range(lights.shape[0]):
            n_dot_l = f[NX] * lights[i, 0] + f[NY] * lights[i, 1] + f[NZ] * lights[i, 2]
            light += lights[i, 3 + c] * np.float32(0.6) * _wrapped(n_dot_l, np.float32(0.4))
        out[c] = colour[c] * light * inside


@compiled
def _strand(f, up, view, lights, ambient, shadow, tone, rgb, out):  # type: ignore[no-untyped-def]
    """Shade hair: light wraps around the strands, highlights run across them."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    facing = nx * view[0] + ny * view[1] + nz * view[2]
    if facing < 0:
        nx, ny, nz = -nx, -ny, -nz
    # Strands run down the head: up without its part along the normal.
    along = up[0] * nx + up[1] * ny + up[2] * nz
    tx, ty, tz = up[0] - along * nx, up[1] - along * ny, up[2] - along * nz
    length = np.sqrt(tx * tx + ty * ty + tz * tz) + np.float32(1e-4)
    shift = (tone - np.float32(0.5)) * np.float32(0.5)
    tx, ty, tz = tx / length + shift * nx, ty / length + shift * ny, tz / length + shift * nz
    length = np.sqrt(tx * tx + ty * ty + tz * tz)
    tx, ty, tz = tx / length, ty / length, tz / length
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    ao = f[AO]
    for c in range(3):
        out[c] = _ambient(ambient, nx, ny, nz, c) * ao
    shine = np.float32(0.0)
    glow = np.float32(0.0)
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else ao
        n_dot_l = nx * lx + ny * ly + nz * lz
        diffuse = _wrapped(n_dot_l, np.float32(0.4)) * arrives
        hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
        length = np.sqrt(hx * hx + hy * hy + hz * hz)
        t_dot_h = (tx * hx + ty * hy + tz * hz) / length
        across = np.sqrt(max(1 - t_dot_h * t_dot_h, 0.0))
        front = min(max(n_dot_l + np.float32(0.3), 0.0), 1.0) * arrives
        shine += lights[i, 4] * front * across**90 * np.float32(0.045)
        glow += lights[i, 4] * front * across**18 * np.float32(0.30)
        for c in range(3):
            out[c] += lights[i, 3 + c] * diffuse
    contrast = np.float32(0.35) + np.float32(1.3) * tone
    for c in range(3):
        body = rgb[c] * contrast
        out[c] = body * out[c] + (body * glow + shine * tone) * ao


@compiled
def shade(  # type: ignore[no-untyped-def]
    vertex, tri, material, owner, depth, head, link, frag_tri, frag_z, frag_cover,
    lights, ambient, shadow, base, atlas, iris, teeth, hair, brow, lash,
    up, camera, look, lids, mouth, background, out, parts,
):  # fmt: skip
    """Shade all pixels: opaque surfaces once per pixel and surface, then the layers.

    ``camera`` holds distance_dm, samples per dm and the centre (x, y) in samples; ``look``
    the colours of cloth, hair and brows and the cloth's pattern. ``out`` is linear light.
    """
    rows, columns = head.shape
    f = np.zeros(VERTEX_COLUMNS, np.float32)
    rgb = np.zeros(3, np.float32)
    total = np.zeros(3, np.float32)
    view = np.zeros(3, np.float32)
    votes = np.zeros(10, np.float32)
    chain = np.zeros(64, np.int32)
    for y in range(rows):
        for x in range(columns):
            cx, cy = np.float32(2 * x + 1), np.float32(2 * y + 1)
            vx, vy = (camera[2] - cx) / camera[1], (cy - camera[3]) / camera[1]
            length = np.sqrt(vx * vx + vy * vy + camera[0] * camera[0])
            view[0], view[1], view[2] = vx / length, vy / length, camera[0] / length
            votes[:] = 0.0
            total[:] = 0.0
            done = 0
            for k in range(4):
                if done & (1 << k):
                    continue
                sx, sy = 2 * x + (k & 1), 2 * y + (k >> 1)
                t = owner[sy, sx]
                weight = np.float32(0.25)
                done |= 1 << k
                if t < 0:
                    for c in range(3):
                        total[c] += weight * background[y, x, c]
                    votes[0] += weight
                    continue
                # Samples of the same surface at about the same depth share one shading.
                for m in range(k + 1, 4):
                    ty, tx = 2 * y + (m >> 1), 2 * x + (m & 1)
                    other = owner[ty, tx]
                    if (
                        not done & (1 << m)
                        and other >= 0
                        and material[other] == material[t]
                        and abs(depth[ty, tx] - depth[sy, sx]) < np.float32(0.06)
                    ):
                        done |= 1 << m
                        weight += np.float32(0.25)
                px = cx if weight > np.float32(0.3) else sx + np.float32(0.5)
                py = cy if weight > np.float32(0.3) else sy + np.float32(0.5)
                _interpolate(vertex, tri, t, px, py, f)
                f[X], f[Y] = px, py
                kind = material[t]
                if kind <= _NECK:
                    if f[CLOTH] > 0:
                        part = _cloth(f, view, lights, ambient, shadow, look, rgb)
                    else:
                        part = _skin(f, up, view, lights, ambient, shadow, base, atlas, kind, rgb)
                elif kind == _EYE:
                    part = _eye(f, view, lights, ambient, shadow, iris, lids, rgb)
                elif kind == _TEETH:
                    part = _teeth(f, lights, ambient, shadow, teeth, mouth, rgb)
                elif kind == _MOUTH:
                    _inner(f, lights, ambient, look[14:17], mouth[0], rgb)
                    part = _P_MOUTH
                else:
                    _inner(f, lights, ambient, look[17:20], f[Z], rgb)
                    part = _P_SKIN
                votes[part] += weight
                for c in range(3):
                    total[c] += weight * rgb[c]
            count = 0
            at = head[y, x]
            while at >= 0 and count < 64:
                # Insert by depth, farthest first.
                place = count
                while place > 0 and frag_z[chain[place - 1]] > frag_z[at]:
                    chain[place] = chain[place - 1]
                    place -= 1
                chain[place] = at
                count += 1
                at = link[at]
            for n in range(count):
                at = chain[n]
                t = frag_tri[at]
                kind = material[t]
                _interpolate(vertex, tri, t, cx, cy, f)
                cover = frag_cover[at] * np.float32(0.25)
                if kind >= _BROW:
                    alpha = cover * _texel(brow if kind == _BROW else lash, f[U], f[V], 0)
                    if alpha < np.float32(0.004):
                        continue
                    ink = look[5:8] if kind == _BROW else look[20:23]
                    alpha *= look[11] if kind == _BROW else np.float32(0.85)
                    _strand(f, up, view, lights, ambient, shadow, np.float32(0.4), ink, rgb)
                    part = _P_BROW
                else:
                    alpha = cover * _texel(hair, f[U], f[V], 1)
                    if alpha < np.float32(0.004):
                        continue
                    tone = _texel(hair, f[U], f[V], 0)
                    _strand(f, up, view, lights, ambient, shadow, tone, look[23:26], rgb)
                    part = _P_HAIR
                for c in range(3):
                    total[c] += alpha * (rgb[c] - total[c])
                for p in range(10):
                    votes[p] *= 1 - alpha
                votes[part] += alpha
            best = 0
            for p in range(1, 10):
                if votes[p] > votes[best]:
                    best = p
            parts[y, x] = best
            for c in range(3):
                out[y, x, c] = total[c]


@compiled
def shoulder(picture: Floats, knee: float) -> None:
    """Bend light above the knee so that it nears 1 and never passes it, in place."""
    room = 1 - knee
    flat = picture.reshape(-1)
    for i in range(flat.size):
        over = flat[i] - knee
        if over > 0:
            flat[i] = knee + room * over / (over + room)


__all__ = ["SHADOW_SHARPNESS", "VERTEX_COLUMNS", "Bytes", "Ints", "shade", "shoulder"]

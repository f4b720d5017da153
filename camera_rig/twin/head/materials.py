"""Compiled materials: skin, cloth, eyes, teeth and hair under three lamps and a sky.

The models are the cheap ones of games: wrapped diffuse light that reaches further in red
(blood under the skin), two specular lobes, an exponential shadow map, baked ambient
occlusion, and a hair highlight along the strands. Constants without a unit were chosen by
eye. Each function takes an interpolated vertex row and writes linear light.
"""

from __future__ import annotations

import numpy as np

from camera_rig.twin.head._compiled import Scalar, inlined
from camera_rig.twin.head.assets import Floats
from camera_rig.twin.head.raster import Bytes

F = np.float32

# Columns of the vertex table: place in samples and dm, normal, place in the shadow map,
# place in the skin map, place in the atlas, open sky, place on the resting head in dm.
X, Y, Z, NX, NY, NZ, LX, LY, LZ, U, V, S, T, AO, REST_X, REST_Z = range(16)
COLUMNS = 16

# Height of the atlas' first and last row on the resting head.
TOP_DM, BOTTOM_DM = F(8.8), F(4.6)

SHADOW_SHARPNESS = F(24.0)  # per dm: how fast light dies behind a surface

_BYTE = F(1 / 255)
_QUARTER_PI = F(1 / (4 * np.pi))


@inlined
def look_up(picture: Bytes, u: Scalar, v: Scalar, k: Scalar) -> Scalar:
    """Bilinear look-up of channel k, 0 to 1."""
    height, width = picture.shape[0], picture.shape[1]
    x = min(max(u * F(width) - F(0.5), F(0)), F(width) - F(1.001))
    y = min(max(v * F(height) - F(0.5), F(0)), F(height) - F(1.001))
    i, j = int(x), int(y)
    fx, fy = x - F(i), y - F(j)
    top = F(picture[j, i, k]) * (F(1) - fx) + F(picture[j, i + 1, k]) * fx
    low = F(picture[j + 1, i, k]) * (F(1) - fx) + F(picture[j + 1, i + 1, k]) * fx
    return (top + (low - top) * fy) * _BYTE


@inlined
def _fetch(picture: Bytes, u: Scalar, v: Scalar, values: Floats) -> None:
    """Bilinear look-up of as many channels as there are values, 0 to 1."""
    height, width = picture.shape[0], picture.shape[1]
    x = min(max(u * F(width) - F(0.5), F(0)), F(width) - F(1.001))
    y = min(max(v * F(height) - F(0.5), F(0)), F(height) - F(1.001))
    i, j = int(x), int(y)
    fx, fy = x - F(i), (y - F(j)) * _BYTE
    w11 = fx * fy
    w01 = fx * _BYTE - w11
    w10 = fy - w11
    w00 = _BYTE - w01 - fy
    for k in range(values.size):
        values[k] = (
            w00 * F(picture[j, i, k])
            + w01 * F(picture[j, i + 1, k])
            + w10 * F(picture[j + 1, i, k])
            + w11 * F(picture[j + 1, i + 1, k])
        )


@inlined
def _lit(shadow: Floats, x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    """Share of the key light that arrives, 0 to 1, from the blurred exponential map.

    Beyond the map's edge nothing throws shadows: there it fades into full light.
    """
    size = shadow.shape[0]
    known = min(min(x, y), F(size) - max(x, y)) * F(0.125)
    if known <= 0:
        return F(1)
    x = min(max(x - F(0.5), F(0)), F(size) - F(1.001))
    y = min(max(y - F(0.5), F(0)), F(size) - F(1.001))
    i, j = int(x), int(y)
    fx, fy = x - F(i), y - F(j)
    top = shadow[j, i] * (F(1) - fx) + shadow[j, i + 1] * fx
    low = shadow[j + 1, i] * (F(1) - fx) + shadow[j + 1, i + 1] * fx
    # The map holds exp(-c z): nearer blockers make it smaller.
    lit = min(F(1), (top + (low - top) * fy) * np.exp(SHADOW_SHARPNESS * z))
    return F(1) - min(known, F(1)) * (F(1) - lit)


@inlined
def _wrapped(n_dot_l: Scalar, wrap: Scalar) -> Scalar:
    """Diffuse light that reaches past the edge of the lit side, by as much as wrap."""
    inv = F(1) / (F(1) + wrap)
    return max((n_dot_l + wrap) * inv * inv, F(0))


@inlined
def _glint(n_dot_h: Scalar, roughness: Scalar) -> Scalar:
    """GGX distribution of facets, over four."""
    a2 = roughness * roughness * roughness * roughness
    d = n_dot_h * n_dot_h * (a2 - F(1)) + F(1)
    return a2 * _QUARTER_PI / (d * d)


@inlined
def _sky(ambient: Floats, nx: Scalar, ny: Scalar, nz: Scalar, c: Scalar) -> Scalar:
    light = ambient[0, c] + ambient[1, c] * nx + ambient[2, c] * ny + ambient[3, c] * nz
    return max(light, F(0))


@inlined
def shade_skin(
    f: Floats, up: Floats, view: Floats, lights: Floats, ambient: Floats, shadow: Floats,
    base: Bytes, atlas: Bytes, values: Floats, albedo: Floats, out: Floats,
) -> Scalar:  # fmt: skip
    """Shade skin; returns how much of a lip it is, 0 to 1. Two arrays of 8 and 3 are scratch."""
    _fetch(atlas, f[S], f[T], values)
    _fetch(base, f[U], f[V], albedo)
    gloss, lips, thin, ao = values[5], values[6], values[7], f[AO]
    nx, ny, nz = f[NX], f[NY], f[NZ]
    # Bumps tilt the normal along the head's own right (t) and up (b).
    tx, ty, tz = up[1] * nz - up[2] * ny, up[2] * nx - up[0] * nz, up[0] * ny - up[1] * nx
    inv = F(1) / np.sqrt(tx * tx + ty * ty + tz * tz + F(1e-6))
    tx, ty, tz = tx * inv, ty * inv, tz * inv
    bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
    gx = (values[3] - F(128 / 255)) * F(2)
    gy = (values[4] - F(128 / 255)) * F(2)
    mx, my, mz = nx - gx * tx - gy * bx, ny - gx * ty - gy * by, nz - gx * tz - gy * bz
    inv = F(1) / np.sqrt(mx * mx + my * my + mz * mz)
    mx, my, mz = mx * inv, my * inv, mz * inv
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    n_dot_v = max(mx * view[0] + my * view[1] + mz * view[2], F(0.02))
    wide = F(0.56) - F(0.16) * gloss - F(0.12) * lips
    grazing = F(1) / (max(n_dot_v, F(0.25)) + F(0.1))
    red, green, blue, shine = F(0), F(0), F(0), F(0)
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else ao
        smooth = nx * lx + ny * ly + nz * lz
        rough = mx * lx + my * ly + mz * lz
        if max(smooth, rough) < F(-0.6):
            continue  # a lamp behind: no wrapped light reaches so far round
        # Red light wanders below the skin: softer edge, less relief, warmer shadow border.
        spread = F(0.30) + F(0.3) * thin
        bleed = F(0.65) * arrives + F(0.35) * np.sqrt(arrives)
        red += lights[i, 3] * _wrapped(F(0.6) * smooth + F(0.4) * rough, spread) * bleed
        green += lights[i, 4] * _wrapped(F(0.3) * smooth + F(0.7) * rough, F(0.13)) * arrives
        blue += lights[i, 5] * _wrapped(F(0.2) * smooth + F(0.8) * rough, F(0.09)) * arrives
        if rough > 0:
            hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
            inv = F(1) / np.sqrt(hx * hx + hy * hy + hz * hz)
            n_dot_h = max((mx * hx + my * hy + mz * hz) * inv, F(0))
            away = F(1) - (hx * view[0] + hy * view[1] + hz * view[2]) * inv
            fresnel = F(0.028) + F(0.97) * away * away * away * away * away
            lobe = F(0.75) * _glint(n_dot_h, wide) + F(0.25) * _glint(n_dot_h, F(0.62) * wide)
            shine += lights[i, 4] * arrives * fresnel * lobe * min(rough, F(1)) * grazing
    away = F(1) - n_dot_v
    sheen = F(0.10) * away * away * away * away * ao * (F(0.4) + gloss)
    shine *= F(0.30) + F(1.15) * gloss + F(0.4) * lips
    # Light that bounces in a fold takes the skin's colour: the sky is less shut in red.
    warm = F(0.5) * (ao + np.sqrt(ao))
    out[0], out[1], out[2] = red, green, blue
    for c in range(3):
        tint = values[c] * F(1.42)
        sky = _sky(ambient, mx, my, mz, c)
        fold = warm if c == 0 else ao
        reflected = albedo[c] * albedo[c] * tint * tint
        out[c] = reflected * (out[c] + sky * fold) + shine + sheen * sky
    return lips


@inlined
def inside_garment(f: Floats, look: Floats) -> Scalar:
    """Distance in dm from the collar into the garment; negative on bare skin."""
    height = TOP_DM - f[T] * (TOP_DM - BOTTOM_DM)
    if height > F(6.02):
        return F(-1)
    x, z = f[REST_X], f[REST_Z] - F(0.05)
    front = max(F(1) - abs(x) * F(1.8), F(0)) if z > 0 else F(0)
    inside = np.sqrt(F(0.81) * x * x + z * z) - look[3] - look[4] * front
    return max(inside, F(5.25) - height)


@inlined
def shade_cloth(
    f: Floats, view: Floats, lights: Floats, ambient: Floats, shadow: Floats,
    atlas: Bytes, look: Floats, inside: Scalar, out: Floats,
) -> None:  # fmt: skip
    """Shade the garment: matt, with stripes and a ribbed collar; inside is dm from its edge."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    grain = look_up(atlas, f[S] * F(3) - F(1), f[T] * F(1.7) - F(1), 5) - F(0.3)
    edge = min(inside * F(25), F(1))
    tone = (F(1) + F(0.25) * grain) * (F(0.65) + F(0.35) * edge)
    if inside < F(0.13):
        tone *= F(0.86) + F(0.07) * np.sin(f[S] * F(700)) + F(0.08) * min(inside * F(8), F(1))
    if look[8] > 0 and np.sin(f[T] * look[8]) > look[9]:
        tone *= look[10]
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    away = F(1) - max(nx * view[0] + ny * view[1] + nz * view[2], F(0))
    fuzz = F(1) + F(0.3) * away * away * away
    red, green, blue = F(0), F(0), F(0)
    for i in range(lights.shape[0]):
        n_dot_l = nx * lights[i, 0] + ny * lights[i, 1] + nz * lights[i, 2]
        light = _wrapped(n_dot_l, F(0.15)) * (lit if lights[i, 6] > 0 else f[AO])
        red += lights[i, 3] * light
        green += lights[i, 4] * light
        blue += lights[i, 5] * light
    out[0], out[1], out[2] = red, green, blue
    for c in range(3):
        light = out[c] + _sky(ambient, nx, ny, nz, c) * f[AO]
        out[c] = look[c] * tone * light * fuzz


@inlined
def shade_eye(
    f: Floats, view: Floats, lights: Floats, ambient: Floats, shadow: Floats,
    iris: Bytes, lids: Floats, out: Floats,
) -> None:  # fmt: skip
    """Shade an eyeball: soft white, shade of the lids, sharp glints of the lamps."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    side = 0 if f[X] < lids[0, 4] else 1
    # Shade falls from the upper lid and, weaker, rises from the lower one.
    along = (f[X] - lids[side, 0]) * lids[side, 2] + (f[Y] - lids[side, 1]) * lids[side, 3]
    place = along / max(lids[side, 5], F(1e-3))
    shade_of_lids = min(max((place + F(0.10)) * F(2.0), F(0.2)), F(1))
    shade_of_lids *= min(max((F(1.12) - place) * F(4), F(0.45)), F(1))
    lit = _lit(shadow, f[LX], f[LY], f[LZ]) * F(0.7) + F(0.3)
    shine = F(0)
    for c in range(3):
        out[c] = _sky(ambient, nx, ny, nz, c) * F(0.85)
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else F(0.8)
        diffuse = _wrapped(nx * lx + ny * ly + nz * lz, F(0.35)) * arrives
        hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
        inv = F(1) / np.sqrt(hx * hx + hy * hy + hz * hz)
        n_dot_h = max((nx * hx + ny * hy + nz * hz) * inv, F(0))
        shine += lights[i, 4] * _glint(n_dot_h, F(0.20)) * F(0.028)
        for c in range(3):
            out[c] += lights[i, 3 + c] * diffuse
    shine = min(shine, F(1.2)) * min(shade_of_lids * F(1.6), F(1))
    for c in range(3):
        albedo = look_up(iris, f[U], f[V], c)
        out[c] = albedo * albedo * out[c] * shade_of_lids * F(0.75) + shine


@inlined
def shade_teeth(
    f: Floats, lights: Floats, ambient: Floats, shadow: Floats, teeth: Bytes, mouth: Floats,
    out: Floats,
) -> None:  # fmt: skip
    """Shade teeth and gums: darker the deeper they lie in the mouth."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    inside = min(max(F(1) - (mouth[0] - f[Z]) * F(2.4), F(0.04)), F(1))
    lit = F(0.45) + F(0.55) * _lit(shadow, f[LX], f[LY], f[LZ])
    for c in range(3):
        light = _sky(ambient, nx, ny, nz, c)
        for i in range(lights.shape[0]):
            n_dot_l = nx * lights[i, 0] + ny * lights[i, 1] + nz * lights[i, 2]
            light += lights[i, 3 + c] * lit * _wrapped(n_dot_l, F(0.5))
        albedo = look_up(teeth, f[U], f[V], c)
        out[c] = albedo * albedo * light * inside * inside * mouth[1]


@inlined
def shade_inner(
    f: Floats, lights: Floats, ambient: Floats, colour: Floats, front_z: Scalar, out: Floats
) -> None:
    """Shade the inside of the mouth and the rims of the eyes: red, and dark when deep."""
    inside = min(max(F(1) - (front_z - f[Z]) * F(2.6), F(0.03)), F(1))
    for c in range(3):
        light = _sky(ambient, f[NX], f[NY], f[NZ], c)
        for i in range(lights.shape[0]):
            n_dot_l = f[NX] * lights[i, 0] + f[NY] * lights[i, 1] + f[NZ] * lights[i, 2]
            light += lights[i, 3 + c] * F(0.6) * _wrapped(n_dot_l, F(0.4))
        out[c] = colour[c] * light * inside


@inlined
def strand_contrast(tone: Scalar) -> Scalar:
    """Return how bright a strand is by the tone of its texture, 0 to 1; 1 for a usual one."""
    return F(0.35) + F(1.3) * tone


@inlined
def shade_strand(
    f: Floats, up: Floats, view: Floats, lights: Floats, ambient: Floats, shadow: Floats,
    tone: Scalar, rgb: Floats, out: Floats,
) -> None:  # fmt: skip
    """Shade hair: light wraps around the strands, highlights run across them."""
    nx, ny, nz = f[NX], f[NY], f[NZ]
    if nx * view[0] + ny * view[1] + nz * view[2] < 0:
        nx, ny, nz = -nx, -ny, -nz
    # Strands run down the head: up without its part along the normal.
    along = up[0] * nx + up[1] * ny + up[2] * nz
    tx, ty, tz = up[0] - along * nx, up[1] - along * ny, up[2] - along * nz
    inv = F(1) / np.sqrt(tx * tx + ty * ty + tz * tz + F(1e-6))
    shift = (tone - F(0.5)) * F(0.5)
    tx, ty, tz = tx * inv + shift * nx, ty * inv + shift * ny, tz * inv + shift * nz
    inv = F(1) / np.sqrt(tx * tx + ty * ty + tz * tz)
    tx, ty, tz = tx * inv, ty * inv, tz * inv
    lit = _lit(shadow, f[LX], f[LY], f[LZ])
    ao = f[AO]
    red, green, blue = F(0), F(0), F(0)
    shine, glow = F(0), F(0)
    for i in range(lights.shape[0]):
        lx, ly, lz = lights[i, 0], lights[i, 1], lights[i, 2]
        arrives = lit if lights[i, 6] > 0 else ao
        n_dot_l = nx * lx + ny * ly + nz * lz
        diffuse = _wrapped(n_dot_l, F(0.4)) * arrives
        red += lights[i, 3] * diffuse
        green += lights[i, 4] * diffuse
        blue += lights[i, 5] * diffuse
        hx, hy, hz = lx + view[0], ly + view[1], lz + view[2]
        t_dot_h = tx * hx + ty * hy + tz * hz
        # Sine to the 16th: how squarely the strand crosses the half-way direction.
        sine2 = max(F(1) - t_dot_h * t_dot_h / (hx * hx + hy * hy + hz * hz), F(0))
        sine4 = sine2 * sine2
        sine16 = sine4 * sine4 * sine4 * sine4
        front = min(max(n_dot_l + F(0.3), F(0)), F(1)) * arrives * lights[i, 4]
        glow += front * sine16
        shine += front * sine16 * sine16 * sine16 * sine16 * sine16
    contrast = strand_contrast(tone)
    out[0], out[1], out[2] = red, green, blue
    for c in range(3):
        body = rgb[c] * contrast
        light = out[c] + _sky(ambient, nx, ny, nz, c) * ao
        out[c] = body * light + (body * glow * F(0.30) + shine * tone * F(0.045)) * ao

"""Colour of surfaces: procedural textures, and light that is looked up in a grid of probes.

All light is linear; :mod:`.camera` turns it into an 8-bit photo.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled

(
    PLAIN, WOOD, PLANKS, CARPET, FABRIC, STRIPES, TILES, PICTURE, BOOK, PAPER, PANEL, PATCHWORK, SPECKLE, OUTDOORS,
    SCREEN, RUG, BRICK, SLATS, DAMASK,
) = range(19)  # fmt: skip
"""Textures; for the meaning of ``scale``, see :func:`_texture`."""

NOISE_SIZE = 256


class MaterialArrays(NamedTuple):
    """Materials of N parts, one row per part; colours are linear reflectances 0..1."""

    texture: npt.NDArray[np.int64]  # (N,)
    colors: npt.NDArray[np.float64]  # (N, 3, 3) three colours
    scale: npt.NDArray[np.float64]  # (N,)
    bump: npt.NDArray[np.float64]  # (N,) how wrinkled, 0..1
    gloss: npt.NDArray[np.float64]  # (N,) strength of highlights, 0..1
    emission: npt.NDArray[np.float64]  # (N,) radiance per reflectance, > 0 for lamps, panes, screens
    seed: npt.NDArray[np.float64]  # (N,) offset into the noise, 0..1


class LightGrid(NamedTuple):
    """Irradiance at (X, Y, Z) probes for six face normals, weighted by ``free`` (0 where a probe is inside a part)."""

    values: npt.NDArray[np.float32]  # (X, Y, Z, 19): 6 faces x 3 colours, then the weight
    origin: npt.NDArray[np.float64]  # (3,)
    step: npt.NDArray[np.float64]  # (3,)
    fallback: npt.NDArray[np.float64]  # (3,) where all eight probes around are inside parts


def noise_table(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(256, 256) float32 in 0..1, the lattice for all value noise in a room."""
    return rng.random((NOISE_SIZE, NOISE_SIZE), dtype=np.float32)


def contact_shadow(
    points: npt.NDArray[np.float32], normals: npt.NDArray[np.float32], depth: npt.NDArray[np.float32], focal: float
) -> npt.NDArray[np.float32]:
    """Screen-space ambient occlusion within a hand's breadth, for which the light grid is too coarse.

    Args:
        points, normals: (H, W, 3) float32, in the world.
        depth: (H, W) float32 metres.
        focal: focal length in pixels.

    Returns:
        (H, W) float32: from 1 in the open to about 0.4 in a crease; sampled at half size.
    """
    height, width = depth.shape
    half = np.empty(((height + 1) // 2, (width + 1) // 2), np.float32)
    angle = 2.4 * np.arange(_TAPS)
    reach = np.sqrt((np.arange(_TAPS) + 0.7) / _TAPS)
    _occlusion(points, normals, depth, focal, reach * np.cos(angle), reach * np.sin(angle), half)
    return cv2.resize(cv2.blur(half, (3, 3)), (width, height), interpolation=cv2.INTER_LINEAR)


_TAPS = 10
_REACH_M = 0.16


@compiled(fastmath=True)
def _occlusion(points, normals, depth, focal, offset_x, offset_y, out):
    height, width = depth.shape
    taps = offset_x.shape[0]
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            v, u = 2 * j, 2 * i
            px, py, pz = points[v, u, 0], points[v, u, 1], points[v, u, 2]
            nx, ny, nz = normals[v, u, 0], normals[v, u, 1], normals[v, u, 2]
            radius = min(_REACH_M * focal / depth[v, u], 0.12 * width)
            closed = 0.0
            for k in range(taps):
                x, y = int(u + radius * offset_x[k]), int(v + radius * offset_y[k])
                if x < 0 or y < 0 or x >= width or y >= height:
                    continue
                dx, dy, dz = points[y, x, 0] - px, points[y, x, 1] - py, points[y, x, 2] - pz
                squared = dx * dx + dy * dy + dz * dz + 1e-6
                near = 1.0 - squared / (1.5 * _REACH_M * _REACH_M)
                if near > 0.0:
                    above = (nx * dx + ny * dy + nz * dz) / np.sqrt(squared)
                    closed += near * max(above - 0.12, 0.0)
            out[j, i] = 1.0 - min(1.7 * closed / taps, 0.65)


@compiled(fastmath=True)
def shade(
    center, to_local, half,
    texture, colors, scale, bump, gloss, emission, seed,
    grid, grid_origin, grid_step, fallback, light_center, light_rgb, noise,
    part, points, normals, eye, pixel_angle, weight, out,
):  # fmt: skip
    """Add the light that K surface points send to the eye to ``out`` (K, 3) float32.

    Args:
        center, to_local, half: of the parts, as in PartArrays.
        texture .. seed: fields of MaterialArrays.
        grid .. fallback: fields of LightGrid.
        light_center, light_rgb: (L, 3), for highlights.
        noise: from :func:`noise_table`.
        part: (K,) part numbers.
        points, normals: (K, 3) float32, in the world.
        eye: (3,) position in the world.
        pixel_angle: 1 / focal length in pixels; detail finer than a pixel fades out.
        weight: (K,) float32 weight of this light in ``out``.
    """
    for i in range(part.shape[0]):
        n = np.uintp(part[i])  # unsigned, so that numba leaves out the test for negative indices
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        vx, vy, vz = eye[0] - px, eye[1] - py, eye[2] - pz
        distance = np.sqrt(vx * vx + vy * vy + vz * vz) + 1e-9
        vx, vy, vz = vx / distance, vy / distance, vz / distance
        facing = max(abs(nx * vx + ny * vy + nz * vz), 0.15)
        pixel = distance * pixel_angle / facing

        qx, qy, qz = px - center[n, 0], py - center[n, 1], pz - center[n, 2]
        lx = to_local[n, 0, 0] * qx + to_local[n, 0, 1] * qy + to_local[n, 0, 2] * qz
        ly = to_local[n, 1, 0] * qx + to_local[n, 1, 1] * qy + to_local[n, 1, 2] * qz
        lz = to_local[n, 2, 0] * qx + to_local[n, 2, 1] * qy + to_local[n, 2, 2] * qz
        mx = to_local[n, 0, 0] * nx + to_local[n, 0, 1] * ny + to_local[n, 0, 2] * nz
        my = to_local[n, 1, 0] * nx + to_local[n, 1, 1] * ny + to_local[n, 1, 2] * nz
        mz = to_local[n, 2, 0] * nx + to_local[n, 2, 1] * ny + to_local[n, 2, 2] * nz
        r, g, b = _texture(
            texture[n], colors, n, scale[n], seed[n], lx, ly, lz, mx, my, mz, half[n, 0], half[n, 1], half[n, 2],
            pixel, noise,
        )  # fmt: skip

        if bump[n] > 0.0:
            s = seed[n] * 97.0
            # wrinkles: long in one direction, short in the other
            w1 = _noise(noise, 5.0 * lx + 9.0 * lz + s, 14.0 * ly + 4.0 * lx + s) - 0.5
            w2 = _noise(noise, 15.0 * lx + 3.0 * ly + s + 31.0, 6.0 * ly + 8.0 * lz + s) - 0.5
            w3 = _noise(noise, 31.0 * lx + s + 11.0, 29.0 * ly + 30.0 * lz + s) - 0.5
            nx += bump[n] * (w1 + 0.4 * w3)
            ny += bump[n] * (w2 + 0.4 * w3)
            nz += bump[n] * (w1 - w2) * 0.5
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / length, ny / length, nz / length

        er, eg, eb = _irradiance(grid, grid_origin, grid_step, fallback, px, py, pz, nx, ny, nz)
        glow = emission[n]
        cr, cg, cb = r * (er + glow), g * (eg + glow), b * (eb + glow)

        if gloss[n] > 0.0:
            lit = min(1.0, 0.8 * (er + eg + eb))
            for light in range(light_center.shape[0]):
                sx = light_center[light, 0] - px
                sy = light_center[light, 1] - py
                sz = light_center[light, 2] - pz
                squared = sx * sx + sy * sy + sz * sz + 0.05
                length = np.sqrt(squared)
                hx, hy, hz = sx / length + vx, sy / length + vy, sz / length + vz
                cos = nx * hx + ny * hy + nz * hz
                if cos <= 0.0:
                    continue
                cos = cos / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
                c2 = cos * cos
                c4 = c2 * c2
                c16 = c4 * c4 * c4 * c4
                shine = c16 * c16 * c16
                shine = gloss[n] * lit * (0.25 * c16 * c4 + 2.0 * shine * shine) / squared
                cr += shine * light_rgb[light, 0]
                cg += shine * light_rgb[light, 1]
                cb += shine * light_rgb[light, 2]
        w = weight[i]
        out[i, 0] += w * cr
        out[i, 1] += w * cg
        out[i, 2] += w * cb


@compiled(inline="always", fastmath=True)
def _irradiance(grid, origin, step, fallback, px, py, pz, nx, ny, nz):
    """Irradiance on a surface with normal n: trilinear interpolation in the grid, about half a cell off the surface."""
    fx = (px + 0.55 * nx * step[0] - origin[0]) / step[0]
    fy = (py + 0.55 * ny * step[1] - origin[1]) / step[1]
    fz = (pz + 0.55 * nz * step[2] - origin[2]) / step[2]
    fx = min(max(fx, 0.0), grid.shape[0] - 1.001)
    fy = min(max(fy, 0.0), grid.shape[1] - 1.001)
    fz = min(max(fz, 0.0), grid.shape[2] - 1.001)
    ix, iy, iz = int(fx), int(fy), int(fz)
    fx, fy, fz = fx - ix, fy - iy, fz - iz
    ax = np.uintp(0 if nx > 0.0 else 3)
    ay = np.uintp(6 if ny > 0.0 else 9)
    az = np.uintp(12 if nz > 0.0 else 15)
    sx, sy, sz = nx * nx, ny * ny, nz * nz
    along_x, along_y = grid.shape[1] * grid.shape[2], grid.shape[2]
    first = ix * along_x + iy * along_y + iz
    values = grid.reshape(-1)
    one, two, last = np.uintp(1), np.uintp(2), np.uintp(18)
    r = g = b = total = 0.0
    for dx in range(2):
        wx = fx if dx == 1 else 1.0 - fx
        for dy in range(2):
            wxy = wx * (fy if dy == 1 else 1.0 - fy)
            for dz in range(2):
                w = wxy * (fz if dz == 1 else 1.0 - fz)
                cell = np.uintp((first + dx * along_x + dy * along_y + dz) * 19)
                total += w * values[cell + last]
                r += w * (sx * values[cell + ax] + sy * values[cell + ay] + sz * values[cell + az])
                g += w * (sx * values[cell + ax + one] + sy * values[cell + ay + one] + sz * values[cell + az + one])
                b += w * (sx * values[cell + ax + two] + sy * values[cell + ay + two] + sz * values[cell + az + two])
    if total < 0.02:
        return fallback[0], fallback[1], fallback[2]
    return r / total, g / total, b / total


@compiled(fastmath=True)
def _texture(kind, colors, n, scale, seed, x, y, z, mx, my, mz, hx, hy, hz, pixel, noise):
    """Reflectance (r, g, b) at a point of a part, in the part's own axes.

    ``scale`` is metres per repeat (planks, tiles, stripes, slats, patches, damask) or the strength of the
    variation (plain, wood, fabric, carpet). u, v are metres on the face that the normal points out of.
    """
    if abs(mx) > abs(my) and abs(mx) > abs(mz):
        u, v, hu, hv = y, z, hy, hz
    elif abs(my) > abs(mz):
        u, v, hu, hv = x, z, hx, hz
    else:
        u, v, hu, hv = x, y, hx, hy
    s = seed * 251.0
    # indices of the colours rather than views: numba counts references to views, which costs time
    a, b = 0, 1
    mix = 0.0
    gain = 1.0

    if kind == PLAIN:
        gain = 1.0 + scale * (_noise(noise, 2.3 * u + s, 2.3 * v + s) + 0.5 * _noise(noise, 9 * u + s, 9 * v) - 0.75)
    elif kind == WOOD:
        if hv > hu:
            u, v = v, u
        mix = _grain(noise, u, v, s, pixel)
        gain = 1.0 + 0.25 * scale * (_noise(noise, 1.1 * u + s, 3.0 * v) - 0.5)
    elif kind == PLANKS:
        row = np.floor(v / scale)
        shifted = u + 1.7 * _cell(noise, row, s)
        column = np.floor(shifted / (scale * 11.0))
        tone = _cell(noise, row + 17.0 * column, s + 5.0)
        mix = 0.65 * _grain(noise, u + 3.0 * tone, v, s + 40.0 * tone, pixel) + 0.35 * tone
        gain = 0.86 + 0.28 * _cell(noise, row * 3.0 + column, s + 9.0)
        edge = min(_edge(v, scale), _edge(shifted, scale * 11.0))
        gain *= 1.0 - 0.55 * _line(edge, 0.0015, pixel)
    elif kind == CARPET:
        fine = _noise(noise, 160 * u + s, 160 * v) * _fade(pixel, 160.0) + 0.5 * (1 - _fade(pixel, 160.0))
        mid = _noise(noise, 37 * u, 37 * v + s)
        low = _noise(noise, 2.1 * u, 2.1 * v + s)
        gain = 1.0 + scale * (0.8 * (fine - 0.5) + 0.5 * (mid - 0.5) + 0.5 * (low - 0.5))
        mix = 0.5 * mid
    elif kind == FABRIC:
        weave = np.sin(900.0 * u) * np.sin(900.0 * v) * _fade(pixel, 150.0)
        gain = 1.0 + scale * (0.3 * weave + 0.6 * (_noise(noise, 60 * u + s, 60 * v) - 0.5) * _fade(pixel, 60.0)
                              + 0.5 * (_noise(noise, 4 * u + s, 4 * v + 3 * z) - 0.5))  # fmt: skip
    elif kind == STRIPES:
        phase = u / scale
        wave = phase - np.floor(phase)
        mix = _smooth(0.40, 0.46, wave) - _smooth(0.94, 1.0, wave)
        gain = 1.0 + 0.08 * (_noise(noise, 5 * u + s, 5 * v) - 0.5)
        if scale < 2.5 * pixel:
            mix = 0.5
    elif kind == TILES:
        column, row = np.floor(u / scale), np.floor(v / scale)
        tone = _cell(noise, column + 31.0 * row, s)
        gain = 1.0 + 0.16 * (tone - 0.5) + 0.14 * (_noise(noise, 7 * u + s + 9 * tone, 7 * v) - 0.5)
        mix = _line(min(_edge(u, scale), _edge(v, scale)), 0.003, pixel)
        if seed > 0.8:  # chequered
            odd = (column + row) - 2.0 * np.floor((column + row) * 0.5)
            if odd > 0.5:
                a = 2
    elif kind == PICTURE:
        return _picture(colors, n, s, seed, u / hu, v / hv, hu, hv, noise)
    elif kind == BOOK:
        t = z / hz
        if mz > 0.7 or mz < -0.7:
            return 0.75, 0.70, 0.58
        band = _smooth(0.55, 0.58, t) - _smooth(0.78, 0.81, t)
        low = _smooth(-0.85, -0.82, t) - _smooth(-0.7, -0.67, t)
        letters = 1.0 if abs(t) < 0.4 and _noise(noise, 70.0 * z + s, 3.0 * u) > 0.55 and abs(u) < 0.5 * hu else 0.0
        mix = max(band, max(low, 0.8 * letters))
        gain = 0.9 + 0.2 * _noise(noise, 20.0 * u + s, 20.0 * v)
    elif kind == PAPER:
        inside = abs(u) < 0.78 * hu and abs(v) < 0.84 * hv
        line = v / 0.011
        ink = line - np.floor(line) > 0.55 and _noise(noise, 60 * u + s, np.floor(line) * 7.3 + s) > 0.3
        if inside:
            visible = _fade(pixel, 60.0)
            mix = 0.6 * visible * (1.0 if ink else 0.0) + 0.2 * (1.0 - visible)
    elif kind == PANEL:
        if hv > hu:
            u, v, hu, hv = v, u, hv, hu
        margin = min(hu - abs(u), hv - abs(v))
        inset = min(0.07, 0.3 * hv)
        gain = (
            1.0
            - 0.5 * _line(abs(margin - inset), 0.003, pixel)
            + 0.2 * _line(abs(margin - inset - 0.008), 0.003, pixel)
        )
        gain *= 1.0 - 0.35 * _line(margin, 0.0035, pixel)
        mix = _grain(noise, u, v, s, pixel) * scale
    elif kind == PATCHWORK:
        column, row = np.floor(u / scale), np.floor(v / scale)
        tone = _cell(noise, column + 13.0 * row, s)
        detail = _noise(noise, 40 * u + s, 40 * v) * 0.5 + 0.25
        if tone < 0.4:
            a, mix = 0, 0.25 * detail
        elif tone < 0.75:
            a, b, mix = 1, 2, 0.6 * detail
        else:
            a, b, mix = 2, 0, 0.5 * _smooth(0.35, 0.5, _noise(noise, 22 * u + s, 22 * v))
        gain = 1.0 - 0.3 * _line(min(_edge(u, scale), _edge(v, scale)), 0.004, pixel)
    elif kind == SPECKLE:
        fine = _noise(noise, 190 * u + s, 190 * v)
        coarse = _noise(noise, 45 * u, 45 * v + s)
        visible = _fade(pixel, 120.0)
        mix = 0.35 + visible * (_smooth(0.5, 0.8, fine) - 0.3) + 0.6 * (coarse - 0.5)
        gain = 1.0 + 0.25 * (_noise(noise, 6 * u, 6 * v + s) - 0.5)
        mix = min(max(mix, 0.0), 1.0)
    elif kind == OUTDOORS:
        t = v / hv + 0.5 * (_noise(noise, 5 * u + s, 1.5 * v) - 0.5)
        leaves = _noise(noise, 11 * u + s, 11 * v) * 0.6 + 0.4 * _noise(noise, 29 * u + s, 29 * v)
        if t < 2.0 * seed - 0.9:
            a, b, mix = 1, 2, leaves
            gain = 0.5 + 0.6 * leaves
        else:
            gain = 0.9 + 0.2 * t
    elif kind == SCREEN:
        p, q = u / hu, v / hv
        if seed < 0.4:
            mix = 0.15 * _noise(noise, 3 * p + s, 3 * q)
        else:
            tone = _noise(noise, 2.2 * p + s, 2.2 * q + s)
            other = _noise(noise, 6.0 * p - s, 5.0 * q)
            mix = min(1.0, 0.4 * tone + 0.8 * _smooth(0.45, 0.55, other))
            if seed > 0.7:
                line = (q + 1.0) * 14.0
                text = line - np.floor(line) > 0.5 and _noise(noise, 30.0 * p + s, np.floor(line) * 5.1) > 0.45
                mix = 0.35 if text and abs(p) < 0.85 else 1.0
    elif kind == RUG:
        margin = min(hu - abs(u), hv - abs(v))
        p, q = abs(u) / scale, abs(v) / scale
        motif = np.sin(6.283 * p) * np.sin(6.283 * q) + 0.6 * np.sin(12.566 * (p + q)) * np.sin(12.566 * (p - q))
        mix = _smooth(-0.1, 0.15, motif) * 0.8
        border = 0.12 * min(hu, hv) + 0.05
        if margin < border:
            a, b = 2, 1
            mix = _smooth(0.1, 0.4, np.sin(30.0 * (u + v))) * 0.6
            if abs(margin - 0.5 * border) > 0.36 * border:
                mix = 1.0
        gain = 0.85 + 0.3 * _noise(noise, 90 * u + s, 90 * v) * _fade(pixel, 90.0) + 0.15 * (1 - _fade(pixel, 90.0))
    elif kind == BRICK:
        row = np.floor(v / scale)
        shifted = u + 0.5 * (row - 2.0 * np.floor(0.5 * row)) * 3.0 * scale
        column = np.floor(shifted / (3.0 * scale))
        gain = 0.75 + 0.5 * _cell(noise, column + 23.0 * row, s)
        gain *= 0.8 + 0.4 * _noise(noise, 35 * u + s, 35 * v)
        mix = _line(min(_edge(v, scale), _edge(shifted, 3.0 * scale)), 0.006, pixel)
    elif kind == SLATS:
        phase = v / scale
        wave = phase - np.floor(phase)
        visible = _fade(pixel, 1.0 / scale)
        mix = visible * (_smooth(0.55, 0.95, wave)) + 0.25 * (1.0 - visible)
        gain = 1.0 - visible * 0.3 * wave
    elif kind == DAMASK:
        p, q = 6.283 * u / scale, 6.283 * v / scale
        wave = np.sin(p + 1.3 * np.sin(q)) * np.sin(q + 1.1 * np.sin(p)) + 0.3 * np.sin(3.0 * p) * np.sin(3.0 * q)
        mix = _smooth(0.05, 0.25, wave) * (0.6 + 0.4 * _fade(pixel, 3.0 / scale))
        gain = 0.94 + 0.12 * _noise(noise, 8 * u + s, 8 * v)
    return (
        gain * (colors[n, a, 0] + mix * (colors[n, b, 0] - colors[n, a, 0])),
        gain * (colors[n, a, 1] + mix * (colors[n, b, 1] - colors[n, a, 1])),
        gain * (colors[n, a, 2] + mix * (colors[n, b, 2] - colors[n, a, 2])),
    )


@compiled(fastmath=True)
def _picture(colors, n, s, seed, p, q, hu, hv, noise):
    """A framed print, perhaps with a mat: landscape, abstract fields or a figure; p, q in -1..1."""
    mat = 0.0 if seed < 0.35 else 0.06
    if mat > 0.0 and (abs(p) * hu > hu - mat or abs(q) * hv > hv - mat):
        return 0.82, 0.80, 0.74
    style = int(seed * 9.0) % 3
    low = _noise(noise, 2.0 * p + s, 2.0 * q + s)
    high = _noise(noise, 9.0 * p + s, 9.0 * q - s)
    if style == 0:
        horizon = 0.1 + 0.5 * (_noise(noise, 1.5 * p + s, s) - 0.5)
        if q > horizon:
            k, other, mix = 0, 2, 0.5 * low + 0.3 * (q - horizon)
        else:
            k, other, mix = 1, 2, 0.7 * high * (0.4 + 0.6 * low)
    elif style == 1:
        field = _noise(noise, 1.3 * p + 0.7 * q + s, 1.1 * q + s) + 0.25 * high
        k = 0 if field < 0.5 else (1 if field < 0.72 else 2)
        other, mix = (k + 1) % 3, 0.25 * high
    else:
        r = (p * 1.6) ** 2 + ((q - 0.25) * 1.4) ** 2
        body = abs(p) < 0.55 + 0.2 * low and q < -0.15
        k, other = (2, 1) if r < 0.35 or body else (0, 1)
        mix = 0.4 * high
    gain = 0.8 + 0.4 * high
    return (
        gain * (colors[n, k, 0] + mix * (colors[n, other, 0] - colors[n, k, 0])),
        gain * (colors[n, k, 1] + mix * (colors[n, other, 1] - colors[n, k, 1])),
        gain * (colors[n, k, 2] + mix * (colors[n, other, 2] - colors[n, k, 2])),
    )


@compiled(fastmath=True)
def _grain(noise, along, across, s, pixel):
    """Wood grain 0..1: streaks along the board, which fade out where they are finer than a pixel."""
    ring = _noise(noise, 0.9 * along + s, 14.0 * across + 3.0 * _noise(noise, 1.3 * along, 2.0 * across + s))
    streak = _noise(noise, 4.0 * along + s, 110.0 * across)
    visible = _fade(pixel, 110.0)
    return min(1.0, max(0.0, 0.65 * ring + 0.35 * (visible * streak + 0.5 * (1.0 - visible))))


@compiled(fastmath=True)
def _noise(table, x, y):
    """Value noise 0..1 with period 256, smooth between the lattice points."""
    fx, fy = np.floor(x), np.floor(y)
    ix, iy = int(fx), int(fy)
    tx, ty = x - fx, y - fy
    tx = tx * tx * (3.0 - 2.0 * tx)
    ty = ty * ty * (3.0 - 2.0 * ty)
    x0, x1, y0, y1 = ix & 255, (ix + 1) & 255, iy & 255, (iy + 1) & 255
    top = table[y0, x0] + tx * (table[y0, x1] - table[y0, x0])
    bottom = table[y1, x0] + tx * (table[y1, x1] - table[y1, x0])
    return top + ty * (bottom - top)


@compiled(fastmath=True)
def _cell(table, index, s):
    """One value 0..1 per plank, tile or brick."""
    i = int(np.floor(index * 7.0 + s))
    return table[(i * 5) & 255, (i * 59 + 31) & 255]


@compiled(inline="always", fastmath=True)
def _edge(x, period):
    """Distance to the nearest multiple of the period."""
    t = x / period
    t = t - np.floor(t)
    return min(t, 1.0 - t) * period


@compiled(inline="always", fastmath=True)
def _line(distance, half_width, pixel):
    """1 on a line, 0 off it; a line thinner than a pixel keeps its mean darkness."""
    if distance > half_width + pixel:
        return 0.0
    cover = min(1.0, 2.0 * half_width / pixel)
    return cover * min(1.0, (half_width + pixel - distance) / pixel)


@compiled(inline="always", fastmath=True)
def _fade(pixel, frequency):
    """How much of a detail with this many cycles per metre a pixel of this size resolves, 0..1."""
    return min(1.0, max(0.0, 1.3 - 3.0 * pixel * frequency))


@compiled(inline="always", fastmath=True)
def _smooth(low, high, x):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)

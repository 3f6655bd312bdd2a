"""Ray casting of a room: which part each pixel sees, at which distance, and with which surface normal.

A room is the inside of one axis-aligned box plus many convex or sheet-like parts (:class:`PartArrays`). Camera rays are
cast part by part with a depth buffer: the directions of the rays towards one part are affine in the pixel coordinates,
so that only a ray-shape intersection test remains per pixel. Rays that do not start at the camera (light, mirrors) use
a bounding volume hierarchy.

All compiled functions that call each other are in this file, because numba's on-disk cache detects changes only in the
file of the function that is called from Python.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled

FloatArray = npt.NDArray[np.float64]

ROOM, BOX, ROUNDED, CYLINDER, ELLIPSOID, PUFF, CURTAIN, PILE = range(8)
"""Shapes. PUFF is a stuffed pillow, x^4 + z^4 + y^2 <= 1 in units of its half sizes. ROOM marks the six faces of the
room itself, which are not tested individually."""

ROOM_FACES = 6
"""Parts 0..5 are the walls x=0, x=W, y=0, y=D, the floor z=0 and the ceiling z=H, in this order."""

NEAR_M = 0.02
"""Near plane of the camera in metres, at which the outlines of parts on the screen are clipped."""

FAR = 1e9


class PartArrays(NamedTuple):
    """N parts as arrays, lengths in metres.

    Shape parameters: ROUNDED (edge radius), CYLINDER (top radius / bottom radius), CURTAIN (folds per metre, phase),
    PILE (phase), BOX (width over which the normal bends at the edges).
    """

    shape: npt.NDArray[np.int64]  # (N,)
    center: FloatArray  # (N, 3) world
    to_local: FloatArray  # (N, 3, 3) rows are the part's axes in the world
    half: FloatArray  # (N, 3) half sizes along the part's axes
    param: FloatArray  # (N, 2)


class Hierarchy(NamedTuple):
    """Bounding volume hierarchy: M nodes; a node is a leaf if ``members > 0``, else ``first`` is its left child."""

    low: FloatArray  # (M, 3)
    high: FloatArray  # (M, 3)
    first: npt.NDArray[np.int64]  # (M,) first entry in ``order``, or left child (the right one follows)
    members: npt.NDArray[np.int64]  # (M,)
    order: npt.NDArray[np.int64]  # part numbers


def world_bounds(parts: PartArrays) -> tuple[FloatArray, FloatArray]:
    """Axis-aligned bounds (low, high) of the parts in the world, (N, 3) each."""
    reach = np.einsum("nij,ni->nj", np.abs(parts.to_local), parts.half)
    return parts.center - reach, parts.center + reach


def build_hierarchy(parts: PartArrays, leaf_size: int = 3) -> Hierarchy:
    """Build the hierarchy by median splits of the parts (without the room's own faces) along the longest axis."""
    part_low, part_high = world_bounds(parts)
    order = np.arange(ROOM_FACES, len(parts.shape))
    low: list[FloatArray] = [np.zeros(3)]
    high: list[FloatArray] = [np.zeros(3)]
    first, count = [0], [0]
    todo = [(0, 0, len(order))]
    while todo:
        node, begin, end = todo.pop()
        members = order[begin:end]
        if len(members) == 0:
            low[node], high[node], first[node], count[node] = np.full(3, FAR), np.full(3, FAR), 0, 0
            first[node], count[node] = begin, 0
            break
        low[node], high[node] = part_low[members].min(0), part_high[members].max(0)
        if end - begin <= leaf_size:
            first[node], count[node] = begin, end - begin
            continue
        middles = parts.center[members]
        axis = int(np.ptp(middles, axis=0).argmax())
        order[begin:end] = members[np.argsort(middles[:, axis], kind="stable")]
        left, half = len(first), (begin + end) // 2
        for _ in range(2):
            low.append(np.zeros(3))
            high.append(np.zeros(3))
            first.append(0)
            count.append(0)
        first[node], count[node] = left, 0
        todo += [(left, begin, half), (left + 1, half, end)]
    return Hierarchy(np.array(low), np.array(high), np.array(first), np.array(count), order)


class View(NamedTuple):
    """What a camera sees in each pixel; points and normals are in world coordinates."""

    depth: npt.NDArray[np.float32]  # (H, W) metres along the optical axis
    part: npt.NDArray[np.int32]  # (H, W) part number
    normal: npt.NDArray[np.float32]  # (H, W, 3) unit, facing the camera
    point: npt.NDArray[np.float32]  # (H, W, 3) metres
    facing: npt.NDArray[np.float32]  # (H, W) cosine between normal and line of sight


def cast_image(
    parts: PartArrays, room_size: FloatArray, camera_to_world: FloatArray, fx: float, fy: float, cx: float, cy: float,
    width: int, height: int,
) -> View:  # fmt: skip
    """Render what a pinhole camera inside the room sees.

    Args:
        parts: parts of the room; the first six are its faces.
        room_size: (3,) the room spans 0..size along each axis, in metres.
        camera_to_world: (4, 4) pose of the optical frame (x right, y down, z forward).
        fx, fy, cx, cy: pinhole intrinsics in pixels; pixel centres are at integers.
        width, height: of the image, in pixels.
    """
    rotation = np.ascontiguousarray(camera_to_world[:3, :3])
    position = np.ascontiguousarray(camera_to_world[:3, 3])
    corners = _box_corners(parts, rotation, position)
    nearest = np.maximum(corners[..., 2].min(1), 0.0)
    visible = np.flatnonzero(corners[..., 2].max(1) > NEAR_M)
    visible = visible[visible >= ROOM_FACES]
    order = visible[np.argsort(nearest[visible], kind="stable")]
    depth = np.empty((height, width))
    part = np.empty((height, width), np.int32)
    normal, point = np.empty((height, width, 3), np.float32), np.empty((height, width, 3), np.float32)
    facing = np.empty((height, width), np.float32)
    room = (np.asarray(room_size, np.float64), rotation, position)
    _cast_room(*room, fx, fy, cx, cy, depth, part)
    _cast_parts(*parts, order, corners, nearest, rotation, position, fx, fy, cx, cy, depth, part)
    _describe_surfaces(*parts, rotation, position, fx, fy, cx, cy, depth, part, normal, point, facing)
    return View(depth.astype(np.float32), part, normal, point, facing)


def _box_corners(parts: PartArrays, rotation: FloatArray, position: FloatArray) -> FloatArray:
    """(N, 8, 3) corners of the parts' bounding boxes in the optical frame; bit k of a corner's number is set if its
    sign along axis k is positive."""
    signs = np.array([[1.0 if corner >> axis & 1 else -1.0 for axis in range(3)] for corner in range(8)])
    offsets = (signs[None] * parts.half[:, None]) @ parts.to_local
    return (parts.center[:, None] + offsets - position) @ rotation


@compiled(fastmath=True)
def _cast_room(size, rotation, position, fx, fy, cx, cy, depth, part):
    """Depth at which each pixel's ray leaves the box of the room, and the face that it hits."""
    height, width = depth.shape
    for v in range(height):
        y = (v - cy) / fy
        for u in range(width):
            x = (u - cx) / fx
            t = FAR
            face = 0
            for axis in range(3):
                d = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2]
                if d > 1e-12:
                    exit_t = (size[axis] - position[axis]) / d
                    if exit_t < t:
                        t = exit_t
                        face = 2 * axis + 1
                elif d < -1e-12:
                    exit_t = -position[axis] / d
                    if exit_t < t:
                        t = exit_t
                        face = 2 * axis
            depth[v, u] = t
            part[v, u] = face


@compiled(fastmath=True)
def _cast_parts(
    shape, center, to_local, half, param, order, corners, nearest, rotation, position, fx, fy, cx, cy, depth, part
):
    height, width = depth.shape
    left, right = np.empty(height), np.empty(height)
    for number in order:
        hx, hy, hz = half[number, 0], half[number, 1], half[number, 2]
        kind, p0, p1 = shape[number], param[number, 0], param[number, 1]
        ox, oy, oz = _to_axes(
            to_local,
            number,
            position[0] - center[number, 0],
            position[1] - center[number, 1],
            position[2] - center[number, 2],
        )
        # direction in the part's axes = forward + x * right + y * down, for the pixel ray (x, y, 1)
        rx, ry, rz = _to_axes(to_local, number, rotation[0, 0], rotation[1, 0], rotation[2, 0])
        bx, by, bz = _to_axes(to_local, number, rotation[0, 1], rotation[1, 1], rotation[2, 1])
        gx, gy, gz = _to_axes(to_local, number, rotation[0, 2], rotation[1, 2], rotation[2, 2])
        closest = nearest[number]
        v0, v1 = _row_spans(corners, number, fx, fy, cx, cy, left, right)
        for v in range(v0, v1):
            u0, u1 = int(max(left[v], 0.0)), int(min(right[v] + 1.0, width * 1.0))
            y = (v - cy) / fy
            sx, sy, sz = gx + y * bx, gy + y * by, gz + y * bz
            for u in range(u0, u1):
                limit = depth[v, u]
                if limit <= closest:
                    continue
                x = (u - cx) / fx
                t = _hit(kind, ox, oy, oz, sx + x * rx, sy + x * ry, sz + x * rz, hx, hy, hz, p0, p1, limit)
                if t < limit:
                    depth[v, u] = t
                    part[v, u] = number


@compiled(fastmath=True)
def _row_spans(corners, number, fx, fy, cx, cy, left, right):
    """Pixels that a box may cover: columns ``left``..``right`` of each row v0..v1 - 1; returns (v0, v1).

    The spans follow from the projected edges of the box. If the box reaches behind the camera, its edges are cut at the
    near plane, and all cut points are joined to each other.
    """
    height = left.shape[0]
    v0, v1 = height, 0
    cut_x, cut_y = np.empty(12), np.empty(12)
    cuts = 0
    for row in range(height):
        left[row], right[row] = FAR, -FAR
    for a in range(8):
        for axis in range(3):
            b = a | (1 << axis)
            if a == b:
                continue
            ax, ay, az = corners[number, a, 0], corners[number, a, 1], corners[number, a, 2]
            bx, by, bz = corners[number, b, 0], corners[number, b, 1], corners[number, b, 2]
            if az < NEAR_M and bz < NEAR_M:
                continue
            if az < NEAR_M or bz < NEAR_M:
                t = (NEAR_M - az) / (bz - az)
                x, y = ax + t * (bx - ax), ay + t * (by - ay)
                cut_x[cuts], cut_y[cuts] = x / NEAR_M * fx + cx, y / NEAR_M * fy + cy
                cuts += 1
                if az < NEAR_M:
                    ax, ay, az = x, y, NEAR_M
                else:
                    bx, by, bz = x, y, NEAR_M
            low, high = _mark_edge(
                ax / az * fx + cx, ay / az * fy + cy, bx / bz * fx + cx, by / bz * fy + cy, left, right
            )
            v0, v1 = min(v0, low), max(v1, high)
    for i in range(cuts):
        for j in range(i):
            low, high = _mark_edge(cut_x[i], cut_y[i], cut_x[j], cut_y[j], left, right)
            v0, v1 = min(v0, low), max(v1, high)
    return v0, v1


@compiled(fastmath=True)
def _mark_edge(u0, v0, u1, v1, left, right):
    """Extend the spans of the rows that a segment passes, with a margin of one pixel; returns these rows (first,
    last + 1)."""
    if v0 > v1:
        u0, v0, u1, v1 = u1, v1, u0, v0
    height = left.shape[0]
    first, last = int(max(np.floor(v0), 0.0)), int(min(np.ceil(v1), height - 1.0))
    slope = (u1 - u0) / (v1 - v0) if v1 - v0 > 1e-9 else 0.0
    low, high = min(u0, u1), max(u0, u1)
    for row in range(first, last + 1):
        if v1 - v0 > 1e-9:
            a = u0 + slope * (max(row - 1.0, v0) - v0)
            b = u0 + slope * (min(row + 1.0, v1) - v0)
        else:
            a, b = low, high
        left[row] = min(left[row], min(a, b) - 1.0)
        right[row] = max(right[row], max(a, b) + 1.0)
    return first, last + 1


@compiled(fastmath=True)
def _describe_surfaces(
    shape, center, to_local, half, param, rotation, position, fx, fy, cx, cy, depth, part, normal, point, facing
):
    height, width = depth.shape
    for v in range(height):
        y = (v - cy) / fy
        for u in range(width):
            x = (u - cx) / fx
            dx = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2]
            dy = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2]
            dz = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2]
            t = depth[v, u]
            px, py, pz = position[0] + t * dx, position[1] + t * dy, position[2] + t * dz
            nx, ny, nz = _world_normal(
                shape, center, to_local, half, param, np.int64(part[v, u]), px, py, pz, dx, dy, dz
            )  # fmt: skip
            normal[v, u, 0] = nx
            normal[v, u, 1] = ny
            normal[v, u, 2] = nz
            point[v, u, 0] = px
            point[v, u, 1] = py
            point[v, u, 2] = pz
            facing[v, u] = -(nx * dx + ny * dy + nz * dz) / np.sqrt(dx * dx + dy * dy + dz * dz)


@compiled(fastmath=True)
def trace_rays(shape, center, to_local, half, param, low, high, first, count, order, size, origins, directions, limit):
    """Nearest hits of K arbitrary rays that start inside the room.

    Args:
        shape .. param: fields of :class:`PartArrays`.
        low .. order: fields of :class:`Hierarchy`.
        size: (3,) size of the room in metres.
        origins, directions: (K, 3).
        limit: ray parameter at which to stop.

    Returns:
        Ray parameter (K,), part number (K,) (-1: nothing before ``limit``), and unit normal (K, 3).
    """
    k = origins.shape[0]
    distance = np.empty(k)
    part = np.empty(k, np.int64)
    normal = np.zeros((k, 3))
    for i in range(k):
        o, d = origins[i], directions[i]
        t, number = _trace(
            shape, center, to_local, half, param, low, high, first, count, order, size, o[0], o[1], o[2],
            d[0], d[1], d[2], limit, False, shape,
        )  # fmt: skip
        distance[i], part[i] = t, number
        if number >= 0:
            normal[i] = _world_normal(
                shape, center, to_local, half, param, number, o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2],
                d[0], d[1], d[2],
            )  # fmt: skip
    return distance, part, normal


@compiled(fastmath=True)
def bake_direct(
    shape, center, to_local, half, param, low, high, first, count, order, size, transparent,
    probes, light_center, light_half, light_normal, light_rgb, samples,
):  # fmt: skip
    """Irradiance from lamps and windows on six axis-aligned faces at each probe, and which probes are free.

    Args:
        shape .. size: as in :func:`trace_rays`.
        transparent: (N,) int64, not 0 for parts that cast no shadow (lamp shades, window panes).
        probes: (P, 3) positions.
        light_center, light_half: (L, 3) centre and half sizes of the box that a light fills.
        light_normal: (L, 3) direction in which it shines, or 0 for all directions.
        light_rgb: (L, 3) intensity.
        samples: number of points per light.

    Returns:
        Irradiance (P, 6, 3) for the face normals +x, -x, +y, -y, +z, -z; and free (P,), 0 inside a part, else 1.
    """
    irradiance = np.zeros((probes.shape[0], 6, 3), np.float32)
    free = np.ones(probes.shape[0], np.float32)
    for i in range(probes.shape[0]):
        px, py, pz = probes[i]
        if _inside_any(shape, center, to_local, half, param, px, py, pz):
            free[i] = 0.0
            continue
        for light in range(light_center.shape[0]):
            for s in range(samples):
                # a rank-1 lattice samples the light evenly; it is the same for all probes, or walls would look blotchy
                fx = (0.5 + s * 0.7548776662) % 1.0 * 2.0 - 1.0
                fy = (0.5 + s * 0.5698402910) % 1.0 * 2.0 - 1.0
                fz = (0.5 + s * 0.6180339887) % 1.0 * 2.0 - 1.0
                dx = light_center[light, 0] + fx * light_half[light, 0] - px
                dy = light_center[light, 1] + fy * light_half[light, 1] - py
                dz = light_center[light, 2] + fz * light_half[light, 2] - pz
                squared = dx * dx + dy * dy + dz * dz
                length = np.sqrt(squared) + 1e-9
                ux, uy, uz = dx / length, dy / length, dz / length
                lx, ly, lz = light_normal[light]
                emitted = 1.0
                if lx != 0.0 or ly != 0.0 or lz != 0.0:
                    emitted = -(ux * lx + uy * ly + uz * lz)
                    if emitted <= 0.0:
                        continue
                _, number = _trace(
                    shape, center, to_local, half, param, low, high, first, count, order, size, px, py, pz,
                    dx, dy, dz, 0.97, True, transparent,
                )  # fmt: skip
                if number >= 0:
                    continue
                strength = emitted / max(squared, 0.03) / samples
                for c in range(3):
                    value = strength * light_rgb[light, c]
                    irradiance[i, 0, c] += value * max(ux, 0.0)
                    irradiance[i, 1, c] += value * max(-ux, 0.0)
                    irradiance[i, 2, c] += value * max(uy, 0.0)
                    irradiance[i, 3, c] += value * max(-uy, 0.0)
                    irradiance[i, 4, c] += value * max(uz, 0.0)
                    irradiance[i, 5, c] += value * max(-uz, 0.0)
    return irradiance, free


@compiled(fastmath=True)
def bake_bounce(
    shape, center, to_local, half, param, low, high, first, count, order, size,
    probes, grid_shape, grid_origin, grid_step, free, irradiance, albedo, ambient, directions,
):  # fmt: skip
    """Irradiance (P, 6, 3) that reaches the probes after one diffuse reflection.

    Args:
        shape .. size: as in :func:`trace_rays`.
        probes: (P, 3) positions, on the grid given by ``grid_shape``, ``grid_origin`` and ``grid_step``.
        free, irradiance: from :func:`bake_direct`.
        albedo: (N, 3) mean reflectance of each part.
        ambient: (3,) irradiance that stands for further bounces.
        directions: (K, 3) unit vectors, spread evenly over the sphere.
    """
    bounced = np.zeros_like(irradiance)
    weight = 4.0 / directions.shape[0]
    for i in range(probes.shape[0]):
        if free[i] == 0.0:
            continue
        px, py, pz = probes[i]
        for k in range(directions.shape[0]):
            dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
            t, number = _trace(
                shape, center, to_local, half, param, low, high, first, count, order, size, px, py, pz,
                dx, dy, dz, FAR, False, shape,
            )  # fmt: skip
            if number < 0:
                continue
            hx, hy, hz = px + t * dx, py + t * dy, pz + t * dz
            nx, ny, nz = _world_normal(shape, center, to_local, half, param, number, hx, hy, hz, dx, dy, dz)
            gx = round((hx + nx * 0.5 * grid_step[0] - grid_origin[0]) / grid_step[0])
            gy = round((hy + ny * 0.5 * grid_step[1] - grid_origin[1]) / grid_step[1])
            gz = round((hz + nz * 0.5 * grid_step[2] - grid_origin[2]) / grid_step[2])
            gx = min(max(gx, 0), grid_shape[0] - 1)
            gy = min(max(gy, 0), grid_shape[1] - 1)
            gz = min(max(gz, 0), grid_shape[2] - 1)
            j = (gx * grid_shape[1] + gy) * grid_shape[2] + gz
            fx = 0 if nx > 0.0 else 1
            fy = 2 if ny > 0.0 else 3
            fz = 4 if nz > 0.0 else 5
            for c in range(3):
                at_hit = (
                    nx * nx * irradiance[j, fx, c] + ny * ny * irradiance[j, fy, c] + nz * nz * irradiance[j, fz, c]
                )
                value = weight * albedo[number, c] * (at_hit + ambient[c])
                bounced[i, 0, c] += value * max(dx, 0.0)
                bounced[i, 1, c] += value * max(-dx, 0.0)
                bounced[i, 2, c] += value * max(dy, 0.0)
                bounced[i, 3, c] += value * max(-dy, 0.0)
                bounced[i, 4, c] += value * max(dz, 0.0)
                bounced[i, 5, c] += value * max(-dz, 0.0)
    return bounced


@compiled(fastmath=True)
def _trace(
    shape, center, to_local, half, param, low, high, first, count, order, size, ox, oy, oz, dx, dy, dz, limit,
    any_hit, transparent,
):  # fmt: skip
    """Nearest part on one ray, or any part with ``any_hit``; returns (ray parameter, part number or -1)."""
    best = limit
    found = -1
    ix = 1.0 / dx if abs(dx) > 1e-12 else 1e12
    iy = 1.0 / dy if abs(dy) > 1e-12 else 1e12
    iz = 1.0 / dz if abs(dz) > 1e-12 else 1e12
    for axis in range(3):
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        if abs(d) > 1e-12:
            t = ((size[axis] if d > 0.0 else 0.0) - o) / d
            if t < best:
                best = t
                found = 2 * axis + (1 if d > 0.0 else 0)
    if any_hit and found >= 0:
        return best, found
    stack = np.empty(64, np.int64)
    stack[0] = 0
    top = 1
    while top > 0:
        top -= 1
        node = stack[top]
        t0, t1 = _slab(low[node, 0], high[node, 0], ox, ix, 0.0, best)
        t0, t1 = _slab(low[node, 1], high[node, 1], oy, iy, t0, t1)
        t0, t1 = _slab(low[node, 2], high[node, 2], oz, iz, t0, t1)
        if t0 > t1:
            continue
        if count[node] == 0:
            stack[top] = first[node]
            stack[top + 1] = first[node] + 1
            top += 2
            continue
        for entry in range(first[node], first[node] + count[node]):
            number = order[entry]
            if any_hit and transparent[number] != 0:
                continue
            ax, ay, az = _to_axes(
                to_local, number, ox - center[number, 0], oy - center[number, 1], oz - center[number, 2]
            )
            bx, by, bz = _to_axes(to_local, number, dx, dy, dz)
            t = _hit(
                shape[number], ax, ay, az, bx, by, bz, half[number, 0], half[number, 1], half[number, 2],
                param[number, 0], param[number, 1], best,
            )  # fmt: skip
            if t < best:
                best = t
                found = number
                if any_hit:
                    return best, found
    return best, found


@compiled(inline="always", fastmath=True)
def _slab(low, high, o, inverse, t0, t1):
    a = (low - o) * inverse
    b = (high - o) * inverse
    return max(t0, min(a, b)), min(t1, max(a, b))


@compiled(fastmath=True)
def _inside_any(shape, center, to_local, half, param, px, py, pz):
    for number in range(ROOM_FACES, shape.shape[0]):
        x, y, z = px - center[number, 0], py - center[number, 1], pz - center[number, 2]
        reach = half[number, 0] + half[number, 1] + half[number, 2]
        if abs(x) > reach or abs(y) > reach or abs(z) > reach or shape[number] >= CURTAIN:
            continue
        x, y, z = _to_axes(to_local, number, x, y, z)
        if abs(x) < half[number, 0] and abs(y) < half[number, 1] and abs(z) < half[number, 2]:
            return True
    return False


@compiled(inline="always", fastmath=True)
def _to_axes(to_local, n, x, y, z):
    # without a view of to_local[n]: numba counts references to views, which takes longer than the product
    return (
        to_local[n, 0, 0] * x + to_local[n, 0, 1] * y + to_local[n, 0, 2] * z,
        to_local[n, 1, 0] * x + to_local[n, 1, 1] * y + to_local[n, 1, 2] * z,
        to_local[n, 2, 0] * x + to_local[n, 2, 1] * y + to_local[n, 2, 2] * z,
    )


@compiled(inline="always", fastmath=True)
def _world_normal(shape, center, to_local, half, param, number, px, py, pz, dx, dy, dz):
    """Unit normal of a part at a point of its surface, pointing against the ray's direction."""
    if number < ROOM_FACES:
        sign = 1.0 if number % 2 == 0 else -1.0
        axis = number // 2
        return (
            sign if axis == 0 else 0.0,
            sign if axis == 1 else 0.0,
            sign if axis == 2 else 0.0,
        )
    x, y, z = _to_axes(to_local, number, px - center[number, 0], py - center[number, 1], pz - center[number, 2])
    nx, ny, nz = _local_normal(
        shape[number], x, y, z, half[number, 0], half[number, 1], half[number, 2], param[number, 0], param[number, 1]
    )
    wx = to_local[number, 0, 0] * nx + to_local[number, 1, 0] * ny + to_local[number, 2, 0] * nz
    wy = to_local[number, 0, 1] * nx + to_local[number, 1, 1] * ny + to_local[number, 2, 1] * nz
    wz = to_local[number, 0, 2] * nx + to_local[number, 1, 2] * ny + to_local[number, 2, 2] * nz
    scale = 1.0 / np.sqrt(wx * wx + wy * wy + wz * wz + 1e-30)
    if shape[number] == CURTAIN and wx * dx + wy * dy + wz * dz > 0.0:
        scale = -scale  # a sheet has two sides
    return wx * scale, wy * scale, wz * scale


@compiled(fastmath=True)
def _local_normal(kind, x, y, z, hx, hy, hz, p0, p1):
    """Outward normal (any length) at a surface point in the part's own axes."""
    if kind == BOX:
        ex, ey, ez = hx - abs(x), hy - abs(y), hz - abs(z)
        sx, sy, sz = (1.0 if x > 0.0 else -1.0), (1.0 if y > 0.0 else -1.0), (1.0 if z > 0.0 else -1.0)
        # edges of real furniture are never sharp: bend the normal within p0 of an edge
        nx = sx * max(1.0 - ex / p0, 0.0) * 0.7
        ny = sy * max(1.0 - ey / p0, 0.0) * 0.7
        nz = sz * max(1.0 - ez / p0, 0.0) * 0.7
        if ex <= ey and ex <= ez:
            return sx, ny, nz
        if ey <= ez:
            return nx, sy, nz
        return nx, ny, sz
    if kind == ROUNDED:
        r = p0
        nx = np.sign(x) * max(abs(x) - (hx - r), 0.0)
        ny = np.sign(y) * max(abs(y) - (hy - r), 0.0)
        nz = np.sign(z) * max(abs(z) - (hz - r), 0.0)
        return nx, ny, nz + 1e-12
    if kind == CYLINDER:
        if abs(z) > hz - 1e-6:
            return 0.0, 0.0, np.sign(z)
        radius = 1.0 + (p0 - 1.0) * (z + hz) / (2.0 * hz)
        return x / (hx * hx), y / (hy * hy), -radius * (p0 - 1.0) / (2.0 * hz)
    if kind == ELLIPSOID:
        return x / (hx * hx), y / (hy * hy), z / (hz * hz)
    if kind == PUFF:
        ax, az = x / hx, z / hz
        return 4.0 * ax * ax * ax / hx, 2.0 * y / (hy * hy), 4.0 * az * az * az / hz
    if kind == CURTAIN:
        e = 1e-3
        slope_x = (_fold(x + e, z, hy, p0, p1) - _fold(x - e, z, hy, p0, p1)) / (2.0 * e)
        slope_z = (_fold(x, z + e, hy, p0, p1) - _fold(x, z - e, hy, p0, p1)) / (2.0 * e)
        return -slope_x, 1.0, -slope_z
    if kind == PILE:
        e = 2e-3
        slope_x = (_heap(x + e, y, hx, hy, hz, p0) - _heap(x - e, y, hx, hy, hz, p0)) / (2.0 * e)
        slope_y = (_heap(x, y + e, hx, hy, hz, p0) - _heap(x, y - e, hx, hy, hz, p0)) / (2.0 * e)
        return -slope_x, -slope_y, 1.0
    return 0.0, 0.0, 1.0


@compiled(fastmath=True)
def _hit(kind, ox, oy, oz, dx, dy, dz, hx, hy, hz, p0, p1, limit):
    """First ray parameter below ``limit`` at which a ray enters a shape, else FAR; all in the part's axes."""
    ix = 1.0 / dx if abs(dx) > 1e-12 else (1e12 if dx >= 0.0 else -1e12)
    iy = 1.0 / dy if abs(dy) > 1e-12 else (1e12 if dy >= 0.0 else -1e12)
    iz = 1.0 / dz if abs(dz) > 1e-12 else (1e12 if dz >= 0.0 else -1e12)
    t0, t1 = _slab(-hx, hx, ox, ix, -FAR, limit)
    t0, t1 = _slab(-hy, hy, oy, iy, t0, t1)
    t0, t1 = _slab(-hz, hz, oz, iz, t0, t1)
    if t0 > t1 or t1 <= 1e-4:
        return FAR
    if kind == BOX:
        return t0 if t0 > 1e-4 else FAR
    if kind == CYLINDER:
        return _hit_cone(ox, oy, oz, dx, dy, dz, hx, hy, hz, p0, limit)
    if kind == ELLIPSOID:
        ax, ay, az, bx, by, bz = ox / hx, oy / hy, oz / hz, dx / hx, dy / hy, dz / hz
        a = bx * bx + by * by + bz * bz
        b = ax * bx + ay * by + az * bz
        disc = b * b - a * (ax * ax + ay * ay + az * az - 1.0)
        if disc <= 0.0:
            return FAR
        t = (-b - np.sqrt(disc)) / a
        return t if t > 1e-4 else FAR
    t0 = max(t0, 1e-4)
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    if kind == ROUNDED:
        t = t0
        for _ in range(40):
            qx = max(abs(ox + t * dx) - (hx - p0), 0.0)
            qy = max(abs(oy + t * dy) - (hy - p0), 0.0)
            qz = max(abs(oz + t * dz) - (hz - p0), 0.0)
            gap = np.sqrt(qx * qx + qy * qy + qz * qz) - p0
            if gap < 1e-5:
                return t
            t += gap / length
            if t > t1:
                return FAR
        return t
    # implicit surfaces: step until the side changes, then bisect
    steps = int((t1 - t0) * length / 0.02) + 2
    dt = (t1 - t0) / steps
    side = _side(kind, ox + t0 * dx, oy + t0 * dy, oz + t0 * dz, hx, hy, hz, p0, p1)
    if kind == PILE and side <= 0.0:
        return FAR if t0 <= 1e-4 or oz + t0 * dz > -hz + 1e-3 else t0
    for k in range(1, steps + 1):
        t = t0 + k * dt
        now = _side(kind, ox + t * dx, oy + t * dy, oz + t * dz, hx, hy, hz, p0, p1)
        if (now > 0.0) != (side > 0.0):
            a, b = t - dt, t
            for _ in range(9):
                m = 0.5 * (a + b)
                if (_side(kind, ox + m * dx, oy + m * dy, oz + m * dz, hx, hy, hz, p0, p1) > 0.0) == (side > 0.0):
                    a = m
                else:
                    b = m
            return b
    return FAR


@compiled(fastmath=True)
def _hit_cone(ox, oy, oz, dx, dy, dz, hx, hy, hz, taper, limit):
    """Hit of an upright (elliptic) cylinder whose relative radius goes linearly from 1 at -hz to ``taper`` at +hz."""
    ax, ay, bx, by = ox / hx, oy / hy, dx / hx, dy / hy
    k = (taper - 1.0) / (2.0 * hz)
    r, s = 1.0 + k * (oz + hz), k * dz
    a = bx * bx + by * by - s * s
    b = ax * bx + ay * by - r * s
    c = ax * ax + ay * ay - r * r
    best = FAR
    disc = b * b - a * c
    if disc > 0.0 and abs(a) > 1e-14:
        root = np.sqrt(disc)
        for sign in (-1.0, 1.0):
            t = (-b + sign * root) / a
            z = oz + t * dz
            if 1e-4 < t < best and abs(z) <= hz and 1.0 + k * (z + hz) >= 0.0:
                best = t
    if abs(dz) > 1e-12:
        for top in (-1.0, 1.0):
            t = (top * hz - oz) / dz
            radius = 1.0 if top < 0.0 else taper
            x, y = ax + t * bx, ay + t * by
            if 1e-4 < t < best and x * x + y * y <= radius * radius:
                best = t
    return best if best < limit else FAR


@compiled(fastmath=True)
def _side(kind, x, y, z, hx, hy, hz, p0, p1):
    if kind == PUFF:
        a, b, c = x / hx, y / hy, z / hz
        a, c = a * a, c * c
        return a * a + b * b + c * c - 1.0
    if kind == CURTAIN:
        return y - _fold(x, z, hy, p0, p1)
    return z - _heap(x, y, hx, hy, hz, p0)


@compiled(fastmath=True)
def _fold(x, z, hy, folds_per_m, phase):
    """Offset of a hanging cloth from its plane: folds that shift a little on the way down."""
    wander = 0.35 * np.sin(1.7 * z + phase) + 0.5 * np.sin(3.1 * x + 2.0 * phase)
    return 0.9 * hy * np.sin(6.283185307 * folds_per_m * x + phase + wander)


@compiled(fastmath=True)
def _heap(x, y, hx, hy, hz, phase):
    """Height of crumpled cloth over its base plane z = -hz, at most +hz."""
    a, b = x / hx, y / hy
    r = a * a + b * b
    rim = max(1.0 - r * r, 0.0)
    wave = (
        0.5 * np.sin(5.0 * a + 2.0 * b + phase)
        + 0.3 * np.sin(-4.0 * a + 7.0 * b + 2.3 * phase)
        + 0.2 * np.sin(11.0 * a + 9.0 * b + 3.1 * phase)
    )
    # outside the rim, it is just below the base, so that the cloth ends there
    return -hz - 1e-3 + 2.0 * hz * rim * (0.68 + 0.32 * wave)


def as_tuple(parts: PartArrays, hierarchy: Hierarchy) -> tuple[Any, ...]:
    """The leading arguments of the compiled functions that trace arbitrary rays.

    mypy assumes that a tuple of unknown length supplies all arguments, hence ``type: ignore`` where others follow.
    """
    return (*parts, *hierarchy)

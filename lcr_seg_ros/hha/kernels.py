"""The loops of :mod:`lcr_seg_ros.hha.fast`, compiled by numba on first use (cached on disk where allowed).

All are written for the vectoriser: rows as slices, no branches inside a row, numbers of one type (a plain
literal would widen float32 to float64). The small windows of the angle channel are summed afresh at every
row in float32, where running sums would drift; the large ones of gravity run on in float64.

Images for windows are padded by ``PAD`` zeros on every side, so that a window cut by the border is a
window with pixels missing, and nothing tests for borders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.definition import ANGLE_OFFSET, ANGLE_RADIUS, DISPARITY_SCALE, GRAVITY_RADIUS, NEAREST_CM

PAD = max(ANGLE_RADIUS, GRAVITY_RADIUS)
_BLOCK = 64
"""Pixels along a row that take the short way together if none of their windows lacks a pixel."""

_0, _1, _2, _3, _4, _9 = (np.float32(i) for i in (0, 1, 2, 3, 4, 9))
_7 = np.float32(7)
_HALF, _100, _180, _255 = np.float32(0.5), np.float32(100), np.float32(180), np.float32(255)
_OFFSET = np.float32(ANGLE_OFFSET)
_FAR, _NEAR = np.float32(0.25), np.float32(0.75)

Depth = npt.NDArray[np.floating]
Plane = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Number = Any
"""A scalar of whatever precision the loop runs in."""

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: bool) -> Callable[[Function], Function]:
    """``numba.njit`` that keeps its results on disk where it may, and in memory where it may not."""

    def compile_(function: Function) -> Function:
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to write to: a read-only install without a home
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return compile_


@compiled()  # not fastmath: NaN and Inf come in here, and must fail the comparison
def ingest(depth: Depth, nearest: float, farthest: float, z: Plane, known: Plane) -> int:
    """Metres as float32 with 0 for holes, and 1 / 0 where known; returns the number known."""
    height, width = depth.shape
    total = 0
    for y in range(height):
        depth_row, z_row, known_row = depth[y], z[y], known[y]
        count = 0
        for x in range(width):
            ok = (depth_row[x] >= nearest) & (depth_row[x] <= farthest)
            z_row[x] = np.float32(depth_row[x]) if ok else _0
            known_row[x] = _1 if ok else _0
            count += ok
        total += count
    return total


@compiled(fastmath=True)
def push(fine: Plane, weight: Plane, coarse: Plane, coarse_weight: Plane, height: int, width: int) -> int:
    """Means of the known pixels of 2x2, into the ``height`` x ``width`` coarse pixels; returns how many are unknown."""
    known = 0
    for y in range(height):
        upper, lower = fine[2 * y], fine[2 * y + 1]
        upper_weight, lower_weight = weight[2 * y], weight[2 * y + 1]
        row, row_weight = coarse[y], coarse_weight[y]
        count = 0
        for x in range(width):
            left, right = upper_weight[2 * x] + lower_weight[2 * x], upper_weight[2 * x + 1] + lower_weight[2 * x + 1]
            # Unknown pixels are 0, so their weight need not be applied.
            total = upper[2 * x] + lower[2 * x] + upper[2 * x + 1] + lower[2 * x + 1]
            number = left + right
            row[x] = total / max(number, _1)
            row_weight[x] = min(number, _1)
            count += number > _0
        known += count
    return height * width - known


@compiled(fastmath=True)
def pull(
    coarse: Plane, coarse_height: int, coarse_width: int, fine: Plane, weight: Plane, height: int, width: int
) -> None:
    """Bilinear interpolation of the coarse level into the unknown pixels of the fine one."""
    for y in range(height):
        near_y = y >> 1
        far_y = min(max(near_y + 2 * (y & 1) - 1, 0), coarse_height - 1)
        near_row, far_row = coarse[near_y], coarse[far_y]
        row, row_weight = fine[y], weight[y]
        for x in range(width):
            if row_weight[x] == _0:
                near_x = x >> 1
                far_x = min(max(near_x + 2 * (x & 1) - 1, 0), coarse_width - 1)
                near = _NEAR * near_row[near_x] + _FAR * near_row[far_x]
                far = _NEAR * far_row[near_x] + _FAR * far_row[far_x]
                row[x] = _NEAR * near + _FAR * far


@compiled()  # not fastmath: depth is read where it may be NaN, and rounding is that of exact
def disparity_and_inverse(
    depth: Depth, z: Plane, known: Plane, valid: Bytes, masked: bool, disparity: Bytes, inverse: Plane, measured: Plane
) -> None:
    """Disparity channel in float64, equal to exact's, and padded 1/Z and 1 / 0 where measured (both 0 elsewhere)."""
    height, width = depth.shape
    for y in range(height):
        depth_row, z_row, known_row = depth[y], z[y], known[y]
        disparity_row = disparity[y]
        inverse_row, measured_row = inverse[y + PAD][PAD:], measured[y + PAD][PAD:]
        for x in range(width):
            metres = np.float64(depth_row[x]) if known_row[x] != _0 else np.float64(z_row[x])
            level = min(DISPARITY_SCALE / max(metres * 100.0, NEAREST_CM), 255.0)
            disparity_row[x] = np.uint8(np.int32(level + 0.5))
        if masked:
            valid_row = valid[y]
            for x in range(width):
                measured_row[x] = known_row[x] if valid_row[x] != 0 else _0
        else:
            for x in range(width):
                measured_row[x] = known_row[x]
        for x in range(width):
            inverse_row[x] = measured_row[x] / z_row[x]


@compiled(fastmath=True)
def gravity_normals(
    inverse: Plane,
    measured: Plane,
    width: int,
    stride: int,
    fx: Number,
    fy: Number,
    offset_u: Vector,
    offset_v: Vector,
    columns: Vector,
    sums: Vector,
    normals: Plane,
) -> None:
    """Unit normals of the 21x21 windows on every ``stride``-th pixel; (0, 0, 0) where there is none.

    Sums run down the columns and along the rows in float64, where they do not drift.

    Args:
        offset_u, offset_v: (W,), (H,) float64, u - cx and v - cy.
        columns: (5, W + 2 PAD) float64 scratch: sums down the columns.
        sums: (9, W + 2 PAD + 1) float64 scratch: sums along the row from its start.
        normals: (3, ceil(H / stride), ceil(W / stride)) float32, written.
    """
    side = 2 * GRAVITY_RADIUS + 1
    padded = width + 2 * PAD
    across = normals.shape[2]
    columns[:] = 0.0
    sums[:, 0] = 0.0
    entering = PAD - GRAVITY_RADIUS
    for j in range(normals.shape[1]):
        y = stride * j
        while entering <= y + PAD + GRAVITY_RADIUS:
            leaving = max(entering - side, 0)  # row 0 is padding: leaving it takes nothing away
            _move_down(columns, inverse[entering], measured[entering], inverse[leaving], measured[leaving], entering)
            entering += 1
        _sum_along(columns, sums, padded, np.float64(y + PAD))
        for start in range(0, across, _BLOCK):
            size = min(_BLOCK, across - start)
            left = stride * start
            begin = sums[:, left + PAD - GRAVITY_RADIUS :]
            end, u = begin[:, side:], offset_u[left:]
            nx, ny, nz = normals[0, j, start:], normals[1, j, start:], normals[2, j, start:]
            at = np.float64(left + PAD)
            fewest = np.float64(side * side)
            for i in range(size):
                fewest = min(fewest, end[3, stride * i] - begin[3, stride * i])
            if fewest == side * side:
                _normals_of_full_windows(begin, end, at, stride, size, fx, fy, u, offset_v[y], nx, ny, nz)
            else:
                _normals_of_windows(begin, end, at, stride, size, fx, fy, u, offset_v[y], nx, ny, nz)


@compiled(fastmath=True)
def _move_down(
    columns: Vector, inverse_in: Plane, measured_in: Plane, inverse_out: Plane, measured_out: Plane, row: int
) -> None:
    """Add an image row, take away the one a window's height above: sums of d and m by powers of the row's number."""
    d0, d1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    row_in = np.float64(row)
    row_out = row_in - (2 * GRAVITY_RADIUS + 1)
    for x in range(inverse_in.shape[0]):
        d_in, d_out = np.float64(inverse_in[x]), np.float64(inverse_out[x])
        m_in, m_out = np.float64(measured_in[x]), np.float64(measured_out[x])
        d0[x] += d_in - d_out
        d1[x] += row_in * d_in - row_out * d_out
        m0[x] += m_in - m_out
        m1[x] += row_in * m_in - row_out * m_out
        m2[x] += row_in * row_in * m_in - row_out * row_out * m_out


@compiled(fastmath=True)
def _sum_along(columns: Vector, sums: Vector, padded: int, centre: Number) -> None:
    """Sums of d, ud, vd, m, um, uum, vm, uvm, vvm over the columns so far, v counted from ``centre``."""
    d0, d1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    s0, s1, s2, s3, s4 = sums[0][1:], sums[1][1:], sums[2][1:], sums[3][1:], sums[4][1:]
    s5, s6, s7, s8 = sums[5][1:], sums[6][1:], sums[7][1:], sums[8][1:]
    d = ud = vd = m = um = uum = vm = uvm = vvm = 0.0
    u = 0.0
    for x in range(padded):
        column_vm = m1[x] - centre * m0[x]
        d += d0[x]
        ud += u * d0[x]
        vd += d1[x] - centre * d0[x]
        m += m0[x]
        um += u * m0[x]
        uum += u * u * m0[x]
        vm += column_vm
        uvm += u * column_vm
        vvm += m2[x] - centre * (m1[x] + column_vm)
        s0[x], s1[x], s2[x], s3[x], s4[x], s5[x], s6[x], s7[x], s8[x] = d, ud, vd, m, um, uum, vm, uvm, vvm
        u += 1.0


@compiled(fastmath=True)
def _normals_of_full_windows(
    begin: Vector,
    end: Vector,
    at: Number,
    stride: int,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Vector,
    offset_v: Number,
    nx: Plane,
    ny: Plane,
    nz: Plane,
) -> None:
    """Where no pixel lacks, du, dv and 1 are orthogonal."""
    side = 2 * GRAVITY_RADIUS + 1
    # sum of du^2 over the window = side^2 (side^2 - 1) / 12, here divided by side^2 as all of it may be.
    spread = (side * side - 1) / 12.0
    for i in range(size):
        k = stride * i
        d = end[0, k] - begin[0, k]
        a = end[1, k] - begin[1, k] - (at + k) * d
        b = end[2, k] - begin[2, k]
        x, y, z = fx * a, fy * b, d * spread - a * offset_u[k] - b * offset_v
        length = np.sqrt(x * x + y * y + z * z)
        nx[i], ny[i], nz[i] = np.float32(x / length), np.float32(y / length), np.float32(z / length)


@compiled(fastmath=True)
def _normals_of_windows(
    begin: Vector,
    end: Vector,
    at: Number,
    stride: int,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Vector,
    offset_v: Number,
    nx: Plane,
    ny: Plane,
    nz: Plane,
) -> None:
    """Least squares by the adjugate; the moments of the mask and their determinant are exact integers."""
    for i in range(size):
        k = stride * i
        u0 = at + k
        d = end[0, k] - begin[0, k]
        ud = end[1, k] - begin[1, k] - u0 * d
        vd = end[2, k] - begin[2, k]
        n = end[3, k] - begin[3, k]
        un = end[4, k] - begin[4, k]
        uu = end[5, k] - begin[5, k] - u0 * (2.0 * un - u0 * n)
        u = un - u0 * n
        v = end[6, k] - begin[6, k]
        uv = end[7, k] - begin[7, k] - u0 * v
        vv = end[8, k] - begin[8, k]
        i11, i12, i13 = vv * n - v * v, u * v - uv * n, uv * v - u * vv
        i22, i23, i33 = uu * n - u * u, uv * u - uu * v, uu * vv - uv * uv
        determinant = uu * i11 + uv * i12 + u * i13
        a = i11 * ud + i12 * vd + i13 * d
        b = i12 * ud + i22 * vd + i23 * d
        c = i13 * ud + i23 * vd + i33 * d
        x, y, z = fx * a, fy * b, c - a * offset_u[k] - b * offset_v
        square = x * x + y * y + z * z
        there = (determinant > 0.5) & (square > 0.0)
        scale = (1.0 if there else 0.0) / np.sqrt(square if there else 1.0)
        nx[i], ny[i], nz[i] = np.float32(x * scale), np.float32(y * scale), np.float32(z * scale)


@compiled(fastmath=True)
def floor_wall_scatter(normals: Plane, down: Plane, cos_t: Number, sin_t: Number) -> Vector:
    """Sum over walls minus sum over floors of n n^T as (xx, xy, xz, yy, yz, zz); a normal of 0 adds nothing."""
    total = np.zeros(6)
    down_x, down_y, down_z = down[0], down[1], down[2]
    for j in range(normals.shape[1]):
        x, y, z = normals[0, j], normals[1, j], normals[2, j]
        xx = xy = xz = yy = yz = zz = _0
        for i in range(normals.shape[2]):
            along = abs(down_x * x[i] + down_y * y[i] + down_z * z[i])
            sign = (_1 if along < sin_t else _0) - (_1 if along > cos_t else _0)
            xx += sign * x[i] * x[i]
            xy += sign * x[i] * y[i]
            xz += sign * x[i] * z[i]
            yy += sign * y[i] * y[i]
            yz += sign * y[i] * z[i]
            zz += sign * z[i] * z[i]
        total += np.array((xx, xy, xz, yy, yz, zz), np.float64)
    return total


@compiled(fastmath=True)
def lowest_cm(z: Plane, height: int, width: int, down_of_column: Plane, down_of_row: Plane) -> Number:
    """The smallest height in centimetres relative to the camera."""
    deepest = -np.float32(np.inf)
    for y in range(height):
        row, down = z[y], down_of_row[y]
        for x in range(width):
            below = row[x] * _100 * (down_of_column[x] + down)
            deepest = max(deepest, below)
    return -deepest


@compiled(fastmath=True)
def height_channel(
    z: Plane, height: int, width: int, down_of_column: Plane, down_of_row: Plane, floor: Number, out: Bytes
) -> None:
    """Centimetres above ``floor``, rounded and saturated."""
    for y in range(height):
        row, down, out_row = z[y], down_of_row[y], out[y]
        for x in range(width):
            above = -(row[x] * _100 * (down_of_column[x] + down)) - floor
            out_row[x] = np.uint8(np.int32(min(max(above, _0), _255) + _HALF))


@compiled(fastmath=True)
def angle_channel(
    inverse: Plane,
    measured: Plane,
    height: int,
    width: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Plane,
    down: Plane,
    columns: Plane,
    out: Bytes,
) -> None:
    """Degrees between the normal of the 7x7 window and gravity + 38, rounded.

    ``offset_u`` (W,) and ``offset_v`` (H,) are u - cx and v - cy; ``columns`` (5, W + 2 PAD) is scratch.
    """
    down_x, down_y, down_z = down[0] * fx, down[1] * fy, down[2]
    reach = width + 2 * ANGLE_RADIUS
    s0, s1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    for y in range(height):
        top = y + PAD - ANGLE_RADIUS
        left = PAD - ANGLE_RADIUS
        a0, a1, a2 = inverse[top][left:], inverse[top + 1][left:], inverse[top + 2][left:]
        a3, a4 = inverse[top + 3][left:], inverse[top + 4][left:]
        a5, a6 = inverse[top + 5][left:], inverse[top + 6][left:]
        for x in range(reach):
            s0[x] = a0[x] + a1[x] + a2[x] + a3[x] + a4[x] + a5[x] + a6[x]
            s1[x] = _3 * (a6[x] - a0[x]) + _2 * (a5[x] - a1[x]) + (a4[x] - a2[x])
        a0, a1, a2 = measured[top][left:], measured[top + 1][left:], measured[top + 2][left:]
        a3, a4 = measured[top + 3][left:], measured[top + 4][left:]
        a5, a6 = measured[top + 5][left:], measured[top + 6][left:]
        for x in range(reach):
            m0[x] = a0[x] + a1[x] + a2[x] + a3[x] + a4[x] + a5[x] + a6[x]
            m1[x] = _3 * (a6[x] - a0[x]) + _2 * (a5[x] - a1[x]) + (a4[x] - a2[x])
            m2[x] = _9 * (a6[x] + a0[x]) + _4 * (a5[x] + a1[x]) + (a4[x] + a2[x])
        for start in range(0, width, _BLOCK):
            size = min(_BLOCK, width - start)
            fewest = _7
            block = m0[start:]
            for x in range(size + 2 * ANGLE_RADIUS):
                fewest = min(fewest, block[x])
            if fewest == _7:
                _angle_of_full_windows(
                    s0[start:], s1[start:], size, fx, fy, offset_u[start:], offset_v[y],
                    down_x, down_y, down_z, out[y][start:],
                )  # fmt: skip
            else:
                _angle_of_windows(
                    s0[start:], s1[start:], m0[start:], m1[start:], m2[start:], size, fx, fy, offset_u[start:],
                    offset_v[y], down_x, down_y, down_z, out[y][start:],
                )  # fmt: skip


@compiled(fastmath=True)
def _angle_of_full_windows(
    s0: Plane,
    s1: Plane,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Number,
    down_x: Number,
    down_y: Number,
    down_z: Number,
    out: Bytes,
) -> None:
    """Where all 49 pixels are there, du, dv and 1 are orthogonal: sums of squares 196, 196 and 49."""
    for x in range(size):
        a = _3 * (s0[x + 6] - s0[x]) + _2 * (s0[x + 5] - s0[x + 1]) + (s0[x + 4] - s0[x + 2])
        b = s1[x] + s1[x + 1] + s1[x + 2] + s1[x + 3] + s1[x + 4] + s1[x + 5] + s1[x + 6]
        c = _4 * (s0[x] + s0[x + 1] + s0[x + 2] + s0[x + 3] + s0[x + 4] + s0[x + 5] + s0[x + 6])
        nz = c - a * offset_u[x] - b * offset_v
        along = down_x * a + down_y * b + down_z * nz
        a *= fx
        b *= fy
        cosine = along / np.sqrt(a * a + b * b + nz * nz)  # c > 0: the plane is in front of the camera
        out[x] = np.uint8(np.int32(_acos_deg(cosine) + _OFFSET + _HALF))


@compiled(fastmath=True)
def _angle_of_windows(
    s0: Plane,
    s1: Plane,
    m0: Plane,
    m1: Plane,
    m2: Plane,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Number,
    down_x: Number,
    down_y: Number,
    down_z: Number,
    out: Bytes,
) -> None:
    """Least squares by the adjugate; moments of the mask and their determinant are exact integers below 2^24."""
    for x in range(size):
        ud = _3 * (s0[x + 6] - s0[x]) + _2 * (s0[x + 5] - s0[x + 1]) + (s0[x + 4] - s0[x + 2])
        vd = s1[x] + s1[x + 1] + s1[x + 2] + s1[x + 3] + s1[x + 4] + s1[x + 5] + s1[x + 6]
        d = s0[x] + s0[x + 1] + s0[x + 2] + s0[x + 3] + s0[x + 4] + s0[x + 5] + s0[x + 6]
        n = m0[x] + m0[x + 1] + m0[x + 2] + m0[x + 3] + m0[x + 4] + m0[x + 5] + m0[x + 6]
        u = _3 * (m0[x + 6] - m0[x]) + _2 * (m0[x + 5] - m0[x + 1]) + (m0[x + 4] - m0[x + 2])
        uu = _9 * (m0[x + 6] + m0[x]) + _4 * (m0[x + 5] + m0[x + 1]) + (m0[x + 4] + m0[x + 2])
        v = m1[x] + m1[x + 1] + m1[x + 2] + m1[x + 3] + m1[x + 4] + m1[x + 5] + m1[x + 6]
        uv = _3 * (m1[x + 6] - m1[x]) + _2 * (m1[x + 5] - m1[x + 1]) + (m1[x + 4] - m1[x + 2])
        vv = m2[x] + m2[x + 1] + m2[x + 2] + m2[x + 3] + m2[x + 4] + m2[x + 5] + m2[x + 6]
        i11, i12, i13 = vv * n - v * v, u * v - uv * n, uv * v - u * vv
        i22, i23, i33 = uu * n - u * u, uv * u - uu * v, uu * vv - uv * uv
        determinant = uu * i11 + uv * i12 + u * i13
        a = i11 * ud + i12 * vd + i13 * d
        b = i12 * ud + i22 * vd + i23 * d
        c = i13 * ud + i23 * vd + i33 * d
        nz = c - a * offset_u[x] - b * offset_v
        along = down_x * a + down_y * b + down_z * nz
        a *= fx
        b *= fy
        square = a * a + b * b + nz * nz
        there = (determinant > _HALF) & (square > _0)
        cosine = along / np.sqrt(square if there else _1)
        angle = _acos_deg(cosine if c >= _0 else -cosine)
        out[x] = np.uint8(np.int32((angle if there else _180) + _OFFSET + _HALF))


_P0, _P1, _P2, _P3 = (np.float32(np.degrees(a)) for a in (1.5707963050, -0.2145988016, 0.0889789874, -0.0501743046))
_P4, _P5, _P6, _P7 = (np.float32(np.degrees(a)) for a in (0.0308918810, -0.0170881256, 0.0066700901, -0.0012624911))


@compiled(fastmath=True)
def _acos_deg(cosine: Number) -> Number:
    """Arc cosine in degrees as exact as float32 is, without branches (Abramowitz and Stegun 4.4.46)."""
    x = min(abs(cosine), _1)
    series = _P0 + x * (_P1 + x * (_P2 + x * (_P3 + x * (_P4 + x * (_P5 + x * (_P6 + x * _P7))))))
    angle = np.sqrt(_1 - x) * series
    return angle if cosine >= _0 else _180 - angle

"""The channels that depend on gravity: height above the floor, and angle with gravity."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import ANGLE_OFFSET, ANGLE_RADIUS
from lcr_seg_ros.hha.kernels.planes import IN_ORDER, PAD, Bytes, Counts, Number, Plane
from lcr_seg_ros.hha.kernels.windows import run_of_windows

_0, _1, _2, _3, _4, _9 = (np.float32(i) for i in (0, 1, 2, 3, 4, 9))
_HALF, _100, _180, _255 = np.float32(0.5), np.float32(100), np.float32(180), np.float32(255)
_OFFSET = np.float32(ANGLE_OFFSET)


@compiled(fastmath=True)
def lowest_cm(z: Plane, height: int, width: int, down_of_column: Plane, down_of_row: Plane) -> Number:
    """The smallest height in centimetres relative to the camera.

    ``down_of_column`` (W,) and ``down_of_row`` (H,) add up to the dot product of gravity and a pixel's ray.
    """
    deepest = -np.float32(np.inf)
    for y in range(height):
        row, down = z[y], down_of_row[y]
        for x in range(width):
            below = row[x] * _100 * (down_of_column[x] + down)
            deepest = below if below > deepest else deepest
    return -deepest


@compiled(fastmath=True)
def sampled_heights_cm(
    z: Plane, down_of_column: Plane, down_of_row: Plane, rows: int, columns: int, first_row: int, first_column: int,
    stride: int, out: Plane,
) -> None:  # fmt: skip
    """Heights in centimetres relative to the camera of the pixels that :func:`lcr_seg_ros.hha.floor.sampled` picks."""
    k = 0
    for j in range(rows):
        y = first_row + stride * j
        row, down = z[y], down_of_row[y]
        for i in range(columns):
            x = first_column + stride * i
            out[k] = -(row[x] * _100 * (down_of_column[x] + down))
            k += 1


@compiled(fastmath=True)
def height_channel(
    z: Plane, height: int, width: int, down_of_column: Plane, down_of_row: Plane, floor: Number, out: Bytes
) -> None:
    """Centimetres above ``floor`` (in centimetres relative to the camera), rounded and saturated."""
    for y in range(height):
        row, down, out_row = z[y], down_of_row[y], out[y]
        for x in range(width):
            above = -(row[x] * _100 * (down_of_column[x] + down)) - floor
            out_row[x] = np.uint8(np.int32(min(max(above, _0), _255) + _HALF))


@compiled(fastmath=IN_ORDER)
def angle_channel(
    inverse: Plane,
    measured: Plane,
    missing: Counts,
    width: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Plane,
    down: Plane,
    columns: Plane,
    missing_below: Counts,
    out: Bytes,
    first: int,
    last: int,
) -> None:
    """Degrees between the normal of the 7x7 window and gravity, + 38, rounded; for rows ``first`` to ``last - 1``.

    Args:
        missing: see :func:`disparity_and_inverse`.
        offset_u, offset_v: (W,), (H,) float32, u - cx and v - cy.
        columns: (5, WINDOW_COLUMNS) float32 scratch: sums down the columns of windows.
        missing_below: (granules,) int32 scratch: numbers of missing pixels in the rows of windows.
        out: (H, W) uint8, written.
    """
    down_x, down_y, down_z = down[0] * fx, down[1] * fy, down[2]
    left = PAD - ANGLE_RADIUS
    side = 2 * ANGLE_RADIUS + 1
    s0, s1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    granules = missing.shape[1]
    for g in range(granules):
        missing_below[g] = 0
        for y in range(first + left, first + left + side - 1):
            missing_below[g] += missing[y, g]
    for y in range(first, last):
        top = y + left
        entering, leaving = missing[top + side - 1], missing[top]
        for g in range(granules):
            missing_below[g] += entering[g]
        start = size = 0
        while start + size < width:
            start += size
            size, is_full = run_of_windows(missing_below, start, width, 1, left, left + side - 2)
            column = start + left
            _sum_down(inverse, top, column, size + side - 1, s0, s1)
            if is_full:
                _angle_of_full_windows(
                    s0, s1, size, fx, fy, offset_u[start:], offset_v[y], down_x, down_y, down_z, out[y][start:]
                )
            else:
                _sum_mask_down(measured, top, column, size + side - 1, m0, m1, m2)
                _angle_of_windows(
                    s0, s1, m0, m1, m2, size, fx, fy, offset_u[start:], offset_v[y], down_x, down_y, down_z,
                    out[y][start:],
                )  # fmt: skip
        for g in range(granules):
            missing_below[g] -= leaving[g]


@compiled(fastmath=IN_ORDER)
def _sum_down(inverse: Plane, top: int, first: int, size: int, s0: Plane, s1: Plane) -> None:
    """Sums of d and dv d over the 7 rows from ``top``, for ``size`` columns from ``first``."""
    a0, a1, a2, a3 = inverse[top][first:], inverse[top + 1][first:], inverse[top + 2][first:], inverse[top + 3][first:]
    a4, a5, a6 = inverse[top + 4][first:], inverse[top + 5][first:], inverse[top + 6][first:]
    for x in range(size):
        s0[x] = ((a0[x] + a6[x]) + (a1[x] + a5[x])) + ((a2[x] + a4[x]) + a3[x])
        s1[x] = _3 * (a6[x] - a0[x]) + _2 * (a5[x] - a1[x]) + (a4[x] - a2[x])


@compiled(fastmath=IN_ORDER)
def _sum_mask_down(measured: Plane, top: int, first: int, size: int, m0: Plane, m1: Plane, m2: Plane) -> None:
    """Sums of m, dv m and dv^2 m over the 7 rows from ``top``, for ``size`` columns from ``first``."""
    a0, a1, a2 = measured[top][first:], measured[top + 1][first:], measured[top + 2][first:]
    a3, a4 = measured[top + 3][first:], measured[top + 4][first:]
    a5, a6 = measured[top + 5][first:], measured[top + 6][first:]
    for x in range(size):
        m0[x] = a0[x] + a1[x] + a2[x] + a3[x] + a4[x] + a5[x] + a6[x]
        m1[x] = _3 * (a6[x] - a0[x]) + _2 * (a5[x] - a1[x]) + (a4[x] - a2[x])
        m2[x] = _9 * (a6[x] + a0[x]) + _4 * (a5[x] + a1[x]) + (a4[x] + a2[x])


@compiled(fastmath=IN_ORDER)
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
    """Windows without missing pixels: du, dv and 1 are orthogonal, with sums of squares 196, 196 and 49."""
    for x in range(size):
        a = _3 * (s0[x + 6] - s0[x]) + _2 * (s0[x + 5] - s0[x + 1]) + (s0[x + 4] - s0[x + 2])
        b = s1[x] + s1[x + 1] + s1[x + 2] + s1[x + 3] + s1[x + 4] + s1[x + 5] + s1[x + 6]
        c = _4 * (s0[x] + s0[x + 1] + s0[x + 2] + s0[x + 3] + s0[x + 4] + s0[x + 5] + s0[x + 6])
        nz = c - a * offset_u[x] - b * offset_v
        along = down_x * a + down_y * b + down_z * nz
        a *= fx
        b *= fy
        # No sign to correct, as c > 0: all depths are positive.
        cosine = along / np.sqrt(a * a + b * b + nz * nz)
        out[x] = np.uint8(np.int32(_acos_deg(cosine) + _OFFSET + _HALF))


@compiled(fastmath=IN_ORDER)
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
    """Windows with missing pixels: least squares by the adjugate.

    The moments of the mask and their determinant are integers below 2^24, hence exact in float32.
    """
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


@compiled(fastmath=IN_ORDER)
def _acos_deg(cosine: Number) -> Number:
    """Arc cosine in degrees to the precision of float32, without branches (Abramowitz and Stegun 4.4.46)."""
    x = min(abs(cosine), _1)
    series = _P0 + x * (_P1 + x * (_P2 + x * (_P3 + x * (_P4 + x * (_P5 + x * (_P6 + x * _P7))))))
    angle = np.sqrt(_1 - x) * series
    return angle if cosine >= _0 else _180 - angle

"""Planes fitted to 1/Z over windows of pixels: small ones for the angle channel, large ones for the normals of gravity.

Both walk along a row in runs of neighbouring windows: either none has missing pixels, which is the fast path, or all
are treated as if they might. They share a file because numba's on-disk cache detects changes only in the file of the
function that is called from Python.
"""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import ANGLE_OFFSET, ANGLE_RADIUS, GRAVITY_RADIUS
from lcr_seg_ros.hha.kernels.planes import GRANULE, IN_ORDER, PAD, Bytes, Counts, Number, Plane

CELL_RADIUS = GRAVITY_RADIUS // 2
"""Radius of the windows for gravity, in cells of 2x2 pixels."""
CELL_PAD = CELL_RADIUS

_BLOCK = 208
"""Largest number of windows in a run."""

_STEP = 16
"""Runs grow by this many windows at a time."""

WINDOW_COLUMNS = _BLOCK + 2 * CELL_PAD
"""Number of columns that the windows of a run cover, at most."""

_ROW = WINDOW_COLUMNS

_0, _1, _2, _3, _4, _5, _9, _16, _25 = (np.float32(i) for i in (0, 1, 2, 3, 4, 5, 9, 16, 25))
_HALF, _180 = np.float32(0.5), np.float32(180)
_OFFSET = np.float32(ANGLE_OFFSET)
_EDGE = np.float32(0.75)
_SPREAD = np.float32((2 * (1 + 4 + 9 + 16) + 2 * 0.75 * 25) / (9 + 2 * 0.75))  # mean of du^2 over a window of cells


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
            size, is_full = _run_of_windows(missing_below, start, width, 1, left, left + side - 2)
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


@compiled(fastmath=True)
def pool_2x2(inverse: Plane, measured: Plane, height: int, width: int, sums: Plane, weights: Plane) -> None:
    """Sums of 1/Z and numbers of measured pixels in cells of 2x2 pixels, padded by ``CELL_PAD`` cells."""
    for j in range((height + 1) // 2):
        upper, lower = inverse[2 * j + PAD][PAD:], inverse[2 * j + 1 + PAD][PAD:]
        upper_there, lower_there = measured[2 * j + PAD][PAD:], measured[2 * j + 1 + PAD][PAD:]
        row, weight_row = sums[j + CELL_PAD][CELL_PAD:], weights[j + CELL_PAD][CELL_PAD:]
        for i in range((width + 1) // 2):  # odd sides: the cell's other half is padding, which is 0
            row[i] = (upper[2 * i] + lower[2 * i]) + (upper[2 * i + 1] + lower[2 * i + 1])
            weight_row[i] = (upper_there[2 * i] + lower_there[2 * i]) + (
                upper_there[2 * i + 1] + lower_there[2 * i + 1]
            )


@compiled(fastmath=IN_ORDER)
def gravity_normals(
    cells: Plane,
    weights: Plane,
    missing: Counts,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Plane,
    columns: Plane,
    missing_below: Counts,
    normals: Plane,
) -> None:
    """Unit normals of the windows of 21x21 pixels around every cell; (0, 0, 0) where there is none.

    On a plane, the mean of 1/Z over a cell equals 1/Z at its centre, so a fit to cells is equivalent to one to pixels.
    A window of 21 pixels around a cell spans 11 cells. Of the two columns of pixels in an outermost cell, one lies
    inside the window and the other half inside, so these cells have weight three quarters.

    Args:
        cells, weights: sum of 1/Z and number of measured pixels in each cell, padded by ``CELL_PAD``.
        missing: see :func:`disparity_and_inverse`.
        fx, fy: float32, in cells.
        offset_u, offset_v: (w,), (h,) float32, u - cx and v - cy of the cells' centres, in cells.
        columns: (14, WINDOW_COLUMNS) float32 scratch: sums down the columns of windows, and along them.
        missing_below: (granules,) int32 scratch: numbers of missing pixels in the rows of windows.
        normals: (3, h, w) float32, written.
    """
    across = normals.shape[2]
    s0, s1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    granules = missing.shape[1]
    missing_below[:] = 0
    below = 0
    for j in range(normals.shape[1]):
        # Windows cover rows 2j - 10 .. 2j + 11 of the image; in rows outside the image, every pixel is missing.
        if j <= CELL_RADIUS or 2 * j + 2 * CELL_RADIUS + 2 > missing.shape[0] - 2 * PAD:
            missing_below[:] = 1
            below = 0
        elif below == 0:
            for g in range(granules):
                missing_below[g] = 0
                for y in range(2 * j - 2 * CELL_RADIUS, 2 * j + 2 * CELL_RADIUS + 2):
                    missing_below[g] += missing[y + PAD, g]
            below = 1
        else:
            leaving, entering = 2 * j - 2 * CELL_RADIUS - 2 + PAD, 2 * j + 2 * CELL_RADIUS + PAD
            for g in range(granules):
                missing_below[g] += missing[entering, g] + missing[entering + 1, g]
                missing_below[g] -= missing[leaving, g] + missing[leaving + 1, g]
        start = size = 0
        while start + size < across:
            start += size
            size, is_full = _run_of_windows(
                missing_below, start, across, 2, PAD - GRAVITY_RADIUS, PAD + GRAVITY_RADIUS - 1
            )
            reach = size + 2 * CELL_RADIUS
            _sum_cells_down(cells, j, start, reach, s0, s1)
            nx, ny, nz = normals[0, j, start:], normals[1, j, start:], normals[2, j, start:]
            if is_full:
                _slopes_of_full_windows(s0, s1, size, columns[5], columns[6], columns[7])
                _normals_of_slopes(
                    columns[5], columns[6], columns[7], size, fx, fy, offset_u[start:], offset_v[j], nx, ny, nz
                )
            else:
                _sum_cells_down(weights, j, start, reach, m0, m1)
                _sum_cells_square_down(weights, j, start, reach, m2)
                _normals_of_windows(
                    s0, s1, m0, m1, m2, columns[5:], size, fx, fy, offset_u[start:], offset_v[j], nx, ny, nz
                )


@compiled(fastmath=IN_ORDER)
def _sum_cells_down(cells: Plane, top: int, first: int, size: int, s0: Plane, s1: Plane) -> None:
    """Sums of d and dv d over the 11 rows from ``top``, for ``size`` columns from ``first``."""
    a0, a1, a2, a3 = cells[top][first:], cells[top + 1][first:], cells[top + 2][first:], cells[top + 3][first:]
    a4, a5, a6, a7 = cells[top + 4][first:], cells[top + 5][first:], cells[top + 6][first:], cells[top + 7][first:]
    a8, a9, a10 = cells[top + 8][first:], cells[top + 9][first:], cells[top + 10][first:]
    for x in range(size):
        pairs = ((a1[x] + a9[x]) + (a2[x] + a8[x])) + ((a3[x] + a7[x]) + (a4[x] + a6[x]))
        s0[x] = _EDGE * (a0[x] + a10[x]) + (pairs + a5[x])
        s1[x] = (_EDGE * _5 * (a10[x] - a0[x]) + _4 * (a9[x] - a1[x])) + (
            (_3 * (a8[x] - a2[x]) + _2 * (a7[x] - a3[x])) + (a6[x] - a4[x])
        )


@compiled(fastmath=IN_ORDER)
def _sum_cells_square_down(cells: Plane, top: int, first: int, size: int, s2: Plane) -> None:
    """Sum of dv^2 d over the 11 rows from ``top``, for ``size`` columns from ``first``."""
    a0, a1, a2, a3 = cells[top][first:], cells[top + 1][first:], cells[top + 2][first:], cells[top + 3][first:]
    a4, a6, a7 = cells[top + 4][first:], cells[top + 6][first:], cells[top + 7][first:]
    a8, a9, a10 = cells[top + 8][first:], cells[top + 9][first:], cells[top + 10][first:]
    for x in range(size):
        s2[x] = (_EDGE * _25 * (a10[x] + a0[x]) + _16 * (a9[x] + a1[x])) + (
            (_9 * (a8[x] + a2[x]) + _4 * (a7[x] + a3[x])) + (a6[x] + a4[x])
        )


# LLVM vectorises a loop only if few pairs of arrays might overlap, so the functions below write one array per loop.


@compiled(fastmath=IN_ORDER)
def _slopes_of_full_windows(s0: Plane, s1: Plane, size: int, a: Plane, b: Plane, c: Plane) -> None:
    """Windows without missing pixels: du, dv and 1 are orthogonal. a, b and c have a common positive factor."""
    _sum_along_first(s0, size, a)
    _sum_along(s1, size, b)
    _sum_along(s0, size, c)
    for x in range(size):
        c[x] *= _SPREAD


@compiled(fastmath=IN_ORDER)
def _sum_along(s: Plane, size: int, out: Plane) -> None:
    """Sums over the 11 columns of each window."""
    for x in range(size):
        pairs = ((s[x + 1] + s[x + 9]) + (s[x + 2] + s[x + 8])) + ((s[x + 3] + s[x + 7]) + (s[x + 4] + s[x + 6]))
        out[x] = _EDGE * (s[x] + s[x + 10]) + (pairs + s[x + 5])


@compiled(fastmath=IN_ORDER)
def _sum_along_first(s: Plane, size: int, out: Plane) -> None:
    """The same sums, weighted by du."""
    for x in range(size):
        out[x] = (_EDGE * _5 * (s[x + 10] - s[x]) + _4 * (s[x + 9] - s[x + 1])) + (
            (_3 * (s[x + 8] - s[x + 2]) + _2 * (s[x + 7] - s[x + 3])) + (s[x + 6] - s[x + 4])
        )


@compiled(fastmath=IN_ORDER)
def _sum_along_second(s: Plane, size: int, out: Plane) -> None:
    """The same sums, weighted by du^2."""
    for x in range(size):
        out[x] = (_EDGE * _25 * (s[x + 10] + s[x]) + _16 * (s[x + 9] + s[x + 1])) + (
            (_9 * (s[x + 8] + s[x + 2]) + _4 * (s[x + 7] + s[x + 3])) + (s[x + 6] + s[x + 4])
        )


@compiled(fastmath=IN_ORDER)
def _normals_of_slopes(
    a: Plane,
    b: Plane,
    c: Plane,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Number,
    nx: Plane,
    ny: Plane,
    nz: Plane,
) -> None:
    for x in range(size):
        c[x] = c[x] - a[x] * offset_u[x] - b[x] * offset_v
    for x in range(size):
        a[x] *= fx
    for x in range(size):
        b[x] *= fy
    for x in range(size):
        nz[x] = _1 / np.sqrt(a[x] * a[x] + b[x] * b[x] + c[x] * c[x])
    for x in range(size):
        nx[x] = a[x] * nz[x]
    for x in range(size):
        ny[x] = b[x] * nz[x]
    for x in range(size):
        nz[x] *= c[x]


@compiled(fastmath=IN_ORDER)
def _normals_of_windows(
    s0: Plane,
    s1: Plane,
    m0: Plane,
    m1: Plane,
    m2: Plane,
    work: Plane,
    size: int,
    fx: Number,
    fy: Number,
    offset_u: Plane,
    offset_v: Number,
    nx: Plane,
    ny: Plane,
    nz: Plane,
) -> None:
    """Windows with missing pixels: least squares by the adjugate, in float64.

    The moments of the weights are multiples of 1/16, so their determinant is exact.
    """
    ds, uds, vds, ns, us = work[0], work[1], work[2], work[3], work[4]
    uus, vs, uvs, vvs = work[5], work[6], work[7], work[8]
    _sum_along(s0, size, ds)
    _sum_along_first(s0, size, uds)
    _sum_along(s1, size, vds)
    _sum_along(m0, size, ns)
    _sum_along_first(m0, size, us)
    _sum_along_second(m0, size, uus)
    _sum_along(m1, size, vs)
    _sum_along_first(m1, size, uvs)
    _sum_along(m2, size, vvs)
    flat = work.reshape(-1)  # one array, read at fixed offsets: LLVM sees that nothing overlaps, and vectorises
    for x in range(size):
        d, ud, vd = np.float64(flat[x]), np.float64(flat[x + _ROW]), np.float64(flat[x + 2 * _ROW])
        n, u, uu = np.float64(flat[x + 3 * _ROW]), np.float64(flat[x + 4 * _ROW]), np.float64(flat[x + 5 * _ROW])
        v, uv, vv = np.float64(flat[x + 6 * _ROW]), np.float64(flat[x + 7 * _ROW]), np.float64(flat[x + 8 * _ROW])
        i11, i12, i13 = vv * n - v * v, u * v - uv * n, uv * v - u * vv
        i22, i23, i33 = uu * n - u * u, uv * u - uu * v, uu * vv - uv * uv
        determinant = uu * i11 + uv * i12 + u * i13
        a = i11 * ud + i12 * vd + i13 * d
        b = i12 * ud + i22 * vd + i23 * d
        c = i13 * ud + i23 * vd + i33 * d
        p, q, r = fx * a, fy * b, c - a * offset_u[x] - b * offset_v
        square = p * p + q * q + r * r
        there = (determinant > 0.01) & (square > 0.0)
        scale = (1.0 if there else 0.0) / np.sqrt(square if there else 1.0)
        scale = -scale if c < 0.0 else scale  # away from the camera, as in exact
        nx[x], ny[x], nz[x] = np.float32(p * scale), np.float32(q * scale), np.float32(r * scale)


@compiled()
def _run_of_windows(
    missing_below: Counts, start: int, width: int, scale: int, before: int, after: int
) -> tuple[int, bool]:
    """Find the run of windows from ``start`` that can be processed together.

    The windows of items (pixels or cells) ``start`` to ``end - 1`` lie in columns ``scale * start + before`` to
    ``scale * end + after`` of the padded image.

    Args:
        missing_below: (granules,) int32, missing pixels in the rows of the windows.
        start: first item.
        width: number of items in the row.
        scale, before, after: see above.

    Returns:
        The number of windows, and True if all their pixels are measured, False if some may be missing.
    """
    size = min(_STEP, width - start)
    is_full = _is_full(missing_below, scale * start + before, scale * (start + size) + after)
    while size < _BLOCK and start + size < width:
        begin, step = start + size, min(_STEP, width - start - size)
        if _is_full(missing_below, scale * begin + before, scale * (begin + step) + after) != is_full:
            break
        size += step
    return size, is_full


@compiled()
def _is_full(missing_below: Counts, first: int, last: int) -> bool:
    absent = 0
    for g in range(max(first, 0) // GRANULE, min(last // GRANULE, missing_below.shape[0] - 1) + 1):
        absent += missing_below[g]
    return absent == 0

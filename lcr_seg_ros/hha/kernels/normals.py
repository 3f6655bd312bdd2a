"""Normals for gravity: planes fitted to 1/Z over large windows of cells."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import GRAVITY_RADIUS
from lcr_seg_ros.hha.kernels.planes import IN_ORDER, PAD, Counts, Number, Plane
from lcr_seg_ros.hha.kernels.windows import CELL_PAD, CELL_RADIUS, WINDOW_COLUMNS, run_of_windows

_ROW = WINDOW_COLUMNS

_1, _2, _3, _4, _5, _9, _16, _25 = (np.float32(i) for i in (1, 2, 3, 4, 5, 9, 16, 25))
_EDGE = np.float32(0.75)
_SPREAD = np.float32((2 * (1 + 4 + 9 + 16) + 2 * 0.75 * 25) / (9 + 2 * 0.75))  # mean of du^2 over a window of cells


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
            size, is_full = run_of_windows(
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

"""The loops of :mod:`lcr_seg_ros.hha.fast`, compiled by numba on first use (cached on disk where allowed).

All are written for the vectoriser: rows as slices, no branches inside a row, numbers of one type (a plain
literal would widen float32 to float64). The small windows of the angle channel are summed afresh at every
row in float32, where running sums would drift; the large ones of gravity run on in float64.

Loops that take most of the time work on the rows ``first`` to ``last``, not included, of the image: threads share them
out (:mod:`lcr_seg_ros.hha.bands`), and a row comes out the same whatever band it is in.

Images for windows are padded by ``PAD`` zeros on every side, so that a window cut by the border is a
window with pixels missing, and nothing tests for borders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha import coarse
from lcr_seg_ros.hha.definition import ANGLE_OFFSET, ANGLE_RADIUS, DISPARITY_SCALE, GRAVITY_RADIUS, NEAREST_CM
from lcr_seg_ros.hha.gravity import AMBIGUOUS

PAD = 8
"""At least the radius of the angle's windows; a granule's worth, for alignment."""
CELL_RADIUS = GRAVITY_RADIUS // 2
"""Gravity's windows are summed over cells of 2x2 pixels."""
CELL_PAD = CELL_RADIUS
GRANULE = 16
"""Unmeasured pixels are counted along a row in groups of so many."""
_BLOCK = 208
"""Pixels along a row that take the short way together if none of their windows lacks a pixel."""

_STEP = 16
"""They are told apart in so many pixels, or cells, at a time."""

WINDOW_COLUMNS = _BLOCK + 2 * CELL_PAD
"""Sums down the columns that a block's windows need."""

_ROW = WINDOW_COLUMNS

IN_ORDER = {"nnan", "ninf", "nsz"}
"""fastmath for loops in parts: sums as they are written, none fused with a product. Full fastmath leaves that to each
copy LLVM makes of a part, and the process that compiles runs another copy than those that read the compiled caller from
disk: the same depth came out 1 apart in a few pixels."""

_0, _1, _2, _3, _4, _5, _9, _16, _25 = (np.float32(i) for i in (0, 1, 2, 3, 4, 5, 9, 16, 25))
_EDGE = np.float32(0.75)
_SPREAD = np.float32((2 * (1 + 4 + 9 + 16) + 2 * 0.75 * 25) / (9 + 2 * 0.75))  # mean of du^2 over a window of cells
_HALF, _100, _180, _255 = np.float32(0.5), np.float32(100), np.float32(180), np.float32(255)
_OFFSET = np.float32(ANGLE_OFFSET)
_SETTLED = 1e-7
"""An estimate of gravity that moves by less, in radians, has arrived."""
_FAR, _NEAR = np.float32(0.25), np.float32(0.75)

NOWHERE_M = 1e9
"""Depth of pixels that are not measured, while depth is smoothed."""
_NOWHERE = np.float32(NOWHERE_M)
_SMOOTHED = 128
"""Pixels along a row that are smoothed together, or not at all."""

Depth = npt.NDArray[np.floating]
Plane = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Number = Any
"""A scalar of whatever precision the loop runs in."""


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
    coarse: Plane,
    coarse_height: int,
    coarse_width: int,
    fine: Plane,
    weight: Plane,
    height: int,
    width: int,
    between: Plane,
) -> None:
    """Bilinear interpolation of the coarse level into the unknown pixels of the fine one.

    ``between`` (coarse_width + 2,) is scratch: a row between two coarse ones, its ends repeated.
    """
    for y in range(height):
        near_y = y >> 1
        far_y = min(max(near_y + 2 * (y & 1) - 1, 0), coarse_height - 1)
        near_row, far_row = coarse[near_y], coarse[far_y]
        row, row_weight = fine[y], weight[y]
        inner = between[1 : coarse_width + 1]
        for i in range(coarse_width):
            inner[i] = _NEAR * near_row[i] + _FAR * far_row[i]
        between[0], between[coarse_width + 1] = inner[0], inner[coarse_width - 1]
        before, after = between[:coarse_width], between[2:]
        for i in range(coarse_width):  # an odd row's last pixel has a partner in the padding, which may hold anything
            even = _NEAR * inner[i] + _FAR * before[i]
            odd = _NEAR * inner[i] + _FAR * after[i]
            row[2 * i] += (_1 - row_weight[2 * i]) * (even - row[2 * i])
            row[2 * i + 1] += (_1 - row_weight[2 * i + 1]) * (odd - row[2 * i + 1])
        if width & 1:
            row[width] = _0


@compiled()  # not fastmath: depth is read where it may be NaN
def disparity_and_inverse(
    depth: Depth,
    is_double: bool,
    z: Plane,
    known: Plane,
    valid: Bytes,
    masked: bool,
    disparity: Bytes,
    inverse: Plane,
    measured: Plane,
    missing: Counts,
) -> None:
    """Disparity channel in float64, equal to exact's, and padded 1/Z and 1 / 0 where measured (both 0 elsewhere).

    ``missing`` (H + 2 PAD, granules) counts the unmeasured pixels, padding included, of each ``GRANULE`` in a row.
    """
    height, width = depth.shape
    for y in range(height):
        depth_row, z_row, known_row = depth[y], z[y], known[y]
        disparity_row = disparity[y]
        inverse_row, measured_row = inverse[y + PAD][PAD:], measured[y + PAD][PAD:]
        if masked:
            valid_row = valid[y]
            for x in range(width):
                measured_row[x] = known_row[x] if valid_row[x] != 0 else _0
        else:
            for x in range(width):
                measured_row[x] = known_row[x]
        for x in range(width):
            inverse_row[x] = measured_row[x] / z_row[x]
        for x in range(width):
            level = min(DISPARITY_SCALE / max(np.float64(z_row[x]) * 100.0, NEAREST_CM), 255.0)
            disparity_row[x] = np.uint8(np.int32(level + 0.5))
        if is_double:  # z is rounded then, and exact's disparity is not
            for x in range(width):
                if known_row[x] != _0:
                    level = min(DISPARITY_SCALE / max(np.float64(depth_row[x]) * 100.0, NEAREST_CM), 255.0)
                    disparity_row[x] = np.uint8(np.int32(level + 0.5))
        padded, missing_row = measured[y + PAD], missing[y + PAD]
        for g in range(missing.shape[1]):
            granule = padded[g * GRANULE : (g + 1) * GRANULE]
            there = _0
            for x in range(granule.shape[0]):
                there += granule[x]
            missing_row[g] = GRANULE - np.int32(there)


@compiled()
def count_steps(z: Plane, measured: Plane, height: int, width: int, counts: Counts) -> None:
    """As :func:`lcr_seg_ros.hha.coarse.count_steps`, of the depth plane and the padded mask, into ``counts``."""
    counts[:] = 0
    for y in range(0, height, coarse.STRIDE):
        for x in range(width - 1):
            if measured[y + PAD, x + PAD] != _0 and measured[y + PAD, x + 1 + PAD] != _0:
                _count_step(z[y, x], z[y, x + 1], counts[0])
    for y in range(height - 1):
        for x in range(0, width, coarse.STRIDE):
            if measured[y + PAD, x + PAD] != _0 and measured[y + 1 + PAD, x + PAD] != _0:
                _count_step(z[y, x], z[y + 1, x], counts[1])


@compiled()
def _count_step(one: Number, other: Number, counts: Counts) -> None:
    step = np.int32(abs(np.float64(other) - np.float64(one)) * 1000.0 + 0.5)
    if step <= coarse.LARGEST_STEP_MM:
        counts[_depth_bin(min(one, other)), step] += 1


@compiled(fastmath=True)
def smooth(
    z: Plane, measured: Plane, height: int, width: int, gates: Plane, radius: int, buffer: Plane, inverse: Plane,
    first: int, last: int,
) -> None:  # fmt: skip
    """As :func:`lcr_seg_ros.hha.coarse.smooth`, and its inverse into the padded ``inverse``, 0 where not measured.

    Rows around a band are smoothed along with it as far as they have a say in it.

    Args:
        z: (>= H, >= W) depth in metres. measured: (H + 2 PAD, >= W + 2 PAD) 1 / 0.
        gates: (BINS,) float32 metres.
        buffer: (2, H + 2 PAD, >= W + 2 PAD) float32 scratch of this band, ``NOWHERE_M`` in the padding.
    """
    here, there = buffer[0], buffer[1]
    around = coarse.ROUNDS * radius
    for y in range(max(first - around, 0), min(last + around, height)):
        source, target, mask = z[y], here[y + PAD][PAD:], measured[y + PAD][PAD:]
        for x in range(width):
            target[x] = source[x] if mask[x] != _0 else _NOWHERE
    for _ in range(coarse.ROUNDS):
        top, bottom = max(first - around, 0), min(last + around, height)
        _smooth_one_way(here, top, bottom, width, gates, radius, 0, 1, there)
        around -= radius
        top, bottom = max(first - around, 0), min(last + around, height)
        _smooth_one_way(there, top, bottom, width, gates, radius, 1, 0, here)
    for y in range(first, last):
        target, source, mask = inverse[y + PAD][PAD:], here[y + PAD][PAD:], measured[y + PAD][PAD:]
        for x in range(width):
            target[x] = mask[x] / source[x]


@compiled(fastmath=True)
def _smooth_one_way(
    z: Plane, first: int, last: int, width: int, gates: Plane, radius: int, step_y: int, step_x: int, out: Plane
) -> None:
    """Pixels that are not measured lie so far away that no gate reaches them.

    Four neighbours are added at a time, in blocks of a row that hold a gate that is open: the sums then stay in the
    nearest cache, and are fetched and stored once for four.
    """
    gate, total, number = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(PAD + first, PAD + last):
        row, out_row = z[y][PAD:], out[y][PAD:]
        for start in range(0, width, _SMOOTHED):
            size = min(_SMOOTHED, width - start)
            values, result = row[start : start + size], out_row[start : start + size]
            if not _open_gates(values, gates, gate):
                for x in range(size):
                    result[x] = values[x]
                continue
            for x in range(size):
                total[x] = _0
                number[x] = _1
            column = PAD + start
            for k in range(1, radius, 2):
                _add_near(
                    values,
                    z[y - k * step_y][column - k * step_x :],
                    z[y + k * step_y][column + k * step_x :],
                    z[y - (k + 1) * step_y][column - (k + 1) * step_x :],
                    z[y + (k + 1) * step_y][column + (k + 1) * step_x :],
                    gate,
                    total,
                    number,
                )
            if radius % 2:
                before, after = z[y - radius * step_y], z[y + radius * step_y]
                _add_near_pair(
                    values, before[column - radius * step_x :], after[column + radius * step_x :], gate, total, number
                )
            for x in range(size):
                result[x] = values[x] + total[x] / number[x]


@compiled(fastmath=True)
def _open_gates(values: Plane, gates: Plane, gate: Plane) -> bool:
    """The gate of each value, into ``gate``; False if none is open, and then nothing is written.

    Most blocks lie within one bin: the table is not asked for each pixel of these.
    """
    nearest, farthest = _NOWHERE, _0
    for x in range(values.shape[0]):
        nearest = min(nearest, values[x])
        farthest = max(farthest, values[x] if values[x] < _NOWHERE else _0)
    if farthest == _0:
        return False
    first, last = _depth_bin(nearest), _depth_bin(farthest)
    is_open = False
    for k in range(first, last + 1):
        is_open |= gates[k] > _0
    if is_open and first == last:
        for x in range(values.shape[0]):
            gate[x] = gates[first]
    elif is_open:
        for x in range(values.shape[0]):
            gate[x] = gates[_depth_bin(values[x])]
    return is_open


@compiled(fastmath=True)
def _add_near(row: Plane, a: Plane, b: Plane, c: Plane, d: Plane, gate: Plane, total: Plane, number: Plane) -> None:
    for x in range(row.shape[0]):
        middle, reach = row[x], gate[x]
        to_a, to_b, to_c, to_d = a[x] - middle, b[x] - middle, c[x] - middle, d[x] - middle
        near_a = _1 if abs(to_a) <= reach else _0
        near_b = _1 if abs(to_b) <= reach else _0
        near_c = _1 if abs(to_c) <= reach else _0
        near_d = _1 if abs(to_d) <= reach else _0
        total[x] += (near_a * to_a + near_b * to_b) + (near_c * to_c + near_d * to_d)
        number[x] += (near_a + near_b) + (near_c + near_d)


@compiled(fastmath=True)
def _add_near_pair(row: Plane, a: Plane, b: Plane, gate: Plane, total: Plane, number: Plane) -> None:
    for x in range(row.shape[0]):
        to_a, to_b = a[x] - row[x], b[x] - row[x]
        near_a = _1 if abs(to_a) <= gate[x] else _0
        near_b = _1 if abs(to_b) <= gate[x] else _0
        total[x] += near_a * to_a + near_b * to_b
        number[x] += near_a + near_b


@compiled()
def _depth_bin(metres: Number) -> int:
    return min(np.int32(metres * np.float32(1.0 / coarse.BIN_M)), coarse.BINS - 1)


@compiled(fastmath=True)
def pool_2x2(inverse: Plane, measured: Plane, height: int, width: int, sums: Plane, weights: Plane) -> None:
    """Sums of 1/Z and numbers of measured pixels in cells of 2x2, padded by ``CELL_PAD`` cells."""
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

    On a plane the mean of 1/Z over a cell is that at its centre, so a fit to cells is one to pixels. A window spans
    11 cells, the outermost by half: of them one column of pixels is inside and one by half, hence three quarters.

    Args:
        cells, weights: sum of 1/Z and number of measured pixels in each cell, padded by ``CELL_PAD``.
        fx, fy: float32, in cells.
        offset_u, offset_v: (w,), (h,) float32, u - cx and v - cy of the cells' centres, in cells.
        missing: as of :func:`disparity_and_inverse`.
        columns: (14, WINDOW_COLUMNS) float32 scratch: sums down the columns of windows and along them.
        missing_below: (granules,) int32 scratch: pixels missing in the rows of windows.
        normals: (3, h, w) float32, written.
    """
    across = normals.shape[2]
    s0, s1, m0, m1, m2 = columns[0], columns[1], columns[2], columns[3], columns[4]
    granules = missing.shape[1]
    missing_below[:] = 0
    below = 0
    for j in range(normals.shape[1]):
        # Rows 2j - 10 .. 2j + 11 of the image, where rows beyond it lack every pixel.
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
            size, is_full = _run(missing_below, start, across, 2, PAD - GRAVITY_RADIUS, PAD + GRAVITY_RADIUS - 1)
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


@compiled()
def _run(missing_below: Counts, start: int, width: int, scale: int, before: int, after: int) -> tuple[int, bool]:
    """How many windows from ``start`` go together, and whether none of them lacks a pixel.

    The windows of items ``start`` to ``end`` (not included) lie in columns ``scale * start + before`` to
    ``scale * end + after`` of the padded image.
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


# LLVM vectorises a loop only if few pairs of arrays could overlap: hence the loops of the next two, one array each.


@compiled(fastmath=IN_ORDER)
def _slopes_of_full_windows(s0: Plane, s1: Plane, size: int, a: Plane, b: Plane, c: Plane) -> None:
    """Where no pixel lacks, du, dv and 1 are orthogonal; a and b in units of the mean of du^2."""
    _sum_along_first(s0, size, a)
    _sum_along(s1, size, b)
    _sum_along(s0, size, c)
    for x in range(size):
        c[x] *= _SPREAD


@compiled(fastmath=IN_ORDER)
def _sum_along(s: Plane, size: int, out: Plane) -> None:
    """Sums over the 11 columns of windows."""
    for x in range(size):
        pairs = ((s[x + 1] + s[x + 9]) + (s[x + 2] + s[x + 8])) + ((s[x + 3] + s[x + 7]) + (s[x + 4] + s[x + 6]))
        out[x] = _EDGE * (s[x] + s[x + 10]) + (pairs + s[x + 5])


@compiled(fastmath=IN_ORDER)
def _sum_along_first(s: Plane, size: int, out: Plane) -> None:
    """Sums times du."""
    for x in range(size):
        out[x] = (_EDGE * _5 * (s[x + 10] - s[x]) + _4 * (s[x + 9] - s[x + 1])) + (
            (_3 * (s[x + 8] - s[x + 2]) + _2 * (s[x + 7] - s[x + 3])) + (s[x + 6] - s[x + 4])
        )


@compiled(fastmath=IN_ORDER)
def _sum_along_second(s: Plane, size: int, out: Plane) -> None:
    """Sums times du^2."""
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
    """Least squares by the adjugate, in float64: weights' moments are multiples of 1/16, their determinant exact."""
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
    flat = work.reshape(-1)  # one array at fixed distances: LLVM sees then that nothing overlaps, and vectorises
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
        scale = -scale if c < 0.0 else scale  # away from the camera, as exact's
        nx[x], ny[x], nz[x] = np.float32(p * scale), np.float32(q * scale), np.float32(r * scale)


@compiled(fastmath=True)
def estimate_gravity(
    normals: Plane, down: Vector, thresholds: Vector, iterations: Counts, strides: Counts, down32: Plane, work: Vector
) -> None:
    """:func:`lcr_seg_ros.hha.gravity.estimate` in place of ``down``, over every so manieth row of normals in each pass.

    Args:
        normals: (3, h, w) float32, 0 where there is none.
        down: (3,) float64 start, written.
        thresholds, iterations, strides: (passes,) radians, numbers, rows.
        down32, work: (3,) float32 and (24,) float64 scratch.
    """
    for k in range(thresholds.shape[0]):
        cos_t, sin_t = np.float32(np.cos(thresholds[k])), np.float32(np.sin(thresholds[k]))
        for _ in range(iterations[k]):
            for axis in range(3):
                down32[axis] = np.float32(down[axis])
            _floor_wall_scatter(normals, strides[k], down32, cos_t, sin_t, work)
            moved = _refit(work, down)
            if moved < _SETTLED:
                break


@compiled(fastmath=True)
def _floor_wall_scatter(normals: Plane, stride: int, down: Plane, cos_t: Number, sin_t: Number, total: Vector) -> None:
    """Sum over walls minus sum over floors of n n^T as (xx, xy, xz, yy, yz, zz); a normal of 0 adds nothing."""
    total[:6] = 0.0
    down_x, down_y, down_z = down[0], down[1], down[2]
    for j in range(stride // 2, normals.shape[1], stride):
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
        total[0] += xx
        total[1] += xy
        total[2] += xz
        total[3] += yy
        total[4] += yz
        total[5] += zz


@compiled()
def _refit(work: Vector, down: Vector) -> float:
    """:func:`lcr_seg_ros.hha.gravity.refit` in place of ``down``; returns by how much it moved, in radians.

    ``work`` (24,) holds the six sums in front; the rest is scratch. Eigenvectors by Jacobi's cyclic rotations.
    """
    a, vectors = work[6:15].reshape((3, 3)), work[15:24].reshape((3, 3))
    a[0, 0], a[0, 1], a[0, 2] = work[0], work[1], work[2]
    a[1, 0], a[1, 1], a[1, 2] = work[1], work[3], work[4]
    a[2, 0], a[2, 1], a[2, 2] = work[2], work[4], work[5]
    largest = 0.0
    for i in range(3):
        for j in range(3):
            if not np.isfinite(a[i, j]):
                return 0.0
            vectors[i, j] = 1.0 if i == j else 0.0
            largest = max(largest, abs(a[i, j]))
    if largest == 0.0:
        return 0.0
    for _ in range(12):
        off = abs(a[0, 1]) + abs(a[0, 2]) + abs(a[1, 2])
        if off <= 1e-15 * largest:
            break
        for p in range(2):
            for q in range(p + 1, 3):
                _rotate(a, vectors, p, q)
    smallest = min(a[0, 0], min(a[1, 1], a[2, 2]))
    scale = max(abs(a[0, 0]), max(abs(a[1, 1]), abs(a[2, 2])))
    x = y = z = 0.0
    for k in range(3):
        if a[k, k] - smallest <= AMBIGUOUS * scale:
            along = vectors[0, k] * down[0] + vectors[1, k] * down[1] + vectors[2, k] * down[2]
            x += along * vectors[0, k]
            y += along * vectors[1, k]
            z += along * vectors[2, k]
    length = np.sqrt(x * x + y * y + z * z)
    if length <= 1e-9:
        return 0.0
    x, y, z = x / length, y / length, z / length
    moved = abs(x - down[0]) + abs(y - down[1]) + abs(z - down[2])
    down[0], down[1], down[2] = x, y, z
    return moved


@compiled()
def _rotate(a: Vector, vectors: Vector, p: int, q: int) -> None:
    """Make a[p, q] of a symmetric matrix 0 by a rotation, and turn the vectors along."""
    if a[p, q] == 0.0:
        return
    theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
    t = (1.0 if theta >= 0.0 else -1.0) / (abs(theta) + np.sqrt(theta * theta + 1.0))
    c = 1.0 / np.sqrt(t * t + 1.0)
    s = t * c
    for k in range(3):
        kp, kq = a[k, p], a[k, q]
        a[k, p], a[k, q] = c * kp - s * kq, s * kp + c * kq
    for k in range(3):
        pk, qk = a[p, k], a[q, k]
        a[p, k], a[q, k] = c * pk - s * qk, s * pk + c * qk
        kp, kq = vectors[k, p], vectors[k, q]
        vectors[k, p], vectors[k, q] = c * kp - s * kq, s * kp + c * kq


@compiled(fastmath=True)
def count_normals(
    normals: Plane, down: Plane, first: Plane, second: Plane, level: Number, upright: Number, counts: Counts
) -> None:
    """Normals there are, facing up, facing down, and upright by azimuth (see :mod:`lcr_seg_ros.hha.evidence`).

    Args:
        normals: (3, h, w) float32; every third one of every third row is counted.
        down, first, second: (3,) float32, square to each other.
        level, upright: cosine and sine of the tolerance.
        counts: (3 + bins,) int32, written.
    """
    counts[:] = 0
    bins = counts.shape[0] - 3
    per_radian = np.float32(bins / (2.0 * np.pi))
    for j in range(1, normals.shape[1], 3):
        row_x, row_y, row_z = normals[0, j], normals[1, j], normals[2, j]
        for i in range(1, normals.shape[2], 3):
            x, y, z = row_x[i], row_y[i], row_z[i]
            along = down[0] * x + down[1] * y + down[2] * z
            if x != _0 or y != _0 or z != _0:
                counts[0] += 1
                if along > level:
                    counts[1] += 1
                elif along < -level:
                    counts[2] += 1
                elif abs(along) < upright:
                    u = first[0] * x + first[1] * y + first[2] * z
                    v = second[0] * x + second[1] * y + second[2] * z
                    k = np.int32(np.floor(np.arctan2(v, u) * per_radian)) % bins
                    counts[3 + k] += 1


@compiled(fastmath=True)
def scatter_of_counted(normals: Plane, down: Plane, cos_t: Number, sin_t: Number):
    """The six sums of :func:`_floor_wall_scatter` over the normals that :func:`count_normals` counts."""
    xx = xy = xz = yy = yz = zz = 0.0
    for j in range(1, normals.shape[1], 3):
        for i in range(1, normals.shape[2], 3):
            x, y, z = normals[0, j, i], normals[1, j, i], normals[2, j, i]
            along = abs(down[0] * x + down[1] * y + down[2] * z)
            sign = (1.0 if along < sin_t else 0.0) - (1.0 if along > cos_t else 0.0)
            xx += sign * x * x
            xy += sign * x * y
            xz += sign * x * z
            yy += sign * y * y
            yz += sign * y * z
            zz += sign * z * z
    return xx, xy, xz, yy, yz, zz


@compiled(fastmath=True)
def lowest_cm(z: Plane, height: int, width: int, down_of_column: Plane, down_of_row: Plane) -> Number:
    """The smallest height in centimetres relative to the camera."""
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
    """Heights relative to the camera of the pixels that :func:`lcr_seg_ros.hha.floor.sampled` picks."""
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
    """Centimetres above ``floor``, rounded and saturated."""
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
    """Degrees between the normal of the 7x7 window and gravity + 38, rounded.

    Args:
        missing: as of :func:`disparity_and_inverse`.
        offset_u, offset_v: (W,), (H,) float32, u - cx and v - cy.
        columns: (5, WINDOW_COLUMNS) float32 scratch: sums down the columns of windows.
        missing_below: (granules,) int32 scratch: pixels missing in the rows of windows.
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
            size, is_full = _run(missing_below, start, width, 1, left, left + side - 2)
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


@compiled(fastmath=IN_ORDER)
def _acos_deg(cosine: Number) -> Number:
    """Arc cosine in degrees as exact as float32 is, without branches (Abramowitz and Stegun 4.4.46)."""
    x = min(abs(cosine), _1)
    series = _P0 + x * (_P1 + x * (_P2 + x * (_P3 + x * (_P4 + x * (_P5 + x * (_P6 + x * _P7))))))
    angle = np.sqrt(_1 - x) * series
    return angle if cosine >= _0 else _180 - angle

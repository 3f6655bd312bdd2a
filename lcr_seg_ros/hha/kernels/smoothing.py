"""Depth in coarse steps, as from 8-bit sources: count the steps between pixels, and smooth depth within a step."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha import coarse
from lcr_seg_ros.hha.kernels.planes import PAD, Counts, Number, Plane

_0, _1 = np.float32(0), np.float32(1)

NOWHERE_M = 1e9
"""Depth that stands for pixels that are not measured, during smoothing."""
_NOWHERE = np.float32(NOWHERE_M)
_SMOOTHED = 128
"""Size in pixels of the blocks of a row that are smoothed or skipped as a whole."""


@compiled()
def count_steps(z: Plane, measured: Plane, height: int, width: int, counts: Counts) -> None:
    """As :func:`lcr_seg_ros.hha.coarse.count_steps`, for the padded mask ``measured``; overwrites ``counts``."""
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
    """As :func:`lcr_seg_ros.hha.coarse.smooth` for rows ``first`` to ``last - 1``, and the inverse of the result.

    The rows around a band are smoothed too, as far as they influence it.

    Args:
        z: (>= H, >= W) depth in metres.
        measured: (H + 2 PAD, >= W + 2 PAD), 1 where measured, else 0.
        gates: (BINS,) float32 metres.
        buffer: (2, H + 2 PAD, >= W + 2 PAD) float32 scratch of this band, ``NOWHERE_M`` in the padding.
        inverse: padded as ``measured``, written: 1/Z of the smoothed depth, 0 where not measured.
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
    """Average along columns (``step_y`` 1) or along rows (``step_x`` 1).

    Pixels that are not measured are so far away that no gate includes them. Blocks of a row without an open gate are
    copied. In the others, four neighbours are added at a time: the sums then stay in the L1 cache, and are loaded and
    stored only once for the four.
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
    """Write the gate of each value into ``gate``; False, without writing anything, if no gate is open.

    Most blocks lie within one bin, and need only one look into the table.
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

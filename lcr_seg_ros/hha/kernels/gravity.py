"""Gravity from normals: floors and walls are classified and gravity is refitted until the direction has settled."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.gravity import AMBIGUOUS
from lcr_seg_ros.hha.kernels.planes import Counts, Number, Plane, Vector

_0, _1 = np.float32(0), np.float32(1)
_SETTLED = 1e-7
"""An estimate of gravity that moves by less than this, in radians, has converged."""


@compiled(fastmath=True)
def estimate_gravity(
    normals: Plane, down: Vector, thresholds: Vector, iterations: Counts, strides: Counts, down32: Plane, work: Vector
) -> None:
    """:func:`lcr_seg_ros.hha.gravity.estimate`, which replaces ``down`` by the result.

    Args:
        normals: (3, h, w) float32, 0 where there is none.
        down: (3,) float64 start, overwritten.
        thresholds, iterations, strides: (passes,) threshold in radians, number of iterations, and stride over the rows
            of normals.
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
    """Sum over walls minus sum over floors of n n^T, as (xx, xy, xz, yy, yz, zz); zero normals add nothing."""
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
    """:func:`lcr_seg_ros.hha.gravity.refit`, which replaces ``down`` by the result; eigenvectors by cyclic Jacobi.

    ``work`` (24,) begins with the six sums; the rest is scratch.

    Returns:
        How far the direction moved: the sum of its components' absolute changes, which is at least the angle in radians
        if that is small.
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
    """Jacobi rotation: make ``a[p, q]`` of a symmetric matrix 0, and rotate the vectors with it."""
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
    """Count all normals, those facing up, those facing down, and vertical ones by azimuth.

    See :mod:`lcr_seg_ros.hha.evidence`.

    Args:
        normals: (3, h, w) float32; every third one of every third row is counted.
        down, first, second: (3,) float32 unit vectors, perpendicular to each other.
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
    """The six sums of :func:`_floor_wall_scatter`, over the normals that :func:`count_normals` counts."""
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

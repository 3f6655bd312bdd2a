"""The direction of gravity from surface normals: floors face it, walls are square to it (Gupta et al. 2013, 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.definition import GRAVITY_PASSES, GRAVITY_START

AMBIGUOUS = 1e-6
"""Eigenvalues closer than this share of the largest leave the direction open (one bare wall)."""


Scatter = Callable[[npt.NDArray[np.float64], float, float], npt.NDArray[np.float64]]
"""From an estimate of gravity and cos and sin of the threshold to the (3, 3) sum_W n n^T - sum_F n n^T."""


def gravity_of_normals(normals: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Estimate gravity from unit normals.

    Args:
        normals: (3, N) unit vectors, of either sign, all finite.

    Returns:
        (3,) float64 unit vector pointing down; (0, 1, 0) for no normals.
    """

    def scatter(down: npt.NDArray[np.float64], cos_t: float, sin_t: float) -> npt.NDArray[np.float64]:
        # einsum rather than @: BLAS would wake every core for a matrix three rows high.
        along = np.abs(down[0] * normals[0] + down[1] * normals[1] + down[2] * normals[2])
        sign = (along < sin_t).astype(normals.dtype) - (along > cos_t)
        return np.einsum("in,jn->ij", normals * sign, normals)

    return estimate(scatter)


def estimate(scatter: Scatter) -> npt.NDArray[np.float64]:
    """Alternate between naming floors and walls and refitting gravity to them.

    With y the current estimate and t the angle threshold, F = {n : |y.n| > cos t} are floors and
    W = {n : |y.n| < sin t} walls; the next y minimises sum_W (y.n)^2 - sum_F (y.n)^2.

    Args:
        scatter: names and sums up the normals.

    Returns:
        (3,) float64 unit vector pointing down; (0, 1, 0) if there are no normals.
    """
    down = np.array(GRAVITY_START)
    for threshold_deg, iterations in GRAVITY_PASSES:
        cos_t, sin_t = math.cos(math.radians(threshold_deg)), math.sin(math.radians(threshold_deg))
        for _ in range(iterations):
            refitted = refit(scatter(down, cos_t, sin_t), down)
            if np.array_equal(refitted, down):
                break  # a fixed point: the iterations left would repeat it
            down = refitted
    return down


def refit(scatter: npt.NDArray[np.float64], previous: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The eigenvector of the smallest eigenvalue, on the side of the previous estimate.

    Where the smallest eigenvalue is not alone (a single wall in view), every direction in its eigenspace
    is as good; the reference takes an arbitrary one, this takes the one nearest to ``previous``.

    Args:
        scatter: (3, 3) symmetric, sum over walls minus sum over floors of n n^T.
        previous: (3,) unit vector.

    Returns:
        (3,) float64 unit vector.
    """
    if not np.isfinite(scatter).all():
        return previous  # intrinsics so far off that the arithmetic overflowed
    values, vectors = np.linalg.eigh(scatter)
    smallest = vectors[:, values - values[0] <= AMBIGUOUS * np.abs(values).max()]
    down = smallest @ (smallest.T @ previous)
    length = float(np.linalg.norm(down))
    return down / length if length > 1e-9 else previous

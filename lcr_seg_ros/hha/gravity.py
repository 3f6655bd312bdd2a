"""Gravity from surface normals: those of floors are parallel, those of walls perpendicular to it (Gupta et al. 2013,
section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.hha.definition import GRAVITY_PASSES, GRAVITY_START

AMBIGUOUS = 1e-6
"""Eigenvalues closer together than this share of the largest count as equal: the direction is then undetermined, as in
front of one bare wall."""

Vector = npt.NDArray[np.float64]

Scatter = Callable[[Vector, float, float], Vector]
"""Takes an estimate of gravity and the threshold's cosine and sine; returns the (3, 3) scatter matrix
sum_W n n^T - sum_F n n^T of :func:`estimate`."""


@dataclass(frozen=True)
class GravityEstimate:
    """A direction of gravity, and whether to trust it.

    Args:
        down: (3,) float64 unit vector in the optical frame (x right, y down, z forward); points down.
        doubt: why not to trust it, for a log line; "" if it may be trusted.
    """

    down: Vector
    doubt: str = ""

    @property
    def confident(self) -> bool:
        return not self.doubt


def unit_direction(gravity: npt.ArrayLike) -> Vector:
    """Normalise a direction of gravity of any length to a (3,) float64 unit vector.

    Raises:
        FrameError: not three finite numbers, or all of them 0.
    """
    try:
        down = np.asarray(gravity, np.float64)
    except (TypeError, ValueError) as error:
        raise FrameError(f"gravity must be three numbers, got {gravity!r}") from error
    if down.shape != (3,) or not np.isfinite(down).all():
        raise FrameError(f"gravity must be three finite numbers (x right, y down, z forward), got {gravity!r}")
    largest = np.abs(down).max()
    if largest < 1e-9:
        raise FrameError(f"gravity must point somewhere, got {gravity!r}")
    scaled = down / largest  # so that no square overflows
    return scaled / np.linalg.norm(scaled)  # type: ignore[no-any-return]


def gravity_of_normals(normals: npt.NDArray[np.floating], start: Vector | None = None) -> Vector:
    """Estimate gravity from unit normals.

    Args:
        normals: (3, N) unit vectors, of either sign, all finite.
        start: (3,) unit vector; default (0, 1, 0).

    Returns:
        (3,) float64 unit vector pointing down; ``start`` if there are no normals.
    """
    return estimate(scatter_of(normals), np.array(GRAVITY_START) if start is None else start)


def scatter_of(normals: npt.NDArray[np.floating]) -> Scatter:
    """The scatter matrix of (3, N) unit normals, as a function for :func:`estimate`."""

    def scatter(down: Vector, cos_t: float, sin_t: float) -> Vector:
        # einsum rather than @: BLAS would start threads on every core for a matrix of three rows.
        along = np.abs(down[0] * normals[0] + down[1] * normals[1] + down[2] * normals[2])
        sign = (along < sin_t).astype(normals.dtype) - (along > cos_t)
        return np.einsum("in,jn->ij", normals * sign, normals)

    return scatter


def estimate(scatter: Scatter, start: Vector, passes: Sequence[tuple[float, int]] = GRAVITY_PASSES) -> Vector:
    """Alternate between classifying normals as floors and walls, and refitting gravity to them.

    With y the current estimate and t the angle threshold, F = {n : |y.n| > cos t} are floors and
    W = {n : |y.n| < sin t} walls; the next y minimises sum_W (y.n)^2 - sum_F (y.n)^2.

    Args:
        scatter: classifies the normals and sums them up.
        start: (3,) unit vector, the first y.
        passes: threshold in degrees and number of iterations of each pass.

    Returns:
        (3,) float64 unit vector pointing down; ``start`` if there are no normals.
    """
    down = start
    for threshold_deg, iterations in passes:
        cos_t, sin_t = math.cos(math.radians(threshold_deg)), math.sin(math.radians(threshold_deg))
        for _ in range(iterations):
            refitted = refit(scatter(down, cos_t, sin_t), down)
            if np.array_equal(refitted, down):
                break  # a fixed point: further iterations would not change it
            down = refitted
    return down


def refit(scatter: Vector, previous: Vector) -> Vector:
    """The eigenvector of the smallest eigenvalue, with the sign that is nearer to the previous estimate.

    If the smallest eigenvalue is repeated (a single wall in view), all directions in its eigenspace are equally good.
    The reference takes an arbitrary one, this function the one nearest to ``previous``.

    Args:
        scatter: (3, 3) symmetric, sum over walls minus sum over floors of n n^T.
        previous: (3,) unit vector.

    Returns:
        (3,) float64 unit vector.
    """
    if not np.isfinite(scatter).all():
        return previous  # the arithmetic overflowed: the intrinsics are far off
    values, vectors = np.linalg.eigh(scatter)
    smallest = vectors[:, values - values[0] <= AMBIGUOUS * np.abs(values).max()]
    down = smallest @ (smallest.T @ previous)
    length = float(np.linalg.norm(down))
    return down / length if length > 1e-9 else previous


def angle_deg(a: Vector, b: Vector) -> float:
    """Angle in degrees between two (3,) unit vectors."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    across = math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return math.degrees(math.atan2(across, ax * bx + ay * by + az * bz))

"""Depth in coarse steps: measure the size of the steps, and smooth them so that normals are meaningful.

In an 8-bit depth image, or far from a Kinect, a slanted plane becomes a staircase, and a 7x7 window sees only a tread
or a riser. Each pixel is therefore averaged with those neighbours that differ from it by no more than about one step in
depth, first along rows, then along columns, twice. Edges between objects are larger than a step and are preserved.

This is not in the reference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BIN_M = 0.5
BINS = 32
"""Steps are measured separately for each half metre of depth; the last bin has no upper limit."""

LARGEST_STEP_MM = 127
STRIDE = 8
"""Distance in pixels between the rows, and between the columns, in which steps are counted."""
LEAST_PAIRS = 50
"""A bin with fewer pairs of neighbours does not count as a staircase."""
TREADS = 0.3
"""Least share of neighbours at equal depth in a staircase; on a smooth slope there are few."""
QUANTILE = 0.1
"""The steps of a staircase are multiples of one size, which is a low quantile of them."""

COARSE_MM = 25
"""Steps of at least this size are coarse: a Kinect's beyond 3 m, or those of 8 bits over 10 m."""

LARGEST_RADIUS = 8
RADIUS_AT_640 = 6
ROUNDS = 2
GATE = 1.1
"""Largest difference in depth, in steps, between pixels that are averaged."""

Image = npt.NDArray[np.float64]


def steps_of_counts(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The size of the depth steps in each bin.

    Args:
        counts: (2, BINS, LARGEST_STEP_MM + 1), numbers of pairs of neighbours along rows and along columns, by the
            bin of the nearer one and by the difference of their depths in whole millimetres.

    Returns:
        (BINS,) millimetres, 0 where there is no staircase.
    """
    pairs, risers = counts.sum(axis=-1), counts[..., 1:].sum(axis=-1)
    reached = np.cumsum(counts[..., 1:], axis=-1) >= QUANTILE * risers[..., None]
    steps = 1 + np.argmax(reached, axis=-1)
    is_staircase = (pairs >= LEAST_PAIRS) & (risers > 0) & (counts[..., 0] >= TREADS * pairs)
    # Rows and columns are judged separately: a floor in front of a level camera has steps along columns only.
    return np.where(is_staircase, steps, 0).max(axis=0)


def gates_m(steps_mm: npt.NDArray[np.integer], smoothing: str) -> npt.NDArray[np.float64]:
    """The largest difference in depth between pixels that are averaged, for each bin.

    Args:
        steps_mm: (BINS,) of :func:`steps_of_counts`.
        smoothing: "on" smooths every staircase, "auto" only coarse ones.

    Returns:
        (BINS,) metres, 0 where nothing is to be smoothed.
    """
    is_smoothed = steps_mm >= (COARSE_MM if smoothing == "auto" else 1)
    return np.where(is_smoothed, GATE * 1e-3 * steps_mm, 0.0)


def count_steps(depth_m: Image, measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The counts that :func:`steps_of_counts` needs.

    Args:
        depth_m: (H, W) metres.
        measured: (H, W) bool, the pixels that are used.

    Returns:
        (2, BINS, LARGEST_STEP_MM + 1) int64.
    """
    rows = _count_along_rows(depth_m[::STRIDE], measured[::STRIDE])
    return np.stack([rows, _count_along_rows(depth_m[:, ::STRIDE].T, measured[:, ::STRIDE].T)])


def _count_along_rows(rows: Image, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    step = np.floor(np.abs(np.diff(rows, axis=1)) * 1000.0 + 0.5)
    nearer = np.minimum(rows[:, :-1], rows[:, 1:])
    is_pair = there[:, :-1] & there[:, 1:] & (step <= LARGEST_STEP_MM)
    place = depth_bin(nearer[is_pair]) * (LARGEST_STEP_MM + 1) + step[is_pair].astype(np.int64)
    return np.bincount(place, minlength=BINS * (LARGEST_STEP_MM + 1)).reshape(BINS, -1)


def radius_px(shape: tuple[int, ...]) -> int:
    """Number of pixels to each side that are averaged in an (H, W) image: a fixed share of its longer side."""
    return min(max(round(RADIUS_AT_640 * max(shape) / 640), 1), LARGEST_RADIUS)


def smooth(depth_m: Image, measured: npt.NDArray[np.bool_], gates: npt.NDArray[np.float64]) -> Image:
    """Average each measured pixel with its measured neighbours within the gate of its depth.

    Args:
        depth_m: (H, W) metres.
        measured: (H, W) bool.
        gates: (BINS,) metres, of :func:`gates_m`.

    Returns:
        (H, W) metres.
    """
    radius = radius_px(depth_m.shape)
    for _ in range(ROUNDS):
        depth_m = _smooth_rows(depth_m, measured, gates, radius)
        depth_m = _smooth_rows(depth_m.T, measured.T, gates, radius).T
    return depth_m


def depth_bin(depth_m: Image) -> npt.NDArray[np.int64]:
    """The bin of each depth in metres."""
    return np.minimum((depth_m * (1.0 / BIN_M)).astype(np.int64), BINS - 1)


def _smooth_rows(depth_m: Image, measured: npt.NDArray[np.bool_], gates: npt.NDArray[np.float64], radius: int) -> Image:
    width = depth_m.shape[1]
    z = np.pad(depth_m, ((0, 0), (radius, radius)))
    weight = np.pad(measured.astype(np.float64), ((0, 0), (radius, radius)))
    gate = gates[depth_bin(depth_m)]
    total, number = np.zeros_like(depth_m), np.zeros_like(depth_m)
    for k in range(2 * radius + 1):
        other, share = z[:, k : k + width], weight[:, k : k + width]
        near = share * (np.abs(other - depth_m) <= gate)
        total += near * (other - depth_m)
        number += near
    return depth_m + total / np.maximum(number, 1.0)

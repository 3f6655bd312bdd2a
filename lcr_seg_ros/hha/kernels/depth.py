"""From the depth image to depth without holes, its inverse, and the disparity channel."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import DISPARITY_SCALE, NEAREST_CM
from lcr_seg_ros.hha.kernels.planes import GRANULE, PAD, Bytes, Counts, Depth, Plane

_0, _1 = np.float32(0), np.float32(1)
_FAR, _NEAR = np.float32(0.25), np.float32(0.75)


@compiled()  # not fastmath: the input may hold NaN and Inf, which must fail the comparison
def ingest(depth: Depth, nearest: float, farthest: float, z: Plane, known: Plane) -> int:
    """Write depth in metres into ``z`` (0 in holes) and 1 into ``known`` where it is known, else 0.

    Returns:
        The number of known pixels.
    """
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
    """Average the known pixels of each 2x2 block into the ``height`` x ``width`` coarse pixels.

    Returns:
        The number of coarse pixels that remain unknown.
    """
    known = 0
    for y in range(height):
        upper, lower = fine[2 * y], fine[2 * y + 1]
        upper_weight, lower_weight = weight[2 * y], weight[2 * y + 1]
        row, row_weight = coarse[y], coarse_weight[y]
        count = 0
        for x in range(width):
            left, right = upper_weight[2 * x] + lower_weight[2 * x], upper_weight[2 * x + 1] + lower_weight[2 * x + 1]
            # Unknown pixels are 0, so the sum needs no weights.
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

    ``between`` (coarse_width + 2,) is scratch: a row interpolated between two coarse ones, with its ends repeated.
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
        for i in range(coarse_width):  # for an odd width, this also writes one pixel of padding, which is reset below
            even = _NEAR * inner[i] + _FAR * before[i]
            odd = _NEAR * inner[i] + _FAR * after[i]
            row[2 * i] += (_1 - row_weight[2 * i]) * (even - row[2 * i])
            row[2 * i + 1] += (_1 - row_weight[2 * i + 1]) * (odd - row[2 * i + 1])
        if width & 1:
            row[width] = _0


@compiled()  # not fastmath: depth may be NaN
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
    """Compute the disparity channel, 1/Z, and the mask of measured pixels.

    Args:
        depth: (H, W) metres, as it came; ``is_double`` if float64.
        z, known: depth without holes, and 1 where it was known or else 0.
        valid: (H, W), 0 where depth was filled in beforehand; read only if ``masked``.
        disparity: (H, W), written; computed in float64, so that it equals that of exact.
        inverse, measured: (H + 2 PAD, >= W + 2 PAD), written: 1/Z and 1 where measured, 0 elsewhere.
        missing: (H + 2 PAD, granules), written: unmeasured pixels, padding included, of each ``GRANULE`` in a row.
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
        if is_double:  # z is then rounded to float32, whereas exact uses the depth as it is
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

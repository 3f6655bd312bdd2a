"""The channel of height above the floor, and the heights that the floor is estimated from."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.kernels.planes import Bytes, Number, Plane

_0, _HALF, _100, _255 = np.float32(0), np.float32(0.5), np.float32(100), np.float32(255)


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

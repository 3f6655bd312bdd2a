"""Shrinking an image by any ratio, each new pixel the mean of the area that it covers.

OpenCV's ``INTER_AREA`` does the same and is quicker where the ratio is whole; else this is, the more so the larger the
image: docs/how_to/performance.md has figures.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled, frozen


def shrink_by_area(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Mean of the pixels under each new one, those at its rim by the share of them that it covers.

    Args:
        image: (H, W, C) uint8.
        size: (width, height), neither larger than the image's.

    Returns:
        (height, width, C) uint8, rounded to the nearest.

    Raises:
        ValueError: the image would have to grow.
    """
    height, width, channels = image.shape
    if not (0 < size[0] <= width and 0 < size[1] <= height):
        raise ValueError(f"an image of {width}x{height} cannot shrink to {size[0]}x{size[1]}")
    shrunk = np.empty((size[1], size[0], channels), np.uint8)
    rows, columns = _shares(height, size[1]), _shares(width, size[0])
    _shrink(frozen(image).reshape(height, width * channels), *rows, *columns, shrunk)
    return shrunk


def _shares(length: int, parts: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Of each part of a side: its first pixel, and how much of its mean is of that pixel and of those after it.

    Returns:
        (parts,) int64 and (parts, n) float32, where n pixels are enough for any part; shares of a part add up to 1.
    """
    step = length / parts
    begins = np.arange(parts) * step
    first = np.minimum(begins.astype(np.int64), length - 1)
    pixels = first[:, None] + np.arange(int(np.ceil(step)) + 1)
    within = np.minimum(pixels + 1, (begins + step)[:, None]) - np.maximum(pixels, begins[:, None])
    shares = np.where(pixels < length, np.maximum(within, 0), 0) / step
    return first, (shares / shares.sum(1, keepdims=True)).astype(np.float32)


@compiled(fastmath=True)
def _shrink(image, first_rows, row_shares, first_columns, column_shares, shrunk):  # type: ignore[no-untyped-def]
    """(H, W * C) bytes to (h, w, C): first the rows of one new row, side by side in memory, then its columns."""
    width = image.shape[1]
    channels = shrunk.shape[2]
    mean = np.empty(width, np.float32)
    for y in range(shrunk.shape[0]):
        mean[:] = 0
        for k in range(row_shares.shape[1]):
            share = row_shares[y, k]
            if share > 0:
                row = image[first_rows[y] + k]
                for x in range(width):
                    mean[x] += share * row[x]
        for x in range(shrunk.shape[1]):
            for c in range(channels):
                value = np.float32(0.5)
                for k in range(column_shares.shape[1]):
                    share = column_shares[x, k]
                    if share > 0:
                        value += share * mean[(first_columns[x] + k) * channels + c]
                shrunk[y, x, c] = np.uint8(value)

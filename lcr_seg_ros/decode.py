"""From the network's coarse probabilities to a label and a confidence for each pixel of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


def decode(
    probabilities: npt.NDArray[np.float32], ids: npt.NDArray[np.uint8], width: int, height: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Interpolate bilinearly to the image's size, then take the most probable class of each pixel.

    Args:
        probabilities: (N, h, w) float32, summing to 1 over N.
        ids: (N,) uint8 mask id of each channel.
        width, height: of the image, in pixels.

    Returns:
        labels (height, width) uint8 mask ids; confidence (height, width) float32, the interpolated
        probability of that class, in 0..1. Of equal classes the first channel wins.
    """
    labels = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    rows = np.ascontiguousarray(probabilities.transpose(1, 2, 0))
    _interpolate_and_choose(rows, ids, labels, confidence)
    return labels, confidence


@njit(cache=True, fastmath=False, nogil=True)
def _interpolate_and_choose(rows, ids, labels, confidence):  # type: ignore[no-untyped-def]
    """Pixel centres at half-integers, edges clamped: what align_corners=False means elsewhere."""
    h, w, n = rows.shape
    height, width = labels.shape
    row = np.empty((w, n), np.float32)
    blended = np.empty(n, np.float32)
    for y in range(height):
        v = min(max((y + 0.5) * h / height - 0.5, 0.0), h - 1.0)
        y0 = int(v)
        y1 = min(y0 + 1, h - 1)
        fy = np.float32(v - y0)
        for x in range(w):
            for k in range(n):
                row[x, k] = rows[y0, x, k] + fy * (rows[y1, x, k] - rows[y0, x, k])
        for x in range(width):
            u = min(max((x + 0.5) * w / width - 0.5, 0.0), w - 1.0)
            x0 = int(u)
            x1 = min(x0 + 1, w - 1)
            fx = np.float32(u - x0)
            for k in range(n):
                blended[k] = row[x0, k] + fx * (row[x1, k] - row[x0, k])
            best = 0
            value = blended[0]
            for k in range(1, n):
                if blended[k] > value:
                    value = blended[k]
                    best = k
            labels[y, x] = ids[best]
            confidence[y, x] = value

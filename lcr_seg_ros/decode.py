"""From the network's coarse probabilities to a label and a confidence for each pixel of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


def decode(
    probabilities: npt.NDArray[np.float32], ids: npt.NDArray[np.uint8], width: int, height: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Interpolate bilinearly to the image's size, then take the most probable class of each pixel.

    Pixel centres are at half-integers and edges are clamped: what ``align_corners=False`` means elsewhere.

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
    # The probabilities of a pixel sum to 1, so its winner has at least 1 / N of it: a class that stays below that in
    # two coarse rows cannot win between them, which spares most classes most rows. 0.999 leaves room for rounding.
    least, peaks = np.float32(0.999 / len(ids)), probabilities.max(axis=2).T
    contends = peaks >= least
    _choose(_widen(probabilities, width), contends, ids, labels, confidence)
    return labels, confidence


@njit(cache=True, nogil=True)
def _widen(probabilities, width):  # type: ignore[no-untyped-def]
    """(N, h, w) -> (h, N, width): along rows first, so that the large loop below runs over neighbouring memory."""
    n, h, w = probabilities.shape
    left, right = np.empty(width, np.int32), np.empty(width, np.int32)
    share = np.empty(width, np.float32)
    for x in range(width):
        left[x], right[x], share[x] = _neighbours(x, w, width)
    widened = np.empty((h, n, width), np.float32)
    for y in range(h):
        for k in range(n):
            row, wide = probabilities[k, y], widened[y, k]
            for x in range(width):
                wide[x] = row[left[x]] + share[x] * (row[right[x]] - row[left[x]])
    return widened


@njit(cache=True, nogil=True)
def _choose(widened, contends, ids, labels, confidence):  # type: ignore[no-untyped-def]
    h, n, width = widened.shape
    height = labels.shape[0]
    best = np.empty(width, np.int32)
    for y in range(height):
        upper, lower, share = _neighbours(y, h, height)
        value = confidence[y]
        value[:] = np.float32(0)
        best[:] = 0
        for k in range(n):
            if contends[upper, k] or contends[lower, k]:
                _contend(widened[upper, k], widened[lower, k], share, np.int32(k), value, best)
        for x in range(width):
            labels[y, x] = ids[best[x]]


@njit(cache=True, nogil=True)
def _contend(top, bottom, share, k, value, best):  # type: ignore[no-untyped-def]
    """Class k against the best so far, along one row; written with selects, which become vector code."""
    for x in range(value.size):
        blended = top[x] + share * (bottom[x] - top[x])
        before = value[x]
        value[x] = max(blended, before)
        best[x] = k if blended > before else best[x]


@njit(cache=True, nogil=True, inline="always")
def _neighbours(position, coarse, fine):  # type: ignore[no-untyped-def]
    """The two coarse samples around a fine one, and the share of the second."""
    at = min(max((position + 0.5) * coarse / fine - 0.5, 0.0), coarse - 1.0)
    first = int(at)
    return first, min(first + 1, coarse - 1), np.float32(at - first)

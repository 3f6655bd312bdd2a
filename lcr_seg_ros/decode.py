"""Decoding: from the network's coarse probabilities to a label and a confidence for each pixel of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled

ROUNDING = np.float32(1e-5)
"""Relative margin for rounding: an interpolated value can leave the range of its corners, but by far less than this."""


def decode(
    probabilities: npt.NDArray[np.float32], ids: npt.NDArray[np.uint8], width: int, height: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Interpolate bilinearly to the image's size, then take the most probable class of each pixel.

    Pixel centres are at half-integers and edges are clamped, as with PyTorch's ``align_corners=False``.

    Args:
        probabilities: (N, h, w) float32, summing to 1 over N.
        ids: (N,) uint8 mask id of each channel.
        width, height: of the image, in pixels.

    Returns:
        labels (height, width) uint8 mask ids; confidence (height, width) float32, the interpolated
        probability of that class, in 0..1. If several classes are equally probable, the first channel wins.
    """
    labels = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    _decode(np.ascontiguousarray(probabilities), ids, labels, confidence)
    return labels, confidence


@compiled()
def _decode(probabilities, ids, labels, confidence):  # type: ignore[no-untyped-def]
    """Work through one row of cells after the other; a cell is the pixels between four coarse samples.

    Interpolated values lie between the smallest and the largest corner of their cell. The winning class therefore
    reaches at least the largest of all classes' smallest corners, and a class whose largest corner is below that bound
    cannot win. In most cells this leaves one or two classes, and only these are interpolated.
    """
    n, h, w = probabilities.shape
    height, width = labels.shape
    left, share_x, first_x = _cells(w, width)
    _, share_y, first_y = _cells(h, height)
    largest, least = np.empty((n, w), np.float32), np.empty(w, np.float32)
    top, bottom = np.empty(width, np.float32), np.empty(width, np.float32)
    winner = np.empty((0, 0), np.int32)
    for r in range(h):
        y0, y1 = first_y[r], first_y[r + 1]
        if y0 == y1:
            continue
        below = min(r + 1, h - 1)
        _bound(probabilities[:, r], probabilities[:, below], largest, least)
        if winner.shape[0] < y1 - y0:
            winner = np.empty((y1 - y0, width), np.int32)
        winner[: y1 - y0] = 0
        confidence[y0:y1] = np.float32(0)
        for k in range(n):
            c = 0
            while c < w:
                if largest[k, c] < least[c]:
                    c += 1
                    continue
                run = c
                while c < w and not largest[k, c] < least[c]:
                    c += 1
                x0, x1 = first_x[run], first_x[c]
                _interpolate_row(probabilities[k, r], left, share_x, x0, x1, top)
                _interpolate_row(probabilities[k, below], left, share_x, x0, x1, bottom)
                for y in range(y0, y1):
                    _keep_best(
                        top[x0:x1],
                        bottom[x0:x1],
                        share_y[y],
                        np.int32(k),
                        confidence[y, x0:x1],
                        winner[y - y0, x0:x1],
                    )
        for y in range(y0, y1):
            for x in range(width):
                labels[y, x] = ids[winner[y - y0, x]]


@compiled()
def _bound(above, below, largest, least):  # type: ignore[no-untyped-def]
    """For each cell, the largest corner of each class, and the value that a class must reach to win."""
    n, w = above.shape
    least[:] = np.float32(0)
    low = np.empty(w + 1, np.float32)
    high = np.empty(w + 1, np.float32)
    for k in range(n):
        for x in range(w):
            low[x] = min(above[k, x], below[k, x])
            high[x] = max(above[k, x], below[k, x])
        low[w], high[w] = low[w - 1], high[w - 1]
        for x in range(w):
            largest[k, x] = max(high[x], high[x + 1])
            least[x] = max(least[x], min(low[x], low[x + 1]))
    for x in range(w):
        least[x] *= np.float32(1) - ROUNDING


@compiled()
def _interpolate_row(row, left, share, x0, x1, wide):  # type: ignore[no-untyped-def]
    last = row.size - 1
    for x in range(x0, x1):
        value = row[left[x]]
        wide[x] = value + share[x] * (row[min(left[x] + 1, last)] - value)


@compiled()
def _keep_best(top, bottom, share, k, value, best):  # type: ignore[no-untyped-def]
    """Compare class k with the best so far along one row. Selects rather than branches, so that it vectorises."""
    for x in range(value.size):
        blended = top[x] + share * (bottom[x] - top[x])
        before = value[x]
        value[x] = max(blended, before)
        best[x] = k if blended > before else best[x]


@compiled()
def _cells(coarse, fine):  # type: ignore[no-untyped-def]
    """For each fine sample, the coarse one before it and the weight of the next; for each cell, its first fine sample.

    Returns:
        before (fine,) int32, share (fine,) float32 in 0..1, first (coarse + 1,) int32.
    """
    before, share = np.empty(fine, np.int32), np.empty(fine, np.float32)
    first = np.zeros(coarse + 1, np.int32)
    for position in range(fine):
        at = min(max((position + 0.5) * coarse / fine - 0.5, 0.0), coarse - 1.0)
        before[position] = int(at)
        share[position] = np.float32(at - int(at))
        first[before[position] + 1] = position + 1
    for cell in range(coarse):
        first[cell + 1] = max(first[cell + 1], first[cell])
    return before, share, first

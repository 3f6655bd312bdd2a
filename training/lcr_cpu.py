"""The sum of the contextual constraint and its gradients on a CPU, compiled by numba, without any response maps.

The work is divided into bands of image rows. For each class map, a band goes through its rows of 3x3 windows once. The
eight responses of a row go into the sum and all three gradients while they are still in the L1 cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled

BAND = 64
"""Image rows in a band. Fixed, so that rounding does not depend on the number of threads."""
THREADED_FROM = 100_000
"""Size of the maps (B x N x H x W) up to which starting threads would take longer than the work."""

Array = npt.NDArray[Any]


def weighted_absolute_sum(
    maps: Array, weights: Array, kernels: Array, for_maps: bool, for_weights: bool, for_kernels: bool, threads: int
) -> tuple[Array, Array, Array, Array]:
    """s = sum_bnj W_bj |D_j * f_bn| and its gradients, with * a correlation without padding.

    Args:
        maps: f, (B, N, H, W) float32 or float64, C order.
        weights: W, (B, J, H - 2, W - 2), same dtype.
        kernels: D, (J, 3, 3), same dtype.
        for_maps, for_weights, for_kernels: which gradients are wanted.
        threads: how many bands are processed at once; the result does not depend on it.

    Returns:
        s as an array of shape (), then ds/df, ds/dW and ds/dD in the shapes of f, W and D, or of size 0 where
        not wanted; all of the inputs' dtype. The derivative of |x| at 0 is taken as 0.
    """
    (b, n, h, w), j = maps.shape, kernels.shape[0]
    kind = maps.dtype
    grad_maps = np.zeros((b, n, h, w) if for_maps else (0, 0, 0, 0), kind)
    grad_weights = np.zeros(weights.shape if for_weights else (0, 0, 0, 0), kind)
    pieces = [(image, top) for image in range(b) for top in range(0, h, BAND)]
    sums = np.zeros((len(pieces), 1 + j * 9), np.float64)

    def work(k: int) -> None:
        image, top = pieces[k]
        _band(maps, weights, kernels, image, top, min(top + BAND, h), grad_maps, grad_weights, for_kernels, sums[k])

    if threads > 1 and len(pieces) > 1 and maps.size > THREADED_FROM:
        with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
            list(pool.map(work, range(len(pieces))))
    else:
        for k in range(len(pieces)):
            work(k)
    total = sums.sum(0)
    grad_kernels = total[1:].reshape(j, 3, 3).astype(kind) if for_kernels else np.zeros((0, 0, 0), kind)
    return total[:1].reshape(()).astype(kind), grad_maps, grad_weights, grad_kernels


_FAST = {"reassoc", "contract", "nsz"}
"""Sums may be reordered, which vectorising needs. NaN and infinity must be preserved: training stops on them."""


@compiled(fastmath=_FAST)
def _band(maps, weights, kernels, image, top, bottom, grad_maps, grad_weights, for_kernels, sums):
    """Rows ``top`` to ``bottom`` (exclusive) of one image. Writes their gradients, and the sums over windows whose top
    row is one of them.

    Bands write to rows of their own, so several may run at once. ``sums``, (1 + 9 J,) float64, receives the band's
    share of s, then of ds/dD in C order.
    """
    n, h, w = maps.shape[1:]
    j = kernels.shape[0]
    columns = w - 2
    for_maps, for_weights = grad_maps.size > 0, grad_weights.size > 0
    signed = np.zeros((j, w + 2), kernels.dtype)  # two zeros at either end, for windows beyond the image
    by_window = np.zeros(w + 2, kernels.dtype)
    part = np.empty(9, kernels.dtype)
    # Windows that begin up to two rows above the band reach into it: they count for the band's ds/df alone.
    for c in range(n):
        for y in range(max(0, top - 2), min(bottom, h - 2)):
            mine = y >= top
            a, b, d = maps[image, c, y], maps[image, c, y + 1], maps[image, c, y + 2]
            for k in range(j):
                row = signed[k, 2 : 2 + columns]
                weight = weights[image, k, y]
                total = _respond(a, b, d, kernels[k], weight, row, by_window, columns)
                if not mine:
                    continue
                sums[0] += total
                if for_weights:
                    _add(grad_weights[image, k, y], by_window, columns)
                if for_kernels:
                    _correlate(a, b, d, row, columns, part)
                    for i in range(9):
                        sums[1 + 9 * k + i] += part[i]
            if for_maps:
                for v in range(3):
                    if top <= y + v < bottom:
                        out = grad_maps[image, c, y + v]
                        for k in range(j):
                            _spread(signed[k], kernels[k, v, 0], kernels[k, v, 1], kernels[k, v, 2], out, w)


@compiled(fastmath=_FAST)
def _respond(a, b, d, kernel, weight, signed, size, columns):
    """Responses r of one kernel along one row of windows: writes |r| into ``size`` and W sign(r) into ``signed``;
    returns sum W |r|."""
    k0, k1, k2 = kernel[0, 0], kernel[0, 1], kernel[0, 2]
    k3, k4, k5 = kernel[1, 0], kernel[1, 1], kernel[1, 2]
    k6, k7, k8 = kernel[2, 0], kernel[2, 1], kernel[2, 2]
    zero = k0 * 0
    total = zero
    for x in range(columns):
        r = (
            (k0 * a[x] + k1 * a[x + 1] + k2 * a[x + 2])
            + (k3 * b[x] + k4 * b[x + 1] + k5 * b[x + 2])
            + (k6 * d[x] + k7 * d[x + 1] + k8 * d[x + 2])
        )
        absolute = abs(r)
        size[x] = absolute
        total += weight[x] * absolute
        positive = weight[x] if r > zero else zero
        signed[x] = -weight[x] if r < zero else positive
    return total


@compiled(fastmath=_FAST)
def _add(target, values, columns):
    for x in range(columns):
        target[x] += values[x]


@compiled(fastmath=_FAST)
def _correlate(a, b, d, signed, columns, part):
    """The gradient with respect to one kernel's nine entries: sums of ``signed`` times the pixel below each entry."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = signed[0] * 0
    for x in range(columns):
        s = signed[x]
        s0 += s * a[x]
        s1 += s * a[x + 1]
        s2 += s * a[x + 2]
        s3 += s * b[x]
        s4 += s * b[x + 1]
        s5 += s * b[x + 2]
        s6 += s * d[x]
        s7 += s * d[x + 1]
        s8 += s * d[x + 2]
    part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7], part[8] = s0, s1, s2, s3, s4, s5, s6, s7, s8


@compiled(fastmath=_FAST)
def _spread(signed, left, middle, right, out, w):
    """Add to each pixel of a row the gradient from the windows that cover it: a transposed convolution with one kernel
    row, whose entries are ``left``, ``middle`` and ``right``."""
    for x in range(w):
        out[x] += left * signed[x + 2] + middle * signed[x + 1] + right * signed[x]

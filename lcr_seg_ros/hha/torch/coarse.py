"""Depth in coarse steps, smoothed as :mod:`lcr_seg_ros.hha.coarse` does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lcr_seg_ros.hha import coarse
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.torch.frames import Frames


def smoothed_inverse(frames: Frames, settings: HhaSettings) -> Tensor:
    """(B, H, W) float32, 1 / Z where measured, 0 elsewhere, smoothed as :mod:`lcr_seg_ros.hha.coarse` does."""
    if settings.smoothing == "off":
        return frames.inverse
    steps_mm = _steps_mm(_count_steps(frames))
    is_smoothed = steps_mm >= (coarse.COARSE_MM if settings.smoothing == "auto" else 1)
    gates = torch.where(is_smoothed, coarse.GATE * 1e-3 * steps_mm, 0.0).float()
    z = frames.z
    for _ in range(coarse.ROUNDS):
        for dim in (-1, -2):
            z = _smoothed_along(z, frames.measured, gates, dim)
    return frames.measured / z


def _count_steps(frames: Frames) -> Tensor:
    """(B, 2, BINS, LARGEST_STEP_MM + 1) int32, see :func:`lcr_seg_ros.hha.coarse.count_steps`."""
    z, there = frames.z.double(), frames.measured > 0
    rows = _count_along_rows(z[:, :: coarse.STRIDE], there[:, :: coarse.STRIDE])
    columns = _count_along_rows(z[..., :: coarse.STRIDE].mT, there[..., :: coarse.STRIDE].mT)
    return torch.stack((rows, columns), dim=1)


def _count_along_rows(rows: Tensor, there: Tensor) -> Tensor:
    left, right = rows[..., :-1], rows[..., 1:]
    step = torch.floor((right - left).abs() * 1000.0 + 0.5)
    is_pair = there[..., :-1] & there[..., 1:] & (step <= coarse.LARGEST_STEP_MM)
    batch, sizes = rows.shape[0], coarse.LARGEST_STEP_MM + 1
    place = _depth_bin(torch.minimum(left, right)) * sizes + step.clamp(max=coarse.LARGEST_STEP_MM).long()
    first = torch.arange(batch, device=rows.device)[:, None, None] * (coarse.BINS * sizes)
    counts = torch.zeros(batch * coarse.BINS * sizes, dtype=torch.int32, device=rows.device)
    counts = counts.scatter_add(0, (first + place).flatten(), is_pair.int().flatten())
    return counts.reshape(batch, coarse.BINS, sizes)


def _steps_mm(counts: Tensor) -> Tensor:
    """(B, BINS) int64, see :func:`lcr_seg_ros.hha.coarse.steps_of_counts`."""
    pairs, risers = counts.sum(-1), counts[..., 1:].sum(-1)
    is_below = counts[..., 1:].cumsum(-1) < coarse.QUANTILE * risers.double()[..., None]
    is_staircase = (pairs >= coarse.LEAST_PAIRS) & (risers > 0) & (counts[..., 0] >= coarse.TREADS * pairs.double())
    return torch.where(is_staircase, 1 + is_below.sum(-1), 0).amax(1)


def _smoothed_along(z: Tensor, measured: Tensor, gates: Tensor, dim: int) -> Tensor:
    """Mean of each pixel and its measured neighbours within the gate of its depth, along rows (-1) or columns (-2)."""
    gate = gates.gather(1, _depth_bin(z).flatten(1)).reshape(z.shape)
    radius = coarse.radius_px(tuple(z.shape[1:]))
    margin = (radius, radius) if dim == -1 else (0, 0, radius, radius)
    others, weights = functional.pad(z, margin), functional.pad(measured, margin)
    total, number = torch.zeros_like(z), torch.zeros_like(z)
    for k in range(2 * radius + 1):
        apart = others.narrow(dim, k, z.shape[dim]) - z
        near = weights.narrow(dim, k, z.shape[dim]) * (apart.abs() <= gate)
        total += near * apart
        number += near
    return z + total / number.clamp(min=1.0)


def _depth_bin(z: Tensor) -> Tensor:
    return (z / coarse.BIN_M).long().clamp(max=coarse.BINS - 1)

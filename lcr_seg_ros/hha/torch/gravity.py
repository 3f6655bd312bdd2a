"""The direction of gravity that the normals of a batch agree on, as :mod:`lcr_seg_ros.hha.gravity` finds it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lcr_seg_ros.hha.definition import GRAVITY_RADIUS
from lcr_seg_ros.hha.gravity import AMBIGUOUS
from lcr_seg_ros.hha.torch.frames import Frames, offsets
from lcr_seg_ros.hha.torch.planes import adjugate, moments, planes

GRAVITY_STRIDE = 2
"""Gravity is estimated from the normals of every second pixel in rows and columns, which changes it by less than 0.1
degrees."""


def gravity_normals(frames: Frames) -> Tensor:
    """(B, 3, N) float32 unit normals of the 21x21 windows around every second pixel, 0 where there is none."""
    camera = frames.camera
    windows = moments(frames.inverse, frames.measured, GRAVITY_RADIUS, GRAVITY_STRIDE)
    a, b, c, is_there = planes([sums.double() for sums in windows])
    offset_u, offset_v = offsets(frames, GRAVITY_STRIDE)
    normals = torch.stack((camera.fx * a, camera.fy * b, c - a * offset_u - b * offset_v), 1)
    square = normals.square().sum(1, keepdim=True)
    is_there = is_there[:, None] & (square > 0)
    # c is 1/Z of the plane at the window's centre, so it has the sign of n.P there.
    length = torch.where(is_there, square, 1.0).sqrt() * torch.where(c < 0, -1.0, 1.0)[:, None]
    return torch.where(is_there, normals / length, 0.0).flatten(2).float()


def estimate(normals: Tensor, start: Tensor, passes: Sequence[tuple[float, int]]) -> Tensor:
    """As :func:`lcr_seg_ros.hha.gravity.estimate`, for a batch.

    Args:
        normals: (B, 3, N) unit vectors or 0.
        start: (B, 3) float64 unit vectors.

    Returns:
        (B, 3) float64 unit vectors.
    """
    x, y, z = normals.unbind(1)
    products = torch.stack((x * x, x * y, x * z, y * y, y * z, z * z), 1)
    down = start
    for threshold_deg, iterations in passes:
        cos_t, sin_t = math.cos(math.radians(threshold_deg)), math.sin(math.radians(threshold_deg))
        for _ in range(iterations):
            along = (normals * down.float()[:, :, None]).sum(1).abs()
            sign = (along < sin_t).float() - (along > cos_t).float()
            down = refit((products * sign[:, None]).sum(2, dtype=torch.float64), down)
    return down


def refit(scatter: Tensor, previous: Tensor) -> Tensor:
    """As :func:`lcr_seg_ros.hha.gravity.refit`, for a batch and without branches that depend on values.

    With eigenvalues l1 <= l2 <= l3 and eigenvectors e1, e2, e3 of A, and s a little below l1, adj(A - s I) is
    (l2 - s)(l3 - s) e1 e1^T + (l1 - s)(l3 - s) e2 e2^T + (l1 - s)(l2 - s) e3 e3^T. Up to a factor, this is close to
    the projection onto e1 if l2 is well above l1, and onto the plane of e1 and e2 if it is not. All three coefficients
    are positive, so no vector is turned into the opposite direction. Eigenvalues are the trigonometric solution of the
    characteristic equation (Smith, Communications of the ACM 4, 1961), accurate to about 1e-8 of the largest where two
    of them nearly coincide.

    Args:
        scatter: (B, 6) float64, the elements xx, xy, xz, yy, yz, zz of A.
        previous: (B, 3) float64 unit vectors.

    Returns:
        (B, 3) float64 unit vectors, ``previous`` where A is 0 or not finite.
    """
    xx, xy, xz, yy, yz, zz = (scatter / scatter.abs().amax(1, keepdim=True)).unbind(1)
    mean = (xx + yy + zz) / 3.0
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = (xx * xx + yy * yy + zz * zz + 2.0 * (xy * xy + xz * xz + yz * yz)).sqrt()
    # The eigenvalues are mean + sqrt(2/3) spread cos(t + 2 pi k / 3), k = 0, 1, 2, where cos(3 t) is this:
    axx, axy, axz, *_ = adjugate(xx, xy, xz, yy, yz, zz)
    cosine = 3.0 * math.sqrt(6.0) * (xx * axx + xy * axy + xz * axz) / (spread * spread * spread)
    t = torch.acos(cosine.clamp(-1.0, 1.0)) / 3.0
    gap = math.sqrt(2.0) * spread * torch.sin(t)  # l2 - l1
    is_alone = gap > AMBIGUOUS * (mean.abs() + spread)
    below = torch.where(is_alone, 1e-7, 1e-3)
    shift = math.sqrt(2.0 / 3.0) * spread * torch.cos(t + 2.0 * math.pi / 3.0) - below
    axx, axy, axz, ayy, ayz, azz = adjugate(xx - shift, xy, xz, yy - shift, yz, zz - shift)
    x, y, z = previous.unbind(1)
    for _ in range(2):  # applied twice, which squares the small remainder of the other eigenvectors
        x, y, z = axx * x + axy * y + axz * z, axy * x + ayy * y + ayz * z, axz * x + ayz * y + azz * z
    length = (x * x + y * y + z * z).sqrt()[:, None]
    return torch.where(length > 0, torch.stack((x, y, z), 1) / length, previous)  # NaN is not > 0


def normalised(vectors: Tensor) -> Tensor:
    """Normalise (B, 3) vectors, after a division by their largest component, so that no square overflows."""
    scaled = vectors / vectors.abs().amax(-1, keepdim=True)
    return scaled / scaled.square().sum(-1, keepdim=True).sqrt()

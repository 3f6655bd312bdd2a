"""Planes fitted to the inverse depth of the square windows around pixels: 1/Z = a du + b dv + c."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def moments(inverse: Tensor, measured: Tensor, radius: int, stride: int) -> list[Tensor]:
    """Sums over square windows centred on every ``stride``-th pixel, cut at the image border.

    Args:
        inverse: (B, H, W) d = 1/Z, 0 where not measured.
        measured: (B, H, W) float32 m, 1 / 0.
        radius: windows have sides of 2 radius + 1 pixels.

    Returns:
        (B, H / stride, W / stride) each (rounded up): sums of m, m du, m dv, m du du, m du dv, m dv dv, d, d du, d dv,
        with du and dv counted from the window's centre.
    """
    one, along, squared = _sums_along(torch.stack((measured, inverse), 1), radius, stride, -1, orders=(2, 2, 1))
    rows = torch.cat((one[:, :1], along[:, :1], one[:, 1:], along[:, 1:], squared), 1)
    one, along, squared = _sums_along(rows, radius, stride, -2, orders=(5, 3, 1))
    n, u, d, ud, uu = one.unbind(1)
    v, uv, vd = along.unbind(1)
    return [n, u, v, uu, uv, squared[:, 0], d, ud, vd]


def planes(moments: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares of 1/Z = a du + b dv + c over windows, by the adjugate.

    Args:
        moments: see :func:`moments`.

    Returns:
        a, b and c, all three multiplied by the determinant, which is >= 0; and bool, False where it is 0: fewer than
        three measured pixels, or only collinear ones.
    """
    n, u, v, uu, uv, vv, d, ud, vd = moments
    i11, i12, i13, i22, i23, i33 = adjugate(uu, uv, u, vv, v, n)
    a = i11 * ud + i12 * vd + i13 * d
    b = i12 * ud + i22 * vd + i23 * d
    c = i13 * ud + i23 * vd + i33 * d
    return a, b, c, uu * i11 + uv * i12 + u * i13 > 0.5


def adjugate(xx: Tensor, xy: Tensor, xz: Tensor, yy: Tensor, yz: Tensor, zz: Tensor) -> tuple[Tensor, ...]:
    """Adjugate of symmetric 3x3 matrices, elements in the same order."""
    return (
        yy * zz - yz * yz,
        xz * yz - xy * zz,
        xy * yz - xz * yy,
        xx * zz - xz * xz,
        xy * xz - xx * yz,
        xx * yy - xy * xy,
    )


def _sums_along(
    images: Tensor, radius: int, stride: int, dim: int, orders: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over k = -radius .. radius of image[i + k], k image[i + k], k^2 image[i + k], i = 0, stride, 2 stride ...

    Each window is summed afresh: running sums would drift in float32.

    Args:
        images: (B, C, H, W).
        dim: -1 along rows, -2 down columns.
        orders: for each of the three sums, the number of leading channels that need it.
    """
    length = -(-images.shape[dim] // stride)
    margin = (radius, radius + stride - 1)
    padded = functional.pad(images, margin if dim == -1 else (0, 0, *margin))
    phases = [padded[..., p::stride] if dim == -1 else padded[..., p::stride, :] for p in range(stride)]
    phases = [phase.contiguous() for phase in phases]

    def at(offset: int) -> Tensor:
        skipped, phase = divmod(radius + offset, stride)
        return phases[phase].narrow(dim, skipped, length)

    _, few, fewest = orders
    one = at(0).clone()
    along = torch.zeros_like(one[:, :few])
    squared = torch.zeros_like(one[:, :fewest])
    for k in range(1, radius + 1):
        after, before = at(k), at(-k)
        both = after + before
        one.add_(both)
        along.add_(after[:, :few] - before[:, :few], alpha=k)
        squared.add_(both[:, :fewest], alpha=k * k)
    return one, along, squared

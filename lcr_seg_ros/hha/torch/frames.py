"""A batch of depth images as the other steps need it: checked for holes, filled, inverted, with its cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha.settings import HhaSettings


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels, (B, 1, 1) float64 each."""

    fx: Tensor
    fy: Tensor
    cx: Tensor
    cy: Tensor


@dataclass(frozen=True)
class Frames:
    """A batch of depth images with their holes filled.

    Args:
        camera: intrinsics of each frame.
        depth_m: (B, H, W) float32 or float64, the input where it is known, filled elsewhere.
        z: (B, H, W), the same in float32.
        inverse: (B, H, W) float32, 1 / Z in 1/m where measured, 0 elsewhere.
        measured: (B, H, W) float32, 1 where depth is used for normals, 0 elsewhere.
        any_known: (B, 1, 1) bool, False for a frame without valid depth (whose z is 1).
    """

    camera: Camera
    depth_m: Tensor
    z: Tensor
    inverse: Tensor
    measured: Tensor
    any_known: Tensor


def load_frames(depth_m: Tensor, camera: Camera, valid: Tensor | None, settings: HhaSettings) -> Frames:
    """See :class:`Frames`; arguments as for :meth:`~lcr_seg_ros.hha.torch.TorchHha.encode_batch`."""
    known = (depth_m >= settings.min_depth_m) & (depth_m <= settings.max_depth_m)
    any_known = known.flatten(1).any(1)[:, None, None]
    filled = torch.where(any_known, _push_pull(depth_m, known), 1.0)
    measured = (known if valid is None else known & valid).float()
    return Frames(
        camera=camera,
        depth_m=torch.where(known, depth_m, filled),
        z=filled,
        inverse=measured / filled,
        measured=measured,
        any_known=any_known,
    )


def _push_pull(depth_m: Tensor, known: Tensor) -> Tensor:
    """The pyramid of :mod:`lcr_seg_ros.hha.holes`, always built to its top: how deep it need be depends on the values.

    Returns:
        (B, H, W) float32, 0 where a whole frame is unknown.
    """
    # Two channels: depth (0 where unknown), and 1 where known or else 0.
    levels = [torch.stack((torch.where(known, depth_m, 0.0).float(), known.float()), 1)]
    while max(levels[-1].shape[-2:]) > 1:
        height, width = levels[-1].shape[-2:]
        even = functional.pad(levels[-1], (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else levels[-1]
        rows = even[..., ::2, :] + even[..., 1::2, :]
        total = rows[..., ::2] + rows[..., 1::2]
        levels.append(total / total[:, 1:].clamp(min=1.0))
    filled = levels.pop()[:, :1]
    for level in reversed(levels):
        height, width = level.shape[-2:]
        finer = functional.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
        filled = torch.where(level[:, 1:] > 0, level[:, :1], finer[..., :height, :width])
    return filled[:, 0]


def camera_of(intrinsics: Tensor | CameraIntrinsics, depth_m: Tensor) -> Camera:
    """The cameras of a batch of depth images (B, H, W), from (B, 4) or one for all."""
    if isinstance(intrinsics, CameraIntrinsics):
        intrinsics = intrinsics_per_frame(intrinsics, depth_m)
    return Camera(*intrinsics.double()[:, :, None, None].unbind(1))


def intrinsics_per_frame(intrinsics: CameraIntrinsics, depth_m: Tensor) -> Tensor:
    """(B, 4) float64 fx, fy, cx, cy: one camera for all.

    Raises:
        FrameError: the intrinsics are for another image size.
    """
    batch, height, width = depth_m.shape
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise FrameError(
            f"depth is {width}x{height} but the intrinsics are for {intrinsics.width}x{intrinsics.height}: "
            "use those of this image, or CameraIntrinsics.scaled_to"
        )
    return constants((intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy), depth_m).repeat(batch, 1)


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """(N,) float64 on the device of ``like``, filled in there."""
    return torch.stack([torch.full((), value, dtype=torch.float64, device=like.device) for value in values])


def offsets(frames: Frames, stride: int) -> tuple[Tensor, Tensor]:
    """(B, 1, W / stride), (B, H / stride, 1) float64: u - cx and v - cy of every ``stride``-th pixel."""
    height, width = frames.z.shape[1:]
    u = torch.arange(0, width, stride, dtype=torch.float64, device=frames.z.device)
    v = torch.arange(0, height, stride, dtype=torch.float64, device=frames.z.device)
    return u - frames.camera.cx, v[:, None] - frames.camera.cy

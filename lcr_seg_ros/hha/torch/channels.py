"""Disparity, height and angle of a batch, once gravity is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lcr_seg_ros.hha import definition as hha
from lcr_seg_ros.hha.floor import first_sample
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.torch.coarse import smoothed_inverse
from lcr_seg_ros.hha.torch.frames import Frames, offsets
from lcr_seg_ros.hha.torch.planes import moments, planes


def channels_of(frames: Frames, down: Tensor, camera_height_m: Tensor | None, settings: HhaSettings) -> Tensor:
    """(B, 3, H, W) uint8."""
    # In float64, and with the scale as a tensor: torch would multiply a plain number by the reciprocal, which rounds
    # twice.
    depth_cm = frames.depth_m.double() * 100.0
    scale = torch.full((), hha.DISPARITY_SCALE, dtype=torch.float64, device=depth_cm.device)
    disparity = scale / depth_cm.clamp(min=hha.NEAREST_CM)
    height = height_cm(frames, down)
    above = height - _floor_cm(height, camera_height_m, settings)
    channels = (
        disparity,
        above.clamp(0.0, 255.0),
        _angle_deg(frames, smoothed_inverse(frames, settings), down) + hha.ANGLE_OFFSET,
    )
    rounded = torch.stack([(c + 0.5).clamp(max=255.0).to(torch.uint8) for c in channels], 1)
    return rounded * frames.any_known[:, None]


def height_cm(frames: Frames, down: Tensor) -> Tensor:
    """(B, H, W) float32 heights in cm relative to the camera."""
    camera = frames.camera
    right, below, ahead = down[:, :, None, None].unbind(1)
    offset_u, offset_v = offsets(frames, 1)
    of_column = (right * offset_u / camera.fx).float()
    of_row = (below * offset_v / camera.fy + ahead).float()
    return (of_column + of_row) * (frames.z * -100.0)


def _floor_cm(height: Tensor, camera_height_m: Tensor | None, settings: HhaSettings) -> Tensor:
    """(B, 1, 1) heights of the floors in cm relative to the camera, by the rules of :mod:`lcr_seg_ros.hha.floor`."""
    found = _found_floor_cm(height, settings)
    if camera_height_m is not None:  # a tensor's choice, not Python's, so that one CUDA graph does for both
        found = torch.where(camera_height_m.isnan(), found, (-100.0 * camera_height_m).float())
    return found[:, None, None]


def _found_floor_cm(height: Tensor, settings: HhaSettings) -> Tensor:
    """(B,) heights of the floors as ``settings.floor`` finds them."""
    if settings.floor == "robust":
        low = low_percentile(height)
        assumed = ((low - hha.SURE_FLOOR_CM) / (hha.LOWEST_FLOOR_CM - hha.SURE_FLOOR_CM)).clamp(0.0, 1.0)
        floor = low + assumed * (hha.ASSUMED_FLOOR_CM - low)
    else:
        lowest = height.amin((1, 2))
        floor = torch.where(lowest > hha.LOWEST_FLOOR_CM, hha.ASSUMED_FLOOR_CM, lowest)
    return floor


def low_percentile(height: Tensor) -> Tensor:
    """(B,) heights below which :data:`~lcr_seg_ros.hha.definition.FLOOR_SHARE` of the sampled pixels lie.

    Pixels and rank are the same as in the other executions.
    """
    first_row, first_column = first_sample(height.shape[1:])
    sample = height[:, first_row :: hha.FLOOR_STRIDE, first_column :: hha.FLOOR_STRIDE].flatten(1)
    rank = math.floor(hha.FLOOR_SHARE * sample.shape[1])
    return sample.topk(rank + 1, largest=False, sorted=False).values.amax(1)


def _angle_deg(frames: Frames, inverse: Tensor, down: Tensor) -> Tensor:
    """(B, H, W) float32 degrees between the normals of the 7x7 windows of ``inverse`` and gravity."""
    fx, fy = frames.camera.fx.float(), frames.camera.fy.float()
    # 49 * 196 * 196 < 2^24: the moments of these masks and their determinant are exact in float32.
    a, b, c, is_there = planes(moments(inverse, frames.measured, hha.ANGLE_RADIUS, 1))
    offset_u, offset_v = (offset.float() for offset in offsets(frames, 1))
    x, y, z = fx * a, fy * b, c - a * offset_u - b * offset_v
    right, below, ahead = down.float()[:, :, None, None].unbind(1)
    square = x * x + y * y + z * z
    cosine = (right * x + below * y + ahead * z) / torch.where(c < 0, -1.0, 1.0) / square.sqrt()
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0)))
    return torch.where(is_there & (square > 0), angle, hha.NO_NORMAL_DEG)

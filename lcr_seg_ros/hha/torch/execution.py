"""The steps of :class:`~lcr_seg_ros.hha.encoder.HhaEncoder` for single frames, in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha.evidence import (
    ALIGNED_DEG,
    AZIMUTH_BINS,
    OBSERVED_DEG,
    GravityEvidence,
    evidence_of_counts,
    horizontal_axes,
)
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.torch.channels import channels_of, height_cm, low_percentile
from lcr_seg_ros.hha.torch.frames import camera_of, load_frames
from lcr_seg_ros.hha.torch.gravity import estimate, gravity_normals


class TorchExecution:
    """The :class:`~lcr_seg_ros.hha.encoder.Execution` in PyTorch: one frame at a time, on the GPU if there is one."""

    def __init__(self, settings: HhaSettings) -> None:
        self._settings = settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @torch.no_grad()
    def load(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> bool:
        depth = self._on_device(depth_m)[None]
        mask = None if valid is None else self._on_device(valid)[None]
        self._frames = load_frames(depth, camera_of(intrinsics, depth), mask, self._settings)
        self._normals: Tensor | None = None
        return bool(self._frames.any_known)

    @torch.no_grad()
    def gravity(self, start: npt.NDArray[np.float64], passes: Sequence[tuple[float, int]]) -> npt.NDArray[np.float64]:
        down = estimate(self._gravity_normals(), self._on_device(start)[None], passes)
        return np.asarray(down[0].cpu().numpy())

    @torch.no_grad()
    def evidence(self, down: npt.NDArray[np.float64]) -> GravityEvidence:
        axes = self._on_device(np.stack((down, *horizontal_axes(down))).astype(np.float32))
        normals = self._gravity_normals()[0]
        along, first, second = (axes[:, :, None] * normals).sum(1)
        is_there = (normals != 0).any(0)
        is_wall = is_there & (along.abs() < math.sin(math.radians(ALIGNED_DEG)))
        level = math.cos(math.radians(ALIGNED_DEG))
        azimuth = torch.floor(torch.atan2(second, first) * (AZIMUTH_BINS / (2 * math.pi))) % AZIMUTH_BINS
        walls = [is_wall & (azimuth == k) for k in range(AZIMUTH_BINS)]
        counts = torch.stack((is_there, along > level, along < -level, *walls)).sum(1).cpu().numpy()
        observed = math.radians(OBSERVED_DEG)
        sign = (along.abs() < math.sin(observed)).float() - (along.abs() > math.cos(observed)).float()
        scatter = ((normals * sign)[:, None] * normals[None]).sum(2).double().cpu().numpy()
        low_cm = low_percentile(height_cm(self._frames, self._on_device(down)[None]))
        return evidence_of_counts(
            int(counts[0]), int(counts[1]), int(counts[2]), counts[3:], scatter, -float(low_cm) / 100.0
        )

    @torch.no_grad()
    def channels(
        self, down: npt.NDArray[np.float64], camera_height_m: float | None, out: npt.NDArray[np.uint8]
    ) -> None:
        height = None if camera_height_m is None else self._frames.z.new_full((1,), camera_height_m)
        channels = channels_of(self._frames, self._on_device(down)[None], height, self._settings)
        out[:] = channels[0].permute(1, 2, 0).cpu().numpy()

    def _gravity_normals(self) -> Tensor:
        if self._normals is None:
            self._normals = gravity_normals(self._frames)
        return self._normals

    def _on_device(self, array: npt.NDArray[Any]) -> Tensor:
        # A copy: the array may be read-only or have negative strides, which tensors do not support.
        return torch.from_numpy(np.array(array, order="C")).to(self._device)

"""HHA of batches of depth images, as tensors in and tensors out."""

from __future__ import annotations

import torch
from torch import Tensor

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.torch.channels import channels_of
from lcr_seg_ros.hha.torch.frames import Camera, camera_of, constants, load_frames
from lcr_seg_ros.hha.torch.gravity import estimate, gravity_normals, normalised


class TorchHha:
    """HHA of batches of depth images.

    Args:
        settings: deviations from the reference, see :class:`~lcr_seg_ros.hha.HhaSettings`.
    """

    def __init__(self, settings: HhaSettings | None = None) -> None:
        self.settings = settings or HhaSettings()
        self._passes = self.settings.cold_passes

    @torch.no_grad()
    def encode_batch(
        self,
        depth_m: Tensor,
        intrinsics: Tensor | CameraIntrinsics,
        valid: Tensor | None = None,
        gravity: Tensor | None = None,
        camera_height_m: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch; the channels are those of :meth:`lcr_seg_ros.hha.HhaEncoder.encode`.

        All tensors are on one device. The values of arguments are never read on the host, and so are not checked.

        Args:
            depth_m: (B, H, W) float32 or float64, metres along the optical axis. 0, negative, NaN, Inf and
                values outside the range of the settings are holes.
            intrinsics: (B, 4) float, fx, fy, cx, cy in pixels, pixel centres at integers from 0; or one camera for
                the whole batch.
            valid: (B, H, W) bool, False where ``depth_m`` was filled in beforehand, which is ignored for normals.
            gravity: (B, 3) float, direction of gravity in the optical frame (x right, y down, z forward): it points
                down; any length > 0. Default: estimated.
            camera_height_m: (B,) float, height of each camera above the floor in metres, > 0; NaN: found by
                ``settings.floor``. Default: found for all.

        Returns:
            (B, 3, H, W) uint8: disparity, height, angle; all 0 for a frame without valid depth. And (B, 3) float64:
            unit vectors of the gravity that was used, pointing down; ``settings.upright`` where gravity was estimated
            and there were no normals.

        Raises:
            FrameError: a tensor has another shape or type, or the intrinsics are for another image size.
        """
        camera = _checked(depth_m, intrinsics, valid, gravity, camera_height_m)
        frames = load_frames(depth_m, camera, valid, self.settings)
        if gravity is None:
            start = constants(self.settings.upright, depth_m).expand(depth_m.shape[0], 3)
            down = estimate(gravity_normals(frames), normalised(start), self._passes)
        else:
            down = normalised(gravity.double())
        return channels_of(frames, down, camera_height_m, self.settings), down


def _checked(
    depth_m: Tensor,
    intrinsics: Tensor | CameraIntrinsics,
    valid: Tensor | None,
    gravity: Tensor | None,
    camera_height_m: Tensor | None,
) -> Camera:
    if depth_m.ndim != 3 or not depth_m.numel() or depth_m.dtype not in (torch.float32, torch.float64):
        raise FrameError(
            f"depth_m must be (B, H, W) float32 or float64 in metres, none of them 0, got {_kind(depth_m)}"
        )
    batch = depth_m.shape[0]
    if valid is not None and (valid.shape != depth_m.shape or valid.dtype != torch.bool):
        raise FrameError(f"valid must be {tuple(depth_m.shape)} bool like depth_m, got {_kind(valid)}")
    if gravity is not None and (gravity.shape != (batch, 3) or not gravity.is_floating_point()):
        raise FrameError(f"gravity must be ({batch}, 3) float, one direction per frame, got {_kind(gravity)}")
    if camera_height_m is not None and camera_height_m.shape != (batch,):
        raise FrameError(f"camera_height_m must be ({batch},), one per frame, got {_kind(camera_height_m)}")
    if not isinstance(intrinsics, CameraIntrinsics) and intrinsics.shape != (batch, 4):
        raise FrameError(f"intrinsics must be ({batch}, 4), fx fy cx cy per frame, got {_kind(intrinsics)}")
    return camera_of(intrinsics, depth_m)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"

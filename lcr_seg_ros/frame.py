"""A camera frame: one colour image, one depth image registered to it, and intrinsics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError

MAX_SIDE_PX = 16384
"""Longest accepted image side in pixels; checked before memory is allocated."""

FOCAL_RANGE_PX = (0.1, 1e6)
MAX_CENTER_PX = 10.0 * MAX_SIDE_PX
"""No real camera is outside these limits, where products of coordinates would overflow float32."""


@dataclass(frozen=True)
class CameraIntrinsics:
    """Pinhole intrinsics in pixels, for pixel centres at integer coordinates counted from 0.

    Args:
        fx, fy: focal lengths, within :data:`FOCAL_RANGE_PX`.
        cx, cy: principal point, at most :data:`MAX_CENTER_PX` from 0.
        width, height: image size that the other four belong to.

    Raises:
        FrameError: a value is not finite or out of range.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy]).all() or self.fx <= 0 or self.fy <= 0:
            raise FrameError(
                f"intrinsics need finite values and fx, fy > 0, got fx={self.fx}, fy={self.fy}, "
                f"cx={self.cx}, cy={self.cy}: is the camera calibrated (K in camera_info is all 0 if not)?"
            )
        low, high = FOCAL_RANGE_PX
        if not (low <= min(self.fx, self.fy) and max(self.fx, self.fy) <= high) or (
            max(abs(self.cx), abs(self.cy)) > MAX_CENTER_PX
        ):
            raise FrameError(
                f"no camera has such intrinsics: fx={self.fx:g}, fy={self.fy:g} (px, {low:g}..{high:g}), "
                f"cx={self.cx:g}, cy={self.cy:g} (px, at most {MAX_CENTER_PX:g} from 0); correct its calibration"
            )
        if not (0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX):
            raise FrameError(f"image size must be 1..{MAX_SIDE_PX} px a side, got {self.width}x{self.height}")

    def scaled_to(self, width: int, height: int) -> CameraIntrinsics:
        """The same camera after its image is resized to ``width`` x ``height`` px.

        Pixel centres are at integers, so that the image spans -0.5 .. width - 0.5; the principal point is scaled
        relative to the image's edge at -0.5.
        """
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        return CameraIntrinsics(
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def sampled_to(self, width: int, height: int) -> CameraIntrinsics:
        """The same camera after :func:`sample_depth` has shrunk its image to ``width`` x ``height`` px.

        This differs from :meth:`scaled_to`: of two pixels equally near the middle of an output pixel, the second is
        sampled, which lies half a pixel beyond the middle.
        """
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = self.width / width, self.height / height
        return CameraIntrinsics(
            fx=self.fx / sx,
            fy=self.fy / sy,
            cx=(self.cx - _mean_offset(self.width, width)) / sx,
            cy=(self.cy - _mean_offset(self.height, height)) / sy,
            width=width,
            height=height,
        )


@dataclass(frozen=True)
class UnsizedIntrinsics:
    """Intrinsics of images whose size is not known yet, in pixels of those images.

    Args:
        fx, fy, cx, cy: as of :class:`CameraIntrinsics`.

    Raises:
        FrameError: a value is not finite or out of range.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        self.scaled_to(1, 1)  # checks the values, so that a typing error is reported before any image is read

    def scaled_to(self, width: int, height: int) -> CameraIntrinsics:
        """The camera whose images are ``width`` x ``height`` px; the values already refer to this size and stay."""
        return CameraIntrinsics(self.fx, self.fy, self.cx, self.cy, width, height)


@dataclass(frozen=True)
class RgbdFrame:
    """One colour image with the depth image registered to it.

    Args:
        rgb: (H, W, 3) uint8, red first.
        depth_m: (H, W) float32, distance along the optical axis in metres; a value that is not finite
            or not positive is a hole. None for a colour-only camera.
        intrinsics: of both images; may be None if depth is not used.
        gravity: (3,) direction of gravity in the optical frame (x right, y down, z forward; points down), if a
            sensor measures it. None: to be estimated from depth.
        camera_height_m: height of the camera above the floor in metres, if known.
        stamp_s: capture time in seconds, of any clock; used where gravity is tracked from frame to frame.
        hha: (H, W, 3) uint8, disparity, height and angle, if HHA was made elsewhere: a model that sees HHA gets it, in
            place of that of ``depth_m``.

    Raises:
        FrameError: other shapes or types, a side longer than :data:`MAX_SIDE_PX`, or sizes that differ.
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32] | None = None
    intrinsics: CameraIntrinsics | None = None
    gravity: npt.ArrayLike | None = None
    camera_height_m: float | None = None
    stamp_s: float | None = None
    hha: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise FrameError(f"rgb must be (H, W, 3) uint8, got {self.rgb.shape} {self.rgb.dtype}")
        height, width = self.rgb.shape[:2]
        if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
            raise FrameError(f"rgb must be 1..{MAX_SIDE_PX} px a side, got {width}x{height}")
        if self.depth_m is not None:
            if self.depth_m.ndim != 2 or self.depth_m.dtype != np.float32:
                raise FrameError(
                    f"depth_m must be (H, W) float32 in metres, got {self.depth_m.shape} {self.depth_m.dtype}"
                )
            if self.depth_m.shape != (height, width):
                raise FrameError(
                    f"rgb is {width}x{height} but depth is {self.depth_m.shape[1]}x{self.depth_m.shape[0]}: "
                    "use the depth topic that is registered (aligned) to colour"
                )
        if self.hha is not None:
            if self.hha.ndim != 3 or self.hha.shape[2] != 3 or self.hha.dtype != np.uint8:
                raise FrameError(f"hha must be (H, W, 3) uint8, got {self.hha.shape} {self.hha.dtype}")
            if self.hha.shape != self.rgb.shape:
                raise FrameError(
                    f"rgb is {width}x{height} but hha is {self.hha.shape[1]}x{self.hha.shape[0]}: take HHA of the size "
                    "of the colour image"
                )
        if self.intrinsics is not None and (self.intrinsics.width, self.intrinsics.height) != (width, height):
            raise FrameError(
                f"rgb is {width}x{height} but the intrinsics are for {self.intrinsics.width}x"
                f"{self.intrinsics.height}: use the camera_info that belongs to the colour topic"
            )


def sample_depth(
    depth: npt.NDArray[Any], intrinsics: CameraIntrinsics, size: tuple[int, int]
) -> tuple[npt.NDArray[Any], CameraIntrinsics]:
    """Shrink a depth image by taking the input pixel at the middle of each output pixel.

    Pixels are not averaged: an average across an edge is a distance at which there is nothing, and holes have no depth
    to average.

    Args:
        depth: (H, W) uint16 or float32.
        intrinsics: of ``depth``.
        size: (width, height) in pixels, at most (W, H).

    Returns:
        (height, width) depth of the same type and unit, and its intrinsics; both unchanged if the size is the same.
    """
    if (depth.shape[1], depth.shape[0]) == size:
        return depth, intrinsics
    rows, columns = _sampled(depth.shape[0], size[1]), _sampled(depth.shape[1], size[0])
    return depth[rows][:, columns], intrinsics.sampled_to(*size)


def _sampled(large: int, small: int) -> npt.NDArray[np.intp]:
    """(small,) indices of the pixels at the middle of each of ``small`` equal parts of a side of ``large`` pixels."""
    return (2 * np.arange(small) + 1) * large // (2 * small)


def _mean_offset(large: int, small: int) -> float:
    """Mean distance in pixels of the sampled pixels from the beginning of their part of the side."""
    return float((_sampled(large, small) - np.arange(small) * large / small).mean())


def depth_to_metres(depth: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Convert depth as cameras and files store it (REP-118) to metres.

    Args:
        depth: (H, W), uint16 in millimetres with 0 for a hole, or float32 or float64 in metres.

    Returns:
        (H, W) float32 metres. Holes stay what they are (0, NaN, Inf).

    Raises:
        FrameError: ``depth`` has another type or shape.
    """
    if depth.ndim != 2:
        raise FrameError(f"depth must be (H, W), got shape {depth.shape}")
    if depth.dtype == np.uint16:
        return depth.astype(np.float32) * np.float32(0.001)
    if depth.dtype in (np.float32, np.float64):
        return depth.astype(np.float32, copy=False)
    raise FrameError(f"depth must be uint16 millimetres or float metres, got {depth.dtype}")


def level_pose(down: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Pose of a camera at the origin of a world whose z points up; x is its horizontal viewing direction.

    Args:
        down: (3,) direction of gravity in the optical frame, of any length > 0.

    Returns:
        (4, 4) camera-to-world.
    """
    up = -np.asarray(down, np.float64) / np.linalg.norm(down)
    ahead = np.array([0.0, 0.0, 1.0])
    if abs(up[2]) > 0.999:  # looks straight up or down: x follows from the upper or lower edge of the image instead
        ahead = np.array([0.0, -1.0, 0.0]) * (1 if up[2] < 0 else -1)
    x = ahead - (ahead @ up) * up
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(up, x), up])
    return pose

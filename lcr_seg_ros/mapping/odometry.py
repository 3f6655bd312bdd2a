"""The pose of a depth camera from its own depth: OpenCV's odometry relative to keyframes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.mapping.settings import MapError

FloatArray = npt.NDArray[np.float64]

WORKING_WIDTH = 320
"""Pixels. With noisy depth, normals from every second pixel are better than from every pixel, and take a quarter of the
time."""

KEYFRAME_DISTANCE_M, KEYFRAME_ANGLE_DEG = 0.03, 1.5
"""A frame that is farther than this from the keyframe becomes the next keyframe. Errors accumulate from keyframe to
keyframe, not from frame to frame; beyond about 5 degrees, the alignment fails."""

MAX_STEP_M, MAX_STEP_DEG = 0.25, 15.0
"""A hand-held camera does not move farther than this from one frame to the next: a larger motion is an error."""

MIN_AGREEMENT = 0.5
"""Of the pixels that both frames see, at least this share must have the same depth."""
TOLERANCE = 0.05
"""Depths are the same if they differ by at most this share."""


@dataclass(frozen=True)
class OdometryState:
    """The state from which an odometry can resume: index and (4, 4) pose of the keyframe and of the last frame."""

    key_index: int
    key_pose: FloatArray
    last_index: int
    last_pose: FloatArray


class DepthOdometry:
    """Poses of consecutive depth images of one camera, by aligning each with a keyframe (projective point-to-plane).

    Colour is not used, so depth need not be registered to it. If the camera sees only a single plane, its motion along
    that plane cannot be determined; otherwise, poses drift by some millimetres per metre.

    Args:
        intrinsics: of the depth images.
        max_range: farther depth is ignored, in metres.
        pose: (4, 4) camera-to-world of the first image. Default: identity.

    Raises:
        MapError: the installed OpenCV has no odometry.
    """

    def __init__(self, intrinsics: CameraIntrinsics, max_range: float = 6.0, pose: npt.ArrayLike | None = None) -> None:
        require_odometry()
        self.intrinsics = intrinsics
        self.lost = 0
        """Number of images whose pose was not found."""
        self._start = np.eye(4) if pose is None else np.array(pose, np.float64)
        self._step = max(1, round(intrinsics.width / WORKING_WIDTH))
        small = cv2.OdometrySettings()
        small.setCameraMatrix(self._working_matrix().astype(np.float32))
        small.setMaxDepth(max_range)
        self._odometry = cv2.Odometry(cv2.OdometryType_DEPTH, small, cv2.OdometryAlgoType_FAST)
        self._max_range = max_range
        self._key: _View | None = None
        self._last: _View | None = None

    def track(self, depth_m: npt.NDArray[np.float32], index: int = 0) -> FloatArray | None:
        """Find the pose of the next image.

        Args:
            depth_m: (H, W) float32 metres; values that are not finite or not positive are holes.
            index: of the image, for :attr:`state`.

        Returns:
            (4, 4) camera-to-world; None if it was not found, because too little is in range or the camera moved too
            far. The next image is then compared with the last one whose pose was found.

        Raises:
            FrameError: the size is not that of the intrinsics.
        """
        view = self._view(depth_m, index)
        if self._key is None or self._last is None:
            view.pose = self._start
            self._key = self._last = view
            return view.pose.copy()
        pose = self._aligned(view, self._key)
        if pose is None and self._last is not self._key:
            pose = self._aligned(view, self._last)
            if pose is not None:
                self._key = self._last
        if pose is None:
            self.lost += 1
            return None
        view.pose = pose
        self._last = view
        if not _is_within(np.linalg.inv(self._key.pose) @ pose, KEYFRAME_DISTANCE_M, KEYFRAME_ANGLE_DEG):
            self._key = view
        return pose.copy()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images in pixels."""
        return self.intrinsics.height, self.intrinsics.width

    @property
    def pose(self) -> FloatArray:
        """(4, 4) camera-to-world of the last image whose pose was found; before the first image, the initial pose."""
        return (self._start if self._last is None else self._last.pose).copy()

    @property
    def state(self) -> OdometryState | None:
        """The state from which :meth:`resume` continues; None before the first image."""
        if self._key is None or self._last is None:
            return None
        return OdometryState(self._key.index, self._key.pose, self._last.index, self._last.pose)

    def resume(
        self, state: OdometryState, key_depth_m: npt.NDArray[np.float32], last_depth_m: npt.NDArray[np.float32]
    ) -> None:
        """Continue from a state, given its two depth images, (H, W) float32 metres."""
        self._key = self._view(key_depth_m, state.key_index, state.key_pose)
        one = state.key_index == state.last_index
        self._last = self._key if one else self._view(last_depth_m, state.last_index, state.last_pose)

    def _working_matrix(self) -> FloatArray:
        k, s = self.intrinsics, self._step
        return np.array([[k.fx / s, 0, k.cx / s], [0, k.fy / s, k.cy / s], [0, 0, 1]])

    def _view(self, depth_m: npt.NDArray[np.float32], index: int, pose: FloatArray | None = None) -> _View:
        (height, width), (own_height, own_width) = depth_m.shape, self.size
        if (height, width) != self.size:
            raise FrameError(f"odometry is for depth of {own_width}x{own_height}, got {width}x{height}")
        small = depth_m[:: self._step, :: self._step]
        small = np.where((small > 0) & (small <= self._max_range), small, np.float32(np.nan))
        return _View(index, small, cv2.OdometryFrame(small), np.eye(4) if pose is None else pose)

    def _aligned(self, view: _View, other: _View) -> FloatArray | None:
        """The pose of a view from its alignment with another one; None if that is not plausible."""
        assert self._last is not None
        try:
            self._odometry.prepareFrames(view.frame, other.frame)
            found, motion = self._odometry.compute(view.frame, other.frame)
        except cv2.error:  # e.g. no pixel in range
            return None
        motion = np.asarray(motion, np.float64)
        if not found or motion.shape != (4, 4) or not np.isfinite(motion).all():
            return None
        pose = other.pose @ motion
        if not _is_within(np.linalg.inv(self._last.pose) @ pose, MAX_STEP_M, MAX_STEP_DEG):
            return None
        if agreement(view.depth_m, other.depth_m, motion, self._working_matrix()) < MIN_AGREEMENT:
            return None
        return pose  # type: ignore[no-any-return]


def require_odometry() -> None:
    """Check that the installed OpenCV can estimate motion from depth.

    Raises:
        MapError: it has no odometry.
    """
    if not hasattr(cv2, "OdometrySettings"):
        raise MapError(
            f"camera motion from depth needs OpenCV 5 or newer, here is {cv2.__version__}: "
            "pip install 'lcr_seg_ros[map]', or give the poses"
        )


@dataclass
class _View:
    index: int
    depth_m: npt.NDArray[np.float32]
    frame: Any
    pose: FloatArray


def agreement(
    depth_m: npt.NDArray[np.float32], other_m: npt.NDArray[np.float32], motion: FloatArray, matrix: FloatArray
) -> float:
    """How well two depth images agree.

    Args:
        depth_m, other_m: (H, W) float32 metres, NaN where there is none.
        motion: (4, 4) pose of the camera of ``depth_m`` in the optical frame of the other one.
        matrix: (3, 3) camera matrix of both.

    Returns:
        Share of the pixels seen by both that have the same depth within :data:`TOLERANCE`, 0..1; 0 if fewer than 100
        of the sampled pixels (every fourth row and column) are seen by both.
    """
    rows, columns = np.mgrid[0 : depth_m.shape[0] : 4, 0 : depth_m.shape[1] : 4]
    z = depth_m[::4, ::4]
    known = np.isfinite(z)
    z = z[known].astype(np.float64)
    rays = np.linalg.inv(matrix) @ np.stack([columns[known], rows[known], np.ones(len(z))])
    x, y, depth = motion[:3, :3] @ (rays * z) + motion[:3, 3:]
    ahead = depth > 0.1
    x, y, depth = x[ahead], y[ahead], depth[ahead]
    u = np.rint(matrix[0, 0] * x / depth + matrix[0, 2]).astype(np.int64)
    v = np.rint(matrix[1, 1] * y / depth + matrix[1, 2]).astype(np.int64)
    inside = (u >= 0) & (u < other_m.shape[1]) & (v >= 0) & (v < other_m.shape[0])
    seen = other_m[v[inside], u[inside]]
    both = np.isfinite(seen)
    if np.count_nonzero(both) < 100:
        return 0.0
    return float(np.mean(np.abs(seen[both] - depth[inside][both]) <= TOLERANCE * depth[inside][both]))


def _is_within(motion: FloatArray, distance_m: float, angle_deg: float) -> bool:
    cosine = (np.trace(motion[:3, :3]) - 1) / 2
    angle = math.degrees(math.acos(min(1.0, max(-1.0, float(cosine)))))
    return float(np.linalg.norm(motion[:3, 3])) <= distance_m and angle <= angle_deg

"""The entry point of HHA: checks the input, determines gravity, and passes the frame to the chosen execution."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, CameraIntrinsics
from lcr_seg_ros.hha.bands import MOST_THREADS, usable_threads
from lcr_seg_ros.hha.evidence import GravityEvidence
from lcr_seg_ros.hha.gravity import GravityEstimate, angle_deg, unit_direction
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.tracking import GravityFit, GravityTracker

MODES = ("exact", "fast", "torch")

NO_DEPTH = "no depth is valid"
"""The doubt about gravity in a frame that holds no evidence for or against it."""

Vector = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


class Execution(Protocol):
    """An implementation of HHA. It works on one frame at a time; ``load`` comes first, ``channels`` last."""

    def load(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> bool:
        """Load a frame and fill its holes; False if no pixel is valid. Arguments as in :meth:`HhaEncoder.encode`."""

    def gravity(self, start: Vector, passes: Sequence[tuple[float, int]]) -> Vector:
        """Estimate gravity in the loaded frame, see :func:`lcr_seg_ros.hha.gravity.estimate`."""

    def evidence(self, down: Vector) -> GravityEvidence:
        """The evidence in the loaded frame for or against an estimate of gravity."""

    def channels(self, down: Vector, camera_height_m: float | None, out: Image) -> None:
        """Write the (H, W, 3) uint8 HHA image of the loaded frame into ``out``."""


@dataclass(frozen=True)
class HhaImage:
    """``image``: (H, W, 3) uint8 HHA. ``gravity``: the direction it was computed with, and whether to trust it."""

    image: npt.NDArray[np.uint8]
    gravity: GravityEstimate


class HhaEncoder:
    """Turns depth images into HHA images (Gupta et al., CVPR 2013, ECCV 2014).

    Args:
        mode: "exact" is the MATLAB reference in float64; "fast" is the same in float32 on the CPU at camera
            rate (compiled on the first frame, which takes seconds once); "torch" is the same in PyTorch, for a GPU.
        settings: deviations from the reference, see :class:`~lcr_seg_ros.hha.HhaSettings`.
        num_threads: threads of "fast" that share the rows of a frame, at most 4; the result does not depend on it. 0:
            as many as there are processors for this process.

    Without a tracker, the result depends on the arguments alone, never on earlier frames. An encoder may be called from
    several threads, which then take turns, and can be pickled for other processes.

    Raises:
        FrameError: an unknown mode, or a number of threads below 0.
    """

    def __init__(self, mode: str = "fast", settings: HhaSettings | None = None, num_threads: int = 1) -> None:
        if num_threads < 0:
            raise FrameError(f"num_threads must be 0 or more, got {num_threads}")
        self.mode = mode
        self.settings = settings or HhaSettings()
        self._num_threads = min(num_threads, MOST_THREADS) or usable_threads()
        self._execution = _execution(mode, self.settings, self._num_threads)
        self._upright = unit_direction(self.settings.upright)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[HhaEncoder], tuple[str, HhaSettings, int]]:
        return HhaEncoder, (self.mode, self.settings, self._num_threads)

    def encode(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None = None,
        gravity: npt.ArrayLike | None = None,
        camera_height_m: float | None = None,
        out: Image | None = None,
    ) -> Image:
        """Encode one depth image.

        Args:
            depth_m: (H, W) float32 or float64, metres along the optical axis. 0, negative, NaN, Inf and
                values outside the range of the settings are holes: they are filled smoothly for disparity and
                height, and ignored for normals.
            intrinsics: of the depth image, pixel centres at integers from 0.
            valid: (H, W) bool, False where ``depth_m`` was filled in beforehand: that depth is used as it
                is for disparity and height, and ignored for normals. Default: every pixel that is not a hole.
            gravity: (3,) direction of gravity in the camera's optical frame (x right, y down, z forward):
                it points **down**, (0, 1, 0) for an upright camera; any positive length. Default:
                estimated from the normals, which works up to about 45 degrees away from ``settings.upright``.
            camera_height_m: height of the camera above the floor in metres, > 0. Default: found by
                ``settings.floor``.
            out: (H, W, 3) uint8, contiguous and writeable, to write the result into. Default: a new array.

        Returns:
            (H, W, 3) uint8: disparity 31000 / max(Z, 100) with Z in cm; height above the floor in
            cm; angle between the surface normal and gravity in degrees + 38 (floor 38, wall 128, ceiling
            218; 218 also where there is no normal). Rounded half up, saturated. All 0 if no depth is valid.

        Raises:
            FrameError: an array has another shape or type, gravity has no direction, or the height is not > 0.
        """
        down, image = self._checked(depth_m, intrinsics, valid, gravity, camera_height_m, out)
        with self._lock:
            if not self._execution.load(depth_m, intrinsics, valid):
                image[:] = 0
                return image
            if down is None:
                down = self._execution.gravity(self._upright, self.settings.cold_passes)
            self._execution.channels(down, camera_height_m, image)
        return image

    def encode_frame(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None = None,
        gravity: npt.ArrayLike | None = None,
        camera_height_m: float | None = None,
        tracker: GravityTracker | None = None,
        stamp_s: float | None = None,
        out: Image | None = None,
    ) -> HhaImage:
        """As :meth:`encode`, and also returns which gravity was used and whether to trust it.

        Args:
            depth_m, intrinsics, valid, gravity, camera_height_m, out: as for :meth:`encode`; a given gravity is
                trusted.
            tracker: memory of this camera's gravity, used and updated if gravity is estimated. Default: the frame is
                considered on its own.
            stamp_s: capture time of the frame in seconds, for the tracker.

        Raises:
            FrameError: as :meth:`encode`.
        """
        down, image = self._checked(depth_m, intrinsics, valid, gravity, camera_height_m, out)
        with self._lock:
            if not self._execution.load(depth_m, intrinsics, valid):
                image[:] = 0
                return HhaImage(image, GravityEstimate(self._upright_of(tracker) if down is None else down, NO_DEPTH))
            estimate = GravityEstimate(down) if down is not None else self._estimate(camera_height_m, tracker, stamp_s)
            self._execution.channels(estimate.down, camera_height_m, image)
        return HhaImage(image, estimate)

    def find_gravity(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        gravity: npt.ArrayLike | None = None,
        camera_height_m: float | None = None,
        tracker: GravityTracker | None = None,
        stamp_s: float | None = None,
    ) -> GravityEstimate:
        """The gravity that :meth:`encode_frame` would use, for callers that compute the image elsewhere.

        Arguments and errors are the same.
        """
        _check(depth_m, intrinsics, None)
        _check_height(camera_height_m)
        if gravity is not None:  # then it only matters whether any depth is valid
            is_known = (depth_m >= self.settings.min_depth_m) & (depth_m <= self.settings.max_depth_m)
            return GravityEstimate(unit_direction(gravity), "" if is_known.any() else NO_DEPTH)
        with self._lock:
            if not self._execution.load(depth_m, intrinsics, None):
                return GravityEstimate(self._upright_of(tracker), NO_DEPTH)
            return self._estimate(camera_height_m, tracker, stamp_s)

    def estimate_gravity(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> Vector:
        """The direction of gravity that :meth:`encode` estimates from this depth image.

        Arguments and errors are the same.

        Returns:
            (3,) float64 unit vector in the camera's optical frame, pointing down; ``settings.upright`` if there
            are no surfaces to estimate it from.
        """
        _check(depth_m, intrinsics, valid)
        with self._lock:
            if not self._execution.load(depth_m, intrinsics, valid):
                return self._upright.copy()
            return self._execution.gravity(self._upright, self.settings.cold_passes)

    def _estimate(
        self, camera_height_m: float | None, tracker: GravityTracker | None, stamp_s: float | None
    ) -> GravityEstimate:
        """Estimate gravity in the loaded frame."""
        upright = self._upright_of(tracker)

        def fit(start: Vector | None) -> GravityFit:
            if start is None:
                down = self._execution.gravity(upright, self.settings.cold_passes)
            else:
                down = self._execution.gravity(start, self.settings.warm_passes)
            return GravityFit(down, self._execution.evidence(down))

        def tilt_deg(down: Vector) -> float:
            return angle_deg(down, upright)

        if tracker is not None:
            return tracker.follow(fit, tilt_deg, stamp_s, camera_height_m)
        cold = fit(None)
        return GravityEstimate(cold.down, cold.evidence.doubt(tilt_deg(cold.down), camera_height_m))

    def _upright_of(self, tracker: GravityTracker | None) -> Vector:
        return self._upright if tracker is None or tracker.upright is None else tracker.upright

    def _checked(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None,
        gravity: npt.ArrayLike | None,
        camera_height_m: float | None,
        out: Image | None,
    ) -> tuple[Vector | None, Image]:
        _check(depth_m, intrinsics, valid)
        _check_height(camera_height_m)
        shape = (*depth_m.shape, 3)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
            raise FrameError(f"out must be {shape} uint8, contiguous and writeable, got {_kind(out)}")
        return None if gravity is None else unit_direction(gravity), out


def _execution(mode: str, settings: HhaSettings, num_threads: int) -> Execution:
    if mode == "exact":
        from lcr_seg_ros.hha.exact import ExactHha

        return ExactHha(settings)
    if mode == "fast":
        from lcr_seg_ros.hha.fast import FastHha

        return FastHha(settings, num_threads)
    if mode == "torch":
        from lcr_seg_ros.hha.torch.execution import TorchExecution

        return TorchExecution(settings)
    raise FrameError(f"HHA mode must be one of {', '.join(MODES)}, got {mode!r}")


def _check(
    depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
) -> None:
    if not isinstance(depth_m, np.ndarray) or depth_m.ndim != 2 or depth_m.dtype not in (np.float32, np.float64):
        raise FrameError(
            f"depth_m must be (H, W) float32 or float64 in metres, got {_kind(depth_m)}: "
            "convert camera depth with lcr_seg_ros.frame.depth_to_metres"
        )
    height, width = depth_m.shape
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise FrameError(f"depth_m must be 1..{MAX_SIDE_PX} px a side, got {width}x{height}")
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise FrameError(
            f"depth is {width}x{height} but the intrinsics are for {intrinsics.width}x{intrinsics.height}: "
            "use those of this image, or CameraIntrinsics.scaled_to"
        )
    if valid is not None and (
        not isinstance(valid, np.ndarray) or valid.shape != depth_m.shape or valid.dtype != np.bool_
    ):
        raise FrameError(f"valid must be {depth_m.shape} bool like depth_m, got {_kind(valid)}")


def _check_height(camera_height_m: float | None) -> None:
    if camera_height_m is not None and not 0 < camera_height_m < math.inf:
        raise FrameError(f"camera_height_m must be > 0, got {camera_height_m!r}: leave it out if it is not known")


def _kind(value: object) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__

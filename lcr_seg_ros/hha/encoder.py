"""The one door to HHA: checks the input, fills its holes, and hands it to the chosen implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, CameraIntrinsics
from lcr_seg_ros.hha import exact

MODES = ("exact", "fast")


class HhaEncoder:
    """Turns depth images into HHA images (Gupta et al., CVPR 2013, ECCV 2014).

    Args:
        mode: "exact" is the MATLAB reference in float64; "fast" is the same in float32 at camera rate,
            with gravity from every fourth normal (compiled on the first frame, which takes seconds once).

    The result depends on the arguments of :meth:`encode` alone, never on frames that came before. May be
    called from several threads, which then take turns, and sent to other processes.

    Raises:
        FrameError: an unknown mode.
    """

    def __init__(self, mode: str = "fast") -> None:
        self.mode = mode
        self._implementation: Any
        if mode == "exact":
            self._implementation = exact
        elif mode == "fast":
            from lcr_seg_ros.hha.fast import FastHha

            self._implementation = FastHha()
        else:
            raise FrameError(f"HHA mode must be one of {', '.join(MODES)}, got {mode!r}")

    def __reduce__(self) -> tuple[type[HhaEncoder], tuple[str]]:
        return HhaEncoder, (self.mode,)

    def encode(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None = None,
        gravity: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Encode one depth image.

        Args:
            depth_m: (H, W) float32 or float64, metres along the optical axis. 0, negative, NaN, Inf and
                values outside 1 mm .. 1 km are holes: they are filled smoothly for disparity and height,
                and take no part in normals.
            intrinsics: of the depth image, pixel centres at integers from 0.
            valid: (H, W) bool, False where ``depth_m`` was filled in beforehand: that depth is used as it
                is, but takes no part in normals. Default: every pixel that is not a hole.
            gravity: (3,) direction of gravity in the camera's optical frame (x right, y down, z forward):
                it points **down**, (0, 1, 0) for an upright camera; any positive length. Default:
                estimated from the normals, which works up to about 45 degrees of pitch or roll.

        Returns:
            (H, W, 3) uint8: disparity 31000 / max(Z, 100) with Z in cm; height above the lowest point in
            cm; angle between the surface normal and gravity in degrees + 38 (floor 38, wall 128, ceiling
            218; 218 also where there is no normal). Rounded half up, saturated. All 0 if no depth is valid.

        Raises:
            FrameError: arrays of another shape or type, or a gravity that has no direction.
        """
        _check(depth_m, intrinsics, valid)
        down = _direction(gravity)
        return self._implementation.encode(depth_m, intrinsics, valid, down)

    def estimate_gravity(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.float64]:
        """The direction of gravity that :meth:`encode` estimates from this depth image.

        Arguments and errors as there.

        Returns:
            (3,) float64 unit vector in the camera's optical frame, pointing down; (0, 1, 0) where there
            are no surfaces to estimate it from.
        """
        _check(depth_m, intrinsics, valid)
        return self._implementation.gravity_of_depth(depth_m, intrinsics, valid)


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


def _direction(gravity: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
    if gravity is None:
        return None
    try:
        down = np.asarray(gravity, np.float64)
    except (TypeError, ValueError) as error:
        raise FrameError(f"gravity must be three numbers, got {gravity!r}") from error
    if down.shape != (3,) or not np.isfinite(down).all():
        raise FrameError(f"gravity must be three finite numbers (x right, y down, z forward), got {gravity!r}")
    largest = float(np.abs(down).max())
    if largest < 1e-9:
        raise FrameError(f"gravity must point somewhere, got {gravity!r}")
    down = down / largest  # first, so that no length overflows
    return down / np.linalg.norm(down)


def _kind(value: object) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__

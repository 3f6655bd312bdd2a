"""The crop of NYU Depth V2 frames without their white border, which other projects train and score on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.frame import CameraIntrinsics


@dataclass(frozen=True)
class Window:
    """A rectangle in an image, in pixels counted from 0."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of an (H, W, ...) image inside the window, contiguous in memory."""
        return np.ascontiguousarray(image[self.top : self.top + self.height, self.left : self.left + self.width])

    def of_camera(self, camera: CameraIntrinsics) -> CameraIntrinsics:
        """The intrinsics of that part."""
        return CameraIntrinsics(
            camera.fx, camera.fy, camera.cx - self.left, camera.cy - self.top, self.width, self.height
        )


NYUDV2_WINDOW = Window(top=45, left=40, height=425, width=560)
"""Rows 46..470 and columns 41..600, counted from 1, of a 640x480 frame of NYU Depth V2.

Gupta et al. (CVPR 2013) and the FCN authors crop their frames like this, to remove the white border that rectifying the
colour image leaves.
"""

NYUDV2_SHAPE = (480, 640)
"""Height and width of the frames that this window belongs to."""

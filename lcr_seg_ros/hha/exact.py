"""HHA in float64, equal to the MATLAB reference (s-gupta/rcnn-depth and rgbdutils) level for level.

The reference fits normals by least squares to n.(x', y', 1) = 1/Z with x' = (u - cx) / fx. On the same pixels, this
is equivalent to a fit of 1/Z = a du + b dv + c in window-centred pixel coordinates. The moments of that fit are
integers, so a window is singular exactly if their determinant is 0; there, the reference returns rounding noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import coarse
from lcr_seg_ros.hha import definition as hha
from lcr_seg_ros.hha.evidence import GravityEvidence, evidence_of_normals
from lcr_seg_ros.hha.floor import floor_by_percentile, floor_by_reference, low_percentile, sampled
from lcr_seg_ros.hha.gravity import estimate, scatter_of
from lcr_seg_ros.hha.holes import push_pull
from lcr_seg_ros.hha.settings import HhaSettings

Image = npt.NDArray[np.float64]


class ExactHha:
    """The reference, one frame at a time (an :class:`~lcr_seg_ros.hha.encoder.Execution`)."""

    def __init__(self, settings: HhaSettings) -> None:
        self._settings = settings

    def load(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> bool:
        known = (depth_m >= self._settings.min_depth_m) & (depth_m <= self._settings.max_depth_m)
        if not known.any():
            return False
        self._intrinsics = intrinsics
        self._depth_cm = push_pull(depth_m.astype(np.float64), known) * 100.0
        self._inverse = 1.0 / self._depth_cm
        self._measured = known if valid is None else known & valid
        self._gravity_normals: Image | None = None
        return True

    def gravity(self, start: Image, passes: Sequence[tuple[float, int]]) -> Image:
        return estimate(scatter_of(self._normals_for_gravity()), start, passes)

    def evidence(self, down: Image) -> GravityEvidence:
        low_cm = low_percentile(sampled(_height_cm(self._depth_cm, self._intrinsics, down)))
        return evidence_of_normals(self._normals_for_gravity(), down, -low_cm / 100.0)

    def channels(self, down: Image, camera_height_m: float | None, out: npt.NDArray[np.uint8]) -> None:
        height = _height_cm(self._depth_cm, self._intrinsics, down)
        channels = (
            hha.DISPARITY_SCALE / np.maximum(self._depth_cm, hha.NEAREST_CM),
            np.maximum(height - self._floor_cm(height, camera_height_m), 0.0),
            _angle_deg(self._smoothed_inverse(), self._measured, self._intrinsics, down) + hha.ANGLE_OFFSET,
        )
        # All channels are >= 0, where floor(x + 0.5) rounds half away from zero as MATLAB does.
        for k, channel in enumerate(channels):
            out[..., k] = np.minimum(np.floor(channel + 0.5), 255.0)

    def _smoothed_inverse(self) -> Image:
        if self._settings.smoothing == "off":
            return self._inverse
        depth_m = self._depth_cm / 100.0
        steps = coarse.steps_of_counts(coarse.count_steps(depth_m, self._measured))
        gates = coarse.gates_m(steps, self._settings.smoothing)
        return 0.01 / coarse.smooth(depth_m, self._measured, gates) if gates.any() else self._inverse

    def _normals_for_gravity(self) -> Image:
        if self._gravity_normals is None:
            normals = _normals(self._inverse, self._measured, self._intrinsics, hha.GRAVITY_RADIUS).reshape(3, -1)
            self._gravity_normals = np.ascontiguousarray(normals[:, np.isfinite(normals[0])])
        return self._gravity_normals

    def _floor_cm(self, height: Image, camera_height_m: float | None) -> float:
        if camera_height_m is not None:
            return -100.0 * camera_height_m
        if self._settings.floor == "robust":
            return floor_by_percentile(low_percentile(sampled(height)))
        return floor_by_reference(float(height.min()))


def _height_cm(depth_cm: Image, intrinsics: CameraIntrinsics, gravity: Image) -> Image:
    u, v = _pixels(depth_cm.shape)
    ray_down = gravity[0] * (u - intrinsics.cx) / intrinsics.fx + gravity[1] * (v - intrinsics.cy) / intrinsics.fy
    return -(ray_down + gravity[2]) * depth_cm


def _angle_deg(inverse: Image, measured: npt.NDArray[np.bool_], intrinsics: CameraIntrinsics, gravity: Image) -> Image:
    normals = _normals(inverse, measured, intrinsics, hha.ANGLE_RADIUS)
    cosine = gravity[0] * normals[0] + gravity[1] * normals[1] + gravity[2] * normals[2]
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return np.where(np.isnan(angle), hha.NO_NORMAL_DEG, angle)


def _normals(inverse: Image, measured: npt.NDArray[np.bool_], intrinsics: CameraIntrinsics, radius: int) -> Image:
    """Unit normals pointing away from the camera, by a least-squares plane over each square window.

    Args:
        inverse: (H, W) 1/Z.
        measured: (H, W) bool, the pixels that are used.
        intrinsics: of the image.
        radius: windows have sides of 2 radius + 1 pixels and are cut at the image border.

    Returns:
        (3, H, W) float64, NaN where the window has fewer than three measured pixels or only collinear ones.
    """
    u, v = _pixels(inverse.shape)
    weight = measured.astype(np.float64)
    weighted = weight * inverse
    # Moments in image coordinates, shifted to the window's centre. Those of the mask are integers, hence exact.
    n = _window_sum(weight, radius)
    su, sv = _window_sum(weight * u, radius), _window_sum(weight * v, radius)
    sd = _window_sum(weighted, radius)
    suu = _window_sum(weight * u * u, radius) - u * (2.0 * su - u * n)
    svv = _window_sum(weight * v * v, radius) - v * (2.0 * sv - v * n)
    suv = _window_sum(weight * u * v, radius) - u * sv - v * su + u * v * n
    sud = _window_sum(weighted * u, radius) - u * sd
    svd = _window_sum(weighted * v, radius) - v * sd
    su, sv = su - u * n, sv - v * n
    # Solve [suu suv su; suv svv sv; su sv n] (a, b, c) = (sud, svd, sd) by the adjugate. The division by the
    # determinant is left out: it is >= 0, and only the normal's direction matters.
    i11, i12, i13 = svv * n - sv * sv, su * sv - suv * n, suv * sv - su * svv
    i22, i23, i33 = suu * n - su * su, suv * su - suu * sv, suu * svv - suv * suv
    determinant = suu * i11 + suv * i12 + su * i13
    a = i11 * sud + i12 * svd + i13 * sd
    b = i12 * sud + i22 * svd + i23 * sd
    c = i13 * sud + i23 * svd + i33 * sd
    normals = np.stack(
        [
            intrinsics.fx * a,
            intrinsics.fy * b,
            c - a * (u - intrinsics.cx) - b * (v - intrinsics.cy),
        ]
    )
    # c is 1/Z of the plane at the window's centre, so it has the sign of n.P there.
    length = np.sqrt((normals**2).sum(axis=0)) * np.where(c < 0, -1.0, 1.0)
    length[(determinant <= 0) | (length == 0)] = np.nan
    return normals / length


def _window_sum(image: Image, radius: int) -> Image:
    side = 2 * radius + 1
    return cv2.boxFilter(image, cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)


def _pixels(shape: tuple[int, ...]) -> tuple[Image, Image]:
    height, width = shape
    return np.arange(width, dtype=np.float64)[None, :], np.arange(height, dtype=np.float64)[:, None]

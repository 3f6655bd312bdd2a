"""HHA at camera rate: the channels of :mod:`lcr_seg_ros.hha.exact` in float32 on one CPU core.

It differs from exact in precision and in where gravity is estimated: on every other pixel of every other row.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import definition as hha
from lcr_seg_ros.hha import kernels
from lcr_seg_ros.hha.gravity import estimate

GRAVITY_STRIDE = 2
"""Pixels between the normals that gravity is estimated from.

The estimate hangs on which normals pass a threshold, so a coarser grid moves it: over 67 NYUDv2 and
kitchen frames by at most 0.06 degrees at 2 (0.2 levels of height), 0.13 at 3, 0.47 at 4.
"""

Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
PAD = kernels.PAD


class FastHha:
    """Holds the buffers between frames of one size; results never depend on what was in them.

    One frame at a time: a second thread waits.
    """

    def __init__(self) -> None:
        self._buffers: _Buffers | None = None
        self._lock = threading.Lock()

    def encode(
        self,
        depth_m: npt.NDArray[np.floating],
        intrinsics: CameraIntrinsics,
        valid: npt.NDArray[np.bool_] | None,
        gravity: Vector | None,
    ) -> npt.NDArray[np.uint8]:
        """As :meth:`lcr_seg_ros.hha.HhaEncoder.encode`, for checked input and a gravity of unit length."""
        with self._lock:
            buffers = self._buffers_for(depth_m)
            if not _load(buffers, depth_m, valid):
                return np.zeros((*depth_m.shape, 3), np.uint8)
            down = _gravity(buffers, intrinsics) if gravity is None else gravity
            _height(buffers, intrinsics, down)
            _angle(buffers, intrinsics, down)
            return cv2.merge([buffers.disparity, buffers.height_cm, buffers.angle])

    def gravity_of_depth(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> Vector:
        """As :meth:`lcr_seg_ros.hha.HhaEncoder.estimate_gravity`, for checked input."""
        with self._lock:
            buffers = self._buffers_for(depth_m)
            if not _load(buffers, depth_m, valid):
                return np.array(hha.GRAVITY_START)
            return _gravity(buffers, intrinsics)

    def _buffers_for(self, depth_m: npt.NDArray[np.floating]) -> _Buffers:
        height, width = depth_m.shape
        if self._buffers is None or self._buffers.disparity.shape != depth_m.shape:
            self._buffers = _Buffers.of_size(width, height)
        return self._buffers


@dataclass(frozen=True)
class _Buffers:
    """Everything a frame of one size needs; padding is zero and stays so."""

    levels: list[tuple[Plane, Plane]]
    """Depth in metres and 1 / 0 where known: level 0 is the frame, each next one half the size, sides made even."""
    sizes: list[tuple[int, int]]
    """Height and width of each level without the padding that makes them even."""
    inverse: Plane
    measured: Plane
    columns: Plane
    column_sums: Vector
    row_sums: Vector
    normals: Plane
    disparity: npt.NDArray[np.uint8]
    height_cm: npt.NDArray[np.uint8]
    angle: npt.NDArray[np.uint8]

    @classmethod
    def of_size(cls, width: int, height: int) -> _Buffers:
        sizes = [(height, width)]
        while sizes[-1] != (1, 1):
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        return cls(
            levels=[(_zeros(h + h % 2, w + w % 2), _zeros(h + h % 2, w + w % 2)) for h, w in sizes],
            sizes=sizes,
            inverse=_zeros(height + 2 * PAD, width + 2 * PAD),
            measured=_zeros(height + 2 * PAD, width + 2 * PAD),
            columns=_zeros(5, width + 2 * PAD),
            column_sums=np.zeros((5, width + 2 * PAD)),
            row_sums=np.zeros((9, width + 2 * PAD + 1)),
            normals=np.zeros((3, -(-height // GRAVITY_STRIDE), -(-width // GRAVITY_STRIDE)), np.float32),
            disparity=np.zeros((height, width), np.uint8),
            height_cm=np.zeros((height, width), np.uint8),
            angle=np.zeros((height, width), np.uint8),
        )


def _load(buffers: _Buffers, depth_m: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_] | None) -> bool:
    """Fill holes, write the disparity channel and what windows are summed over; False if nothing is known."""
    depth = _frozen(depth_m)
    z, known = buffers.levels[0]
    number = kernels.ingest(depth, hha.MIN_DEPTH_M, hha.MAX_DEPTH_M, z, known)
    if number == 0:
        return False
    if number < depth.size:
        _fill_holes(buffers)
    mask = _frozen(np.zeros((1, 1), np.uint8) if valid is None else valid.view(np.uint8))
    kernels.disparity_and_inverse(
        depth, z, known, mask, valid is not None, buffers.disparity, buffers.inverse, buffers.measured
    )
    return True


def _fill_holes(buffers: _Buffers) -> None:
    """The push-pull pyramid of :mod:`lcr_seg_ros.hha.holes`, no deeper than there are holes."""
    top = 0
    unknown = 1
    while unknown:
        top += 1
        unknown = kernels.push(*buffers.levels[top - 1], *buffers.levels[top], *buffers.sizes[top])
    for level in range(top - 1, -1, -1):
        kernels.pull(
            buffers.levels[level + 1][0], *buffers.sizes[level + 1], *buffers.levels[level], *buffers.sizes[level]
        )


def _gravity(buffers: _Buffers, intrinsics: CameraIntrinsics) -> Vector:
    height, width = buffers.disparity.shape
    kernels.gravity_normals(
        buffers.inverse, buffers.measured, width, GRAVITY_STRIDE, float(intrinsics.fx), float(intrinsics.fy),
        np.arange(width, dtype=np.float64) - intrinsics.cx, np.arange(height, dtype=np.float64) - intrinsics.cy,
        buffers.column_sums, buffers.row_sums, buffers.normals,
    )  # fmt: skip

    def scatter(down: Vector, cos_t: float, sin_t: float) -> Vector:
        xx, xy, xz, yy, yz, zz = kernels.floor_wall_scatter(
            buffers.normals, down.astype(np.float32), np.float32(cos_t), np.float32(sin_t)
        )
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    return estimate(scatter)


def _height(buffers: _Buffers, intrinsics: CameraIntrinsics, down: Vector) -> None:
    height, width = buffers.disparity.shape
    of_column = (down[0] * (np.arange(width) - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    of_row = (down[1] * (np.arange(height) - intrinsics.cy) / intrinsics.fy + down[2]).astype(np.float32)
    z = buffers.levels[0][0]
    lowest = kernels.lowest_cm(z, height, width, of_column, of_row)
    floor = np.float32(hha.ASSUMED_FLOOR_CM if lowest > hha.LOWEST_FLOOR_CM else lowest)
    kernels.height_channel(z, height, width, of_column, of_row, floor, buffers.height_cm)


def _angle(buffers: _Buffers, intrinsics: CameraIntrinsics, down: Vector) -> None:
    height, width = buffers.disparity.shape
    kernels.angle_channel(
        buffers.inverse, buffers.measured, height, width, np.float32(intrinsics.fx), np.float32(intrinsics.fy),
        (np.arange(width) - intrinsics.cx).astype(np.float32), (np.arange(height) - intrinsics.cy).astype(np.float32),
        down.astype(np.float32), buffers.columns, buffers.angle,
    )  # fmt: skip


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read-only, contiguous and aligned: one type for numba, whatever the caller's array is like."""
    view = np.require(array, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view


def _zeros(height: int, width: int) -> Plane:
    return np.zeros((height, width), np.float32)

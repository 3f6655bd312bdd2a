"""HHA at camera rate: the channels of :mod:`lcr_seg_ros.hha.exact` in float32, on one or a few CPU cores.

It differs from exact in precision, and in the normals for gravity: one for each cell of 2x2 pixels, from a window of
11x11 cells.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import frozen
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import coarse, floor, kernels
from lcr_seg_ros.hha import definition as hha
from lcr_seg_ros.hha.bands import Bands
from lcr_seg_ros.hha.evidence import (
    ALIGNED_DEG,
    AZIMUTH_BINS,
    OBSERVED_DEG,
    GravityEvidence,
    evidence_of_counts,
    horizontal_axes,
)
from lcr_seg_ros.hha.settings import HhaSettings

ROUGH_STRIDE = 3
"""Wide passes use only every third row of normals if narrow passes follow, as these determine the result."""

NARROW_DEG = 4.0
"""Passes with a threshold below this are narrow."""

Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
PAD, CELL_PAD = kernels.PAD, kernels.CELL_PAD


class FastHha:
    """The fast :class:`~lcr_seg_ros.hha.encoder.Execution`; it reuses its buffers from frame to frame.

    Results depend neither on what was in the buffers before, nor on the number of threads.

    Args:
        settings: deviations from the reference.
        num_threads: threads that share the rows of a frame, >= 1.
    """

    def __init__(self, settings: HhaSettings, num_threads: int = 1) -> None:
        self._settings = settings
        self._bands = Bands(num_threads)
        self._buffers = _Buffers.of_size(1, 1, num_threads)
        self._camera = _Camera.of(CameraIntrinsics(1.0, 1.0, 0.0, 0.0, 1, 1))
        self._normals_are_there = False

    def load(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> bool:
        if self._buffers.disparity.shape != depth_m.shape:
            self._buffers = _Buffers.of_size(depth_m.shape[1], depth_m.shape[0], self._bands.threads)
        if self._camera.intrinsics != intrinsics:
            self._camera = _Camera.of(intrinsics)
        self._normals_are_there = False
        buffers, depth = self._buffers, frozen(depth_m)
        z, known = buffers.levels[0]
        number = kernels.ingest(depth, self._settings.min_depth_m, self._settings.max_depth_m, z, known)
        if number == 0:
            return False
        if number < depth.size:
            _fill_holes(buffers)
        mask = _NO_MASK if valid is None else frozen(valid.view(np.uint8))
        kernels.disparity_and_inverse(
            depth, depth.dtype == np.float64, z, known, mask, valid is not None, buffers.disparity, buffers.inverse,
            buffers.measured, buffers.missing,
        )  # fmt: skip
        return True

    def gravity(self, start: Vector, passes: Sequence[tuple[float, int]]) -> Vector:
        down = start.copy()
        kernels.estimate_gravity(
            self._normals(), down, *_pass_arrays(tuple(passes)), self._buffers.down, self._buffers.scatter
        )
        return down

    def evidence(self, down: Vector) -> GravityEvidence:
        first, second = (axis.astype(np.float32) for axis in horizontal_axes(down))
        tolerance = math.radians(ALIGNED_DEG)
        counts = self._buffers.counts
        kernels.count_normals(
            self._normals(), down.astype(np.float32), first, second,
            np.float32(math.cos(tolerance)), np.float32(math.sin(tolerance)), counts,
        )  # fmt: skip
        observed = math.radians(OBSERVED_DEG)
        xx, xy, xz, yy, yz, zz = kernels.scatter_of_counted(
            self._normals(), down.astype(np.float32), np.float32(math.cos(observed)), np.float32(math.sin(observed))
        )
        scatter = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        low_m = floor.low_percentile(self._sampled_heights_cm(down)) / 100.0
        return evidence_of_counts(int(counts[0]), int(counts[1]), int(counts[2]), counts[3:], scatter, -low_m)

    def channels(self, down: Vector, camera_height_m: float | None, out: npt.NDArray[np.uint8]) -> None:
        buffers, camera = self._buffers, self._camera
        height, width = buffers.disparity.shape
        z = buffers.levels[0][0]
        of_column, of_row = camera.down_of_pixels(down)
        if camera_height_m is not None:
            floor_cm = -100.0 * camera_height_m
        elif self._settings.floor == "robust":
            floor_cm = floor.floor_by_percentile(floor.low_percentile(self._sampled_heights_cm(down)))
        else:
            floor_cm = floor.floor_by_reference(kernels.lowest_cm(z, height, width, of_column, of_row))
        kernels.height_channel(z, height, width, of_column, of_row, np.float32(floor_cm), buffers.height_cm)
        gates_m, down32 = self._smoothing_gates_m(), down.astype(np.float32)

        def write_angles(thread: int, first: int, last: int) -> None:
            inverse = buffers.inverse if gates_m is None else self._smoothed_inverse(gates_m, thread, first, last)
            kernels.angle_channel(
                inverse, buffers.measured, buffers.missing, width, camera.fx, camera.fy, camera.offset_u,
                camera.offset_v, down32, buffers.columns[thread], buffers.missing_below[thread], buffers.angle,
                first, last,
            )  # fmt: skip

        self._bands.each(height, write_angles)
        cv2.merge([buffers.disparity, buffers.height_cm, buffers.angle], out)

    def _normals(self) -> Plane:
        buffers, camera = self._buffers, self._camera
        if not self._normals_are_there:
            height, width = buffers.disparity.shape
            kernels.pool_2x2(buffers.inverse, buffers.measured, height, width, buffers.cells, buffers.cell_weights)
            kernels.gravity_normals(
                buffers.cells, buffers.cell_weights, buffers.missing, camera.cell_fx, camera.cell_fy, camera.cell_u,
                camera.cell_v, buffers.columns[0], buffers.missing_below[0], buffers.normals,
            )  # fmt: skip
            self._normals_are_there = True
        return buffers.normals

    def _smoothing_gates_m(self) -> Plane | None:
        """(BINS,) float32 metres; None if nothing is to be smoothed."""
        if self._settings.smoothing == "off":
            return None
        buffers = self._buffers
        height, width = buffers.disparity.shape
        kernels.count_steps(buffers.levels[0][0], buffers.measured, height, width, buffers.steps)
        gates_m = coarse.gates_m(coarse.steps_of_counts(buffers.steps), self._settings.smoothing)
        return gates_m.astype(np.float32) if gates_m.any() else None

    def _smoothed_inverse(self, gates_m: Plane, thread: int, first: int, last: int) -> Plane:
        """1/Z of the smoothed depth, in the rows that the angles of rows ``first`` to ``last`` depend on."""
        buffers, (height, width) = self._buffers, self._buffers.disparity.shape
        if thread not in buffers.smoothing:
            work = np.full((2, *buffers.inverse.shape), kernels.NOWHERE_M, np.float32)
            buffers.smoothing[thread] = work, np.zeros_like(buffers.inverse)
        work, inverse = buffers.smoothing[thread]
        above, below = max(first - hha.ANGLE_RADIUS, 0), min(last + hha.ANGLE_RADIUS, height)
        kernels.smooth(
            buffers.levels[0][0], buffers.measured, height, width, gates_m, coarse.radius_px((height, width)), work,
            inverse, above, below,
        )  # fmt: skip
        return inverse

    def _sampled_heights_cm(self, down: Vector) -> Plane:
        heights, z = self._buffers.sampled_heights, self._buffers.levels[0][0]
        of_column, of_row = self._camera.down_of_pixels(down)
        first_row, first_column = floor.first_sample(self._buffers.disparity.shape)
        rows, columns = heights.shape
        kernels.sampled_heights_cm(
            z, of_column, of_row, rows, columns, first_row, first_column, hha.FLOOR_STRIDE, heights.ravel()
        )
        return heights


@dataclass(frozen=True)
class _Camera:
    """Values that depend on the intrinsics alone: in pixels, and (``cell_*``) in cells of 2x2 pixels.

    ``of_column`` and ``of_row`` are the buffers that :meth:`down_of_pixels` returns.
    """

    intrinsics: CameraIntrinsics
    fx: np.float32
    fy: np.float32
    offset_u: Plane
    offset_v: Plane
    cell_fx: np.float32
    cell_fy: np.float32
    cell_u: Plane
    cell_v: Plane
    of_column: Plane
    of_row: Plane

    @classmethod
    def of(cls, intrinsics: CameraIntrinsics) -> _Camera:
        k = intrinsics
        u, v = np.arange(k.width) - k.cx, np.arange(k.height) - k.cy
        return cls(
            k, np.float32(k.fx), np.float32(k.fy), u.astype(np.float32), v.astype(np.float32),
            np.float32(k.fx / 2), np.float32(k.fy / 2), ((u[::2] + 0.5) / 2).astype(np.float32),
            ((v[::2] + 0.5) / 2).astype(np.float32), np.zeros(k.width, np.float32), np.zeros(k.height, np.float32),
        )  # fmt: skip

    def down_of_pixels(self, down: Vector) -> tuple[Plane, Plane]:
        """(W,) and (H,) float32 terms: the dot product of ``down`` and a pixel's ray is its column's plus its row's."""
        np.multiply(self.offset_u, np.float32(down[0] / self.intrinsics.fx), out=self.of_column)
        np.multiply(self.offset_v, np.float32(down[1] / self.intrinsics.fy), out=self.of_row)
        np.add(self.of_row, np.float32(down[2]), out=self.of_row)
        return self.of_column, self.of_row


@dataclass(frozen=True)
class _Buffers:
    """All buffers for frames of one size; padding is zero and stays zero."""

    levels: list[tuple[Plane, Plane]]
    """Depth in metres, and 1 where it is known or else 0. Level 0 is the frame; each further level has half the size,
    its sides padded to even numbers."""
    sizes: list[tuple[int, int]]
    """(height, width) of each level without that padding."""
    inverse: Plane
    measured: Plane
    missing: npt.NDArray[np.int32]
    between: Plane
    missing_below: list[npt.NDArray[np.int32]]
    """Scratch, one for each thread; so is ``columns``."""
    columns: list[Plane]
    cells: Plane
    cell_weights: Plane
    normals: Plane
    down: Plane
    scatter: Vector
    counts: npt.NDArray[np.int32]
    sampled_heights: Plane
    steps: npt.NDArray[np.int32]
    smoothing: dict[int, tuple[Plane, Plane]]
    """By thread: scratch for smoothing and the inverse of the smoothed depth, allocated when first needed."""
    disparity: npt.NDArray[np.uint8]
    height_cm: npt.NDArray[np.uint8]
    angle: npt.NDArray[np.uint8]

    @classmethod
    def of_size(cls, width: int, height: int, threads: int) -> _Buffers:
        sizes = [(height, width)]
        while sizes[-1] != (1, 1):
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        rows, granules = height + 2 * PAD, -(-(width + 2 * PAD) // kernels.GRANULE)
        cell_rows, cell_columns = (height + 1) // 2, (width + 1) // 2
        return cls(
            levels=[(_zeros(h + h % 2, w + w % 2), _zeros(h + h % 2, w + w % 2)) for h, w in sizes],
            sizes=sizes,
            inverse=_zeros(rows, granules * kernels.GRANULE),
            measured=_zeros(rows, granules * kernels.GRANULE),
            missing=np.full((rows, granules), kernels.GRANULE, np.int32),
            between=np.zeros((width + 1) // 2 + 2, np.float32),
            missing_below=[np.zeros(granules, np.int32) for _ in range(threads)],
            columns=[_zeros(14, kernels.WINDOW_COLUMNS) for _ in range(threads)],
            cells=_zeros(cell_rows + 2 * CELL_PAD, cell_columns + 2 * CELL_PAD),
            cell_weights=_zeros(cell_rows + 2 * CELL_PAD, cell_columns + 2 * CELL_PAD),
            normals=np.zeros((3, cell_rows, cell_columns), np.float32),
            down=np.zeros(3, np.float32),
            scatter=np.zeros(24),
            sampled_heights=np.zeros(floor.sampled_shape((height, width)), np.float32),
            steps=np.zeros((2, coarse.BINS, coarse.LARGEST_STEP_MM + 1), np.int32),
            smoothing={},
            counts=np.zeros(3 + AZIMUTH_BINS, np.int32),
            disparity=np.zeros((height, width), np.uint8),
            height_cm=np.zeros((height, width), np.uint8),
            angle=np.zeros((height, width), np.uint8),
        )


@functools.lru_cache
def _pass_arrays(
    passes: tuple[tuple[float, int], ...],
) -> tuple[Vector, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Threshold in radians, number of iterations, and row stride of each pass."""
    narrow = min(threshold for threshold, _ in passes) < NARROW_DEG
    strides = [ROUGH_STRIDE if narrow and threshold >= NARROW_DEG else 1 for threshold, _ in passes]
    iterations = [number for _, number in passes]
    return np.radians([t for t, _ in passes]), np.array(iterations, np.int32), np.array(strides, np.int32)


def _fill_holes(buffers: _Buffers) -> None:
    """The push-pull pyramid of :mod:`lcr_seg_ros.hha.holes`, built only up to the first level without holes."""
    top = 0
    unknown = 1
    while unknown:
        top += 1
        unknown = kernels.push(*buffers.levels[top - 1], *buffers.levels[top], *buffers.sizes[top])
    for level in range(top - 1, -1, -1):
        kernels.pull(
            buffers.levels[level + 1][0],
            *buffers.sizes[level + 1],
            *buffers.levels[level],
            *buffers.sizes[level],
            buffers.between,
        )


def _zeros(height: int, width: int) -> Plane:
    return np.zeros((height, width), np.float32)


_NO_MASK = frozen(np.zeros((1, 1), np.uint8))

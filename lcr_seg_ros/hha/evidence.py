"""Whether an estimate of gravity can be trusted: the evidence for it in the image.

Rooms are made of right angles, so floor, wall and ceiling look alike to the estimate: a camera that looks up by 60
degrees at a wall and the ceiling sees the same as one that looks down by 30 degrees at a floor and a wall. Furniture
tells them apart, because it stands on floors. The limits below were tuned on rendered rooms, see ``docs/hha.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.gravity import scatter_of

ALIGNED_DEG = 5.0
"""A normal within this angle of gravity, or of being perpendicular to it, belongs to a floor, ceiling or wall."""

AZIMUTH_BINS = 36
"""Number of directions that walls are sorted into."""

OBSERVED_DEG = 5.0
"""Threshold of the scatter matrix whose two smallest eigenvalues show how firmly the normals hold the estimate."""

LEAST_SUPPORT = 0.01
LEAST_GRIP = 0.05
LEAST_GRIP_OF_WARM = 0.2
LEAST_SUPPORT_OF_WARM = 0.03
"""A warm estimate is held by a floor alone or, without one, by two walls."""

LARGEST_TILT_DEG = 43.0
CLUTTER_TILT_DEG, CLUTTER_PER_DEG = 35.0, 0.01
"""An estimate that is tilted by more than the first value needs more clutter: the second value per degree beyond it."""

LEAST_CLUTTER = 0.14
LARGEST_WALL = 0.6
LARGEST_WALL_TILTED, WALL_TILT_DEG = 0.4, 33.0
"""For an estimate tilted by more than the second value, the first replaces :data:`LARGEST_WALL`."""
HEIGHT_RANGE_M = (1.0, 1.8)
"""How far below a camera of unknown height the floor may be. What is mistaken for a floor is mostly a wall or a
cupboard nearer than that; for a camera lower than 1 m, the height has to be given."""

HEIGHT_TOLERANCE = 0.1
LEAST_TOLERANCE_M = 0.05
"""The lowest things in view may deviate from the camera's known height by this share of it, or by this much."""


@dataclass(frozen=True)
class GravityEvidence:
    """The evidence for an estimate, as shares (0..1) of the windows that have a normal.

    Args:
        support: windows that face up and lie below the camera: floor, table, seat.
        ceiling: windows that face down and lie above it.
        walls: vertical windows.
        largest_wall: vertical windows that face one direction (two neighbouring bins of 10 degrees).
        grip: difference of the two smallest eigenvalues of the scatter matrix, per window; 0 if nothing keeps the
            estimate from turning about an axis, as in front of a single wall.
        lowest_m: how far below the camera the lowest things in view are, in metres.
    """

    support: float = 0.0
    ceiling: float = 0.0
    walls: float = 0.0
    largest_wall: float = 0.0
    grip: float = 0.0
    lowest_m: float = 0.0

    @property
    def clutter(self) -> float:
        """Share of windows that are neither horizontal nor vertical."""
        return max(0.0, 1.0 - self.support - self.ceiling - self.walls)

    def doubt(self, tilt_deg: float, camera_height_m: float | None = None) -> str:
        """Why an estimate that other frames do not support should not be trusted; "" if it may be.

        Args:
            tilt_deg: angle in degrees between the estimate and the direction of gravity in an untilted camera.
            camera_height_m: height above the floor in metres, if known.
        """
        if self.support < LEAST_SUPPORT:
            return "no level surface below the camera is in view"
        if self.grip < LEAST_GRIP:
            return "too little in view is level or upright"
        if tilt_deg > LARGEST_TILT_DEG:
            return f"a camera that is tilted by {tilt_deg:.0f} degrees may take walls for floors"
        if camera_height_m is None and not HEIGHT_RANGE_M[0] <= self.lowest_m <= HEIGHT_RANGE_M[1]:
            return (
                f"the floor would be {self.lowest_m:.1f} m below the camera; if it is, give the camera's height, "
                "else this is a wall"
            )
        if camera_height_m is not None:
            tolerance = max(HEIGHT_TOLERANCE * camera_height_m, LEAST_TOLERANCE_M)
            if abs(self.lowest_m - camera_height_m) > tolerance:
                return f"the floor would be {self.lowest_m:.2f} m below a camera that is {camera_height_m:.2f} m high"
        least_clutter = LEAST_CLUTTER + CLUTTER_PER_DEG * max(0.0, tilt_deg - CLUTTER_TILT_DEG)
        largest_wall = LARGEST_WALL_TILTED if tilt_deg > WALL_TILT_DEG else LARGEST_WALL
        if self.clutter < least_clutter or self.largest_wall > largest_wall:
            return "only bare planes are in view, floor and wall look alike"
        return ""

    @property
    def holds_warm_estimate(self) -> bool:
        """Whether the normals fix an estimate firmly enough that, started near the truth, it cannot have drifted."""
        return self.grip >= LEAST_GRIP_OF_WARM or self.support >= LEAST_SUPPORT_OF_WARM


def evidence_of_normals(
    normals: npt.NDArray[np.floating], down: npt.NDArray[np.float64], lowest_m: float
) -> GravityEvidence:
    """Count the normals of floors, ceilings and walls, if ``down`` is gravity.

    Args:
        normals: (3, N) unit vectors that point away from the camera, all finite.
        down: (3,) unit vector.
        lowest_m: see :class:`GravityEvidence`.
    """
    if normals.shape[1] == 0:
        return GravityEvidence(lowest_m=lowest_m)
    along = down[0] * normals[0] + down[1] * normals[1] + down[2] * normals[2]
    level, upright = math.cos(math.radians(ALIGNED_DEG)), math.sin(math.radians(ALIGNED_DEG))
    is_wall = np.abs(along) < upright
    first, second = horizontal_axes(down)
    walls = normals[:, is_wall]
    azimuth = np.arctan2(second @ walls, first @ walls) * (AZIMUTH_BINS / (2 * np.pi))
    bins = np.bincount(np.floor(azimuth).astype(int) % AZIMUTH_BINS, minlength=AZIMUTH_BINS)
    observed = math.radians(OBSERVED_DEG)
    scatter = scatter_of(normals)(down, math.cos(observed), math.sin(observed))
    return evidence_of_counts(
        normals.shape[1], int((along > level).sum()), int((along < -level).sum()), bins, scatter, lowest_m
    )


def evidence_of_counts(
    windows: int,
    support: int,
    ceiling: int,
    walls_by_azimuth: npt.NDArray[np.integer],
    scatter: npt.NDArray[np.float64],
    lowest_m: float,
) -> GravityEvidence:
    """Compute the shares from counts.

    Args:
        windows, support, ceiling: numbers of all normals, of those that face up, and of those that face down.
        walls_by_azimuth: (AZIMUTH_BINS,) numbers of vertical windows' normals.
        scatter: (3, 3) sums over the same ``windows`` normals, see :data:`~lcr_seg_ros.hha.gravity.Scatter`.
        lowest_m: see :class:`GravityEvidence`.
    """
    total = max(windows, 1)
    bins = walls_by_azimuth.tolist()
    largest = max(bins[i] + bins[i - 1] for i in range(len(bins)))
    smallest, second, _ = np.linalg.eigvalsh(scatter)
    return GravityEvidence(
        support / total, ceiling / total, sum(bins) / total, largest / total, float(second - smallest) / total, lowest_m
    )


def horizontal_axes(down: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two (3,) float64 unit vectors perpendicular to ``down`` and to each other."""
    x, y, z = (float(part) for part in down)
    if abs(x) <= max(abs(y), abs(z)):  # cross product with (1, 0, 0), else with (0, 1, 0)
        length = math.hypot(y, z)
        first = (0.0, z / length, -y / length)
    else:
        length = math.hypot(x, z)
        first = (-z / length, 0.0, x / length)
    a, b, c = first
    return np.array(first), np.array((y * c - z * b, z * a - x * c, x * b - y * a))

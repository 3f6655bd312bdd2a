"""Settings of HHA; the defaults are those of the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.hha.definition import (
    GRAVITY_PASSES,
    GRAVITY_START,
    MAX_DEPTH_M,
    MIN_DEPTH_M,
    REFINING_PASSES,
    WARM_PASSES,
)

Passes = tuple[tuple[float, int], ...]

FLOORS = ("min", "robust")
SMOOTHINGS = ("off", "auto", "on")
GRAVITY_ESTIMATES = ("reference", "refined")


@dataclass(frozen=True)
class HhaSettings:
    """Settings that all executions of HHA support.

    Args:
        min_depth_m, max_depth_m: depth in metres outside this range is a hole; within 1 mm .. 1 km.
        floor: where heights count from if the camera's height is not known. ``"min"``, the reference's rule: the
            lowest point, or 130 cm below the camera if that point is less than 90 cm below it; depends on one pixel.
            ``"robust"``: a low percentile and a gradual change between the two cases; deviates from the reference.
        smoothing: whether to smooth depth that comes in coarse steps (8-bit sources) before the normals of the angle
            channel are computed. ``"off"``: no, as in the reference; ``"on"``: wherever there are steps; ``"auto"``:
            only where the steps in the image are coarse. See :mod:`lcr_seg_ros.hha.coarse`.
        gravity_estimate: ``"reference"``: the reference's ten iterations; ``"refined"``: narrower thresholds follow,
            which reduce the median error from about 0.5 to less than 0.1 degrees.
        upright: (x, y, z) direction of gravity in the optical frame of an untilted camera, of any length; the estimate
            starts from it. (0, 1, 0) for a camera that stands upright, (0, -1, 0) for one mounted upside down.

    Raises:
        FrameError: a value out of range or unknown.
    """

    min_depth_m: float = MIN_DEPTH_M
    max_depth_m: float = MAX_DEPTH_M
    floor: str = "min"
    smoothing: str = "off"
    gravity_estimate: str = "reference"
    upright: tuple[float, float, float] = GRAVITY_START

    def __post_init__(self) -> None:
        if not MIN_DEPTH_M <= self.min_depth_m < self.max_depth_m <= MAX_DEPTH_M:
            raise FrameError(
                f"min_depth_m and max_depth_m must be {MIN_DEPTH_M:g} <= min < max <= {MAX_DEPTH_M:g} m, "
                f"got {self.min_depth_m:g} and {self.max_depth_m:g}"
            )
        if self.floor not in FLOORS:
            raise FrameError(f"floor must be one of {', '.join(FLOORS)}, got {self.floor!r}")
        if self.smoothing not in SMOOTHINGS:
            raise FrameError(f"smoothing must be one of {', '.join(SMOOTHINGS)}, got {self.smoothing!r}")
        if self.gravity_estimate not in GRAVITY_ESTIMATES:
            raise FrameError(
                f"gravity_estimate must be one of {', '.join(GRAVITY_ESTIMATES)}, got {self.gravity_estimate!r}"
            )
        if len(self.upright) != 3 or not all(map(math.isfinite, self.upright)) or max(map(abs, self.upright)) < 1e-9:
            raise FrameError(f"upright must be three finite numbers, not all 0, got {self.upright!r}")

    @property
    def cold_passes(self) -> Passes:
        """Threshold in degrees and iterations of each pass of the gravity estimate, if its start may be far off."""
        return GRAVITY_PASSES + self._refining_passes

    @property
    def warm_passes(self) -> Passes:
        """As :attr:`cold_passes`, if its start is already near."""
        return WARM_PASSES + self._refining_passes

    @property
    def _refining_passes(self) -> Passes:
        return REFINING_PASSES if self.gravity_estimate == "refined" else ()

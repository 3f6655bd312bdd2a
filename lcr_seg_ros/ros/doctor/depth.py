"""Checks of what a depth image holds: unit, holes, and whether gravity can be told from it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.ros.doctor.report import Check

AREA = "camera"

INDOOR_DEPTH_M = 2.2
LIKELY_DEPTH_M = (0.25, 9.0)
"""Medians of indoor frames; a camera on a desk or in a hall lies within it as well."""
MANY_HOLES = 0.6
UNITS = {"0.1 mm": 0.1, "0.2 mm": 0.2, "centimetres": 10.0, "metres": 1000.0, "1/1000 of what they should be": 1e-3}
"""What integers, or floats in place of metres, may be: factor to millimetres, or to metres."""


def check_depth_values(depth_m: npt.NDArray[np.float32], encoding: str) -> Check:
    """Whether depth is in the unit of its encoding (REP-118) and dense enough.

    Args:
        depth_m: (H, W) as the node reads it, in metres; holes are 0, NaN or Inf.
        encoding: of the message, which says the unit.
    """
    valid = depth_m[np.isfinite(depth_m) & (depth_m > 0)]
    invalid = 1.0 - valid.size / depth_m.size
    if valid.size == 0:
        advice = "is the lens covered, the projector off, or everything nearer than the camera can measure?"
        return Check(AREA, "depth values", "fail", "no pixel has a depth", advice)
    median = float(np.median(valid))
    found = f"median {median:.2f} m as {encoding}, {np.percentile(valid, 1):.2f} to {np.percentile(valid, 99):.2f} m, "
    found += f"{invalid:.0%} without depth"
    if not LIKELY_DEPTH_M[0] <= median <= LIKELY_DEPTH_M[1]:
        unit = min(UNITS, key=lambda name: abs(math.log(median * UNITS[name] / INDOOR_DEPTH_M)))
        told = "16UC1 means millimetres, 32FC1 metres (REP-118)"
        if UNITS[unit] == 1e-3:
            unit = "millimetres in a float image" if encoding == "32FC1" else "micrometres"
        likely = median * UNITS.get(unit, 1e-3)
        if LIKELY_DEPTH_M[0] <= likely <= LIKELY_DEPTH_M[1]:
            advice = f"{told}: are these {unit}? Set the driver's depth unit, or convert"
            return Check(AREA, "depth values", "fail", found, advice)
        return Check(AREA, "depth values", "warn", found, f"{told}: is that the distance of what the camera sees?")
    if invalid > MANY_HOLES:
        advice = "labels there rest on colour: sunlight, glass and black things give holes; is the projector on?"
        return Check(AREA, "depth values", "warn", found, advice)
    return Check(AREA, "depth values", "ok", found)


def check_gravity(depth_m: npt.NDArray[np.float32], intrinsics: CameraIntrinsics, imu: str) -> Check:
    """Whether the direction of gravity can be told from this frame alone.

    Args:
        depth_m: (H, W) metres.
        intrinsics: of it.
        imu: topic of the camera's IMU, or nothing.
    """
    from lcr_seg_ros.hha import HhaEncoder

    gravity = HhaEncoder("fast").encode_frame(depth_m, intrinsics).gravity
    x, y, z = gravity.down.tolist()
    pitch, roll = math.degrees(math.asin(max(-1.0, min(1.0, z)))), math.degrees(math.atan2(x, y))
    found = f"estimated from one frame: camera {abs(pitch):.0f} degrees {'down' if pitch >= 0 else 'up'}, "
    found += f"rolled by {roll:.0f} degrees"
    if gravity.confident:
        return Check(AREA, "gravity", "ok", found)
    sensor = f"gravity_source:=imu imu:={imu}" if imu else "gravity_source:=tf or :=fixed with gravity_pitch"
    advice = f"let floor and furniture come into view, or tell the node: {sensor}"
    return Check(AREA, "gravity", "warn", f"{found}, in doubt: {gravity.doubt}", advice)

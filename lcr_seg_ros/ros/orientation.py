"""Orientation of a camera or an IMU: directions and rotations in the optical frame (x right, y down, z forward)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def down_of_tilt(roll: float, pitch: float) -> FloatArray:
    """The direction of gravity in the optical frame of a tilted camera.

    With the camera's body frame as in REP-103 (x forward, y left, z up), rotated against the level world by
    Rz(yaw) Ry(pitch) Rx(roll), down in the body frame is

        Rx(roll)^T Ry(pitch)^T (0, 0, -1) = (sin p, -sin r cos p, -cos r cos p)

    and optical x, y, z are body -y, -z, x. Yaw does not matter.

    Args:
        roll: rad about the forward axis, positive clockwise as seen from behind the camera. pi: upside down;
            pi/2: portrait, its right side below.
        pitch: rad, positive looking down.

    Returns:
        (3,) unit vector (sin r cos p, cos r cos p, sin p); (0, 1, 0) for a level camera.
    """
    return np.array(
        [math.sin(roll) * math.cos(pitch), math.cos(roll) * math.cos(pitch), math.sin(pitch)], dtype=np.float64
    )


def rotation_of_rpy(roll: float, pitch: float, yaw: float) -> FloatArray:
    """(3, 3) rotation Rz(yaw) Ry(pitch) Rx(roll), angles in rad, about fixed axes as in URDF and REP-103."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rotation_of_quaternion(x: float, y: float, z: float, w: float) -> FloatArray:
    """(3, 3) rotation of a quaternion, which need not be normalised.

    Raises:
        ValueError: the quaternion is 0 or not finite.
    """
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"a quaternion must be finite and not 0, got ({x}, {y}, {z}, {w})")
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )

"""Register depth to the colour image, for cameras whose driver does not.

Each depth pixel is treated as a small square of surface, which is projected into the colour image; the nearest surface
wins. Squares of one surface are stretched until they meet, so that neither a finer colour image nor a slope opens
cracks. At an edge they are not, so that nothing is drawn between an object and its background. Whatever only the colour
camera sees remains a hole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics

MAX_REACH_PX = 16.0
"""A depth pixel covers at most this many colour pixels to each side, however near it is. This bounds the time."""

ROTATION_TOLERANCE = 1e-3
"""A rotation matrix may deviate from orthonormal by this much: extrinsics are often written down with few digits."""


def register_depth(
    depth_m: npt.NDArray[np.float32],
    depth_camera: CameraIntrinsics,
    color_camera: CameraIntrinsics,
    transform: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Compute the depth of each pixel of the colour image.

    Args:
        depth_m: (h, w) float32, metres along the optical axis of the depth camera; values that are not finite or not
            positive are holes.
        depth_camera: intrinsics of that (rectified) image.
        color_camera: intrinsics of the (rectified) colour image, H x W.
        transform: (4, 4) from the depth camera's optical frame to the colour camera's, metres:
            ``p_color = transform @ p_depth``. Without rotation and with a depth camera that is 25 mm to the right of
            the colour camera, ``transform[0, 3]`` is 0.025.

    Returns:
        (H, W) float32, metres along the optical axis of the colour camera; 0 where nothing is known. With the identity
        and equal cameras it is ``depth_m``, holes set to 0.

    Raises:
        FrameError: wrong shape or type, another size than that of ``depth_camera``, or not a rigid transform.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32:
        raise FrameError(f"depth_m must be (h, w) float32 in metres, got {depth_m.shape} {depth_m.dtype}")
    if depth_m.shape != (depth_camera.height, depth_camera.width):
        raise FrameError(
            f"depth is {depth_m.shape[1]}x{depth_m.shape[0]} but its intrinsics are for {depth_camera.width}x"
            f"{depth_camera.height}: use the camera_info that belongs to the depth topic"
        )
    rotation, translation = _checked(transform)
    to_color = _matrix(color_camera) @ rotation @ np.linalg.inv(_matrix(depth_camera))
    offset = _matrix(color_camera) @ translation
    registered = np.full((color_camera.height, color_camera.width), np.inf, np.float32)
    _splat(np.ascontiguousarray(depth_m), to_color.astype(np.float32), offset.astype(np.float32), registered)
    registered[np.isinf(registered)] = 0
    return registered


def _checked(transform: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(3, 3) rotation and (3,) translation of a transform, once it is known to be rigid."""
    matrix = np.asarray(transform, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise FrameError(f"transform must be (4, 4) and finite, got {matrix.tolist()}")
    rotation = matrix[:3, :3]
    is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=ROTATION_TOLERANCE) and np.linalg.det(rotation) > 0
    if not is_rotation or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise FrameError(f"transform must turn and move, nothing else (a rotation and 0 0 0 1), got {matrix.tolist()}")
    return rotation, matrix[:3, 3]


def _matrix(camera: CameraIntrinsics) -> npt.NDArray[np.float64]:
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])


_HALF, _REACH, _ZERO = np.float32(0.5), np.float32(MAX_REACH_PX), np.float32(0)
_NOWHERE = np.float32(np.nan)
_NEAREST_M = np.float32(0.01)
"""Points nearer to the colour camera than this, or behind it, are left out."""

_SEAM = np.float32(1e-3)
"""Squares reach this many pixels farther, so that rounding leaves no crack where two meet at a pixel's centre."""

_X, _Y, _D, _X_ALONG_U, _Y_ALONG_U, _X_ALONG_V, _Y_ALONG_V = range(7)


@compiled()
def _splat(depth, matrix, offset, registered):  # type: ignore[no-untyped-def]
    """Draw the squares of all pixels into ``registered``, which holds inf."""
    height, width = depth.shape
    rows = np.empty((2, 7, width), np.float32)
    # Distances in x and y to the neighbours on the same surface: to the right, below, and (from the last row) above.
    right, down = np.zeros((2, width + 1), np.float32), np.zeros((2, 2, width), np.float32)
    reach = np.empty(width, np.float32)
    bounds = np.empty((4, width), np.int32)
    left, end_x, top, end_y = bounds[0], bounds[1], bounds[2], bounds[3]
    registered_width, registered_height = np.float32(registered.shape[1]), np.float32(registered.shape[0])
    _move(depth[0], _ZERO, matrix, offset, rows[0])
    for v in range(height):
        here, after = rows[v % 2], rows[(v + 1) % 2]
        below, above = down[v % 2], down[(v + 1) % 2]
        x, y, next_x, next_y = here[_X], here[_Y], here[_X, 1:], here[_Y, 1:]
        _join(x, y, next_x, next_y, here[_X_ALONG_U], here[_Y_ALONG_U], right[0, 1:], right[1, 1:])
        if v + 1 < height:
            _move(depth[v + 1], np.float32(v + 1), matrix, offset, after)
            _join(x, y, after[_X], after[_Y], here[_X_ALONG_V], here[_Y_ALONG_V], below[0], below[1])
        else:
            below[:] = _ZERO
        _reach(here[_X_ALONG_U], right[0], here[_X_ALONG_V], below[0], above[0], reach)
        _bounds(here[_X], reach, registered_width, left, end_x)
        _reach(here[_Y_ALONG_U], right[1], here[_Y_ALONG_V], below[1], above[1], reach)
        _bounds(here[_Y], reach, registered_height, top, end_y)
        _draw(here[_D], left, end_x, top, end_y, registered)


@compiled()
def _move(depth, v, matrix, offset, row):  # type: ignore[no-untyped-def]
    """Project a row of depth pixels: x, y, distance, and the change of x and y along u and v at constant depth.

    With depth z, pixel (u, v) lands at (x, y) at distance d, where d (x, y, 1) = z matrix (u, v, 1) + offset.
    """
    start_x = matrix[0, 1] * v + matrix[0, 2]
    start_y = matrix[1, 1] * v + matrix[1, 2]
    start_d = matrix[2, 1] * v + matrix[2, 2]
    for u in range(depth.size):
        z, column = depth[u], np.float32(u)
        d = z * (matrix[2, 0] * column + start_d) + offset[2]
        x = (z * (matrix[0, 0] * column + start_x) + offset[0]) / d
        y = (z * (matrix[1, 0] * column + start_y) + offset[1]) / d
        seen = (z > _ZERO) & (d > _NEAREST_M) & (d < np.float32(np.inf))
        row[_X, u] = x if seen else _NOWHERE
        row[_Y, u] = y if seen else _NOWHERE
        row[_D, u] = d
        shrink = z / d
        row[_X_ALONG_U, u] = shrink * (matrix[0, 0] - x * matrix[2, 0])
        row[_Y_ALONG_U, u] = shrink * (matrix[1, 0] - y * matrix[2, 0])
        row[_X_ALONG_V, u] = shrink * (matrix[0, 1] - x * matrix[2, 1])
        row[_Y_ALONG_V, u] = shrink * (matrix[1, 1] - y * matrix[2, 1])


@compiled()
def _join(x, y, next_x, next_y, flat_x, flat_y, step_x, step_y):  # type: ignore[no-untyped-def]
    """The absolute step from each pixel to its neighbour; 0 if they do not belong to the same surface.

    They do if the step differs from the one at constant depth by less than the length of the latter. Otherwise, part of
    the scene between them is hidden from one of the cameras.
    """
    for u in range(next_x.size):
        dx, dy = next_x[u] - x[u], next_y[u] - y[u]
        stretch = abs(dx - flat_x[u]) + abs(dy - flat_y[u])
        joined = stretch < abs(flat_x[u]) + abs(flat_y[u])  # never with a hole, which is NaN
        step_x[u] = abs(dx) if joined else _ZERO
        step_y[u] = abs(dy) if joined else _ZERO


@compiled()
def _reach(flat_u, right, flat_v, below, above, reach):  # type: ignore[no-untyped-def]
    """How far each square reaches along one axis: half the distance to its neighbours, at least half its own size."""
    for u in range(reach.size):
        along_u = max(abs(flat_u[u]), right[u], right[u + 1])
        along_v = max(abs(flat_v[u]), below[u], above[u])
        reach[u] = min(_HALF * (along_u + along_v) + _SEAM, _REACH)


@compiled()
def _bounds(centre, reach, size, first, end):  # type: ignore[no-untyped-def]
    """The pixels 0 <= first <= i < end <= size whose centres lie in each square; none for a hole (NaN)."""
    for u in range(centre.size):
        low, high = np.ceil(centre[u] - reach[u]), np.ceil(centre[u] + reach[u])
        high = high if high < size else size
        low = low if low < size else size
        first[u] = np.int32(low if low > _ZERO else _ZERO)
        end[u] = np.int32(high if high > _ZERO else _ZERO)


@compiled()
def _draw(distance, left, end_x, top, end_y, registered):  # type: ignore[no-untyped-def]
    """Fill the squares with their distance, where nothing nearer has been drawn."""
    for u in range(distance.size):
        d = distance[u]
        for line in range(top[u], end_y[u]):
            for column in range(left[u], end_x[u]):
                if d < registered[line, column]:
                    registered[line, column] = d

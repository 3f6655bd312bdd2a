"""The constants that define HHA (Gupta et al. 2013, 2014; their MATLAB code), shared by all its implementations."""

from __future__ import annotations

REVISION = 2
"""To be increased whenever an execution begins to give other values, so that cached HHA is computed again."""

ANGLE_RADIUS = 3
"""Window radius in pixels of the normals behind the angle channel: 7x7."""

GRAVITY_RADIUS = 10
"""Window radius in pixels of the normals behind the gravity estimate: 21x21."""

GRAVITY_START = (0.0, 1.0, 0.0)
"""Down, for an upright camera: the optical frame has x right, y down, z forward (REP-103)."""

GRAVITY_PASSES = ((45.0, 5), (15.0, 5))
"""Angle threshold in degrees and iterations of each pass of the gravity estimate."""

REFINING_PASSES = ((8.0, 3), (5.0, 3), (3.0, 3), (2.0, 3))
"""Passes that may follow (not in the reference). Windows that straddle an edge have normals between those of the two
surfaces, which bias the estimate; ever narrower thresholds leave them out. In rendered rooms, this reduces the median
error from about 0.5 to less than 0.1 degrees (docs/hha.md)."""

WARM_PASSES = ((15.0, 3),)
"""Passes that replace :data:`GRAVITY_PASSES` if the start is already near."""

DISPARITY_SCALE = 31000.0
"""Disparity channel = this / Z in centimetres."""

NEAREST_CM = 100.0
"""Lower bound of depth in the disparity channel (which already saturates below 121.6 cm)."""

LOWEST_FLOOR_CM = -90.0
"""A lowest point above this height (relative to the camera) is not taken for the floor."""

ASSUMED_FLOOR_CM = -130.0
"""Height at which the floor is then assumed."""

FLOOR_SHARE = 0.005
"""``floor="robust"`` replaces the lowest point by the height below which this share of the pixels lies."""

FLOOR_STRIDE = 4
"""For that, it samples one pixel, the middle one, of each square with sides of this many pixels."""

SURE_FLOOR_CM = -110.0
"""Between this and :data:`LOWEST_FLOOR_CM`, ``floor="robust"`` blends from the lowest point to the assumed floor."""

ANGLE_OFFSET = 38.0
"""Angle channel = degrees + this: floor 38, wall 128, ceiling 218."""

NO_NORMAL_DEG = 180.0
"""Angle of a pixel whose window has fewer than three measured pixels, or only collinear ones: the reference's NaN,
which MATLAB's min/max turn into this."""

MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 1e3
"""Depth outside this range is a hole: no depth camera measures it, and inside, float32 arithmetic stays finite."""

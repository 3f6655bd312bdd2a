"""The numbers that define HHA (Gupta et al. 2013, 2014; their MATLAB code), shared by every way to compute it."""

from __future__ import annotations

REVISION = 2
"""Raised when an execution begins to give other values: what was kept of the old ones is computed anew."""

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
surfaces and pull the estimate; an ever narrower threshold leaves them out: 0.5 to 0.06 degrees in rendered rooms."""

WARM_PASSES = ((15.0, 3),)
"""Passes from an estimate that is already near, in place of :data:`GRAVITY_PASSES`."""

DISPARITY_SCALE = 31000.0
"""Disparity channel = this / Z in centimetres."""

NEAREST_CM = 100.0
"""Depth is raised to this for the disparity channel (which saturates already below 121.6 cm)."""

LOWEST_FLOOR_CM = -90.0
"""A lowest point above this (relative to the camera) is not taken for the floor."""

ASSUMED_FLOOR_CM = -130.0
"""Where the floor is then taken to be."""

FLOOR_SHARE = 0.005
"""``floor="robust"`` takes the height below which this share of the pixels lies for the lowest."""

FLOOR_STRIDE = 4
"""It looks at every so manieth pixel of every so manieth row, in the middle of each square."""

SURE_FLOOR_CM = -110.0
"""Up to :data:`LOWEST_FLOOR_CM`, ``floor="robust"`` passes gradually from the lowest point to the assumed floor."""

ANGLE_OFFSET = 38.0
"""Angle channel = degrees + this: floor 38, wall 128, ceiling 218."""

NO_NORMAL_DEG = 180.0
"""Angle of a pixel whose window holds no three valid pixels off one line; MATLAB's min/max turn NaN into this."""

MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 1e3
"""Depth outside these is a hole: no depth camera measures it, and float32 arithmetic stays finite within."""

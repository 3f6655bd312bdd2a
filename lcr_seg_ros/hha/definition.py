"""The numbers that define HHA (Gupta et al. 2013, 2014; their MATLAB code), shared by every way to compute it."""

from __future__ import annotations

ANGLE_RADIUS = 3
"""Window radius in pixels of the normals behind the angle channel: 7x7."""

GRAVITY_RADIUS = 10
"""Window radius in pixels of the normals behind the gravity estimate: 21x21."""

GRAVITY_START = (0.0, 1.0, 0.0)
"""Down, for an upright camera: the optical frame has x right, y down, z forward (REP-103)."""

GRAVITY_PASSES = ((45.0, 5), (15.0, 5))
"""Angle threshold in degrees and iterations of each pass of the gravity estimate."""

DISPARITY_SCALE = 31000.0
"""Disparity channel = this / Z in centimetres."""

NEAREST_CM = 100.0
"""Depth is raised to this for the disparity channel (which saturates already below 121.6 cm)."""

LOWEST_FLOOR_CM = -90.0
"""A lowest point above this (relative to the camera) is not taken for the floor."""

ASSUMED_FLOOR_CM = -130.0
"""Where the floor is then taken to be."""

ANGLE_OFFSET = 38.0
"""Angle channel = degrees + this: floor 38, wall 128, ceiling 218."""

NO_NORMAL_DEG = 180.0
"""Angle of a pixel whose window holds no three valid pixels off one line; MATLAB's min/max turn NaN into this."""

MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 1e3
"""Depth outside these is a hole: no depth camera measures it, and float32 arithmetic stays finite within."""

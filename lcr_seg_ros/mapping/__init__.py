"""A semantic map: the labelled points of many frames vote on the class of the voxels that they fall into.

``voxels`` counts the votes, ``odometry`` estimates the camera's poses, ``trajectory`` reads and writes poses, ``ply``
and ``pictures`` show the result. Poses are (4, 4) camera-to-world matrices of the optical frame (x right, y down,
z forward), in metres.
"""

from lcr_seg_ros.mapping.odometry import DepthOdometry, require_odometry
from lcr_seg_ros.mapping.settings import MapError, MapSettings
from lcr_seg_ros.mapping.voxels import VoxelMap, Voxels

__all__ = ["DepthOdometry", "MapError", "MapSettings", "VoxelMap", "Voxels", "require_odometry"]

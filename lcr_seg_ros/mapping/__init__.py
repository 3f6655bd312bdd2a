"""A semantic map: labelled points of many frames, brought together in voxels that vote on their class.

``voxels`` counts the votes, ``odometry`` finds out where the camera was, ``trajectory`` reads and writes what is
known of that, ``ply`` and ``pictures`` show the result. Poses are (4, 4) camera-to-world matrices of the optical
frame (x right, y down, z forward), in metres.
"""

from lcr_seg_ros.mapping.odometry import DepthOdometry
from lcr_seg_ros.mapping.settings import MapError, MapSettings
from lcr_seg_ros.mapping.voxels import VoxelMap, Voxels

__all__ = ["DepthOdometry", "MapError", "MapSettings", "VoxelMap", "Voxels"]

"""HHA: a depth image as three 8-bit channels: horizontal disparity, height above ground, and angle with gravity.

Gupta, Arbelaez, Malik, "Perceptual organization and recognition of indoor scenes from RGB-D images",
CVPR 2013, and Gupta, Girshick, Arbelaez, Malik, ECCV 2014. :mod:`lcr_seg_ros.hha.exact` is the reference in
float64; :mod:`lcr_seg_ros.hha.fast` computes the same channels at camera rate, :mod:`lcr_seg_ros.hha.torch` on a GPU.
"""

from lcr_seg_ros.hha.encoder import HhaEncoder, HhaImage
from lcr_seg_ros.hha.gravity import GravityEstimate
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.tracking import GravityTracker

__all__ = ["GravityEstimate", "GravityTracker", "HhaEncoder", "HhaImage", "HhaSettings"]

"""Indoor semantic segmentation of RGB-D frames, with and without ROS 2.

The public names are imported on first use. ``import lcr_seg_ros`` is therefore quick, and a program that needs, for
example, only the metrics does not load OpenCV and a network runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
    from lcr_seg_ros.labels import LabelSet
    from lcr_seg_ros.segmenter import Segmentation, Segmenter

__version__ = "0.1.0"
__all__ = ["CameraIntrinsics", "LabelSet", "RgbdFrame", "Segmentation", "Segmenter"]

_HOME = {
    "CameraIntrinsics": "lcr_seg_ros.frame",
    "LabelSet": "lcr_seg_ros.labels",
    "RgbdFrame": "lcr_seg_ros.frame",
    "Segmentation": "lcr_seg_ros.segmenter",
    "Segmenter": "lcr_seg_ros.segmenter",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Live view and recordings with rerun: frames, the network's results and their timing. Independent of ROS."""

from lcr_seg_ros.viewer.recording import RecordingFile
from lcr_seg_ros.viewer.server import ViewerServer
from lcr_seg_ros.viewer.view import SegmentationView

__all__ = ["RecordingFile", "SegmentationView", "ViewerServer"]

"""Live view and recordings with rerun: what the camera saw, what the network said, how long it took. Knows no ROS."""

from lcr_seg_ros.viewer.recording import RecordingFile
from lcr_seg_ros.viewer.server import ViewerServer
from lcr_seg_ros.viewer.view import SegmentationView

__all__ = ["RecordingFile", "SegmentationView", "ViewerServer"]

"""Small stand-ins for three ROS packages, for machines that have rclpy from pip and nothing else.

- ``message_filters`` pairs colour with depth by stamp; without it :class:`.message_filters.NearestStampPairs` does the
  same;
- ``cv_bridge`` reads images; without it :mod:`lcr_seg_ros.ros.conversions` gives the same pixels;
- ``vision_msgs`` has the message ``LabelInfo``; without it the JSON that goes out in any case has to do.

Each package is tried out with a real message before it is trusted, and the node says once which are used.
"""

from __future__ import annotations

from typing import NamedTuple


class Choice(NamedTuple):
    """What stands behind one ROS package here: itself, or our stand-in and why."""

    package: str
    used: bool
    reason: str = ""

    def __str__(self) -> str:
        return self.package if self.used else f"our stand-in for {self.package} ({self.reason})"

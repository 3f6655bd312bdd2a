"""A process that subscribes to the node's outputs and never reads: ``python -m lcr_seg_ros.ros.stalled_subscriber``.

Used by ``benchmark node`` and by tests, which may suspend it (SIGSTOP) once it has printed that it has subscribed.
"""

from __future__ import annotations

import time

from lcr_seg_ros.ros.output_topics import CONFIDENCE, MASK, OVERLAY

SUBSCRIBED = "subscribed"
"""The line that it prints once it has subscribed."""

TOPICS = (MASK, OVERLAY, CONFIDENCE)


def main() -> None:
    """Subscribe, say so, and sleep until SIGINT."""
    from lcr_seg_ros.ros.environment import prepare_ros_environment

    prepare_ros_environment()

    import rclpy
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init(args=[])
    node = Node("stalled")
    # Reliable, so that the publisher has to keep unacknowledged messages.
    for topic in TOPICS:
        node.create_subscription(
            Image, topic, lambda message: None, QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        )
    print(SUBSCRIBED, flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

"""A process that publishes 640x480 RGB-D at 5 Hz for several cameras and subscribes to their masks.

python many_cameras.py NAME...

Tests start it and end it by SIGINT. It is a separate process because images of this size need the DDS profile, which
must be set before a process starts.
"""

from __future__ import annotations

import signal
import sys
import threading

import numpy as np

from lcr_seg_ros.ros.environment import prepare_ros_environment

WIDTH, HEIGHT, RATE_HZ = 640, 480, 5.0


def main(names: list[str]) -> None:
    prepare_ros_environment()

    import rclpy
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import CameraInfo, Image

    from lcr_seg_ros.ros.conversions import array_to_image
    from lcr_seg_ros.ros.spin import spinning

    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    random = np.random.default_rng(0)
    rgb = array_to_image(random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), "rgb8")
    depth = array_to_image(random.uniform(1.0, 4.0, (HEIGHT, WIDTH)).astype(np.float32), "32FC1")
    k = [500.0, 0.0, 319.5, 0.0, 500.0, 239.5, 0.0, 0.0, 1.0]
    messages = {
        "rgb/image_rect_color": rgb,
        "depth_registered/image_rect": depth,
        "rgb/camera_info": CameraInfo(width=WIDTH, height=HEIGHT, k=k),
    }
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node("cameras")
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    publishers = []
    for name in names:
        node.create_subscription(Image, f"{name}/segmentation/mask", lambda mask: None, best_effort)
        for topic, message in messages.items():
            publishers.append((node.create_publisher(type(message), f"{name}/{topic}", best_effort), message))
    with spinning(node):
        while not stop.wait(1 / RATE_HZ):
            stamp = node.get_clock().now().to_msg()
            for publisher, message in publishers:
                message.header.stamp = stamp
                publisher.publish(message)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])

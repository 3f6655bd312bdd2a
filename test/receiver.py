"""A process that subscribes to image topics and keeps what arrives; tests start it and end it by SIGINT.

    python receiver.py OUT.npz TOPIC=best_effort TOPIC=reliable TOPIC=info ...

It is a separate process so that it starts with the DDS profile and communicates through real DDS. It prints `ready`
once it has subscribed. On SIGINT it writes OUT.npz, with an array for each message and `headers` as JSON; `load` reads
this file.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Received(NamedTuple):
    """One message. ``pixels`` is (H, step) uint8 of an image, or the nine numbers K of a camera_info."""

    stamp_ns: int
    frame_id: str
    encoding: str
    width: int
    height: int
    pixels: np.ndarray


def load(path: Path) -> dict[str, list[Received]]:
    """The messages that a receiver wrote, by topic, in order of arrival."""
    with np.load(path) as file:
        headers = json.loads(str(file["headers"]))
        return {
            topic: [Received(*header, file[f"{topic}#{n}"]) for n, header in enumerate(received)]
            for topic, received in headers.items()
        }


def main(out: Path, topics: dict[str, str]) -> None:
    from lcr_seg_ros.ros.environment import prepare_ros_environment

    prepare_ros_environment()

    import rclpy
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.time import Time
    from sensor_msgs.msg import CameraInfo, Image

    from lcr_seg_ros.ros.spin import spinning

    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    received: dict[str, list[Received]] = {topic: [] for topic in topics}

    def keep(topic: str, message: Any) -> None:
        header = Time.from_msg(message.header.stamp).nanoseconds, message.header.frame_id
        if isinstance(message, CameraInfo):
            content = "", message.width, message.height, np.array(message.k)
        else:
            pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
            content = message.encoding, message.width, message.height, pixels
        received[topic].append(Received(*header, *content))

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node("receiver")
    for topic, kind in topics.items():
        reliability = ReliabilityPolicy.RELIABLE if kind == "reliable" else ReliabilityPolicy.BEST_EFFORT
        node.create_subscription(
            CameraInfo if kind == "info" else Image,
            topic,
            lambda message, topic=topic: keep(topic, message),
            QoSProfile(depth=30, reliability=reliability),
        )
    with spinning(node):
        print("ready", flush=True)
        stop.wait()
    rclpy.try_shutdown()
    headers = {topic: [r[:-1] for r in messages] for topic, messages in received.items()}
    arrays = {f"{topic}#{n}": r.pixels for topic, messages in received.items() for n, r in enumerate(messages)}
    np.savez(out, headers=json.dumps(headers), **arrays)
    print("written", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(argument.split("=") for argument in sys.argv[2:]))

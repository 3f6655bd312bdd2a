"""The counterpart of the node in tests: a camera that can misbehave, and a subscriber to the node's outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lcr_seg_ros.ros.environment import prepare_ros_environment

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from lcr_seg_ros.ros.compat.message_filters import stamp_ns  # noqa: E402
from lcr_seg_ros.ros.conversions import array_to_image  # noqa: E402
from lcr_seg_ros.ros.spin import spinning  # noqa: E402

WIDTH, HEIGHT = 80, 60
"""Small enough for stock DDS settings: this process may have started without the shipped profile."""

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


def rgb_image(width: int = WIDTH, height: int = HEIGHT) -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return array_to_image(pixels, "rgb8")


def depth_image(width: int = WIDTH, height: int = HEIGHT, metres: float = 2.0) -> Image:
    return array_to_image(np.full((height, width), metres, np.float32), "32FC1")


def camera_info(width: int = WIDTH, height: int = HEIGHT, focal: float = 70.0) -> CameraInfo:
    k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0] if focal else [0.0] * 9
    return CameraInfo(width=width, height=height, k=k)


MEETING_S = 0.5
"""Time in s that both ends of a service need to discover each other."""


class Peer(Node):
    """Publishes like a camera, under the node's own topic names, and keeps what the node publishes."""

    def __init__(self, context: Context, node_name: str = "segment", namespace: str = "") -> None:
        super().__init__("peer", context=context, namespace=namespace)
        self.node_name = node_name
        self._received: dict[str, list[Any]] = {}
        self._met: set[Any] = set()
        """Clients that their service has already discovered."""
        self._rgb = self.create_publisher(Image, "rgb/image_rect_color", BEST_EFFORT)
        self._depth = self.create_publisher(Image, "depth_registered/image_rect", BEST_EFFORT)
        self._info = self.create_publisher(CameraInfo, "rgb/camera_info", BEST_EFFORT)
        self._parameters = self.create_client(SetParameters, f"{node_name}/set_parameters")
        self.listen(Image, "segmentation/mask")
        self.listen(DiagnosticArray, "/diagnostics")

    def listen(self, message_type: type[Any], topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Subscribe to a topic; returns the list to which its messages are appended."""
        if topic not in self._received:
            self._received[topic] = []
            self.create_subscription(message_type, topic, self._received[topic].append, qos)
        return self._received[topic]

    @property
    def masks(self) -> list[Image]:
        return self._received["segmentation/mask"]

    def send(
        self,
        rgb: Image | None = None,
        depth: Image | None = None,
        info: CameraInfo | None = None,
        stamp_ns: int | None = None,
        frame_id: str = "camera",
    ) -> int:
        """Publish the given messages with the same stamp, by default the current time; returns the stamp in ns."""
        ns = self.get_clock().now().nanoseconds if stamp_ns is None else stamp_ns
        for publisher, message in ((self._info, info), (self._rgb, rgb), (self._depth, depth)):
            if message is not None:
                message.header.frame_id = message.header.frame_id or frame_id
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 10**9)
                publisher.publish(message)
        return ns

    def send_until(self, happened: Callable[[], bool], send: Callable[[], object], timeout_s: float = 30.0) -> bool:
        """Call ``send`` at 10 Hz until ``happened``; returns False if that takes over ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            if time.monotonic() > deadline:
                return False
            send()
            time.sleep(0.1)
        return True

    def send_good_frame(self) -> int:
        return self.send(rgb_image(), depth_image(), camera_info())

    def gets_masks(self, timeout_s: float = 30.0) -> bool:
        """Send good frames until a mask of one of them comes; returns whether one did within ``timeout_s`` seconds."""
        sent: set[int] = set()
        return self.send_until(
            lambda: any(stamp_ns(mask) in sent for mask in list(self.masks)),
            lambda: sent.add(self.send_good_frame()),
            timeout_s,
        )

    def set_parameter(self, name: str, value: Any, timeout_s: float = 15.0) -> Any:
        """Ask the node to change a parameter; returns its SetParametersResult."""
        if self.masks:  # masks come, so the node has discovered this client
            self._met.add(self._parameters)
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self.call(self._parameters, request, timeout_s).results[0]

    def call(self, client: Any, request: Any, timeout_s: float = 15.0) -> Any:
        """Call a service of another node; returns its response."""
        assert client.wait_for_service(timeout_s), f"nobody offers {client.srv_name}"
        if client not in self._met:
            # The service may not have discovered this client yet; its answer would then be lost.
            time.sleep(MEETING_S)
            self._met.add(client)
        future = client.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not future.done():
            assert time.monotonic() < deadline, f"no answer from {client.srv_name}"
            time.sleep(0.02)
        return future.result()

    def diagnostics(
        self, satisfied: Callable[[dict[str, str], str], bool], timeout_s: float = 20.0, camera: str = ""
    ) -> dict[str, str]:
        """The first status from now on for which ``satisfied(values, message)`` is true; fails if none comes.

        Args:
            satisfied: the condition.
            timeout_s: how long to wait.
            camera: its name; empty for a node's only camera.

        Returns:
            The values by key, with ``level`` and ``message`` of the status.
        """
        messages = self._received["/diagnostics"]
        seen, deadline, last = len(messages), time.monotonic() + timeout_s, "none"
        while time.monotonic() < deadline:
            for array in messages[seen:]:
                status = next(one for one in array.status if one.name.endswith(camera))
                values = {pair.key: pair.value for pair in status.values}
                last = f"{status.message!r} {values}"
                if satisfied(values, status.message):
                    return values | {"level": str(status.level[0]), "message": status.message}
            seen = len(messages)
            time.sleep(0.05)
        raise AssertionError(f"no such diagnostics within {timeout_s} s; the last was {last}")


@contextmanager
def peer_in_domain(domain_id: int, node_name: str = "segment", namespace: str = "") -> Iterator[Peer]:
    """A peer that is spun by a thread."""
    context = Context()
    rclpy.init(context=context, domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
    peer = Peer(context, node_name, namespace)
    try:
        with spinning(peer):
            yield peer
    finally:
        peer.destroy_node()
        rclpy.try_shutdown(context=context)

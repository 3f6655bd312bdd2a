"""Listens to a ROS graph for some seconds: who publishes images, what arrives, and with which stamps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CameraInfo, Image

from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.diagnostics import TOPIC as DIAGNOSTICS_TOPIC

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
COMPRESSED, IMU = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Imu"

MASK_TOPIC = "segmentation/mask"
MAX_TOPICS = 16
"""Image topics listened to at a time: a robot with more cameras names the one to look at."""
MAX_ARRIVALS = 4000
LOOK_PERIOD_S = 0.2
DISCOVERY_S = 4.0
"""So long image topics may take to show up."""


@dataclass
class Stream:
    """What came on one topic.

    Args:
        topic: full name.
        arrivals: (stamp in ns of the header, clock of the node in ns at its arrival, monotonic seconds), in order.
        newest: last message.
    """

    topic: str
    arrivals: deque[tuple[int, int, float]] = field(default_factory=lambda: deque(maxlen=MAX_ARRIVALS))
    newest: Any = None

    @property
    def rate_hz(self) -> float:
        """Messages a second between the first arrival and the last; 0 for fewer than two."""
        if len(self.arrivals) < 2:
            return 0.0
        seconds = self.arrivals[-1][2] - self.arrivals[0][2]
        return (len(self.arrivals) - 1) / seconds if seconds > 0 else 0.0

    @property
    def stamps_ns(self) -> list[int]:
        return [stamp for stamp, _, _ in self.arrivals]


@dataclass(frozen=True)
class Misfit:
    """Two ends of a topic that do not talk to each other, and why."""

    topic: str
    publisher: str
    subscriber: str
    reason: str


@dataclass
class GraphView:
    """What was seen in the time listened.

    Args:
        seconds: how long.
        topics: types of all topics by name.
        publishers: node names of the publishers of each topic that is an input or an output of ours.
        images, camera_infos: what came.
        diagnostics: newest status by name.
        misfits: ends of these topics whose types or QoS do not match.
    """

    seconds: float = 0.0
    topics: dict[str, list[str]] = field(default_factory=dict)
    publishers: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, Stream] = field(default_factory=dict)
    camera_infos: dict[str, Stream] = field(default_factory=dict)
    diagnostics: dict[str, DiagnosticStatus] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)

    def of_type(self, *types: str) -> list[str]:
        """Names of topics of these types that somebody publishes."""
        return [
            name for name, kinds in self.topics.items() if self.publishers.get(name) and any(t in kinds for t in types)
        ]

    @property
    def encodings(self) -> dict[str, str]:
        """Of image topics that have sent something."""
        return {name: stream.newest.encoding for name, stream in self.images.items() if stream.newest is not None}

    @property
    def frame_ids(self) -> dict[str, str]:
        """Of image topics that have sent something."""
        heard = {name: stream.newest for name, stream in self.images.items() if stream.newest is not None}
        return {name: message.header.frame_id for name, message in heard.items()}


class GraphListener(Node):
    """Subscribes to image topics as the segmentation node does, as they appear.

    Args:
        wanted: image topics that are listened to whatever their number.
        context: of rclpy, if not the default one.
    """

    def __init__(self, wanted: tuple[str, ...] = (), context: Context | None = None) -> None:
        super().__init__("doctor", context=context)
        self._wanted = wanted
        self._view = GraphView()
        self._listened: set[str] = set()
        self.create_subscription(DiagnosticArray, DIAGNOSTICS_TOPIC, self._take_diagnostics, QoSProfile(depth=10))

    def listen(self, seconds: float, is_stopped: Callable[[float], bool]) -> GraphView:
        """Look and listen; somebody else spins this node meanwhile.

        Args:
            seconds: how long, from the time on that image topics are seen; a busy machine takes seconds for that.
            is_stopped: waits for so many seconds; True ends the listening.
        """
        began = time.monotonic()
        is_discovered = bool(self._view.images)
        while True:
            self._look()
            if self._view.images and not is_discovered:
                is_discovered, began = True, time.monotonic()
            patience = seconds if is_discovered else max(seconds, DISCOVERY_S)
            if time.monotonic() - began >= patience or is_stopped(LOOK_PERIOD_S):
                break
        self._view.seconds = time.monotonic() - began
        self._view.misfits = self._find_misfits()
        return self._view

    def _look(self) -> None:
        view = self._view
        view.topics = dict(self.get_topic_names_and_types())
        for name, types in sorted(view.topics.items()):
            if not any(kind in (IMAGE, CAMERA_INFO, COMPRESSED, IMU) for kind in types):
                continue
            nodes = [_full_name(end) for end in self.get_publishers_info_by_topic(name)]
            view.publishers[name] = nodes
            if nodes and name not in self._listened and "/segmentation/" not in name:
                self._subscribe(name, types)

    def _subscribe(self, name: str, types: list[str]) -> None:
        if CAMERA_INFO in types:
            streams, message_type = self._view.camera_infos, CameraInfo
        elif IMAGE in types and (name in self._wanted or len(self._view.images) < MAX_TOPICS):
            streams, message_type = self._view.images, Image
        else:
            return
        self._listened.add(name)
        stream = streams.setdefault(name, Stream(name))
        self.create_subscription(message_type, name, lambda message: self._take(stream, message), _qos())

    def _take(self, stream: Stream, message: Any) -> None:
        stream.arrivals.append((stamp_ns(message), self.get_clock().now().nanoseconds, time.monotonic()))
        stream.newest = message

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status[:100]:
            self._view.diagnostics[status.name] = status

    def _find_misfits(self) -> list[Misfit]:
        misfits = []
        for name, types in self._view.topics.items():
            if not any(kind in (IMAGE, CAMERA_INFO) or "/segmentation/" in name for kind in types):
                continue
            for publisher in self.get_publishers_info_by_topic(name):
                for subscriber in self.get_subscriptions_info_by_topic(name):
                    if reason := _why_apart(publisher, subscriber):
                        misfits.append(Misfit(name, _full_name(publisher), _full_name(subscriber), reason))
        return misfits


def _qos() -> QoSProfile:
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def _why_apart(publisher: Any, subscriber: Any) -> str:
    if publisher.topic_type != subscriber.topic_type:
        return f"{publisher.topic_type} is sent, {subscriber.topic_type} expected"
    compatibility, reason = qos_check_compatible(publisher.qos_profile, subscriber.qos_profile)
    return reason.removeprefix("ERROR: ").strip(" ;") if compatibility == QoSCompatibility.ERROR else ""


def _full_name(end: Any) -> str:
    return f"{end.node_namespace.rstrip('/')}/{end.node_name}"

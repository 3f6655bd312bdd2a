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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lcr_seg_ros.compressed_images import RAW, transport_topic
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.ros.camera_info_qos import CameraInfoQos
from lcr_seg_ros.ros.camera_topics import compressed_forms, likely_transport
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.diagnostics import TOPIC as DIAGNOSTICS_TOPIC
from lcr_seg_ros.ros.doctor.compressed import as_image

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
COMPRESSED, IMU = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Imu"

MAX_TOPICS = 16
"""Image topics listened to at a time: a robot with more cameras names the one to look at."""
MAX_ARRIVALS = 4000
LOOK_PERIOD_S = 0.2
DISCOVERY_S = 4.0
"""So long image topics may take to show up."""


def is_output(topic: str) -> bool:
    """Whether a topic is named like those that segmentation nodes publish."""
    return "/segmentation/" in topic


@dataclass
class Stream:
    """What came on one topic.

    Args:
        topic: full name.
        arrivals: (stamp in ns of the header, clock of the node in ns at its arrival, monotonic seconds), in order.
        newest: last message.
        transport: in which form the image came; if compressed, ``topic`` is its name without the ending.
        problem: why the newest message cannot be decoded; ``newest`` is None then.
    """

    topic: str
    arrivals: deque[tuple[int, int, float]] = field(default_factory=lambda: deque(maxlen=MAX_ARRIVALS))
    newest: Any = None
    transport: str = RAW
    problem: str = ""

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
        publishers, subscribers: node names of the ends of each topic that is an input or an output of ours.
        images, camera_infos: what came; images that are there compressed only under their names without ending.
        diagnostics, first_diagnostics: newest and first status by name: counts in them grow from the start of a node.
        misfits: ends of these topics whose types or QoS do not match.
    """

    seconds: float = 0.0
    topics: dict[str, list[str]] = field(default_factory=dict)
    publishers: dict[str, list[str]] = field(default_factory=dict)
    subscribers: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, Stream] = field(default_factory=dict)
    camera_infos: dict[str, Stream] = field(default_factory=dict)
    diagnostics: dict[str, DiagnosticStatus] = field(default_factory=dict)
    first_diagnostics: dict[str, DiagnosticStatus] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)

    def of_type(self, *types: str) -> list[str]:
        """Names of topics of these types that somebody publishes."""
        return [
            name for name, kinds in self.topics.items() if self.publishers.get(name) and any(t in kinds for t in types)
        ]

    @property
    def image_topics(self) -> list[str]:
        """Names of images that somebody publishes, in whatever form; without what segmentation nodes put out."""
        compressed = [name for name, stream in self.images.items() if stream.transport != RAW]
        return [name for name in (*self.of_type(IMAGE), *compressed) if not is_output(name)]

    @property
    def transports(self) -> dict[str, str]:
        """Of the images that are there compressed only."""
        return {name: stream.transport for name, stream in self.images.items() if stream.transport != RAW}

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
        self.share_done = 0.0
        """How far :meth:`listen` has come, 0..1; back to 0 when it begins anew because image topics are there."""
        self._view = GraphView()
        self._listened: set[str] = set()
        self._compressed: dict[str, Stream] = {}  # by full name, until the listening ends
        self.create_subscription(DiagnosticArray, DIAGNOSTICS_TOPIC, self._take_diagnostics, QoSProfile(depth=10))

    def listen(self, seconds: float, is_stopped: Callable[[float], bool]) -> GraphView:
        """Look and listen; somebody else spins this node meanwhile.

        Args:
            seconds: how long, from the time on that image topics are seen; a busy machine takes seconds for that.
            is_stopped: waits for so many seconds; True ends the listening.
        """
        began = time.monotonic()
        is_discovered = bool(self._view.images or self._compressed)
        while True:
            self._look()
            if (self._view.images or self._compressed) and not is_discovered:
                is_discovered, began = True, time.monotonic()
            patience = seconds if is_discovered else max(seconds, DISCOVERY_S)
            self.share_done = min(1.0, (time.monotonic() - began) / patience)
            if self.share_done >= 1 or is_stopped(LOOK_PERIOD_S):
                break
        self._view.seconds = time.monotonic() - began
        self._view.misfits = self._find_misfits()
        self._choose_compressed()
        return self._view

    def _look(self) -> None:
        view = self._view
        view.topics = dict(self.get_topic_names_and_types())
        for name, types in sorted(view.topics.items()):
            if not any(kind in (IMAGE, CAMERA_INFO, COMPRESSED, IMU) for kind in types):
                continue
            nodes = [_full_name(end) for end in self.get_publishers_info_by_topic(name)]
            view.publishers[name] = nodes
            view.subscribers[name] = [_full_name(end) for end in self.get_subscriptions_info_by_topic(name)]
        raw = view.of_type(IMAGE)
        for name, types in sorted(view.topics.items()):
            if view.publishers.get(name) and name not in self._listened and not is_output(name):
                self._subscribe(name, types, raw)

    def _subscribe(self, name: str, types: list[str], raw: list[str]) -> None:
        if CAMERA_INFO in types:
            streams, message_type = self._view.camera_infos, CameraInfo
        elif IMAGE in types and (name in self._wanted or len(self._view.images) < MAX_TOPICS):
            streams, message_type = self._view.images, Image
            if name in self._view.transports:
                del streams[name]  # it was there compressed only, until now
        elif COMPRESSED in types and len(self._compressed) < MAX_TOPICS and compressed_forms([name], raw):
            # Not where raw images are: a driver would begin to compress them for us.
            streams, message_type = self._compressed, CompressedImage
        else:
            return
        self._listened.add(name)
        stream = streams.setdefault(name, Stream(name))
        qos = CameraInfoQos(self, name, depth=5).choose()[0] if message_type is CameraInfo else _qos()
        self.create_subscription(message_type, name, lambda message: self._take(stream, message), qos)

    def _take(self, stream: Stream, message: Any) -> None:
        stream.arrivals.append((stamp_ns(message), self.get_clock().now().nanoseconds, time.monotonic()))
        stream.newest = message

    def _choose_compressed(self) -> None:
        """One form of each image that is there compressed only, its newest message decoded."""
        view = self._view
        for base, offered in compressed_forms(list(self._compressed), view.of_type(IMAGE)).items():
            heard = [form for form in offered if self._compressed[transport_topic(base, form)].newest is not None]
            # The plugin for depth sends nothing of colour images, that for colour makes a picture of depth.
            transport = heard[-1] if heard else likely_transport(base, offered)
            source = self._compressed[transport_topic(base, transport)]
            stream = Stream(base, source.arrivals, transport=transport)
            if source.newest is not None:
                try:
                    stream.newest = as_image(source.newest, transport, base)
                except FrameError as error:
                    stream.problem = str(error)
            view.images[base], view.publishers[base] = stream, view.publishers[source.topic]

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status[:100]:
            self._view.diagnostics[status.name] = status
            self._view.first_diagnostics.setdefault(status.name, status)

    def _find_misfits(self) -> list[Misfit]:
        misfits = []
        for name, types in self._view.topics.items():
            if not any(kind in (IMAGE, CAMERA_INFO, COMPRESSED) or is_output(name) for kind in types):
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

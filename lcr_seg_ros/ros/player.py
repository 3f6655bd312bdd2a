"""Publishes frames as an RGB-D camera driver does: its topic names, encodings, QoS, stamps and rate."""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.ros.camera_presets import CAMERAS as PRESETS
from lcr_seg_ros.ros.camera_presets import OWN_TOPICS
from lcr_seg_ros.ros.conversions import array_to_image
from lcr_seg_ros.ros.qos_overrides import overridable
from lcr_seg_ros.sources.folder import depth_to_millimetres
from lcr_seg_ros.sources.source import FrameSource, SourceFrame

DepthEncoding = Literal["16UC1", "32FC1"]
PlayMode = Literal["once", "loop", "ping-pong"]

TRUTH_QOS = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
TRUTH_TOPIC = "ground_truth/labels"

DEPTH_GRACE_S = 3.0
MATCHING_S = 0.3
"""Wait after a match: DDS discovery tells the publisher a little earlier than the subscriber."""

READ_AHEAD = 32
"""Frames decoded ahead of their publication when a source does not fit into memory."""


@dataclass(frozen=True)
class CameraModel:
    """Topic names (relative to the namespace) and conventions of one driver."""

    rgb: str
    depth: str
    info: str
    encoding: Literal["rgb8", "bgr8", "bgra8"]
    frame_id: str


ENCODINGS: dict[str, Literal["bgr8", "bgra8"]] = {"azure_kinect": "bgra8", "kinect2": "bgr8"}
"""Of colour, of the drivers that do not send rgb8."""

CAMERAS = {
    "generic": CameraModel(
        OWN_TOPICS.rgb, OWN_TOPICS.depth, OWN_TOPICS.camera_info, "rgb8", "camera_rgb_optical_frame"
    ),
    "kinect": CameraModel(
        "rgb/image_raw", "depth_registered/image_raw", "rgb/camera_info", "rgb8", "camera_rgb_optical_frame"
    ),
    **{
        name: CameraModel(preset.rgb, preset.depth, preset.camera_info, ENCODINGS.get(name, "rgb8"), preset.frame_id)
        for name, preset in PRESETS.items()
        if name != "none"
    },
}


@dataclass(frozen=True)
class CameraMessages:
    """The messages of one frame, complete except for their stamps.

    Args:
        name: of the frame in its source.
        rgb, depth, info, labels: the messages; None for what the source does not have.
        stamp_ns: original stamp in ns; None if the source has none.
    """

    name: str
    rgb: Image
    depth: Image | None
    info: CameraInfo | None
    labels: Image | None
    stamp_ns: int | None

    @property
    def nbytes(self) -> int:
        """Size of the images in bytes."""
        return sum(len(image.data) for image in (self.rgb, self.depth, self.labels) if image is not None)


class PublishedFrame(NamedTuple):
    """One publication: its stamp, the name of its frame in the source, and the size of its colour image."""

    stamp_ns: int
    name: str
    width: int
    height: int


@dataclass
class Record:
    """What was published.

    Args:
        frames: in the order of publication.
        seconds: wall time in s from the first publication to the last.
    """

    frames: list[PublishedFrame] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Frames a second from the first to the last publication; 0 for fewer than two."""
        return (len(self.frames) - 1) / self.seconds if len(self.frames) > 1 and self.seconds > 0 else 0.0


class CameraPlayer(Node):
    """The node ``camera``: publishes :class:`SourceFrame` s under a driver's topic names.

    Args:
        camera: key of :data:`CAMERAS`.
        depth_encoding: ``16UC1`` (mm, 0 = hole) or ``32FC1`` (m, NaN = hole).
        frame_id: of all messages; None: the driver's own.

    For frames with labels it also publishes ``ground_truth/labels`` (mono8 mask ids, reliable, header of the colour
    image). Colour, depth and camera_info are best effort, as in drivers; ``qos_overrides`` parameters change that.
    The topics exist from :meth:`announce` on: a driver has images to send once it has topics, and nodes warn of others.
    """

    def __init__(
        self,
        camera: str = "generic",
        depth_encoding: DepthEncoding = "16UC1",
        frame_id: str | None = None,
    ) -> None:
        super().__init__("camera")
        self.camera = CAMERAS[camera]
        self.frame_id = frame_id or self.camera.frame_id
        self._depth_encoding = depth_encoding
        self._has_labels = False
        self._rgb: Any = None
        self._depth: Any = None
        self._info: Any = None
        self._truth: Any = None

    def announce(self) -> None:
        """Create the topics: those of the camera, and that of labels if frames encoded so far have labels."""
        self._rgb = self._create(Image, self.camera.rgb)
        self._depth = self._create(Image, self.camera.depth)
        self._info = self._create(CameraInfo, self.camera.info)
        if self._has_labels:
            self._truth = self._create(Image, TRUTH_TOPIC, TRUTH_QOS)

    @property
    def topics(self) -> list[str]:
        """Full names of the topics published."""
        return [p.topic_name for p in (self._rgb, self._depth, self._info, self._truth) if p is not None]

    def encode(self, item: SourceFrame) -> CameraMessages:
        """The messages of one frame, without stamps."""
        frame = item.frame
        self._has_labels |= item.labels is not None
        rgb = frame.rgb
        if self.camera.encoding == "bgra8":
            rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA)
        elif self.camera.encoding == "bgr8":
            rgb = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        messages = CameraMessages(
            name=item.name,
            rgb=array_to_image(rgb, self.camera.encoding),
            depth=None if frame.depth_m is None else encode_depth(frame.depth_m, self._depth_encoding),
            info=None if frame.intrinsics is None else encode_camera_info(frame.intrinsics),
            labels=None if item.labels is None else array_to_image(item.labels, "mono8"),
            stamp_ns=getattr(item, "stamp_ns", None),
        )
        for message in (messages.rgb, messages.depth, messages.info, messages.labels):
            if message is not None:
                message.header.frame_id = self.frame_id
        return messages

    def publish(self, messages: CameraMessages, stamp_ns: int | None = None) -> int:
        """Publish one frame, stamped with the current time unless a stamp is given; returns the stamp in ns."""
        time_stamp = (
            self.get_clock().now() if stamp_ns is None else Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
        )
        stamp = time_stamp.to_msg()
        if messages.labels is not None and self._truth is None:  # the first frames had none
            self._truth = self._create(Image, TRUTH_TOPIC, TRUTH_QOS)
        outgoing = (
            (self._info, messages.info),
            (self._rgb, messages.rgb),
            (self._depth, messages.depth),
            (self._truth, messages.labels),
        )
        for publisher, message in outgoing:
            if publisher is not None and message is not None:
                message.header.stamp = stamp
                publisher.publish(message)
        return time_stamp.nanoseconds

    def wait_for_subscriber(self, timeout_s: float, stop: threading.Event) -> None:
        """Return once the colour topic has a subscription whose QoS matches, or ``stop`` is set.

        For the depth topic it waits only :data:`DEPTH_GRACE_S` longer: a node that needs colour alone never
        subscribes to it.

        Raises:
            LcrSegError: the colour topic has no subscription within ``timeout_s`` seconds.
        """
        if not self._await_subscription(self._rgb, timeout_s, stop):
            raise LcrSegError(
                f"nobody subscribed to {self._rgb.topic_name} within {timeout_s:g} s: is the segmentation node "
                "active, in the same ROS_DOMAIN_ID and namespace?"
            )
        self._await_subscription(self._depth, DEPTH_GRACE_S, stop)
        stop.wait(MATCHING_S)

    def play(
        self,
        frames: Iterable[CameraMessages],
        rate: float,
        stop: threading.Event,
        original_stamps: bool = False,
    ) -> Record:
        """Publish frames at ``rate`` Hz until they end or ``stop`` is set.

        A late frame is sent at once, and the next is due one period after it: a camera does not catch up in bursts.

        Args:
            frames: in order.
            rate: in Hz.
            stop: ends the loop.
            original_stamps: use the frames' own stamps, where they have one, instead of the current time.
        """
        record = Record()
        period = 1.0 / rate
        began = due = time.monotonic()
        for messages in frames:
            if stop.wait(max(0.0, due - time.monotonic())):
                break
            sent = time.monotonic()
            if not record.frames:
                began = due = sent
            stamp_ns = self.publish(messages, messages.stamp_ns if original_stamps else None)
            record.frames.append(PublishedFrame(stamp_ns, messages.name, messages.rgb.width, messages.rgb.height))
            record.seconds = sent - began
            due = due + period if sent < due + period else sent + period
        return record

    def _await_subscription(self, publisher: Any, timeout_s: float, stop: threading.Event) -> bool:
        deadline = time.monotonic() + timeout_s
        while publisher.get_subscription_count() == 0 and not stop.is_set():
            if time.monotonic() > deadline:
                return False
            stop.wait(0.05)
        return True

    def _create(self, message_type: Any, topic: str, qos: QoSProfile | None = None) -> Any:
        # Each publisher needs its own profile: rclpy writes the user's overrides into the object.
        qos = qos or QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        return self.create_publisher(message_type, topic, qos, qos_overriding_options=overridable())


def encode_depth(depth_m: np.ndarray, encoding: DepthEncoding) -> Image:
    """(H, W) float32 metres as ``16UC1`` (mm, rounded, 0 = hole) or ``32FC1`` (m, NaN = hole)."""
    if encoding == "16UC1":
        return array_to_image(depth_to_millimetres(depth_m), "16UC1")
    hole = ~(np.isfinite(depth_m) & (depth_m > 0))
    return array_to_image(np.where(hole, np.float32(np.nan), depth_m), "32FC1")


def encode_camera_info(intrinsics: CameraIntrinsics) -> CameraInfo:
    """The camera_info of a rectified image: no distortion, P equal to K."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    return CameraInfo(
        height=intrinsics.height,
        width=intrinsics.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


class Reel:
    """The encoded frames of a source: held in memory if they fit, otherwise read ahead by a thread.

    Args:
        source: frames in order.
        encode: :meth:`CameraPlayer.encode`.
        memory_bytes: limit for frames in memory; the need is estimated as one frame times ``len(source)``.
        stop: ends loading early.
        on_progress: called, while frames are loaded, with the number encoded so far.

    Attributes:
        in_memory: whether all frames are held.

    Raises:
        SourceError: the source has no frames.
    """

    def __init__(
        self,
        source: FrameSource,
        encode: Callable[[SourceFrame], CameraMessages],
        memory_bytes: int,
        stop: threading.Event,
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._source, self._encode, self._stop = source, encode, stop
        self._held: list[CameraMessages] = []
        self.in_memory = True
        for item in source:
            if stop.is_set():
                return
            self._held.append(encode(item))
            on_progress(len(self._held))
            if self._held[-1].nbytes * len(source) > memory_bytes:
                self.in_memory = len(source) == 1
                break
        if not self._held:
            raise SourceError("the source has no frames")

    def frames(self, mode: PlayMode) -> Iterator[CameraMessages]:
        """Frames in order: once, over and over (``loop``), or forwards and backwards without end (``ping-pong``).

        Raises:
            SourceError: ``ping-pong``, and the frames are not all in memory.
        """
        if mode == "once":
            return iter(self._held) if self.in_memory else self._read_ahead(1)
        if mode == "loop":
            return itertools.cycle(self._held) if self.in_memory else self._read_ahead(None)
        if not self.in_memory:
            raise SourceError("--ping-pong needs all frames in memory: raise --memory or lower --limit")
        return itertools.cycle([*self._held, *self._held[-2:0:-1]])

    def _read_ahead(self, rounds: int | None) -> Iterator[CameraMessages]:
        """Yield what a thread reads and encodes; an error of the source is raised after the frames read before it.

        Args:
            rounds: how often to play the source; None: without end.
        """
        ready: queue.Queue[CameraMessages | Exception | None] = queue.Queue(READ_AHEAD)
        done = threading.Event()

        def put(item: CameraMessages | Exception | None) -> bool:
            while not (done.is_set() or self._stop.is_set()):
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                for _ in itertools.count() if rounds is None else range(rounds):
                    for item in self._source:
                        if not put(self._encode(item)):
                            return
                put(None)
            except Exception as error:  # passed on to the consumer, which raises it
                put(error)

        thread = threading.Thread(target=read, name="read-ahead", daemon=True)
        thread.start()
        try:
            while not self._stop.is_set():
                try:
                    item = ready.get(timeout=0.1)
                except queue.Empty:
                    continue
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            done.set()
            thread.join(timeout=5.0)


def write_index(path: str | Path, record: Record, player: CameraPlayer) -> None:
    """Write a record as JSON; the n-th entry of ``frames`` is the n-th publication.

    ``{"frame_id", "topics", "rate_hz", "frames": [{"sec", "nanosec", "name", "width", "height"}, ...]}``
    """
    frames = []
    for stamp_ns, name, width, height in record.frames:
        sec, nanosec = divmod(stamp_ns, 10**9)
        frames.append({"sec": sec, "nanosec": nanosec, "name": name, "width": width, "height": height})
    content = {"frame_id": player.frame_id, "topics": player.topics, "rate_hz": record.rate, "frames": frames}
    replace_file(Path(path), json.dumps(content, indent=1).encode())


def read_index(path: str | Path) -> tuple[str, list[PublishedFrame]]:
    """(frame_id, publications) from a file that :func:`write_index` wrote."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return content["frame_id"], [
        PublishedFrame(f["sec"] * 10**9 + f["nanosec"], f["name"], f["width"], f["height"]) for f in content["frames"]
    ]

"""The viewer's input for one camera of the node: its topics, polled and matched by stamp.

The node makes confidence and HHA images only for subscribers. Points, overlay and colours are made by the viewer from
depth, mask and class names. So the node has no code for the viewer, and no work while there is none.

What the node listens to, the ROS graph tells: whoever looks at a node need not repeat its remappings and transports.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Vector3Stamped
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lcr_seg_ros.compressed_images import (
    RAW,
    compressed_color_to_array,
    compressed_depth_to_array,
    transport_topic,
)
from lcr_seg_ros.errors import FrameError, LabelSetError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.image_encodings import (
    LABEL_ENCODINGS,
    camera_info_to_intrinsics,
    color_to_array,
    depth_to_array,
)
from lcr_seg_ros.labels import UNLABELLED, LabelSet
from lcr_seg_ros.ros.camera_presets import OWN_TOPICS
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.heard_topics import heard_camera
from lcr_seg_ros.ros.label_announcements import AnnouncedLabels
from lcr_seg_ros.ros.output_topics import CONFIDENCE, GRAVITY, HHA, LABEL_INFO_JSON, MASK, POINTS
from lcr_seg_ros.ros.polled_subscription import PolledSubscription
from lcr_seg_ros.segmenter import Segmentation

if TYPE_CHECKING:
    from rclpy.node import Node

KEPT = 10
"""Messages kept of each topic until those with the same stamp have come: a third of a second at 30 Hz."""

SLOP_NS = 50_000_000
"""Largest distance between the stamps of a depth image and its colour image."""

PATIENCE_POLLS = 2
"""After more polls than this, a mask is shown even if its depth, HHA or confidence has not come."""

DOWN_STALE_NS = 5 * 10**9

LOOK_PERIOD_S = 1.0
"""Time between two looks at the graph."""

IMAGES = ("rgb", "depth", "mask", "confidence", "hha")
INFO = "camera_info"
INPUTS = ("rgb", "depth", INFO)


@dataclass(frozen=True)
class Sight:
    """A frame and its segmentation, put together from messages with one stamp.

    Args:
        stamp_ns: of the colour image.
        frame_id: optical frame.
        frame: its gravity is the direction that the node published last, if within 5 s.
        segmentation: its confidence is all 0 if none has come.
        is_registered: whether depth is in the frame of colour, so that its pixels can be placed and labelled.
    """

    stamp_ns: int
    frame_id: str
    frame: RgbdFrame
    segmentation: Segmentation
    is_registered: bool


class ViewedCamera:
    """Subscribes to the topics of one camera of the node.

    Args:
        node: creates the subscriptions; it need not be spun.
        name: of the camera, which is the namespace of its topics; empty for a node's only camera.
        rgb_transport, depth_transport: how to receive images, see :mod:`lcr_seg_ros.compressed_images`; for ``raw``,
            as the node receives them.
        warn: called with what cannot be shown, and why.

    Colour, depth and camera_info are those that the node listens to, except where they are remapped. Until the graph
    tells them, and where it does not, they have the node's own names.
    """

    def __init__(
        self,
        node: Node,
        name: str = "",
        rgb_transport: str = RAW,
        depth_transport: str = RAW,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self._node = node
        self._warn = warn
        self._asked_transports = {"rgb": rgb_transport, "depth": depth_transport}
        self._transports = dict(self._asked_transports)
        inputs = {"rgb": OWN_TOPICS.rgb, "depth": OWN_TOPICS.depth, INFO: OWN_TOPICS.camera_info}
        self._followed = {kind for kind, base in inputs.items() if self._topic(base) == self._plain_topic(base)}
        bases = {**inputs, "mask": MASK, "confidence": CONFIDENCE, "hha": HHA}
        self._topics = {
            kind: transport_topic(self._topic(base), self._transports.get(kind, RAW)) for kind, base in bases.items()
        }
        self._subscriptions: dict[str, PolledSubscription] = {}
        self._downs = self._subscribe(Vector3Stamped, self._topic(GRAVITY), _best_effort(1))
        self._announced = AnnouncedLabels(node, self._topic(LABEL_INFO_JSON))
        self._waiting: dict[str, OrderedDict[int, Any]] = {kind: OrderedDict() for kind in IMAGES}
        self._seen_kinds: set[str] = set()
        self._has_info = False
        self._sees_depth = False
        self._looked_at: float | None = None
        self._has_told_of_frames = False
        self._polls_waited = 0
        self._shown_ns = 0
        self._intrinsics: CameraIntrinsics | None = None
        self._down: tuple[int, npt.NDArray[np.float64]] | None = None

    @property
    def missing(self) -> list[str]:
        """What has never come of ``rgb`` and ``mask``, without which nothing can be shown, and, if the node's model
        sees depth, of ``depth`` and ``camera_info``, without which there are no points."""
        needed = ["rgb", "mask", *(["depth", INFO] if self._sees_depth else [])]
        return [kind for kind in needed if kind not in self._seen_kinds and not (kind == INFO and self._has_info)]

    def topic(self, kind: str) -> str:
        """Full name of the topic that is listened to for one of the kinds in :attr:`missing`."""
        return self._topics[kind]

    def labels(self) -> LabelSet | None:
        """The labels of the node's model, if it has announced them since the last call."""
        try:
            return self._announced.take()
        except LabelSetError as error:
            self._warn(str(error))
            return None

    def sight(self) -> Sight | None:
        """The newest frame that can be shown and is newer than those returned before; None if there is none."""
        self._take_in()
        stamp = self._choose()
        if stamp is None:
            return None
        self._shown_ns = stamp
        self._polls_waited = 0
        found = {kind: self._partner(kind, stamp) for kind in IMAGES}
        for kind in IMAGES:  # older messages will not be shown any more
            for key in [key for key in self._waiting[kind] if key < stamp - SLOP_NS]:
                del self._waiting[kind][key]
        try:
            return self._put_together(stamp, found)
        except FrameError as error:
            self._warn(f"a frame of {self.topic('mask')} cannot be shown: {error}")
            return None

    def destroy(self) -> None:
        """Unsubscribe."""
        self._announced.destroy()
        for subscription in (*self._subscriptions.values(), self._downs):
            subscription.destroy()

    def _take_in(self) -> None:
        if self._node.count_publishers(self.topic("mask")):
            # Not before: a camera may start with its first subscriber.
            self._follow_the_node()
            for kind in self._topics.keys() - self._subscriptions.keys():
                self._listen(kind)
        for kind, subscription in self._subscriptions.items():
            if kind == INFO:
                self._take_infos(subscription)
                continue
            waiting = self._waiting[kind]
            for message in subscription.take():
                stamp = stamp_ns(message)
                if stamp < self._shown_ns and kind == "mask" and self._shown_ns - stamp > 10**9:
                    self._start_over()  # a bag has started over
                waiting[stamp] = message
                self._seen_kinds.add(kind)
                while len(waiting) > KEPT:
                    waiting.popitem(last=False)
        for message in self._downs.take():
            vector = np.array([message.vector.x, message.vector.y, message.vector.z])
            if np.isfinite(vector).all() and np.linalg.norm(vector) > 0.5:
                self._down = stamp_ns(message), vector

    def _take_infos(self, subscription: PolledSubscription) -> None:
        for message in subscription.take():
            self._has_info = True
            try:
                self._intrinsics = camera_info_to_intrinsics(message, self.topic("rgb"))
            except FrameError as error:
                self._intrinsics = None
                self._warn(str(error))

    def _follow_the_node(self) -> None:
        """Listen to what the node listens to now: it may have been started again, or see depth with another model."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_PERIOD_S:
            return
        self._looked_at = now
        below = self._plain_topic("") if self.name else ""
        heard = heard_camera(self._node, self.topic("mask"), below)
        if heard is None:
            return
        self._sees_depth = bool(heard.depth)
        found = {
            "rgb": (heard.rgb, heard.rgb_transport),
            "depth": (heard.depth, heard.depth_transport),
            INFO: (heard.camera_info, RAW),
        }
        for kind in self._followed:
            base, transport = found[kind]
            asked = self._asked_transports.get(kind, RAW)
            transport = transport if asked == RAW else asked
            topic = transport_topic(base, transport)
            if base and topic != self._topics[kind]:
                self._topics[kind], self._transports[kind] = topic, transport
                if kind in self._subscriptions:
                    self._subscriptions.pop(kind).destroy()
                    self._waiting.get(kind, OrderedDict()).clear()

    def _listen(self, kind: str) -> None:
        message_type = CameraInfo if kind == INFO else Image
        if self._transports.get(kind, RAW) != RAW:
            message_type = CompressedImage
        # Best effort, whatever the publisher offers: a slow viewer must not hold up a publisher.
        self._subscriptions[kind] = self._subscribe(
            message_type, self._topics[kind], _best_effort(1 if kind == INFO else KEPT)
        )

    def _start_over(self) -> None:
        self._shown_ns = 0
        self._down = None
        for waiting in self._waiting.values():
            waiting.clear()

    def _choose(self) -> int | None:
        """The stamp to show: the newest with all kinds seen so far; after :data:`PATIENCE_POLLS` polls, the newest."""
        stamps = [s for s in self._waiting["mask"] if s > self._shown_ns and s in self._waiting["rgb"]]
        complete = [s for s in stamps if all(self._partner(kind, s) is not None for kind in self._seen_kinds)]
        if complete:
            return max(complete)
        if stamps:
            self._polls_waited += 1
        return max(stamps) if stamps and self._polls_waited > PATIENCE_POLLS else None

    def _partner(self, kind: str, stamp: int) -> Any:
        waiting = self._waiting[kind]
        if kind == "depth" and waiting:
            nearest = min(waiting, key=lambda other: abs(other - stamp))
            return waiting[nearest] if abs(nearest - stamp) <= SLOP_NS else None
        return waiting.get(stamp)

    def _put_together(self, stamp: int, found: dict[str, Any]) -> Sight:
        rgb = self._read_color(found["rgb"])
        size = rgb.shape[:2]
        labels = _single_channel(found["mask"])
        if labels.shape != size:
            raise FrameError(f"the mask is {labels.shape[::-1]} pixels, the colour image {size[::-1]}")
        confidence = np.zeros(size, np.float32)
        if found["confidence"] is not None:
            confidence = _single_channel(found["confidence"]) / np.float32(255)
        hha = None if found["hha"] is None else color_to_array(found["hha"])
        depth = None if found["depth"] is None else self._read_depth(found["depth"])
        intrinsics = self._intrinsics
        if depth is not None and depth.shape != size:
            self._warn(f"depth is {depth.shape[::-1]} pixels, colour {size[::-1]}: not registered, so not shown")
            depth = None
        if intrinsics is not None and (intrinsics.height, intrinsics.width) != size:
            self._warn(f"camera_info is for {intrinsics.width}x{intrinsics.height} pixels, colour is {size[::-1]}")
            intrinsics = None
        is_registered = depth is None or self._is_one_frame(found["rgb"], found["depth"])
        down = self._down[1] if self._down and abs(stamp - self._down[0]) < DOWN_STALE_NS else None
        frame = RgbdFrame(rgb, depth, intrinsics, gravity=down, stamp_s=stamp * 1e-9)
        frame_id = found["rgb"].header.frame_id
        return Sight(stamp, frame_id, frame, Segmentation(labels, confidence, hha), is_registered)

    def _is_one_frame(self, rgb: Any, depth: Any) -> bool:
        """Whether depth is registered to colour, by the frames in the headers; said once if it is not."""
        frames = rgb.header.frame_id, depth.header.frame_id
        if frames[0] == frames[1]:
            return True
        if not self._has_told_of_frames:
            self._has_told_of_frames = True
            self._warn(
                f"colour is in frame {frames[0]!r}, depth in {frames[1]!r}: not registered, so its points would be in "
                f"the wrong place and are left out; see {self._topic(POINTS)} in RViz or Foxglove, or let the driver "
                "align depth to colour"
            )
        return False

    def _read_color(self, message: Any) -> npt.NDArray[np.uint8]:
        return color_to_array(message) if self._transports["rgb"] == RAW else compressed_color_to_array(message)

    def _read_depth(self, message: Any) -> npt.NDArray[np.float32]:
        return depth_to_array(message) if self._transports["depth"] == RAW else compressed_depth_to_array(message)

    def _topic(self, base: str) -> str:
        """Full topic name, after remapping."""
        return str(self._node.resolve_topic_name(f"{self.name}/{base}" if self.name else base))

    def _plain_topic(self, base: str) -> str:
        """Full topic name without remapping."""
        return "/".join([self._node.get_namespace().rstrip("/"), *([self.name] if self.name else []), base])

    def _subscribe(self, message_type: type[Any], topic: str, qos: QoSProfile) -> PolledSubscription:
        return PolledSubscription(self._node, message_type, topic, qos)


def _best_effort(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def _single_channel(message: Image) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 of an image in one of the mask's encodings; ids outside of 0..254 become unlabelled (255).

    Raises:
        FrameError: the image has another encoding, or its data is cut short.
    """
    if message.encoding == "mono8":
        return np.ascontiguousarray(color_to_array(message)[..., 0])
    encoding = LABEL_ENCODINGS.get(message.encoding)
    if encoding is None:
        raise FrameError(f"mask has encoding {message.encoding!r}; use {', '.join(LABEL_ENCODINGS)}")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    if message.step < message.width * dtype.itemsize or len(message.data) < message.step * message.height:
        raise FrameError(f"mask is cut: {message.width}x{message.height} {message.encoding}, {len(message.data)} bytes")
    rows = np.frombuffer(message.data, np.uint8)[: message.step * message.height].reshape(message.height, message.step)
    ids = np.ascontiguousarray(rows[:, : message.width * dtype.itemsize]).view(dtype)
    return np.where((ids >= 0) & (ids < UNLABELLED), ids, UNLABELLED).astype(np.uint8)

"""What the node publishes of a segmentation: only what somebody listens to, with the header of the colour image."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2

from lcr_seg_ros import render
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.image_encodings import LABEL_ENCODINGS
from lcr_seg_ros.labels import UNLABELLED, LabelSet
from lcr_seg_ros.ros.compat.vision_msgs import LabelInfoFormat
from lcr_seg_ros.ros.conversions import array_to_image, segmentation_to_cloud

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Header

    from lcr_seg_ros.ros.parameters import SegmentParameters
    from lcr_seg_ros.segmenter import Segmentation

MASK = "segmentation/mask"
CONFIDENCE = "segmentation/confidence"
COLOR = "segmentation/color"
OVERLAY = "segmentation/overlay"
POINTS = "segmentation/points"
HHA = "segmentation/hha"


class SegmentationOutputs:
    """The lifecycle publishers of a node.

    Args:
        node: whose publishers they are.
        labels: of the model.
        with_depth: the model sees depth, so there are points and HHA to publish.
        label_info: see :func:`~lcr_seg_ros.ros.compat.vision_msgs.choose_label_info`.
    """

    def __init__(self, node: LifecycleNode, labels: LabelSet, with_depth: bool, label_info: LabelInfoFormat) -> None:
        self._node = node
        self._labels = labels
        self._label_info_format = label_info
        types = {MASK: Image, CONFIDENCE: Image, COLOR: Image, OVERLAY: Image}
        if with_depth:
            types |= {POINTS: PointCloud2, HHA: Image}
        self._publishers = {topic: self._publisher(kind, topic) for topic, kind in types.items()}
        self._label_info = self._publisher(
            label_info.message_type, label_info.topic, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )

    def destroy(self) -> None:
        """Take all publishers away."""
        for publisher in (*self._publishers.values(), self._label_info):
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def wanted(self) -> list[str]:
        """Topics that have a subscription now."""
        return [topic for topic, publisher in self._publishers.items() if publisher.get_subscription_count()]

    def publish_label_info(self, threshold: float, header: Header) -> None:
        """Tell what the mask values mean; whoever subscribes later gets it as well."""
        self._label_info.publish(self._label_info_format.build(self._labels, threshold, header))

    def publish(
        self,
        segmentation: Segmentation,
        frame: RgbdFrame,
        header: Header,
        parameters: SegmentParameters,
        on_mask_sent: Callable[[], None],
    ) -> dict[str, float]:
        """Make and send what is subscribed, the mask first.

        Args:
            segmentation: of ``frame``.
            header: of the colour image; every message carries it.
            parameters: confidence_threshold, label_encoding and overlay_opacity are used.
            on_mask_sent: called when the mask has left, or would have if somebody listened.

        Returns:
            ms spent on making messages (``render``) and on sending them (``publish``).
        """
        labels, confidence = segmentation.labels, segmentation.confidence
        if parameters.confidence_threshold > 0:
            labels = np.where(confidence < parameters.confidence_threshold, np.uint8(UNLABELLED), labels)

        def mask() -> Image:
            dtype = LABEL_ENCODINGS[parameters.label_encoding].dtype
            return array_to_image(labels.astype(dtype, copy=False), parameters.label_encoding, header)

        def confidence_image() -> Image:
            return array_to_image(np.rint(confidence * 255).astype(np.uint8), "mono8", header)

        def color() -> Image:
            return array_to_image(render.colorize(labels, self._labels), "rgb8", header)

        def overlay() -> Image:
            blended = render.overlay(frame.rgb, labels, self._labels, opacity=parameters.overlay_opacity)
            return array_to_image(blended, "rgb8", header)

        def points() -> PointCloud2:
            assert frame.depth_m is not None and frame.intrinsics is not None  # the model sees depth
            return segmentation_to_cloud(
                frame.depth_m, frame.intrinsics, labels, confidence, self._labels.palette, header
            )

        def hha() -> Image:
            assert segmentation.hha is not None  # the model sees depth
            return array_to_image(segmentation.hha, "rgb8", header)

        makers = {MASK: mask, CONFIDENCE: confidence_image, COLOR: color, OVERLAY: overlay, POINTS: points, HHA: hha}
        wanted = self.wanted()
        spent = {"render": 0.0, "publish": 0.0}
        if MASK not in wanted:
            on_mask_sent()
        for topic in wanted:
            began = time.perf_counter()
            message = makers[topic]()
            made = time.perf_counter()
            self._publishers[topic].publish(message)
            sent = time.perf_counter()
            spent["render"] += (made - began) * 1e3
            spent["publish"] += (sent - made) * 1e3
            if topic == MASK:
                on_mask_sent()
        return spent

    def _publisher(
        self, message_type: type[Any], topic: str, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
    ) -> Any:
        return self._node.create_lifecycle_publisher(
            message_type,
            topic,
            # A profile of its own for each publisher: rclpy writes the user's overrides into it.
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=durability),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

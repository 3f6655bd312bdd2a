"""Publishes a camera's segmentations: only outputs that have subscribers, with the header of the colour image.

How often an image is copied on its way through the node: rclpy copies it twice when it takes the message (into its C
struct, then into an ``array.array``); rgb8 is then read in place, other channel orders are copied once, and depth once
for the conversion to metres; the network gets a smaller copy. Each output is copied once from NumPy into the message,
once by rclpy into its C struct, and once by the middleware as it serialises. Only the first of these three is in our
hands. Writing it into a buffer kept from frame to frame was tried, and saved too little to be measurable beside the
time of sending, so each message has its own buffer.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import String

from lcr_seg_ros import render
from lcr_seg_ros.drawing import Drawing
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.image_encodings import LABEL_ENCODINGS
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.compat.vision_msgs import LabelInfoFormat
from lcr_seg_ros.ros.conversions import array_to_image, segmentation_to_cloud
from lcr_seg_ros.ros.label_announcements import labels_to_json
from lcr_seg_ros.ros.output_topics import (
    COLOR,
    CONFIDENCE,
    HHA,
    LABEL_INFO_JSON,
    LEGEND,
    MASK,
    OVERLAY,
    POINTS,
    STATUS,
)
from lcr_seg_ros.ros.parameters import keeps
from lcr_seg_ros.ros.status_picture import status_picture

if TYPE_CHECKING:
    from std_msgs.msg import Header

    from lcr_seg_ros.ros.camera_site import CameraSite
    from lcr_seg_ros.ros.parameters import SegmentParameters
    from lcr_seg_ros.segmenter import Segmentation

ALWAYS = {MASK: Image, CONFIDENCE: Image, COLOR: Image, OVERLAY: Image}
OF_DEPTH = {POINTS: PointCloud2, HHA: Image}


class SegmentationOutputs:
    """The lifecycle publishers of a camera.

    Args:
        site: of the camera.
        labels: of the model.
        with_depth: whether the model sees depth, so that there are points and HHA to publish.
    """

    def __init__(self, site: CameraSite, labels: LabelSet, with_depth: bool) -> None:
        self._site = site
        self._publishers: dict[str, Any] = {}
        latched = DurabilityPolicy.TRANSIENT_LOCAL
        self.use_labels(labels, with_depth)
        forms = [LabelInfoFormat(LABEL_INFO_JSON, String, labels_to_json), site.shared.label_info]
        self._label_infos = {
            form: site.create_publisher(form.message_type, form.topic, latched) for form in forms if form is not None
        }
        self._legend = site.create_publisher(Image, LEGEND, latched)
        self._status = site.create_publisher(Image, STATUS)

    def use_labels(self, labels: LabelSet, with_depth: bool) -> None:
        """Adapt to a model with these labels; creates or destroys the publishers of points and HHA as needed."""
        self._labels = labels
        types = ALWAYS | OF_DEPTH if with_depth else ALWAYS
        for topic in self._publishers.keys() - types.keys():
            self._site.destroy_publisher(self._publishers.pop(topic))
        for topic, kind in types.items():
            if topic not in self._publishers:
                self._publishers[topic] = self._site.create_publisher(kind, topic)

    def destroy(self) -> None:
        """Destroy all publishers."""
        for publisher in (*self._publishers.values(), *self._label_infos.values(), self._legend, self._status):
            self._site.destroy_publisher(publisher)
        self._publishers.clear()

    def wanted(self) -> list[str]:
        """Topics that have subscribers now."""
        return [topic for topic, publisher in self._publishers.items() if publisher.get_subscription_count()]

    def drawing(self, parameters: SegmentParameters) -> Drawing | None:
        """How pictures are to be drawn; None while neither colour image nor overlay has a subscriber."""
        return self._drawing(parameters) if {COLOR, OVERLAY} & set(self.wanted()) else None

    def announce(self, parameters: SegmentParameters, header: Header) -> None:
        """Publish the meaning of the mask values and the colour legend, latched for later subscribers."""
        for form, publisher in self._label_infos.items():
            publisher.publish(form.build(self._labels, parameters.confidence_threshold, header))
        shown = [one for one in self._labels.classes if keeps(parameters.class_filter, one)]
        self._legend.publish(array_to_image(render.class_legend(shown), "rgb8", header))

    def show_status(self, status: DiagnosticStatus, header: Header) -> None:
        """Publish the camera's status as a picture, if anybody subscribes to it."""
        if self._status.get_subscription_count():
            values = {entry.key: entry.value for entry in status.values}
            picture = status_picture(status.name, status.message, status.level == DiagnosticStatus.OK, values)
            self._status.publish(array_to_image(picture, "rgb8", header))

    def publish(
        self,
        segmentation: Segmentation,
        frame: RgbdFrame,
        header: Header,
        parameters: SegmentParameters,
        on_mask_sent: Callable[[], None],
    ) -> dict[str, float]:
        """Create and send the outputs that have subscribers, the mask first.

        Args:
            segmentation: of ``frame``.
            frame: what was labelled.
            header: of the colour image; every message carries it.
            parameters: confidence_threshold, class_filter, label_encoding and overlay_opacity are used.
            on_mask_sent: called when the mask has been sent, or at once if it has no subscriber.

        Returns:
            ms spent on creating the messages (``render``) and on sending them (``publish``).
        """
        drawing, confidence = self._drawing(parameters), segmentation.confidence
        labels = drawing.shown(segmentation.labels, confidence)
        drawn = segmentation.pictures  # drawn with parameters that may have changed since
        if drawn is not None and drawn.drawing != drawing:
            drawn = None

        def mask() -> Image:
            dtype = LABEL_ENCODINGS[parameters.label_encoding].dtype
            return array_to_image(labels.astype(dtype, copy=False), parameters.label_encoding, header)

        def confidence_image() -> Image:
            return array_to_image(cv2.convertScaleAbs(confidence, alpha=255), "mono8", header)  # rounds

        def color() -> Image:
            picture = drawn.color if drawn else render.colorize(labels, self._labels)
            return array_to_image(picture, "rgb8", header)

        def overlay() -> Image:
            picture = drawn.overlay if drawn else render.overlay(frame.rgb, labels, self._labels, drawing.opacity)
            return array_to_image(picture, "rgb8", header)

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
            if topic == HHA and segmentation.hha is None:
                continue  # on a GPU, HHA is downloaded only if it had a subscriber when the frame began
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

    def _drawing(self, parameters: SegmentParameters) -> Drawing:
        kept_ids = _kept_ids(self._labels, parameters.class_filter) if parameters.class_filter else None
        return Drawing(parameters.confidence_threshold, kept_ids, parameters.overlay_opacity)


@functools.lru_cache(maxsize=4)
def _kept_ids(labels: LabelSet, class_filter: tuple[str | int, ...]) -> frozenset[int]:
    return frozenset(one.id for one in labels.classes if keeps(class_filter, one))

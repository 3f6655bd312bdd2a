"""Observes what the segmentation node publishes, from outside as a robot's program would, and checks it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

from lcr_seg_ros.image_encodings import color_to_array
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.diagnostics import camera_of
from lcr_seg_ros.ros.output_topics import CONFIDENCE, HHA, MASK
from lcr_seg_ros.ros.player import TRUTH_QOS, TRUTH_TOPIC, PublishedFrame

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
WAITING_FRAMES = 90
"""Masks, and ground truths, that are kept until their counterpart arrives."""
PICTURE_FRAMES = 60
"""Frames whose images are kept for pictures, complete or not: 150 MB at 640x480."""


@dataclass(frozen=True)
class Arrival:
    """A received mask: its header and size, and when it arrived (ns of this node's clock)."""

    stamp_ns: int
    frame_id: str
    width: int
    height: int
    encoding: str
    arrived_ns: int

    @property
    def latency_ms(self) -> float:
        """From the camera's stamp to the arrival of the mask."""
        return (self.arrived_ns - self.stamp_ns) / 1e6


@dataclass
class Agreement:
    """Counts of annotated pixels, of those that the masks label correctly, and of frames compared."""

    correct: int = 0
    annotated: int = 0
    frames: int = 0

    @property
    def pixel_acc(self) -> float | None:
        """Share of annotated pixels labelled correctly, 0..1; None if none is annotated."""
        return self.correct / self.annotated if self.annotated else None


@dataclass
class PictureSet:
    """Images that node and camera published with the same stamp: ``rgb`` is (H, W, 3) uint8, ``hha`` (h, w, 3) uint8,
    the others (H, W) uint8."""

    stamp_ns: int
    rgb: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    hha: npt.NDArray[np.uint8] | None = None
    confidence: npt.NDArray[np.uint8] | None = None
    truth: npt.NDArray[np.uint8] | None = None


@dataclass
class Observations:
    """What was received between two calls of :meth:`SegmentationObserver.start_over`.

    Args:
        masks: in the order of their arrival.
        class_pixels: (256,) int64 mask pixels by id.
        agreement: with the ground truth.
        diagnostics: newest values by key.
        diagnostics_message: the newest.
    """

    masks: list[Arrival] = field(default_factory=list)
    class_pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    agreement: Agreement = field(default_factory=Agreement)
    diagnostics: dict[str, str] = field(default_factory=dict)
    diagnostics_message: str = ""

    @property
    def rate(self) -> float:
        """Masks per second, from the first arrival to the last; 0 for fewer than two."""
        if len(self.masks) < 2:
            return 0.0
        return (len(self.masks) - 1) * 1e9 / max(1, self.masks[-1].arrived_ns - self.masks[0].arrived_ns)

    def latency_ms(self, percentile: float) -> float:
        """A percentile (0..100) of the masks' latencies in ms; NaN without masks."""
        return float(np.percentile([m.latency_ms for m in self.masks], percentile)) if self.masks else float("nan")

    def class_shares(self) -> dict[int, float]:
        """Share of all mask pixels by mask id, 0..1, largest first, without zeros."""
        total = max(1, int(self.class_pixels.sum()))
        order = np.argsort(-self.class_pixels, kind="stable")
        return {int(i): float(self.class_pixels[i]) / total for i in order if self.class_pixels[i]}


class SegmentationObserver(Node):
    """The node ``observer``: subscribes to the mask, the ground truth and /diagnostics.

    Args:
        labels: the model's label set; pixels whose truth is its ``void`` are not compared.
        node_name: full name of the node whose diagnostics to keep; it has one camera.
        on_mask: called with (stamp in ns, (H, W) uint8 mask ids) for every mask, in the spinning thread.
        with_truth: False if the truth has another label set, so that its ids cannot be compared with the masks'.

    Latency is measured until the mask's callback runs here, so it includes DDS and Python.
    """

    def __init__(
        self,
        labels: LabelSet,
        node_name: str = "segment",
        on_mask: Callable[[int, npt.NDArray[np.uint8]], None] = lambda stamp_ns, mask: None,
        with_truth: bool = True,
    ) -> None:
        super().__init__("observer")
        self._void = labels.void
        self._node_name = node_name
        self._on_mask = on_mask
        self._lock = threading.Lock()
        self._seen = Observations()
        self._waiting_masks: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()
        self._waiting_truths: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()
        self._pictures: OrderedDict[int, dict[str, npt.NDArray[np.uint8]]] = OrderedDict()
        self._picture_kinds: set[str] = set()
        self.create_subscription(Image, MASK, self._receive_mask, RELIABLE)
        if with_truth:
            self.create_subscription(Image, TRUTH_TOPIC, self._receive_truth, TRUTH_QOS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._receive_diagnostics, RELIABLE)

    def start_over(self) -> Observations:
        """Start new counts; returns what was counted so far. The diagnostics are carried over."""
        with self._lock:
            seen, self._seen = self._seen, Observations()
            self._seen.diagnostics = dict(seen.diagnostics)
            return seen

    @property
    def mask_count(self) -> int:
        """Masks since the last :meth:`start_over`."""
        return len(self._seen.masks)

    def watch_pictures(self, rgb_topic: str, with_hha: bool = True) -> None:
        """Subscribe to colour, confidence and HHA as well, to gather complete sets for pictures.

        Not done during the measurement, because the node makes HHA and confidence images only for subscribers.
        """

        def keep(kind: str) -> Callable[[Image], None]:
            return lambda message: self._keep_picture(kind, message)

        topics = {"rgb": (rgb_topic, BEST_EFFORT), "confidence": (CONFIDENCE, RELIABLE)}
        if with_hha:
            topics["hha"] = (HHA, RELIABLE)
        self._picture_kinds = {"mask", *topics}
        for kind, (topic, qos) in topics.items():
            self.create_subscription(Image, topic, keep(kind), qos)

    def pictures(self) -> list[PictureSet]:
        """The complete sets gathered so far, in order of their stamps."""
        with self._lock:
            return [
                PictureSet(ns, s["rgb"], s["mask"], s.get("hha"), s.get("confidence"), s.get("truth"))
                for ns, s in sorted(self._pictures.items())
                if self._picture_kinds <= s.keys()
            ]

    def _receive_mask(self, message: Image) -> None:
        arrived_ns = self.get_clock().now().nanoseconds
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        arrival = Arrival(
            stamp_ns, message.header.frame_id, message.width, message.height, message.encoding, arrived_ns
        )
        mask = _mono(message)
        with self._lock:
            self._seen.masks.append(arrival)
            self._seen.class_pixels += np.bincount(mask.ravel(), minlength=256)
            self._compare(stamp_ns, mask, self._waiting_truths.pop(stamp_ns, None))
            self._add_to_picture(stamp_ns, "mask", mask)
        self._on_mask(stamp_ns, mask)

    def _receive_truth(self, message: Image) -> None:
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        truth = _mono(message)
        with self._lock:
            mask = self._waiting_masks.pop(stamp_ns, None)
            if mask is None:
                _remember(self._waiting_truths, stamp_ns, truth)
            else:
                self._compare(stamp_ns, mask, truth)
            self._add_to_picture(stamp_ns, "truth", truth)

    def _compare(self, stamp_ns: int, mask: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8] | None) -> None:
        if truth is None:
            _remember(self._waiting_masks, stamp_ns, mask)
            return
        if mask.shape != truth.shape:
            return  # `header_faults` reports the wrong size
        annotated = truth != self._void
        agreement = self._seen.agreement
        agreement.frames += 1
        agreement.annotated += int(np.count_nonzero(annotated))
        agreement.correct += int(np.count_nonzero((mask == truth) & annotated))

    def _receive_diagnostics(self, message: DiagnosticArray) -> None:
        with self._lock:
            for status in message.status:
                if camera_of(status.name, self._node_name) == "":
                    self._seen.diagnostics.update({pair.key: pair.value for pair in status.values})
                    self._seen.diagnostics_message = status.message

    def _keep_picture(self, kind: str, message: Image) -> None:
        pixels = _mono(message) if message.encoding == "mono8" else color_to_array(message).copy()
        with self._lock:
            self._add_to_picture(Time.from_msg(message.header.stamp).nanoseconds, kind, pixels)

    def _add_to_picture(self, stamp_ns: int, kind: str, pixels: npt.NDArray[np.uint8]) -> None:
        if self._picture_kinds:
            self._pictures.setdefault(stamp_ns, {})[kind] = pixels
            while len(self._pictures) > PICTURE_FRAMES:
                self._pictures.popitem(last=False)


def header_faults(masks: Iterable[Arrival], published: Iterable[PublishedFrame], frame_id: str) -> list[str]:
    """One line for each fault of a mask: stamp, size or frame_id not of a published image, not mono8, or came twice."""
    sizes = {frame.stamp_ns: (frame.width, frame.height) for frame in published}
    faults = []
    seen: set[int] = set()
    for mask in masks:
        where = f"mask at {mask.stamp_ns // 10**9}.{mask.stamp_ns % 10**9:09d}"
        if mask.stamp_ns not in sizes:
            faults.append(f"{where}: the camera published no image with this stamp")
        elif sizes[mask.stamp_ns] != (mask.width, mask.height):
            width, height = sizes[mask.stamp_ns]
            faults.append(f"{where}: it is {mask.width}x{mask.height}, the image was {width}x{height}")
        if mask.frame_id != frame_id:
            faults.append(f"{where}: frame_id is {mask.frame_id!r}, the image had {frame_id!r}")
        if mask.encoding != "mono8":
            faults.append(f"{where}: encoding is {mask.encoding!r}, expected mono8")
        if mask.stamp_ns in seen:
            faults.append(f"{where}: it came twice")
        seen.add(mask.stamp_ns)
    return faults


def _mono(message: Any) -> npt.NDArray[np.uint8]:
    """The (H, W) uint8 pixels of a mono8 image."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width]


def _remember(waiting: OrderedDict[int, npt.NDArray[np.uint8]], key: int, value: npt.NDArray[np.uint8]) -> None:
    waiting[key] = value
    while len(waiting) > WAITING_FRAMES:
        waiting.popitem(last=False)

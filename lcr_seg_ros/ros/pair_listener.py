"""Receives the frames of one camera, for a program that takes them at its own pace."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lcr_seg_ros.compressed_images import RAW, compressed_color_to_array, compressed_depth_to_array, transport_topic
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, UnsizedIntrinsics
from lcr_seg_ros.image_encodings import camera_info_to_intrinsics, color_to_array, depth_to_array
from lcr_seg_ros.ros.camera_topics import CameraTopics
from lcr_seg_ros.ros.compat.message_filters import choose_stamp_pairs
from lcr_seg_ros.ros.synchronizer import COLOR, DEPTH, ImagePair, RgbdSynchronizer
from lcr_seg_ros.ros.throttled_log import ThrottledLog

QUEUE_SIZE = 10


class PairListener(Node):
    """Subscribes to a camera as the segmentation node does, and keeps pairs until they are taken.

    Args:
        camera: its topics and transports; without a depth topic every colour image is a frame.
        slop_s: colour and depth images whose stamps differ by less than this many s are a pair.
        is_wanted: called with each pair's stamp in ns; pairs that are not wanted are discarded at once.
        held: how many pairs may wait; further ones are dropped and counted.
        intrinsics: used instead of the camera_info; those without a size are for the size of the first image.

    Attributes:
        received: number of images by topic.
        pairs: number of pairs.
        dropped: number of wanted pairs for which there was no room.
        intrinsics_problem: why the camera_info cannot be used; else empty.
    """

    def __init__(
        self,
        camera: CameraTopics,
        slop_s: float,
        is_wanted: Callable[[int], bool],
        held: int,
        intrinsics: CameraIntrinsics | UnsizedIntrinsics | None = None,
    ) -> None:
        super().__init__("record")
        self.received = dict.fromkeys(filter(None, (camera.rgb, camera.depth)), 0)
        self.pairs = self.dropped = 0
        self.intrinsics_problem = ""
        self._intrinsics: CameraIntrinsics | UnsizedIntrinsics | None = intrinsics
        self._given = intrinsics is not None
        self._needs_intrinsics = bool(camera.depth or camera.camera_info)
        self._is_wanted = is_wanted
        self._waiting: queue.Queue[ImagePair] = queue.Queue(held)
        self._synchronizer = RgbdSynchronizer(choose_stamp_pairs()[0], QUEUE_SIZE, slop_s, bool(camera.depth))
        self._camera = camera
        self._log = ThrottledLog(self.get_logger())
        sides = ((COLOR, camera.rgb, camera.rgb_transport), (DEPTH, camera.depth, camera.depth_transport))
        for side, topic, transport in sides:
            if topic:
                kind = Image if transport == RAW else CompressedImage
                self.create_subscription(kind, transport_topic(topic, transport), self._taker(side, topic), _qos())
        if camera.camera_info:
            self.create_subscription(CameraInfo, camera.camera_info, self._take_camera_info, _qos())

    @property
    def is_ready(self) -> bool:
        """Whether the intrinsics are known, or not needed: colour alone, without camera_info."""
        return self._intrinsics is not None or not self._needs_intrinsics

    def take(self, timeout_s: float) -> tuple[RgbdFrame, ImagePair] | None:
        """The oldest waiting frame and its messages, or None if none comes within ``timeout_s``.

        Raises:
            FrameError: its images cannot be used, or do not match each other.
        """
        try:
            pair = self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None
        read_color = color_to_array if self._camera.rgb_transport == RAW else compressed_color_to_array
        read_depth = depth_to_array if self._camera.depth_transport == RAW else compressed_depth_to_array
        rgb, depth_m = read_color(pair.color), None if pair.depth is None else read_depth(pair.depth)
        return RgbdFrame(rgb, depth_m, self._intrinsics_of(rgb.shape[1], rgb.shape[0])), pair

    def _intrinsics_of(self, width: int, height: int) -> CameraIntrinsics | None:
        if isinstance(self._intrinsics, UnsizedIntrinsics):
            self._intrinsics = self._intrinsics.scaled_to(width, height)
        if self._given and self._intrinsics is not None:
            return self._intrinsics.scaled_to(width, height)
        return self._intrinsics

    def _taker(self, side: int, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self.received[topic] += 1
            try:
                pair = self._synchronizer.add(side, message)
            except FrameError as error:
                self._log.warning(topic, f"{topic}: an image was left out: {error}")
                return
            if pair is None:
                return
            self.pairs += 1
            if self.is_ready and self._is_wanted(pair.stamp_ns):
                try:
                    self._waiting.put_nowait(pair)
                except queue.Full:
                    self.dropped += 1

        return take

    def _take_camera_info(self, message: Any) -> None:
        if self._given:
            return
        try:
            self._intrinsics, self.intrinsics_problem = camera_info_to_intrinsics(message, self._camera.rgb), ""
        except FrameError as error:
            self._intrinsics, self.intrinsics_problem = None, str(error)


def _qos() -> QoSProfile:
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

"""The input of one camera: subscriptions, pairing of images, intrinsics, and conversion of messages to arrays.

Colour images are always subscribed to; depth images and camera_info only for a model that sees depth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lcr_seg_ros.compressed_images import (
    RAW,
    compressed_color_to_array,
    compressed_depth_to_array,
    transport_topic,
)
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.image_encodings import unrectified_px
from lcr_seg_ros.ros.camera_info_qos import CameraInfoQos
from lcr_seg_ros.ros.camera_presets import OWN_TOPICS
from lcr_seg_ros.ros.depth_registration import DepthRegistration
from lcr_seg_ros.ros.frame_statistics import WINDOW_S
from lcr_seg_ros.ros.qos_overrides import overridable
from lcr_seg_ros.ros.rectification import intrinsics_of
from lcr_seg_ros.ros.silence import RECENT_S, Arrivals, explain_few_pairs, explain_silence, look_at_topic
from lcr_seg_ros.ros.synchronizer import COLOR, DEPTH, ImagePair, RgbdSynchronizer

if TYPE_CHECKING:
    from lcr_seg_ros.frame import CameraIntrinsics
    from lcr_seg_ros.ros.camera_site import CameraSite
    from lcr_seg_ros.ros.frame_statistics import Report

RGB_TOPIC, DEPTH_TOPIC, CAMERA_INFO_TOPIC = OWN_TOPICS.rgb, OWN_TOPICS.depth, OWN_TOPICS.camera_info

CAMERA_INFO_GRACE_S = 1.0
"""s. Frames may come this much earlier than the first camera_info before a warning."""


class CameraInput:
    """See the module's description.

    :meth:`color`, :meth:`depth_m`, :meth:`registered` and :meth:`intrinsics` are called in the worker's thread,
    everything else in the node's.

    Args:
        site: of the camera.
        with_depth: whether a colour image needs a depth image.
        on_image: called with the side, ``COLOR`` or ``DEPTH``, before each image is processed.
        on_pair: called with each pair.
        on_unpaired: called for each colour image that finds no depth image.
        on_backward_step: called with how far stamps went back, in s.
        on_error: called when a subscription's callback has failed; the error is logged.
    """

    def __init__(
        self,
        site: CameraSite,
        with_depth: bool,
        on_image: Callable[[int], None],
        on_pair: Callable[[ImagePair], None],
        on_unpaired: Callable[[], None],
        on_backward_step: Callable[[float], None],
        on_error: Callable[[], None],
    ) -> None:
        self._site = site
        self._on_image = on_image
        self._on_pair = on_pair
        self._on_unpaired = on_unpaired
        self._on_backward_step = on_backward_step
        self._on_error = on_error
        self._with_depth = with_depth
        self._is_started = False
        self._began = time.monotonic()
        self._subscriptions: dict[str, Any] = {}
        self._arrivals = Arrivals()
        self._intrinsics: CameraIntrinsics | None = None
        self._is_kept = False
        self._camera_info_problem = ""
        self._camera_info_qos = CameraInfoQos(site.node, site.full_name(CAMERA_INFO_TOPIC), depth=5)
        self._unrectified_px = 0.0
        self._synchronizer = self._make_synchronizer()
        self._transports = {RGB_TOPIC: site.values.rgb_transport, DEPTH_TOPIC: site.values.depth_transport}
        self._registration = DepthRegistration(site)

    # The node's thread

    @property
    def registration(self) -> str:
        """How depth is registered, for /diagnostics; see :attr:`DepthRegistration.state`."""
        return self._registration.state

    @property
    def unrectified_px(self) -> float:
        """How far the lens displaces pixels of colour images that are not rectified, for /diagnostics; else 0."""
        return self._unrectified_px

    def start(self) -> None:
        """Subscribe."""
        self._is_started = True
        self._began = time.monotonic()
        self._subscribe(self._with_depth)

    def stop(self) -> None:
        """Unsubscribe, and forget unpaired images."""
        self._is_started = False
        for base in list(self._subscriptions):
            self._unsubscribe(base)
        self._registration.stop()
        self._synchronizer.reset()

    def keep_camera(self) -> None:
        """Keep the intrinsics for images of their size until a camera_info comes: it may have been sent only once."""
        self._is_kept, self._camera_info_problem = True, ""

    def listen_ahead(self) -> None:
        """Subscribe to depth in advance: a model that sees it is being loaded."""
        if self._is_started:
            self._subscribe(with_depth=True)

    def use_depth(self, with_depth: bool) -> None:
        """Make pairs with depth, or without, from now on; the subscription to colour images stays."""
        if with_depth != self._with_depth:
            self._with_depth = with_depth
            self._synchronizer = self._make_synchronizer()
            self._began = time.monotonic()
            if not with_depth:
                self._registration.stop()
        if self._is_started:
            self._subscribe(with_depth)

    def start_over(self) -> None:
        """Forget unpaired images: ``slop`` or ``queue_size`` has changed."""
        self._synchronizer = self._make_synchronizer()

    def clock_jumped(self) -> None:
        """Forget unpaired images and transforms."""
        self.start_over()
        self._registration.start_over()

    def silence(self, quiet_s: float) -> str:
        """Why no pair has come for ``quiet_s`` seconds; also logged."""
        topics = [
            look_at_topic(
                self._site.node,
                str(self._site.node.resolve_topic_name(self._topic(base))),
                f"sensor_msgs/msg/{self._image_type(base).__name__}",
                self._subscriptions[base].qos_profile,
                self._arrivals.arrives(base, max(RECENT_S, self._site.values.silence_timeout)),
                self._arrivals.count(base),
            )
            for base in ((RGB_TOPIC, DEPTH_TOPIC) if self._with_depth else (RGB_TOPIC,))
            if base in self._subscriptions
        ]
        sim_time = self._site.node.get_parameter("use_sim_time").value
        cause = explain_silence(
            topics,
            self._synchronizer.closest_gap_s,
            self._site.values.slop,
            bool(sim_time) and self._site.now_ns() == 0,
        )
        self._site.log.warning("silence", f"no images to label for {quiet_s:.0f} s: {cause}")
        return cause

    def few_pairs(self, report: Report) -> str | None:
        """Why many images find no partner, also logged; None if enough do, or need none."""
        if report.depth_in_hz is None:
            return None
        cause = explain_few_pairs(
            report.pairs_in_hz,
            report.rgb_in_hz,
            report.depth_in_hz,
            WINDOW_S,
            self._synchronizer.closest_gap_s,
            self._site.values.slop,
        )
        if cause is not None:
            self._site.log.warning("few_pairs", cause)
        return cause

    def _subscribe(self, with_depth: bool) -> None:
        wanted: dict[str, tuple[type[Any], Callable[[Any], None]]] = {}
        wanted[RGB_TOPIC] = self._image_type(RGB_TOPIC), self._take_color
        if with_depth:
            wanted[DEPTH_TOPIC] = self._image_type(DEPTH_TOPIC), self._take_depth
            wanted[CAMERA_INFO_TOPIC] = CameraInfo, self._take_camera_info
        for base in self._subscriptions.keys() - wanted.keys():
            self._unsubscribe(base)
        for base, (message_type, callback) in wanted.items():
            if base not in self._subscriptions:
                self._subscription(base, message_type, callback)

    def _subscription(self, base: str, message_type: type[Any], callback: Callable[[Any], None]) -> None:
        self._arrivals.begin(base)
        guarded = self._site.log.guarded(callback, self._on_error)

        def count(message: Any) -> None:
            self._arrivals.came(base)
            guarded(message)

        qos, options = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT), overridable()
        if base == CAMERA_INFO_TOPIC:
            qos, options = self._camera_info_qos.choose()
        self._subscriptions[base] = self._site.node.create_subscription(
            message_type, self._topic(base), count, qos, qos_overriding_options=options
        )

    def _look_for_camera_info(self) -> None:
        """Subscribe to camera_info in the other way if that is how it is published."""
        has_come = self._arrivals.count(CAMERA_INFO_TOPIC) > 0
        if CAMERA_INFO_TOPIC not in self._subscriptions or (has_come and not self._camera_info_qos.is_latched):
            return
        if self._camera_info_qos.has_changed():
            self._unsubscribe(CAMERA_INFO_TOPIC)
            self._subscription(CAMERA_INFO_TOPIC, CameraInfo, self._take_camera_info)

    def _unsubscribe(self, base: str) -> None:
        self._site.node.destroy_subscription(self._subscriptions.pop(base))

    def _topic(self, base: str) -> str:
        """The topic to subscribe to. As with image_transport, users remap the base topic."""
        transport = self._transports.get(base, RAW)
        return self._site.topic(base) if transport == RAW else transport_topic(self._site.full_name(base), transport)

    def _image_type(self, base: str) -> type[Any]:
        return Image if self._transports[base] == RAW else CompressedImage

    def _take_color(self, message: Image) -> None:
        self._take_in(COLOR, message)

    def _take_depth(self, message: Image) -> None:
        if self._with_depth:  # else it is subscribed to in advance
            self._take_in(DEPTH, message)

    def _take_camera_info(self, message: CameraInfo) -> None:
        self._is_kept = False
        try:
            self._intrinsics, self._camera_info_problem = intrinsics_of(self._site, RGB_TOPIC, message), ""
            self._unrectified_px = unrectified_px(message, self._site.full_name(RGB_TOPIC))
        except FrameError as error:
            problem = f"{self._site.full_name(CAMERA_INFO_TOPIC)}: {error}"
            self._intrinsics, self._camera_info_problem = None, problem
            self._site.log.warning("camera_info", problem)

    def _take_in(self, side: int, message: Image) -> None:
        self._on_image(side)
        self._look_for_camera_info()
        try:
            pair = self._synchronizer.add(side, message)
        except FrameError as error:
            topic = self._site.full_name(RGB_TOPIC if side == COLOR else DEPTH_TOPIC)
            self._site.log.warning("bad_stamp", f"an image on {topic} is left out: {error}")
            return
        if pair is not None:
            self._arrivals.paired()
            self._registration.prepare(pair)
            self._on_pair(pair)

    def _stepped_back(self, side: int, seconds: float) -> None:
        topic = self._site.full_name(RGB_TOPIC if side == COLOR else DEPTH_TOPIC)
        self._site.log.warning(
            "backward_stamp",
            f"stamps on {topic} went back by {seconds:.3f} s (a bag that loops, a clock that was set?): starting anew",
        )
        self._on_backward_step(seconds)

    def _make_synchronizer(self) -> RgbdSynchronizer:
        values = self._site.values
        return RgbdSynchronizer(
            self._site.shared.stamp_pairs,
            values.queue_size,
            values.slop,
            self._with_depth,
            self._stepped_back,
            # Each frame has one colour image, so a depth image that is left over is no frame lost.
            lambda side: self._on_unpaired() if side == COLOR else None,
        )

    # The worker's thread

    def color(self, pair: ImagePair) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB.

        Raises:
            FrameError: the message cannot be used.
        """
        if self._transports[RGB_TOPIC] != RAW:
            with _timed(pair, "decompress"):
                return compressed_color_to_array(pair.color)  # type: ignore[arg-type]
        return self._site.shared.image_readers.color(pair.color)

    def depth_m(self, pair: ImagePair) -> npt.NDArray[np.float32]:
        """(H, W) float32 metres, of a pair that has depth.

        Raises:
            FrameError: the message cannot be used.
        """
        if self._transports[DEPTH_TOPIC] != RAW:
            with _timed(pair, "decompress"):
                return compressed_depth_to_array(pair.depth)  # type: ignore[arg-type]
        return self._site.shared.image_readers.depth(pair.depth)  # type: ignore[arg-type]

    def registered(
        self, pair: ImagePair, depth_m: npt.NDArray[np.float32], intrinsics: CameraIntrinsics, size: tuple[int, int]
    ) -> npt.NDArray[np.float32] | None:
        """The depth image registered to colour, see :meth:`DepthRegistration.register`."""
        return self._registration.register(pair, depth_m, intrinsics, size)

    def intrinsics(self, size: tuple[int, int]) -> CameraIntrinsics | None:
        """The intrinsics of the colour camera; None if not known, with a warning once they are overdue.

        Args:
            size: (width, height) of its image; intrinsics of another size that were kept from before do not count.
        """
        waited = time.monotonic() - self._began
        known = self._intrinsics
        if known is not None and self._is_kept and (known.width, known.height) != size:
            known = None
        if known is None and not self._camera_info_problem and waited > CAMERA_INFO_GRACE_S:
            self._site.log.warning(
                "camera_info",
                f"frame dropped (no_camera_info): nothing has come on {self._site.full_name(CAMERA_INFO_TOPIC)}, which "
                "this model needs; remap it to the camera_info of the colour image",
            )
        return known


@contextmanager
def _timed(pair: ImagePair, stage: str) -> Iterator[None]:
    """Add the duration of the block to the pair's stage times; colour and depth may share a stage."""
    began = time.perf_counter()
    yield
    pair.stage_ms[stage] = pair.stage_ms.get(stage, 0.0) + 1e3 * (time.perf_counter() - began)

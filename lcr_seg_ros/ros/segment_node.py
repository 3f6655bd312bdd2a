"""The lifecycle node ``segment``: camera topics in, labels out.

Subscriptions only store what comes; a pair goes through a mailbox of one to the worker, which labels and publishes.
Topics, encodings and QoS are listed in :mod:`lcr_seg_ros.ros.outputs` and in the README, parameters in
``config/segment.yaml``, the keys of /diagnostics in :mod:`lcr_seg_ros.ros.diagnostics`.
"""

from __future__ import annotations

import functools
import re
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import FrameError, LcrSegError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.image_encodings import camera_info_to_intrinsics
from lcr_seg_ros.ros.camera_gravity import CameraGravity
from lcr_seg_ros.ros.compat.cv_bridge import choose_image_readers
from lcr_seg_ros.ros.compat.message_filters import choose_stamp_pairs
from lcr_seg_ros.ros.compat.vision_msgs import choose_label_info
from lcr_seg_ros.ros.diagnostics import TOPIC as DIAGNOSTICS_TOPIC
from lcr_seg_ros.ros.diagnostics import diagnostic_array
from lcr_seg_ros.ros.frame_statistics import FrameStatistics
from lcr_seg_ros.ros.gravity_sources import GravityReading
from lcr_seg_ros.ros.mailbox import Worker
from lcr_seg_ros.ros.outputs import SegmentationOutputs
from lcr_seg_ros.ros.parameters import ParameterHandler, SegmentParameters, unknown_parameters
from lcr_seg_ros.ros.silence import explain_silence, look_at_topic
from lcr_seg_ros.ros.synchronizer import COLOR, DEPTH, ImagePair, RgbdSynchronizer
from lcr_seg_ros.ros.throttled_log import ThrottledLog
from lcr_seg_ros.segmenter import Segmenter

RGB_TOPIC = "rgb/image_rect_color"
DEPTH_TOPIC = "depth_registered/image_rect"
CAMERA_INFO_TOPIC = "rgb/camera_info"

WARM_UP_SIZE = (640, 480)
CAMERA_INFO_GRACE_S = 1.0
"""Frames may come this much earlier than the first camera_info before that is worth a line."""

DOUBTFUL_GRAVITY_SHARE = 0.1
"""In so many of the recent frames gravity must have been in doubt for the status to become WARN."""

JUMP_S = 0.5
"""Stamps that go back by less are out of order; by more, the time has begun anew."""

STOP_TIMEOUT_S = 5.0

Transition = Callable[["SegmentNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """rclpy swallows what a transition raises; this says it: one line for what a user can mend, else a traceback."""

    @functools.wraps(transition)
    def wrapper(self: SegmentNode, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix("on_")
        try:
            return transition(self, state)
        except LcrSegError as error:
            self.get_logger().error(f"{name} failed: {error}")
            if name != "configure":  # only configure may fail back to where it came from, with nothing to undo
                return TransitionCallbackReturn.ERROR
            self.release()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return wrapper


class SegmentNode(LifecycleNode):
    """See the module's description.

    Raises:
        ParameterError: a parameter given at start has the wrong type or is out of range.
    """

    def __init__(self) -> None:
        super().__init__("segment")
        self._log = ThrottledLog(self.get_logger())
        self._statistics = FrameStatistics()
        self._segmenter: Segmenter | None = None
        self._outputs: SegmentationOutputs | None = None
        self._worker: Worker[ImagePair] | None = None
        self._diagnostics: Any = None
        self._diagnostics_timer: Any = None
        self._jump_handle: Any = None
        self._subscriptions_by_topic: dict[str, Any] = {}
        self._received: dict[str, int] = {}  # by topic, since the last pair
        self._received_ever: dict[str, int] = {}  # and since subscribing
        self._intrinsics: CameraIntrinsics | None = None
        self._camera_info_problem = ""
        self._gravity: CameraGravity | None = None  # for a model that sees depth
        self._next_due = 0.0
        self._is_active = False
        self._handler = ParameterHandler(self, lambda: self._segmenter is not None, self._guarded(self._apply))
        self._stamp_pairs, synchronizing = choose_stamp_pairs()
        self._image_readers, reading = choose_image_readers()
        self._label_info, announcing = choose_label_info()
        self._synchronizer = self._make_synchronizer(with_depth=True)
        self.create_service(SetBool, "~/enable", self._enable)
        self.get_logger().info(f"using {synchronizing}, {reading}, {announcing}")
        if unknown := unknown_parameters(getattr(self, "_parameter_overrides", {})):
            self.get_logger().warning(f"there is no parameter {', '.join(unknown)}: ignored; is it misspelt?")

    @property
    def values(self) -> SegmentParameters:
        """The parameters in use."""
        return self._handler.values

    def start(self, is_cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Configure and activate, unless the parameter ``autostart`` says that others will.

        Args:
            is_cancelled: asked between the steps.

        Returns:
            False if a step failed; the log says why.
        """
        if not self.values.autostart:
            self.get_logger().info("unconfigured: waiting for a lifecycle manager (autostart is false)")
            return True
        for step in (self.trigger_configure, self.trigger_activate):
            if is_cancelled():
                return True
            if step() != TransitionCallbackReturn.SUCCESS:
                return False
        return True

    # Transitions

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        began = time.monotonic()
        values = self.values
        bundle = ModelBundle.load(values.model)
        settings = values.hha_settings(bundle.input.hha)
        with_depth = bundle.input.uses_depth
        if with_depth:
            self._gravity = CameraGravity(self, values, self._log)
        backend = create_backend(bundle, values.backend, values.device, values.num_threads)
        segmenter = Segmenter(bundle, backend, hha_settings=settings)
        segmenter.warm_up(*WARM_UP_SIZE)
        self._outputs = SegmentationOutputs(self, segmenter.labels, with_depth, self._label_info)
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS_TOPIC, 10)
        # A steady clock, because with use_sim_time and no /clock the node's own never ticks, and that is to be told.
        self._diagnostics_timer = self.create_timer(
            values.diagnostics_period, self._guarded(self._diagnose), clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._segmenter = segmenter
        self.get_logger().info(
            f"model {segmenter.bundle.name} ({segmenter.bundle.input.modality}, {len(segmenter.labels)} classes) on "
            f"{segmenter.backend_name} ({segmenter.device}), ready after {time.monotonic() - began:.1f} s"
        )
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        if result != TransitionCallbackReturn.SUCCESS:
            return result
        assert self._segmenter is not None
        self._synchronizer = self._make_synchronizer(self._segmenter.bundle.input.uses_depth)
        self._intrinsics, self._camera_info_problem = None, ""
        self._log.forget()
        self._statistics.start_over()
        self._publish_label_info()
        self._worker = Worker(self._label, name="segmenter")
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._guarded(self._clock_jumped),
        )
        self._is_active = True
        if self.values.enabled:
            self._subscribe()
        self.get_logger().info(f"active{'' if self.values.enabled else ', but not enabled'}")
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        self.get_logger().info("inactive")
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return super().on_shutdown(state)

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def release(self) -> None:
        """Back to unconfigured: no subscription, no worker, no publisher, no model."""
        self._rest()
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self.destroy_publisher(self._diagnostics)
            self._diagnostics_timer = self._diagnostics = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._gravity is not None:
            self._gravity.destroy()
            self._gravity = None
        self._segmenter = None

    def _rest(self) -> None:
        self._is_active = False
        self._unsubscribe()
        if self._jump_handle is not None:
            self._jump_handle.unregister()
            self._jump_handle = None
        if self._worker is not None:
            if not self._worker.stop(STOP_TIMEOUT_S):
                self.get_logger().error(
                    f"the network has not returned within {STOP_TIMEOUT_S:g} s; going on without it"
                )
            self._worker = None

    # What comes in

    def _subscribe(self) -> None:
        assert self._segmenter is not None
        self._subscription(RGB_TOPIC, Image, self._take_color)
        if self._segmenter.bundle.input.uses_depth:
            self._subscription(DEPTH_TOPIC, Image, self._take_depth)
            self._subscription(CAMERA_INFO_TOPIC, CameraInfo, self._take_camera_info)
        if self._gravity is not None:
            self._gravity.start()
        self._statistics.start_over()
        self._next_due = 0.0

    def _subscription(self, topic: str, message_type: type[Any], callback: Callable[[Any], None]) -> None:
        self._received[topic] = self._received_ever[topic] = 0
        guarded = self._guarded(callback)

        def count(message: Any) -> None:
            self._received[topic] += 1
            self._received_ever[topic] += 1
            guarded(message)

        self._subscriptions_by_topic[topic] = self.create_subscription(
            message_type,
            topic,
            count,
            QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions_by_topic.values():
            self.destroy_subscription(subscription)
        self._subscriptions_by_topic.clear()
        if self._gravity is not None:
            self._gravity.stop()
        self._synchronizer.reset()
        if self._worker is not None:
            self._worker.mailbox.clear()

    def _take_color(self, message: Image) -> None:
        self._take_in(COLOR, message)

    def _take_depth(self, message: Image) -> None:
        self._take_in(DEPTH, message)

    def _take_camera_info(self, message: CameraInfo) -> None:
        try:
            self._intrinsics, self._camera_info_problem = camera_info_to_intrinsics(message), ""
        except FrameError as error:
            self._intrinsics, self._camera_info_problem = None, f"{self._name(CAMERA_INFO_TOPIC)}: {error}"
            self._log.warning("camera_info", self._camera_info_problem)

    def _take_in(self, side: int, message: Image) -> None:
        if self._gravity is not None:
            self._gravity.update(self._now_ns())
        pair = self._synchronizer.add(side, message)
        if pair is None or self._worker is None or self._outputs is None:
            return
        self._statistics.pair_came()
        self._received = dict.fromkeys(self._received, 0)
        self._compare_frame_ids(pair)
        if not (self._outputs.wanted() or (self._gravity is not None and self._gravity.is_wanted)):
            self._statistics.frame_dropped("not_subscribed")
        elif not self._is_due():
            self._statistics.frame_dropped("rate_limit")
        elif self._worker.mailbox.put(pair) is not None:
            self._statistics.frame_dropped("replaced_by_newer")

    def _compare_frame_ids(self, pair: ImagePair) -> None:
        if pair.depth is not None and pair.depth.header.frame_id != pair.color.header.frame_id:
            self._log.warning_once(
                "frame_id",
                f"{self._name(RGB_TOPIC)} is in frame {pair.color.header.frame_id!r}, {self._name(DEPTH_TOPIC)} in "
                f"{pair.depth.header.frame_id!r}: use the depth topic that is registered (aligned) to colour",
            )

    def _is_due(self) -> bool:
        """Whether ``max_rate_hz`` allows another frame; keeps to a grid, so that jitter does not lower the rate."""
        if self.values.max_rate_hz == 0:
            return True
        period, now = 1.0 / self.values.max_rate_hz, time.monotonic()
        if now < self._next_due:
            return False
        self._next_due = self._next_due + period if now < self._next_due + period else now + period
        return True

    def _stepped_back(self, side: int, seconds: float) -> None:
        topic = self._name(RGB_TOPIC if side == COLOR else DEPTH_TOPIC)
        self._log.warning(
            "backward_stamp",
            f"stamps on {topic} went back by {seconds:.3f} s (a bag that loops, a clock that was set?): starting anew",
        )
        if self._gravity is not None and seconds > JUMP_S:
            self._gravity.start_over()

    def _clock_jumped(self, jump: Any) -> None:
        self.get_logger().info("the clock has jumped: starting anew")
        self._synchronizer.reset()
        if self._gravity is not None:
            self._gravity.start_over()
        if self._worker is not None:
            self._worker.mailbox.clear()

    # The worker's thread

    def _label(self, pair: ImagePair) -> None:
        """Label a pair and publish; whatever is wrong with it is logged and counted, and the next one gets its turn."""
        step = "too_old"
        try:
            if not self._is_fresh(pair):
                self._statistics.frame_dropped(step)
                return
            step = "bad_rgb"
            rgb = self._image_readers.color(pair.color)
            depth_m = intrinsics = None
            if pair.depth is not None:
                step = "bad_depth"
                depth_m = self._image_readers.depth(pair.depth)
                step = "no_camera_info"
                intrinsics = self._current_intrinsics()
                if intrinsics is None:
                    self._statistics.frame_dropped(step)
                    return
            step = "bad_frame"
            reading = GravityReading() if self._gravity is None else self._gravity.read(pair.color, self._now_ns())
            frame = RgbdFrame(
                rgb,
                depth_m,
                intrinsics,
                gravity=reading.down,
                camera_height_m=self.values.camera_height or reading.camera_height_m,
                stamp_s=pair.stamp_ns * 1e-9 if pair.stamp_ns else None,
            )
            step = "segmenter"
            self._segment_and_publish(frame, pair, reading)
        except LcrSegError as error:
            self._statistics.frame_dropped(step)
            topic = DEPTH_TOPIC if step == "bad_depth" else RGB_TOPIC
            # One kind a message, whatever the numbers in it.
            self._log.warning(
                re.sub(r"\d+", "#", f"{step} {error}"), f"frame dropped ({step}), {self._name(topic)}: {error}"
            )
        except Exception:
            if not self.context.ok():  # shutting down: publishers are gone
                return
            self._statistics.frame_dropped("internal_error")
            self._log.error("internal_error", f"frame dropped (internal error, {step}):\n{traceback.format_exc()}")

    def _segment_and_publish(self, frame: RgbdFrame, pair: ImagePair, reading: GravityReading) -> None:
        assert self._segmenter is not None and self._outputs is not None  # freed after the worker has ended
        invalid_share = None if frame.depth_m is None else self._invalid_share(frame.depth_m)
        tracker = None if self._gravity is None else self._gravity.tracker_for(frame.intrinsics)
        segmentation = self._segmenter.segment(frame, tracker)
        latency_ms: float | None = None

        def mask_sent() -> None:
            nonlocal latency_ms
            if pair.stamp_ns:
                latency_ms = (self._now_ns() - pair.stamp_ns) * 1e-6

        spent = self._outputs.publish(segmentation, frame, pair.color.header, self.values, mask_sent)
        gravity = None
        if self._gravity is not None and segmentation.gravity is not None:
            gravity = self._gravity.conclude(segmentation.gravity, reading, pair.color.header)
        self._statistics.frame_done(latency_ms, {**segmentation.stage_ms, **spent}, invalid_share, gravity)

    def _is_fresh(self, pair: ImagePair) -> bool:
        if pair.stamp_ns == 0:
            self._log.warning_once(
                "zero_stamp",
                f"images on {self._name(RGB_TOPIC)} have no stamp (0): their age and the latency are unknown; "
                "let the driver stamp them",
            )
            return True
        age = (self._now_ns() - pair.stamp_ns) * 1e-9
        if self.values.max_age == 0 or age <= self.values.max_age:
            return True
        hint = "the network is too slow for it" if age < 60 else "recorded stamps? use_sim_time and a /clock help"
        self._log.warning(
            "too_old", f"frame dropped (too_old): {age:.2f} s old, max_age is {self.values.max_age:g} s ({hint})"
        )
        return False

    def _current_intrinsics(self) -> CameraIntrinsics | None:
        waited = time.monotonic() - self._statistics.began
        if self._intrinsics is None and not self._camera_info_problem and waited > CAMERA_INFO_GRACE_S:
            self._log.warning(
                "camera_info",
                f"frame dropped (no_camera_info): nothing has come on {self._name(CAMERA_INFO_TOPIC)}, which this "
                "model needs; remap it to the camera_info of the colour image",
            )
        return self._intrinsics

    def _invalid_share(self, depth_m: np.ndarray) -> float:
        share = 1.0 - np.count_nonzero(np.isfinite(depth_m) & (depth_m > 0)) / depth_m.size
        if share == 1.0:
            self._log.warning(
                "empty_depth",
                f"{self._name(DEPTH_TOPIC)}: no pixel has a depth (all 0, NaN or Inf); labels rest on colour alone",
            )
        return share

    # Parameters, service, diagnostics

    def _apply(self, before: SegmentParameters, now: SegmentParameters) -> None:
        if (before.slop, before.queue_size) != (now.slop, now.queue_size) and self._segmenter is not None:
            self._synchronizer = self._make_synchronizer(self._segmenter.bundle.input.uses_depth)
        if not self._is_active:
            return
        if before.confidence_threshold != now.confidence_threshold:
            self._publish_label_info()
        if before.enabled != now.enabled:
            self._subscribe() if now.enabled else self._unsubscribe()
            self.get_logger().info("enabled" if now.enabled else "not enabled")

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        result = self.set_parameters([Parameter("enabled", value=bool(request.data))])[0]
        response.success = result.successful
        response.message = result.reason or ("enabled" if request.data else "not enabled")
        return response

    def _publish_label_info(self) -> None:
        assert self._outputs is not None
        header = Header(stamp=self.get_clock().now().to_msg())
        self._outputs.publish_label_info(self.values.confidence_threshold, header)

    def _diagnose(self) -> None:
        assert self._segmenter is not None
        report = self._statistics.report()
        problem = self._silence() if self._is_active and self.values.enabled else None
        if problem is None and self._is_active and report.masks_out_hz == 0 and report.dropped_recently:
            lost = {r: n for r, n in report.dropped_recently.items() if r not in ("not_subscribed", "rate_limit")}
            if lost:
                problem = f"no frame could be labelled: {', '.join(f'{n} {r}' for r, n in lost.items())}"
        gravity = report.gravity if self._is_active else None
        if problem is None and gravity is not None and gravity.trouble_share >= DOUBTFUL_GRAVITY_SHARE:
            problem = f"gravity is in doubt in {gravity.trouble_share:.0%} of the frames: {gravity.trouble}"
        state = ("active" if self.values.enabled else "not enabled") if self._is_active else "inactive"
        facts = {
            "state": state,
            "model": self._segmenter.bundle.name,
            "backend": self._segmenter.backend_name,
            "device": self._segmenter.device,
        }
        if self._gravity is not None:
            facts["gravity_source"] = self._gravity.source_name
        self._diagnostics.publish(
            diagnostic_array(
                self.get_fully_qualified_name(),
                self.get_clock().now().to_msg(),
                self._segmenter.device,
                facts,
                report,
                problem,
            )
        )

    def _silence(self) -> str | None:
        """Why no pair has come for ``silence_timeout``; also logged."""
        quiet = time.monotonic() - self._statistics.last_pair
        if quiet < self.values.silence_timeout:
            return None
        topics = [
            look_at_topic(
                self,
                self._name(topic),
                "sensor_msgs/msg/Image",
                subscription.qos_profile,
                self._received[topic],
                self._received_ever[topic],
            )
            for topic, subscription in self._subscriptions_by_topic.items()
            if topic in (RGB_TOPIC, DEPTH_TOPIC)
        ]
        sim_time = self.get_parameter("use_sim_time").value
        cause = explain_silence(
            topics, self._synchronizer.closest_gap_s, self.values.slop, bool(sim_time) and self._now_ns() == 0
        )
        self._log.warning("silence", f"no images to label for {quiet:.0f} s: {cause}")
        return cause

    # Small things

    def _make_synchronizer(self, with_depth: bool) -> RgbdSynchronizer:
        return RgbdSynchronizer(
            self._stamp_pairs, self.values.queue_size, self.values.slop, with_depth, self._stepped_back
        )

    def _name(self, topic: str) -> str:
        return self.resolve_topic_name(topic)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback, but its exception is logged and does not end the executor, and with it the node."""

        @functools.wraps(callback)
        def wrapper(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                self._statistics.frame_dropped("internal_error")
                self._log.error(callback.__name__, f"internal error in {callback.__name__}:\n{traceback.format_exc()}")

        return wrapper

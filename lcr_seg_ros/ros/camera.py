"""One camera of the node: turns its images into jobs for the engine, publishes the results and keeps statistics."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.ros.camera_gravity import CameraGravity
from lcr_seg_ros.ros.camera_input import DEPTH_TOPIC, RGB_TOPIC, CameraInput
from lcr_seg_ros.ros.camera_site import CameraSite, SharedParts
from lcr_seg_ros.ros.diagnostics import diagnostic_status, status_name
from lcr_seg_ros.ros.frame_statistics import WINDOW_S, FrameStatistics
from lcr_seg_ros.ros.gravity_sources import GravityReading
from lcr_seg_ros.ros.output_topics import HHA
from lcr_seg_ros.ros.outputs import SegmentationOutputs
from lcr_seg_ros.ros.silence import explain_age

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus

    from lcr_seg_ros.bundle import ModelDescription
    from lcr_seg_ros.drawing import Drawing
    from lcr_seg_ros.hha import GravityTracker
    from lcr_seg_ros.ros.frame_statistics import Report
    from lcr_seg_ros.ros.mailbox import Mailbox
    from lcr_seg_ros.ros.synchronizer import ImagePair
    from lcr_seg_ros.segmenter import Segmentation

DOUBTFUL_GRAVITY_SHARE = 0.1
"""The status becomes WARN when gravity was in doubt in at least this share of the recent frames."""

NO_LOSS = ("not_subscribed", "rate_limit", "unpaired")
"""Reasons for dropping a frame that do not count as a loss. Images without a partner are judged by themselves: where
one stream is faster, some are always left over."""

LOST_SHARE = 0.1
"""The status becomes WARN when more than this share of the recent frames was lost. Frames replaced by newer ones do
not count."""

MAX_ERROR_TEXT = 400
"""Longest error text logged, in characters: an error may quote a field of the message, of any length."""

JUMP_S = 0.5
"""Stamps that go back by at most this many s are out of order; by more, time has started over."""


@dataclass(frozen=True)
class Job:
    """A frame to be labelled.

    Args:
        pair: the messages.
        frame: their contents as arrays.
        reading: what the gravity source knew for this image.
        tracker: the camera's gravity tracker; None for a model that sees colour only.
    """

    pair: ImagePair
    frame: RgbdFrame
    reading: GravityReading
    tracker: GravityTracker | None


class Camera:
    """One camera, created when the node is configured.

    :meth:`read`, :meth:`publish` and :meth:`lose` are called in the worker's thread, everything else in the node's;
    :meth:`use_model` only while the worker waits.

    Args:
        shared: what all cameras of the node share.
        name: relative namespace of its topics; empty for the only camera of a node, whose topics have no prefix.
        model: decides which inputs and outputs there are.

    Raises:
        TransformError: ``gravity_source`` is tf, and TF is not installed.
    """

    def __init__(self, shared: SharedParts, name: str, model: ModelDescription) -> None:
        self.name = name
        self.mailbox: Mailbox[ImagePair] | None = None
        """Where pairs are left for the worker; None while no worker runs."""
        self._site = CameraSite(shared, name)
        self._statistics = FrameStatistics()
        self._next_due = 0.0
        self._is_started = False
        with_depth = model.input.uses_depth
        self._gravity = CameraGravity(self._site) if with_depth else None
        self._input = CameraInput(
            self._site,
            with_depth,
            self._image_came,
            self._take_in,
            lambda: self._statistics.frame_dropped("unpaired"),
            self._stepped_back,
            self._internal_error,
        )
        self._outputs = SegmentationOutputs(self._site, model.labels, with_depth)

    # The node's thread

    @property
    def wants_hha(self) -> bool:
        """Whether the HHA image has a subscriber."""
        return HHA in self._outputs.wanted()

    @property
    def drawing(self) -> Drawing | None:
        """How pictures of the labels are to be drawn; None while none has a subscriber."""
        return self._outputs.drawing(self._site.values)

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(width, height) of the newest frame; None before the first."""
        return self._statistics.frame_size

    def activate(self) -> None:
        """Forget an earlier activation except for the intrinsics, announce the labels; called before :meth:`start`."""
        self._input.start_over()
        self._input.keep_camera()
        self._site.log.forget()
        self._statistics.start_over()
        self.announce()

    def announce(self) -> None:
        """Publish the meaning of the mask values and the legend, latched for later subscribers."""
        header = Header(stamp=self._site.node.get_clock().now().to_msg())
        self._outputs.announce(self._site.values, header)

    def start(self) -> None:
        """Subscribe."""
        self._is_started = True
        self._input.start()
        if self._gravity is not None:
            self._gravity.start()
        self._statistics.start_over()
        self._next_due = 0.0

    def stop(self) -> None:
        """Unsubscribe."""
        self._is_started = False
        self._input.stop()
        if self._gravity is not None:
            self._gravity.stop()
        if self.mailbox is not None:
            self.mailbox.clear()

    def destroy(self) -> None:
        """Destroy subscriptions and publishers."""
        self.stop()
        self._outputs.destroy()
        if self._gravity is not None:
            self._gravity.destroy()
            self._gravity = None

    def start_over(self) -> None:
        """Forget unpaired images: the parameters of pairing have changed."""
        self._input.start_over()

    def clock_jumped(self) -> None:
        """Forget unpaired images, the history of gravity, the pair that waits, and when the next frame was due."""
        self._input.clock_jumped()
        self._next_due = 0.0
        if self._gravity is not None:
            self._gravity.start_over()
        if self.mailbox is not None:
            self.mailbox.clear()

    def expect_model(self, model: ModelDescription) -> None:
        """Subscribe to the inputs of a model that is being loaded, so that they are there when it takes over."""
        if model.input.uses_depth:
            self._input.listen_ahead()

    def expect_no_model(self) -> None:
        """Undo :meth:`expect_model`: that model does not come."""
        self._input.use_depth(self._gravity is not None)  # as it is; only subscriptions made ahead go

    def use_model(self, model: ModelDescription) -> None:
        """Adapt inputs and outputs to the model that labels the frames from now on.

        Raises:
            TransformError: as for the constructor; nothing has been changed then.
            Exception: rclpy's, from creating a publisher or a subscription. Part of the work may be done then; calling
                it again with the previous model undoes that.
        """
        with_depth = model.input.uses_depth
        if with_depth and self._gravity is None:
            self._gravity = CameraGravity(self._site)
            if self._is_started:
                self._gravity.start()
        elif not with_depth and self._gravity is not None:
            self._gravity.destroy()
            self._gravity = None
        self._outputs.use_labels(model.labels, with_depth)
        self._input.use_depth(with_depth)

    def status(self, name: str, device: str, facts: dict[str, str], problem: str | None) -> DiagnosticStatus:
        """The camera's status for /diagnostics, which is published as a picture too.

        Args:
            name: full name of the node.
            device: what runs the network.
            facts: ``state`` and other keys that all cameras share.
            problem: of the node as a whole, if any; a silence, loss, lack of pairs or missing registration of this
                camera comes first.
        """
        report = self._statistics.report(with_depth=self._gravity is not None)
        if self._is_started:
            problem = (
                self._silence()
                or _loss(report)
                or self._input.few_pairs(report)
                or self._registration_problem()
                or problem
                or _doubt(report)
            )
        if self._gravity is not None:
            facts = {
                **facts,
                "gravity_source": self._gravity.source_name,
                "registration": self._input.registration,
                "unrectified_px": f"{self._input.unrectified_px:.1f}",
            }
        status = diagnostic_status(status_name(name, self.name), device, facts, report, problem)
        self._outputs.show_status(status, Header(stamp=self._site.node.get_clock().now().to_msg()))
        return status

    def _registration_problem(self) -> str | None:
        """Why depth is not registered to colour, whether it is used or dropped; None if it is, or need not be."""
        state, _, problem = self._input.registration.partition(": ")
        return f"depth is not registered to colour: {problem}" if state == "none" and problem else None

    def _silence(self) -> str | None:
        quiet_s = time.monotonic() - self._statistics.last_pair
        return None if quiet_s < self._site.values.silence_timeout else self._input.silence(quiet_s)

    def _image_came(self, side: int) -> None:
        self._statistics.image_came(side)
        if self._gravity is not None:
            self._gravity.update(self._site.now_ns())

    def _take_in(self, pair: ImagePair) -> None:
        if self.mailbox is None:
            return
        age_ms = (self._site.now_ns() - pair.stamp_ns) * 1e-6 if pair.stamp_ns else None
        self._statistics.pair_came(age_ms, pair.skew_ms)
        if not (self._outputs.wanted() or (self._gravity is not None and self._gravity.is_wanted)):
            self._statistics.frame_dropped("not_subscribed")
        elif not self._is_due():
            self._statistics.frame_dropped("rate_limit")
        elif self.mailbox.put(pair) is not None:
            self._statistics.frame_dropped("replaced_by_newer")

    def _is_due(self) -> bool:
        """Whether ``max_rate_hz`` allows another frame; due times lie on a grid: jitter does not lower the rate."""
        rate_hz = self._site.values.max_rate_hz
        if rate_hz == 0:
            return True
        now = self._site.now_ns() * 1e-9  # of the node's clock: a bag that is played twice as fast has as many masks
        if now == 0:  # simulated time that has not begun: nothing would ever be due
            return True
        period = 1.0 / rate_hz
        self._next_due = min(self._next_due, now + period)  # it may still be that of a slower rate
        if now < self._next_due:
            return False
        self._next_due = self._next_due + period if now < self._next_due + period else now + period
        return True

    def _stepped_back(self, seconds: float) -> None:
        if self._gravity is not None and seconds > JUMP_S:
            self._gravity.start_over()

    def _internal_error(self) -> None:
        self._statistics.frame_dropped("internal_error")

    # The worker's thread

    def read(self, pair: ImagePair, uses_depth: bool) -> Job | None:
        """Convert a pair to a frame.

        Args:
            pair: of this camera.
            uses_depth: whether the model sees depth.

        Returns:
            None if the pair cannot be labelled: too old, or faulty. The drop is counted, and its reason logged.
        """
        began = time.monotonic()
        pair.stage_ms["wait"] = 1e3 * (began - pair.completed_s)
        step = "too_old"
        try:
            if not self._is_fresh(pair):
                self._statistics.frame_dropped(step)
                return None
            if uses_depth and pair.depth is None:
                self._statistics.frame_dropped("model_switch")  # it was paired for the previous model
                return None
            step = "bad_rgb"
            rgb = self._input.color(pair)
            depth_m = intrinsics = None
            if uses_depth:
                step = "bad_depth"
                depth_m = self._input.depth_m(pair)
                step = "no_camera_info"
                intrinsics = self._input.intrinsics((rgb.shape[1], rgb.shape[0]))
                if intrinsics is None:
                    self._statistics.frame_dropped(step)
                    return None
                step = "bad_depth"
                depth_m = self._input.registered(pair, depth_m, intrinsics, (rgb.shape[1], rgb.shape[0]))
                if depth_m is None:
                    self._statistics.frame_dropped("no_registration")
                    return None
                depth_m = self._within_limits(depth_m)
            step = "bad_frame"
            reading = GravityReading()
            if self._gravity is not None:
                reading = self._gravity.read(pair.color, self._site.now_ns())
            frame = RgbdFrame(
                rgb,
                depth_m,
                intrinsics,
                gravity=reading.down,
                camera_height_m=self._site.values.camera_height or reading.camera_height_m,
                stamp_s=pair.stamp_ns * 1e-9 if pair.stamp_ns else None,
            )
            tracker = None if self._gravity is None else self._gravity.tracker_for(intrinsics)
            apart = sum(pair.stage_ms.get(stage, 0.0) for stage in ("decompress", "registration"))
            pair.stage_ms["conversion"] = 1e3 * (time.monotonic() - began) - apart
            return Job(pair, frame, reading, tracker)
        except Exception as error:
            self.lose(step, error)
            return None

    def _within_limits(self, depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Make depth outside of ``min_depth``..``max_depth`` NaN, a hole for HHA, points and statistics alike.

        Args:
            depth_m: (H, W) float32 metres.
        """
        nearest, farthest = self._site.values.min_depth, self._site.values.max_depth or np.inf
        if nearest == 0 and farthest == np.inf:
            return depth_m
        return np.where((depth_m >= nearest) & (depth_m <= farthest), depth_m, np.float32(np.nan))

    def publish(self, job: Job, segmentation: Segmentation) -> None:
        """Publish the outputs that have subscribers, and record the frame in the statistics."""
        try:
            self._publish(job, segmentation)
        except Exception as error:
            self.lose("publish", error)

    def lose(self, step: str, error: Exception) -> None:
        """Count a frame that cannot be labelled or published, and log why.

        Args:
            step: where it failed; the reason in the statistics if ``error`` is an LcrSegError, else ``internal_error``.
            error: what was raised.
        """
        if isinstance(error, LcrSegError):
            self._statistics.frame_dropped(step)
            topic = self._site.full_name(DEPTH_TOPIC if step == "bad_depth" else RGB_TOPIC)
            # Throttle by the wording alone: numbers and quoted values differ from frame to frame.
            text = f"{error!s:.{MAX_ERROR_TEXT}}"
            kind = re.sub(r"'[^']*'?|\d+", "#", f"{step} {text}")
            self._site.log.warning(kind, f"frame dropped ({step}), {topic}: {text}")
        elif self._site.node.context.ok():  # otherwise ROS is shutting down, and the publishers are gone
            self._internal_error()
            trace = "".join(traceback.format_exception(error))
            self._site.log.error("internal_error", f"frame dropped (internal error, {step}):\n{trace}")

    def _publish(self, job: Job, segmentation: Segmentation) -> None:
        frame, header = job.frame, job.pair.color.header
        latency_ms: float | None = None
        response_ms: dict[str, float] = {}

        def mask_sent() -> None:
            nonlocal latency_ms
            if job.pair.arrived_s is not None:
                response_ms["response"] = 1e3 * (time.monotonic() - job.pair.arrived_s)
            if job.pair.stamp_ns:
                latency_ms = (self._site.now_ns() - job.pair.stamp_ns) * 1e-6

        spent = self._outputs.publish(segmentation, frame, header, self._site.values, mask_sent)
        gravity = None
        if self._gravity is not None and segmentation.gravity is not None:
            gravity = self._gravity.conclude(segmentation.gravity, job.reading, header)
        invalid_share = None if frame.depth_m is None else self._invalid_share(frame.depth_m)
        size = frame.rgb.shape[1], frame.rgb.shape[0]
        self._statistics.frame_done(
            latency_ms, {**segmentation.stage_ms, **spent, **response_ms}, invalid_share, gravity, size
        )

    def _is_fresh(self, pair: ImagePair) -> bool:
        if pair.stamp_ns == 0:
            self._site.log.warning_once(
                "zero_stamp",
                f"images on {self._site.full_name(RGB_TOPIC)} have no stamp (0): their age and the latency are "
                "unknown; let the driver stamp them",
            )
            return True
        max_age = self._site.values.max_age
        age = (self._site.now_ns() - pair.stamp_ns) * 1e-9
        if max_age == 0 or age <= max_age:
            return True
        age_at_arrival = age - (time.monotonic() - pair.completed_s)
        self._site.log.warning("too_old", f"frame dropped (too_old): {explain_age(age, age_at_arrival, max_age)}")
        return False

    def _invalid_share(self, depth_m: npt.NDArray[np.float32]) -> float:
        share = 1.0 - np.count_nonzero(np.isfinite(depth_m) & (depth_m > 0)) / depth_m.size
        if share == 1.0:
            self._site.log.warning(
                "empty_depth",
                f"{self._site.full_name(DEPTH_TOPIC)}: no pixel has a depth (all 0, NaN, Inf or outside min_depth.."
                "max_depth); labels rest on colour alone",
            )
        return share


def _loss(report: Report) -> str | None:
    lost = {r: n for r, n in report.dropped_recently.items() if r not in NO_LOSS}
    shown = ", ".join(f"{n} {r}" for r, n in lost.items())
    if report.masks_out_hz == 0:
        return f"no frame could be labelled: {shown}" if lost else None
    faults = sum(n for r, n in lost.items() if r != "replaced_by_newer")
    frames = report.pairs_in_hz * WINDOW_S
    return f"{faults} of {frames:.0f} frames could not be labelled: {shown}" if faults > LOST_SHARE * frames else None


def _doubt(report: Report) -> str | None:
    if report.gravity is None or report.gravity.trouble_share < DOUBTFUL_GRAVITY_SHARE:
        return None
    return f"gravity is in doubt in {report.gravity.trouble_share:.0%} of the frames: {report.gravity.trouble}"

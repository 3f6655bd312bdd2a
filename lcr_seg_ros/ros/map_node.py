"""The node ``map``: labelled clouds in, a semantic voxel map out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from lcr_seg_ros.backends import model_to_run
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import FrameError, LabelSetError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.mapping import VoxelMap
from lcr_seg_ros.mapping.ply import write_ply
from lcr_seg_ros.mapping.settings import MapError, class_channels
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.label_announcements import AnnouncedLabels
from lcr_seg_ros.ros.labelled_cloud import LabelledCloud, read_labelled_cloud, voxels_to_cloud
from lcr_seg_ros.ros.map_parameters import declare_map_parameters
from lcr_seg_ros.ros.output_topics import MAP, POINTS
from lcr_seg_ros.ros.polled_subscription import PolledSubscription
from lcr_seg_ros.ros.pose_sources import create_pose_source
from lcr_seg_ros.ros.qos_overrides import overridable, unused_overrides
from lcr_seg_ros.ros.throttled_log import ThrottledLog

POLL_S = 0.02
JUMP_BACK_NS = 1_000_000_000
SILENCE_S = 5.0


class MapNode(Node):
    """Subscribes to ``segmentation/points``, publishes ``segmentation/map`` (latched), offers ``~/save``, ``~/clear``.

    All work is done in the thread that spins. Clouds wait in the middleware, which keeps only the newest, so a slow
    machine skips some but never falls behind.

    Args:
        context: rclpy context; default: that of the process.

    Raises:
        LcrSegError: a parameter cannot be used, or something it needs is not installed.
    """

    def __init__(self, context: Context | None = None) -> None:
        super().__init__("map", context=context)
        self._values = p = declare_map_parameters(self)
        self._labels = ModelBundle.load(model_to_run(p.model)).labels
        self._announced = AnnouncedLabels(self)
        self._classes = [str(name) for name in p.class_filter]
        class_channels(self._labels, self._classes)  # raises now rather than when the map is published
        self._map = VoxelMap(self._labels, p.settings)
        self._log = ThrottledLog(self.get_logger())
        self._poses = create_pose_source(self, p)
        self._clouds = PolledSubscription(
            self, PointCloud2, POINTS, QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        )
        self._publisher = self.create_publisher(
            PointCloud2,
            MAP,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            qos_overriding_options=overridable(),
        )
        self._waiting: tuple[PointCloud2, LabelledCloud, float] | None = None
        self._left_out = ""  # why the newest cloud was left out; else empty
        self._heard_at = time.monotonic()
        self._due_at = 0.0
        self._newest_ns = 0
        self._frame = ""
        self._is_published = True
        self.create_service(Trigger, "~/save", self._save)
        self.create_service(Trigger, "~/clear", self._clear)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # with use_sim_time but no /clock, the node's own stands still
        self.create_timer(POLL_S, self._log.guarded(self._take_in, self._give_up_cloud), clock=steady)
        self.create_timer(p.publish_period, self._log.guarded(self._publish), clock=steady)
        if p.pose_source == "odometry" and not any(p.camera_rpy):
            self.get_logger().warning(
                "camera_rpy is 0: the camera's optical frame, z ahead, is taken for the frame that the odometry moves, "
                "x ahead, and the map lies on its side; of a camera that looks ahead it is [-1.5708, 0.0, -1.5708]"
            )
        for line in unused_overrides(self):
            self.get_logger().warning(line)
        self.get_logger().info(
            f"mapping {self.resolve_topic_name(POINTS)} with poses from {p.pose_source}, voxels of "
            f"{p.voxel_size:g} m, on {self.resolve_topic_name(MAP)}"
        )

    def finish(self) -> bool:
        """Write the map to the parameter ``file``, if that is set and the map has voxels; returns False on failure."""
        if not self._values.file or not self._map.frames:
            return True
        if not len(self._map.voxels(self._classes)):
            self.get_logger().warning(f"{self._why_empty()}; {self._file()} is left as it is")
            return True
        done, text = self._write()
        (self.get_logger().info if done else self.get_logger().error)(text)
        return done

    def _take_in(self) -> None:
        self._poses.update()
        self._follow_labels()
        now = time.monotonic()
        if self._waiting is None and now >= self._due_at:
            for message in self._clouds.take():
                self._accept(message, now)
        if self._waiting is not None:
            self._integrate(*self._waiting, now)
        elif now - self._heard_at > SILENCE_S:
            self._log.warning("silence", self._why_silent())
            self._heard_at = now

    def _give_up_cloud(self) -> None:
        """After an error: the next poll would only fail on the same cloud again."""
        if self._waiting is not None:
            self._left_out = "a cloud was left out because of an internal error, see the log"
            self._waiting = None

    def _follow_labels(self) -> None:
        """Use the labels that the node announces instead of those of ``model``; if they differ, the map starts over."""
        try:
            labels = self._announced.take()
        except LabelSetError as error:
            self._log.warning("labels", f"what the points mean is taken from the parameter model: {error}")
            return
        if labels is None or _meanings(labels) == _meanings(self._labels):
            return
        if len(self._map):
            self.get_logger().warning(
                f"the node now labels with the {len(labels)} classes of {labels.name}, not those of "
                f"{self._labels.name}: the map begins anew"
            )
        try:
            class_channels(labels, self._classes)
        except MapError as error:
            self.get_logger().warning(f"class_filter is left out, all classes are shown: {error}")
            self._classes = []
        self._labels, self._map = labels, VoxelMap(labels, self._values.settings)
        self._waiting = None
        self._is_published = False

    def _accept(self, message: PointCloud2, now: float) -> None:
        self._heard_at = now
        try:
            stamp = stamp_ns(message)
            if stamp < 0:
                raise FrameError(f"its stamp of {stamp * 1e-9:.1f} s is before 1970")
            cloud = read_labelled_cloud(message)
        except FrameError as error:
            self._left_out = f"a cloud was left out: {error}"
            self._log.warning("cloud", self._left_out)
            return
        if stamp < self._newest_ns - JUMP_BACK_NS:
            self.get_logger().warning("stamps have jumped back: poses from before are forgotten, the map is kept")
            self._poses.start_over()
        self._newest_ns = stamp
        self._waiting = (message, cloud, now)
        if self._values.max_rate_hz > 0:
            self._due_at = max(self._due_at + 1 / self._values.max_rate_hz, now)

    def _integrate(self, message: PointCloud2, cloud: LabelledCloud, since: float, now: float) -> None:
        reading = self._poses.read(stamp_ns(message), message.header.frame_id, cloud)
        if reading.pose is None:
            self._left_out = f"a cloud was left out, its pose is not known: {reading.problem}"
            if reading.may_come and now - since < self._values.pose_patience:
                return
            self._log.warning("pose", self._left_out)
        else:
            self._left_out = ""
            forgotten = self._map.forgotten
            self._map.integrate_points(cloud.points, cloud.labels, reading.pose, cloud.confidence)
            self._frame = self._poses.map_frame
            self._is_published = False
            if self._map.forgotten > forgotten:
                self._log.warning(
                    "full", f"all {self._values.max_voxels} voxels are taken, those seen longest ago are given up"
                )
        self._waiting = None

    def _publish(self) -> None:
        if self._is_published or not self._publisher.get_subscription_count():
            return
        header = Header(frame_id=self._frame)
        header.stamp.sec, header.stamp.nanosec = divmod(self._newest_ns, 10**9)
        self._publisher.publish(voxels_to_cloud(self._map.voxels(self._classes), self._labels, header))
        self._is_published = True

    def _save(self, _: Trigger.Request, response: Any) -> Any:
        if not self._values.file:
            response.success, response.message = False, "the parameter `file` names no file to write"
        elif not self._map.frames:
            why = self._left_out or self._why_silent()
            response.success = False
            response.message = f"nothing has been mapped yet: {why}; {self._file()} is left as it is"
        else:
            response.success, response.message = self._write()
        return response

    def _clear(self, _: Trigger.Request, response: Any) -> Any:
        count = len(self._map)
        self._map.clear()
        self._poses.map_cleared()
        self._is_published = False
        response.success, response.message = True, f"{count} voxels forgotten"
        return response

    def _file(self) -> Path:
        return Path(self._values.file).expanduser().absolute()

    def _write(self) -> tuple[bool, str]:
        file = self._file()
        voxels = self._map.voxels(self._classes)
        if not len(voxels):
            return False, f"{self._why_empty()}; {file} is left as it is"
        try:
            write_ply(file, voxels, self._labels)
        except OSError as error:
            return False, f"the map cannot be written to {file}: {error}"
        return True, f"{len(voxels)} voxels from {self._map.frames} clouds written to {file}"

    def _why_empty(self) -> str:
        """Why a map into which clouds have been integrated has no voxel to show."""
        p, clouds = self._values, f"{self._map.frames} clouds"
        if not len(self._map):
            return (
                f"no labelled point of {clouds} is {p.min_range:g} to {p.max_range:g} m away (min_range, max_range) "
                f"with a confidence of {p.min_confidence:g} (min_confidence)"
            )
        if not len(self._map.voxels()):
            return f"no voxel has been seen by {p.min_views} (min_views) of {clouds}"
        return f"no voxel of {clouds} has a class of class_filter: {', '.join(map(str, p.class_filter))}"

    def _why_silent(self) -> str:
        topic = self.resolve_topic_name(POINTS)
        if not self.count_publishers(topic):
            return f"nobody publishes {topic}: start `segment` with a model that sees depth, or remap {POINTS}"
        return f"nothing comes on {topic}, which has a publisher: does the camera deliver, and is `segment` enabled?"


def _meanings(labels: LabelSet) -> list[tuple[int, str, tuple[int, int, int]]]:
    return [(one.id, one.name, one.color) for one in labels.classes]

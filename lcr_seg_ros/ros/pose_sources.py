"""Sources of the camera's pose for the node ``map``: TF, an odometry topic, or the depth of the clouds themselves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from rclpy.qos import QoSProfile, ReliabilityPolicy

from lcr_seg_ros.errors import FrameError, LcrSegError
from lcr_seg_ros.frame import level_pose
from lcr_seg_ros.mapping import DepthOdometry, MapError, require_odometry
from lcr_seg_ros.mapping.trajectory import pose_of
from lcr_seg_ros.ros.compat.message_filters import stamp_ns as stamp_of
from lcr_seg_ros.ros.compat.tf2 import KEPT, TransformBuffer, TransformError
from lcr_seg_ros.ros.labelled_cloud import LabelledCloud, intrinsics_of
from lcr_seg_ros.ros.orientation import rotation_of_rpy
from lcr_seg_ros.ros.output_topics import GRAVITY
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.ros.map_parameters import MapParameters

FloatArray = npt.NDArray[np.float64]

ODOMETRY_TOPIC = "odometry"
MAX_GAP_S = 0.5
"""s. Longest gap between two odometry messages across which poses are interpolated."""


class PoseReading(NamedTuple):
    """The pose for one cloud.

    Args:
        pose: (4, 4) float64 camera-to-map; None if not known.
        problem: why it is not known; else empty.
        may_come: whether it may become known a moment later.
    """

    pose: FloatArray | None
    problem: str = ""
    may_come: bool = False


class PoseSource(Protocol):
    """A source of poses, asked for each cloud."""

    @property
    def map_frame(self) -> str:
        """Frame of the poses; empty if not known yet."""
        ...

    def update(self) -> None:
        """Process the messages that have come."""
        ...

    def read(self, stamp_ns: int, frame_id: str, cloud: LabelledCloud) -> PoseReading:
        """The pose of the camera at the moment of a cloud."""
        ...

    def start_over(self) -> None:
        """Forget whatever depends on time: the clock has jumped."""
        ...

    def map_cleared(self) -> None:
        """The map has been cleared: further poses need not be consistent with earlier ones."""
        ...


def create_pose_source(node: Node, parameters: MapParameters) -> PoseSource:
    """The source that the parameter ``pose_source`` names.

    Raises:
        TransformError: it is tf, and TF is not installed.
        LcrSegError: it is odometry, and nav_msgs is not installed.
        MapError: it is depth, and the installed OpenCV has no odometry.
    """
    if parameters.pose_source == "tf":
        try:
            return TfPoses(TransformBuffer(node), parameters.map_frame)
        except TransformError as error:
            raise TransformError(f"{error}; or pose_source:=depth, which needs no TF") from error
    if parameters.pose_source == "odometry":
        return OdometryPoses(node, parameters)
    try:
        return DepthPoses(node, parameters)
    except MapError as error:
        raise MapError(f"{error}: pose_source:=tf or pose_source:=odometry") from error


class TfPoses:
    """Poses from TF.

    Args:
        transforms: buffer of what came on /tf and /tf_static.
        map_frame: target frame.
    """

    def __init__(self, transforms: TransformBuffer, map_frame: str) -> None:
        self._transforms = transforms
        self.map_frame = map_frame

    def update(self) -> None:
        self._transforms.update()

    def read(self, stamp_ns: int, frame_id: str, cloud: LabelledCloud) -> PoseReading:
        try:
            found = self._transforms.look_up(self.map_frame, frame_id, stamp_ns, 0.0)
        except TransformError as error:
            return PoseReading(None, str(error), True)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = found.rotation, found.translation
        return PoseReading(pose)

    def start_over(self) -> None:
        self._transforms.forget()

    def map_cleared(self) -> None:
        """Nothing to do: poses in ``map_frame`` do not depend on the map."""


class OdometryPoses:
    """Poses interpolated between nav_msgs/Odometry messages, for a camera fixed to the frame that moves.

    Args:
        node: subscribes to ``odometry``.
        parameters: camera_xyz and camera_rpy are used.

    Raises:
        LcrSegError: nav_msgs is not installed.
    """

    def __init__(self, node: Node, parameters: MapParameters) -> None:
        try:
            from nav_msgs.msg import Odometry
        except ImportError as error:
            raise LcrSegError(
                f"pose_source odometry needs nav_msgs, which is not installed here ({error}): "
                "pip install 'lcr_seg_ros[ros]', or apt install ros-$ROS_DISTRO-nav-msgs"
            ) from error
        qos = QoSProfile(depth=KEPT, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._messages = PolledSubscription(node, Odometry, ODOMETRY_TOPIC, qos)
        self._topic = node.resolve_topic_name(ODOMETRY_TOPIC)
        self._poses: deque[tuple[int, FloatArray, FloatArray]] = deque(maxlen=KEPT)  # stamp, position, quaternion
        self._camera = np.eye(4)
        self._camera[:3, :3] = rotation_of_rpy(*parameters.camera_rpy)
        self._camera[:3, 3] = parameters.camera_xyz
        self._problem = ""
        self.map_frame = ""

    def update(self) -> None:
        for message in self._messages.take():
            p, q = message.pose.pose.position, message.pose.pose.orientation
            position, quaternion = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
            try:
                pose_of(position, quaternion)
            except ValueError as error:
                self._problem = f"{self._topic}: {error}"
                continue
            stamp_ns = stamp_of(message)
            if self._poses and stamp_ns <= self._poses[-1][0]:
                self._poses.clear()  # the odometry has started over
            self._poses.append((stamp_ns, position, quaternion / np.linalg.norm(quaternion)))
            self.map_frame = message.header.frame_id

    def read(self, stamp_ns: int, frame_id: str, cloud: LabelledCloud) -> PoseReading:
        if not self._poses:
            return PoseReading(None, self._problem or f"nothing has come on {self._topic}", True)
        if stamp_ns > self._poses[-1][0]:
            behind_s = (stamp_ns - self._poses[-1][0]) * 1e-9
            return PoseReading(None, f"{self._topic} is {behind_s:.2f} s behind the clouds", True)
        stamps = [stamp for stamp, _, _ in self._poses]
        after = int(np.searchsorted(stamps, stamp_ns))
        if stamps[after] == stamp_ns:
            _, position, quaternion = self._poses[after]
            return PoseReading(pose_of(position, quaternion) @ self._camera)
        if after == 0:
            return PoseReading(None, f"the oldest message of {self._topic} is newer than the cloud")
        (t0, p0, q0), (t1, p1, q1) = self._poses[after - 1], self._poses[after]
        if t1 - t0 > MAX_GAP_S * 1e9:
            return PoseReading(None, f"{self._topic} has a gap of {(t1 - t0) * 1e-9:.2f} s")
        share = (stamp_ns - t0) / (t1 - t0)
        # Over the few degrees between two messages, linear interpolation is as good as slerp.
        quaternion = (1 - share) * q0 + share * (q1 if q0 @ q1 >= 0 else -q1)
        return PoseReading(pose_of((1 - share) * p0 + share * p1, quaternion) @ self._camera)

    def start_over(self) -> None:
        self._poses.clear()

    def map_cleared(self) -> None:
        """Nothing to do: the robot's poses do not depend on the map."""


class DepthPoses:
    """Poses estimated from the depth of the clouds themselves, for a handheld camera without another source of poses.

    Args:
        node: subscribes to ``segmentation/gravity``, by which the map's z axis is made to point up.
        parameters: map_frame is used.

    Raises:
        MapError: the installed OpenCV has no odometry.
    """

    def __init__(self, node: Node, parameters: MapParameters) -> None:
        require_odometry()
        from geometry_msgs.msg import Vector3Stamped

        self._gravity = PolledSubscription(
            node, Vector3Stamped, GRAVITY, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        self._down = np.array([0.0, 1.0, 0.0])  # until the node publishes it: a level camera
        self._odometry: DepthOdometry | None = None
        self.map_frame = parameters.map_frame

    def update(self) -> None:
        for message in self._gravity.take():
            down = np.array([message.vector.x, message.vector.y, message.vector.z])
            if np.isfinite(down).all() and np.linalg.norm(down) > 1e-6:
                self._down = down

    def read(self, stamp_ns: int, frame_id: str, cloud: LabelledCloud) -> PoseReading:
        depth_m = np.ascontiguousarray(cloud.points[..., 2])
        try:
            if self._odometry is None or self._odometry.size != depth_m.shape:
                # A change of resolution starts a new odometry at the last pose: the camera itself has not moved.
                known = level_pose(self._down) if self._odometry is None else self._odometry.pose
                self._odometry = DepthOdometry(intrinsics_of(cloud.points), pose=known)
            pose = self._odometry.track(depth_m)
        except FrameError as error:
            return PoseReading(None, str(error))
        if pose is None:
            return PoseReading(None, "the cloud fits none before it: move slower, and keep more than one wall in view")
        return PoseReading(pose)

    def start_over(self) -> None:
        """Nothing to do: these poses do not depend on stamps."""

    def map_cleared(self) -> None:
        self._odometry = None

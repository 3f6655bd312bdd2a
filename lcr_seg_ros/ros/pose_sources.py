"""Where the node ``map`` knows the camera's pose from: TF, an odometry topic, or the depth of the clouds themselves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from rclpy.qos import QoSProfile, ReliabilityPolicy

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.mapping import DepthOdometry
from lcr_seg_ros.mapping.trajectory import level_pose, pose_of
from lcr_seg_ros.ros.compat.message_filters import stamp_ns as stamp_of
from lcr_seg_ros.ros.compat.tf2 import KEPT, TransformBuffer, TransformError
from lcr_seg_ros.ros.labelled_cloud import LabelledCloud, intrinsics_of
from lcr_seg_ros.ros.orientation import rotation_of_rpy
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.ros.map_parameters import MapParameters

FloatArray = npt.NDArray[np.float64]

ODOMETRY_TOPIC = "odometry"
GRAVITY_TOPIC = "segmentation/gravity"
MAX_GAP_S = 0.5
"""Between two messages of an odometry, if a pose is to be read between them."""


class PoseReading(NamedTuple):
    """What a source says of one cloud.

    Args:
        pose: (4, 4) camera-to-map, or None.
        problem: why there is none.
        may_come: it may be known a moment later.
    """

    pose: FloatArray | None
    problem: str = ""
    may_come: bool = False


class PoseSource(Protocol):
    """Asked for the pose of each cloud."""

    @property
    def map_frame(self) -> str:
        """Frame that poses are in; empty if not known yet."""
        ...

    def update(self) -> None:
        """Take in what has come."""
        ...

    def read(self, stamp_ns: int, frame_id: str, cloud: LabelledCloud) -> PoseReading:
        """The pose of the camera that made a cloud."""
        ...

    def start_over(self) -> None:
        """Forget what is tied to the time: the clock has jumped."""
        ...

    def map_cleared(self) -> None:
        """Poses need not fit those before any more: the map begins anew."""
        ...


def create_pose_source(node: Node, parameters: MapParameters) -> PoseSource:
    """The source that the parameter ``pose_source`` names.

    Raises:
        TransformError: TF is asked for and not installed.
        LcrSegError: odometry is asked for and its messages are not installed, or depth and OpenCV is too old.
    """
    if parameters.pose_source == "tf":
        try:
            return TfPoses(TransformBuffer(node), parameters.map_frame)
        except TransformError as error:
            raise TransformError(f"{error}; or pose_source:=depth, which needs no TF") from error
    if parameters.pose_source == "odometry":
        return OdometryPoses(node, parameters)
    return DepthPoses(node, parameters)


class TfPoses:
    """Poses after TF.

    Args:
        transforms: what came on /tf and /tf_static.
        map_frame: the target.
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
        """Its poses are those of the frame, whatever was mapped in it."""


class OdometryPoses:
    """Poses after nav_msgs/Odometry, between two of its messages, with a camera that is fixed to what moves.

    Args:
        node: subscribes to ``odometry``.
        parameters: camera_xyz and camera_rpy are used.
    """

    def __init__(self, node: Node, parameters: MapParameters) -> None:
        from lcr_seg_ros.errors import LcrSegError

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
                self._poses.clear()  # it has started anew
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
        # For the few degrees between two messages as good as along the great circle.
        quaternion = (1 - share) * q0 + share * (q1 if q0 @ q1 >= 0 else -q1)
        return PoseReading(pose_of((1 - share) * p0 + share * p1, quaternion) @ self._camera)

    def start_over(self) -> None:
        self._poses.clear()

    def map_cleared(self) -> None:
        """Its poses are the robot's."""


class DepthPoses:
    """Poses after the depth of the clouds themselves: for a camera in the hand, where nothing else knows them.

    Args:
        node: subscribes to ``segmentation/gravity``, after which the map's z points up.
        parameters: map_frame is used.
    """

    def __init__(self, node: Node, parameters: MapParameters) -> None:
        from geometry_msgs.msg import Vector3Stamped

        self._gravity = PolledSubscription(
            node, Vector3Stamped, GRAVITY_TOPIC, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        self._down = np.array([0.0, 1.0, 0.0])  # a camera held level
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
                # Where the camera was when it changed its resolution, it still is.
                known = level_pose(self._down) if self._odometry is None else self._odometry.pose
                self._odometry = DepthOdometry(intrinsics_of(cloud.points), pose=known)
            pose = self._odometry.track(depth_m)
        except FrameError as error:
            return PoseReading(None, str(error))
        if pose is None:
            return PoseReading(None, "the cloud fits none before it: move slower, and keep more than one wall in view")
        return PoseReading(pose)

    def start_over(self) -> None:
        """Nothing here goes by stamps."""

    def map_cleared(self) -> None:
        self._odometry = None

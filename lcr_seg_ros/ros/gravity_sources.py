"""Sources of the direction of gravity: parameters, an IMU, TF, or none, so that it is estimated from depth.

A source is asked for each image. If it has no answer, it says why, and gravity is estimated for that image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu

from lcr_seg_ros.ros.accelerometer import STALE_S, GravityLowPass
from lcr_seg_ros.ros.camera_presets import OWN_TOPICS
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.compat.tf2 import KEPT, TransformError, import_tf2
from lcr_seg_ros.ros.orientation import rotation_of_rpy
from lcr_seg_ros.ros.parameters import MAX_CAMERA_HEIGHT_M
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.ros.parameters import SegmentParameters
    from lcr_seg_ros.ros.shared_transforms import LentTransforms, SharedTransforms

FloatArray = npt.NDArray[np.float64]

IMU_TOPIC = OWN_TOPICS.imu

NO_DIRECTION = 1e-3
"""m/s^2. A mean acceleration shorter than this has no direction: its samples have cancelled out."""


class GravityReading(NamedTuple):
    """What a source knows for one image.

    Args:
        down: (3,) float64 unit vector in the optical frame, the direction of gravity; None: estimate it.
        camera_height_m: height of the camera above the floor in m; None if not known.
        problem: why ``down`` is None although the source should know it, or what is wrong otherwise; else empty.
    """

    down: FloatArray | None = None
    camera_height_m: float | None = None
    problem: str = ""


class GravitySource:
    """Base class of the sources. By itself it knows nothing, so that gravity is estimated.

    :meth:`read` is called in the worker's thread, everything else in the node's.
    """

    def start(self) -> None:
        """Subscribe."""

    def stop(self) -> None:
        """Unsubscribe."""

    def start_over(self) -> None:
        """Forget whatever depends on time: the clock has jumped."""

    def update(self, now_ns: int) -> None:
        """Process the messages that have come since the last call; ``now_ns`` is used for those without a stamp."""

    def read(self, stamp_ns: int, optical_frame: str) -> GravityReading:
        """What is known for an image.

        Args:
            stamp_ns: of the image.
            optical_frame: its frame_id.
        """
        return GravityReading()


def create_gravity_source(
    node: Node, parameters: SegmentParameters, transforms: SharedTransforms, imu_topic: str = IMU_TOPIC
) -> GravitySource:
    """The source that the parameter ``gravity_source`` names.

    Args:
        node: creates the subscriptions that the source needs.
        parameters: see ``config/segment.yaml``.
        transforms: lends the node's transform buffer.
        imu_topic: relative name of the camera's IMU topic.

    Raises:
        TransformError: the source needs TF, which is not installed.
    """
    if parameters.gravity_source == "imu":
        return ImuGravity(
            parameters.imu_time_constant,
            parameters.imu_axes == "same",
            parameters.imu_rotation_rpy,
            lambda: PolledSubscription(
                node, Imu, imu_topic, QoSProfile(depth=KEPT, reliability=ReliabilityPolicy.BEST_EFFORT)
            ),
            transforms.listen,
            node.resolve_topic_name(imu_topic),
        )
    if parameters.gravity_source == "tf":
        import_tf2()  # raises now rather than when the node is activated
        with_height = parameters.camera_height_from_tf and parameters.camera_height == 0
        return TfGravity(parameters.gravity_frame, with_height, transforms.listen)
    if parameters.gravity_source == "fixed":
        return FixedGravity(parameters.mounted_down)
    return GravitySource()


class FixedGravity(GravitySource):
    """Constant gravity, for a camera that stands still or only turns about the vertical.

    Args:
        down: (3,) float64 unit vector in the optical frame.
    """

    def __init__(self, down: FloatArray) -> None:
        self._reading = GravityReading(down)

    def read(self, stamp_ns: int, optical_frame: str) -> GravityReading:
        return self._reading


class TfGravity(GravitySource):
    """Gravity from TF: -z of a frame whose z axis points up.

    Args:
        gravity_frame: that frame.
        with_height: whether the camera's z in that frame is its height above the floor.
        listen: lends the transform buffer.
    """

    def __init__(self, gravity_frame: str, with_height: bool, listen: Callable[[], LentTransforms]) -> None:
        self._gravity_frame = gravity_frame
        self._with_height = with_height
        self._listen = listen
        self._transforms: LentTransforms | None = None

    def start(self) -> None:
        self._transforms = self._listen()

    def stop(self) -> None:
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None

    def start_over(self) -> None:
        if self._transforms is not None:
            self._transforms.forget()

    def update(self, now_ns: int) -> None:
        if self._transforms is not None:
            self._transforms.update()

    def read(self, stamp_ns: int, optical_frame: str) -> GravityReading:
        transforms = self._transforms
        if transforms is None:
            return GravityReading()
        try:
            found = transforms.look_up(optical_frame, self._gravity_frame, stamp_ns, STALE_S)
        except TransformError as error:
            return GravityReading(problem=str(error))
        down = -found.rotation[:, 2]
        if not self._with_height:
            return GravityReading(down)
        # `translation` is the frame's origin in the optical frame; its component along gravity is the camera's height.
        height = float(down @ found.translation)
        if 0 < height <= MAX_CAMERA_HEIGHT_M:
            return GravityReading(down, height)
        return GravityReading(
            down,
            problem=f"TF has the camera at z = {height:.2f} m in {self._gravity_frame!r}, which is no height above a "
            "floor: choose another gravity_frame, set camera_height, or camera_height_from_tf:=false",
        )


class ImuGravity(GravitySource):
    """Gravity from an IMU's accelerometer.

    Args:
        time_constant_s: of the low-pass filter, in s.
        same_axes: whether the IMU's axes are those of the optical frame, whatever its frame_id says.
        rotation_rpy: (roll, pitch, yaw) in rad of the IMU's frame in the optical frame; takes precedence over
            ``same_axes`` and TF unless it is (0, 0, 0).
        listen: subscribes to the IMU.
        listen_to_tf: lends the transform buffer; called only if the frame_ids differ and no rotation is given.
        topic: full name of the IMU's topic, for log lines.
    """

    def __init__(
        self,
        time_constant_s: float,
        same_axes: bool,
        rotation_rpy: tuple[float, float, float],
        listen: Callable[[], PolledSubscription],
        listen_to_tf: Callable[[], LentTransforms],
        topic: str,
    ) -> None:
        self._low_pass = GravityLowPass(time_constant_s)
        self._rotation = rotation_of_rpy(*rotation_rpy) if any(rotation_rpy) else np.eye(3) if same_axes else None
        self._listen = listen
        self._listen_to_tf = listen_to_tf
        self._topic = topic
        self._imu_frame = self._optical_frame = ""
        self._has_heard = False
        self._messages: PolledSubscription | None = None
        self._transforms: LentTransforms | None = None
        self._why_no_transforms = ""

    def start(self) -> None:
        self._low_pass.reset()
        self._imu_frame = self._optical_frame = self._why_no_transforms = ""
        self._has_heard = False
        self._messages = self._listen()

    def stop(self) -> None:
        if self._messages is not None:
            self._messages.destroy()
            self._messages = None
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None

    def start_over(self) -> None:
        # The low-pass filter goes by the IMU's stamps, which need not jump with those of the images.
        if self._transforms is not None:
            self._transforms.forget()

    def update(self, now_ns: int) -> None:
        for message in self._messages.take() if self._messages is not None else ():
            self._take(message, now_ns)
        if self._transforms is None and not self._why_no_transforms and self._needs_transforms():
            try:
                self._transforms = self._listen_to_tf()
            except TransformError as error:
                self._why_no_transforms = str(error)
        if self._transforms is not None:
            self._transforms.update()

    def read(self, stamp_ns: int, optical_frame: str) -> GravityReading:
        self._optical_frame = optical_frame
        if not self._has_heard:
            return GravityReading(
                problem=f"nothing has come on {self._topic}: start the IMU, or remap imu to its topic"
            )
        up, problem = self._low_pass.up(stamp_ns)
        if up is None:
            return GravityReading(problem=f"{self._topic}: {problem}")
        length = math.hypot(*up)
        if length < NO_DIRECTION:
            return GravityReading(problem=f"{self._topic}: its samples have no direction in common")
        try:
            rotation = self._rotation if self._rotation is not None else self._rotation_from_frames(stamp_ns)
        except TransformError as error:
            return GravityReading(
                problem=f"{self._topic} is in frame {self._imu_frame!r}, the images in {optical_frame!r}, and how one "
                f"is turned against the other is not known: {error}; set imu_rotation_rpy, or imu_axes:=same"
            )
        return GravityReading(rotation @ np.array(up) / -length)

    def _take(self, message: Imu, now_ns: int) -> None:
        self._has_heard = True
        if message.header.frame_id != self._imu_frame:
            self._imu_frame = message.header.frame_id
            self._low_pass.reset()
        acceleration, turn_rate = message.linear_acceleration, message.angular_velocity
        has_acceleration = message.linear_acceleration_covariance[0] != -1
        has_turn_rate = message.angular_velocity_covariance[0] != -1
        self._low_pass.add(
            stamp_ns(message) or now_ns,
            (acceleration.x, acceleration.y, acceleration.z) if has_acceleration else None,
            (turn_rate.x, turn_rate.y, turn_rate.z) if has_turn_rate else None,
        )

    def _needs_transforms(self) -> bool:
        known = self._imu_frame and self._optical_frame
        return self._rotation is None and bool(known) and self._imu_frame != self._optical_frame

    def _rotation_from_frames(self, stamp_ns: int) -> FloatArray:
        if not (self._imu_frame and self._optical_frame):
            raise TransformError("a frame_id is empty")
        if self._imu_frame == self._optical_frame:
            return np.eye(3)
        transforms = self._transforms
        if transforms is None:
            raise TransformError(self._why_no_transforms or "TF is not listened to yet")
        return transforms.look_up(self._optical_frame, self._imu_frame, stamp_ns, STALE_S).rotation

"""Transforms between frames: a thin door to ``tf2_ros``, which only a ROS installation has.

There is no stand-in: the messages that TF travels in (``tf2_msgs``) come with ``tf2_ros``, not without it.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rclpy.clock import ClockType
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.ros.orientation import rotation_of_quaternion
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node


KEPT = 500
"""Messages of a topic that may come between two images without being lost."""


class TransformError(LcrSegError, RuntimeError):
    """TF is not installed, or does not know a transform."""


class FrameTransform(NamedTuple):
    """Where a frame is, seen from another: p_target = rotation p_source + translation.

    Args:
        rotation: (3, 3).
        translation: (3,) metres.
    """

    rotation: npt.NDArray[np.float64]
    translation: npt.NDArray[np.float64]


def import_tf2() -> tuple[ModuleType, type[Any]]:
    """``tf2_ros`` and the message of /tf.

    Raises:
        TransformError: it is not installed, or broken.
    """
    if find_spec("tf2_ros") is None:
        raise TransformError(
            "TF needs tf2_ros, which is not installed here: "
            f"apt install ros-{os.environ.get('ROS_DISTRO', '$ROS_DISTRO')}-tf2-ros-py (pip has no wheel of it)"
        )
    try:
        return import_module("tf2_ros"), import_module("tf2_msgs.msg").TFMessage
    except Exception as error:  # whatever a broken install raises
        raise TransformError(f"TF needs tf2_ros, which cannot be imported here: {error}") from error


class TransformBuffer:
    """What comes on /tf and /tf_static. It is taken in when :meth:`update` is called, not before.

    Args:
        node: subscribes; :meth:`close` takes the subscriptions away again.

    Raises:
        TransformError: as :func:`import_tf2`.
    """

    def __init__(self, node: Node) -> None:
        self._tf2, message_type = import_tf2()
        # Without the node, to which it would add a service that nobody takes away.
        self._buffer = self._tf2.Buffer()
        self._moving = PolledSubscription(node, message_type, "/tf", QoSProfile(depth=KEPT))
        self._static = PolledSubscription(
            node, message_type, "/tf_static", QoSProfile(depth=KEPT, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )

    def update(self) -> None:
        """Take in what has come."""
        for message in self._static.take():
            for transform in message.transforms:
                self._buffer.set_transform_static(transform, "/tf_static")
        for message in self._moving.take():
            for transform in message.transforms:
                self._buffer.set_transform(transform, "/tf")

    def close(self) -> None:
        """Stop listening."""
        self._moving.destroy()
        self._static.destroy()

    def forget(self) -> None:
        """Drop all but static transforms: after a jump of the clock."""
        self._buffer.clear()

    def look_up(self, target: str, source: str, stamp_ns: int, tolerance_s: float) -> FrameTransform:
        """The transform at a time; where TF is behind, the newest there is. Never waits.

        Args:
            target, source: frame names.
            stamp_ns: the time asked for.
            tolerance_s: the newest may be this far from it.

        Raises:
            TransformError: an unknown frame, no way between the two, or none of that time.
        """
        try:
            try:
                found = self._buffer.lookup_transform(
                    target, source, Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME)
                )
            except self._tf2.ExtrapolationException:
                found = self._buffer.lookup_transform(target, source, Time(clock_type=ClockType.ROS_TIME))
                newest_ns = Time.from_msg(found.header.stamp).nanoseconds
                apart_s = (stamp_ns - newest_ns) * 1e-9
                if abs(apart_s) > tolerance_s:
                    raise TransformError(
                        f"the newest transform from {source!r} to {target!r} is {abs(apart_s):.2f} s "
                        f"{'older' if apart_s > 0 else 'newer'} than the image"
                    ) from None
            q, p = found.transform.rotation, found.transform.translation
            return FrameTransform(rotation_of_quaternion(q.x, q.y, q.z, q.w), np.array([p.x, p.y, p.z]))
        except (self._tf2.TransformException, ValueError) as error:
            raise TransformError(f"TF has no transform from {source!r} to {target!r}: {str(error).strip()}") from error

"""The place of one camera in the node: its namespace, log and publishers, and what it shares with the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from lcr_seg_ros.ros.throttled_log import ThrottledLog

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from lcr_seg_ros.ros.compat.cv_bridge import ImageReaders
    from lcr_seg_ros.ros.compat.message_filters import StampPairs
    from lcr_seg_ros.ros.compat.vision_msgs import LabelInfoFormat
    from lcr_seg_ros.ros.parameters import SegmentParameters


@dataclass(frozen=True)
class SharedParts:
    """What all cameras of a node use.

    Args:
        node: whose publishers and subscriptions they are.
        values_of: gives the parameters in use for a camera, by its name.
        is_active: tells the node's state: publishers made while it is active are so at once.
        stamp_pairs, image_readers, label_info: what was chosen for this installation.
    """

    node: LifecycleNode
    values_of: Callable[[str], SegmentParameters]
    is_active: Callable[[], bool]
    stamp_pairs: type[StampPairs]
    image_readers: ImageReaders
    label_info: LabelInfoFormat | None


class CameraSite:
    """See the module's description.

    Args:
        shared: by all cameras.
        name: relative namespace of the camera's topics; empty for the only one, whose topics have none.
    """

    def __init__(self, shared: SharedParts, name: str) -> None:
        self.shared = shared
        self.name = name
        self.log = ThrottledLog(shared.node.get_logger(), name)

    @property
    def node(self) -> LifecycleNode:
        return self.shared.node

    @property
    def values(self) -> SegmentParameters:
        """The parameters in use for this camera."""
        return self.shared.values_of(self.name)

    def topic(self, base: str) -> str:
        """The relative name of one of the camera's topics: ``rgb/camera_info``, or ``front/rgb/camera_info``."""
        return f"{self.name}/{base}" if self.name else base

    def full_name(self, base: str) -> str:
        """The same as others see it, remapped."""
        return str(self.node.resolve_topic_name(self.topic(base)))

    def now_ns(self) -> int:
        """The node's time, which may be simulated."""
        return int(self.node.get_clock().now().nanoseconds)

    def create_publisher(
        self, message_type: type[Any], base: str, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
    ) -> Any:
        """A lifecycle publisher: reliable, keeps one message, and users may override its QoS."""
        publisher: Any = self.node.create_lifecycle_publisher(
            message_type,
            self.topic(base),
            # A profile of its own for each publisher: rclpy writes the user's overrides into it.
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=durability),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        if self.shared.is_active():  # of a node that is, rclpy activates only what was there before
            publisher.on_activate(None)
        return publisher

    def destroy_publisher(self, publisher: Any) -> None:
        self.node.destroy_lifecycle_publisher(publisher)

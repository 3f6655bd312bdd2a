"""The context of one camera in the node: its namespace, parameters, log and publishers, and what all cameras share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from lcr_seg_ros.ros.qos_overrides import overridable
from lcr_seg_ros.ros.throttled_log import ThrottledLog

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from lcr_seg_ros.ros.compat.cv_bridge import ImageReaders
    from lcr_seg_ros.ros.compat.message_filters import StampPairs
    from lcr_seg_ros.ros.compat.vision_msgs import LabelInfoFormat
    from lcr_seg_ros.ros.parameters import SegmentParameters
    from lcr_seg_ros.ros.shared_transforms import SharedTransforms


@dataclass(frozen=True)
class SharedParts:
    """What all cameras of a node share.

    Args:
        node: owns the publishers and subscriptions.
        values_of: returns the parameters in use for a camera, by its name.
        is_active: whether the node is active; publishers created then are activated at once.
        stamp_pairs, image_readers, label_info: implementations chosen for this installation; ``label_info`` is None
            without vision_msgs.
        transforms: lends the node's transform buffer.
    """

    node: LifecycleNode
    values_of: Callable[[str], SegmentParameters]
    is_active: Callable[[], bool]
    stamp_pairs: type[StampPairs]
    image_readers: ImageReaders
    label_info: LabelInfoFormat | None
    transforms: SharedTransforms


class CameraSite:
    """See the module's description.

    Args:
        shared: what all cameras of the node share.
        name: relative namespace of the camera's topics; empty for a node's only camera, whose topics have no prefix.
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
        """Relative name of one of the camera's topics: ``rgb/camera_info``, or ``front/rgb/camera_info``."""
        return f"{self.name}/{base}" if self.name else base

    def full_name(self, base: str) -> str:
        """Full name of one of the camera's topics, after remapping."""
        return str(self.node.resolve_topic_name(self.topic(base)))

    def now_ns(self) -> int:
        """The node's time in ns, which may be simulated."""
        return int(self.node.get_clock().now().nanoseconds)

    def create_publisher(
        self, message_type: type[Any], base: str, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
    ) -> Any:
        """A lifecycle publisher: reliable, depth 1, with a QoS that users may override."""
        publisher: Any = self.node.create_lifecycle_publisher(
            message_type,
            self.topic(base),
            # Each publisher needs its own profile: rclpy writes the user's overrides into the object.
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=durability),
            qos_overriding_options=overridable(),
        )
        if self.shared.is_active():  # rclpy activates only publishers that exist at the transition
            publisher.on_activate(None)
        return publisher

    def destroy_publisher(self, publisher: Any) -> None:
        self.node.destroy_lifecycle_publisher(publisher)

"""How to subscribe to a camera_info, which most drivers repeat with each image, and some send once, latched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from lcr_seg_ros.ros.qos_overrides import OVERRIDABLE, PREFIX, given_parameters

if TYPE_CHECKING:
    from rclpy.node import Node

LOOK_PERIOD_S = 1.0
"""s. Publishers are looked up this often while nothing comes."""


class CameraInfoQos:
    """The QoS for one camera_info: best effort, unless all publishers latch it.

    A latched message reaches later subscribers only if they ask for that: reliable and transient local. That in turn
    does not match a publisher that is volatile, as those of cameras usually are. Which kind it is shows only once there
    is one, so :meth:`has_changed` is to be asked from time to time. If the user has set durability or reliability by
    ``qos_overrides``, that holds.

    Args:
        node: subscribes, and is asked for the publishers.
        topic: full name.
        depth: of the queue.
    """

    def __init__(self, node: Node, topic: str, depth: int) -> None:
        self._node = node
        self._topic = topic
        self._depth = depth
        self._is_latched = False
        self._looked_at = 0.0

    @property
    def is_latched(self) -> bool:
        """Whether the last :meth:`choose` was for latched messages."""
        return self._is_latched

    def choose(self) -> tuple[QoSProfile, QoSOverridingOptions]:
        """The profile to subscribe with now, and what users may override of it."""
        self._is_latched = self._should_latch()
        # A parameter that is declared once holds for all later subscriptions, so those that we choose are not declared.
        kinds = OVERRIDABLE if self._is_given else (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
        if not self._is_latched:
            return QoSProfile(depth=self._depth, reliability=ReliabilityPolicy.BEST_EFFORT), QoSOverridingOptions(kinds)
        latched = QoSProfile(
            depth=self._depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        return latched, QoSOverridingOptions(kinds)

    def has_changed(self) -> bool:
        """Whether :meth:`choose` would now choose otherwise; looks at most every :data:`LOOK_PERIOD_S` seconds."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_PERIOD_S:
            return False
        self._looked_at = now
        return self._should_latch() != self._is_latched

    @property
    def _is_given(self) -> bool:
        names = (f"{PREFIX}{self._topic}.subscription.{policy}" for policy in ("durability", "reliability"))
        return any(name in given_parameters(self._node) for name in names)

    def _should_latch(self) -> bool:
        if self._is_given:
            return False
        offered = [publisher.qos_profile for publisher in self._node.get_publishers_info_by_topic(self._topic)]
        if not offered:
            return self._is_latched  # a driver that starts again will probably do as before
        return all(
            qos.durability == DurabilityPolicy.TRANSIENT_LOCAL and qos.reliability == ReliabilityPolicy.RELIABLE
            for qos in offered
        )

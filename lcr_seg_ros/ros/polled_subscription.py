"""Subscriptions whose messages wait in the middleware until they are taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import CallbackGroup

from lcr_seg_ros.ros.qos_overrides import overridable

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.qos_overriding_options import QoSOverridingOptions


AT_MOST = 1000
"""Most messages taken in one call, or the queue's depth if that is larger: more than a sensor sends between images."""


class PolledSubscription:
    """Leaves messages in the middleware, which keeps the newest, as many as the QoS profile's depth.

    For topics with hundreds of messages a second that a node needs only when an image comes. rclpy's executor takes
    about a millisecond to deliver a message: for an IMU at 400 Hz that was 36 % of a core; polling needs 6 %.

    Args:
        node: creates the subscription.
        message_type, topic, qos: as for ``create_subscription``.
        options: what users may override of the QoS; default:
            :func:`~lcr_seg_ros.ros.qos_overrides.overridable`.
    """

    def __init__(
        self,
        node: Node,
        message_type: type[Any],
        topic: str,
        qos: QoSProfile,
        options: QoSOverridingOptions | None = None,
    ) -> None:
        self._node = node
        self._at_most = max(AT_MOST, qos.depth)
        self._subscription = node.create_subscription(
            message_type,
            topic,
            lambda message: None,
            qos,
            callback_group=_Unattended(),
            qos_overriding_options=options or overridable(),
        )

    def take(self) -> Iterator[Any]:
        """The messages that have come since the last call, in order; :data:`AT_MOST` or the depth is the limit."""
        handle = self._subscription.handle
        with handle:
            for _ in range(self._at_most):
                taken = handle.take_message(self._subscription.msg_type, False)
                if taken is None:
                    return
                yield taken[0]

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)


class _Unattended(CallbackGroup):
    """A group whose members executors never execute, so that their messages stay in the middleware."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        pass

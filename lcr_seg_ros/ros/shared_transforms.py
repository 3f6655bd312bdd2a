"""One transform buffer for all that a node looks up in TF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lcr_seg_ros.ros.compat.tf2 import TransformBuffer

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.ros.compat.tf2 import FrameTransform


class SharedTransforms:
    """Lends out one :class:`TransformBuffer`, which listens from the first :meth:`listen` to the last close.

    Each buffer takes in every message of /tf, so one for each camera, and two where a camera uses TF for gravity and
    registration, would do the same work over and over.

    Args:
        node: subscribes.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer: TransformBuffer | None = None
        self._users = 0

    def listen(self) -> LentTransforms:
        """The buffer, until the :meth:`LentTransforms.close` of what is returned.

        Raises:
            TransformError: TF is not installed, or broken.
        """
        if self._buffer is None:
            self._buffer = TransformBuffer(self._node)
        self._users += 1
        return LentTransforms(self, self._buffer)

    def give_back(self) -> None:
        """One user less; called by :meth:`LentTransforms.close`."""
        self._users -= 1
        if self._users == 0 and self._buffer is not None:
            self._buffer.close()
            self._buffer = None


class LentTransforms:
    """A :class:`TransformBuffer` that others use, too; its methods are those of the buffer.

    :meth:`forget` drops the moving transforms of all: where time has gone back for one of them, the buffer of all
    would refuse the new transforms as too old.
    """

    def __init__(self, lender: SharedTransforms, buffer: TransformBuffer) -> None:
        self._lender = lender
        self._buffer = buffer
        self._is_open = True

    def update(self) -> None:
        """As :meth:`TransformBuffer.update`."""
        self._buffer.update()

    def forget(self) -> None:
        """As :meth:`TransformBuffer.forget`."""
        self._buffer.forget()

    def look_up(self, target: str, source: str, stamp_ns: int, tolerance_s: float) -> FrameTransform:
        """As :meth:`TransformBuffer.look_up`."""
        return self._buffer.look_up(target, source, stamp_ns, tolerance_s)

    def close(self) -> None:
        """Stop listening, unless others do; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._lender.give_back()

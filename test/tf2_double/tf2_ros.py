"""A test double of ``tf2_ros`` for machines without a ROS installation: the part of its interface that the node uses.

Names, arguments, and the exceptions with their conditions are those of tf2_ros_py (Humble to Rolling). Instead of
interpolating, it takes the sample nearest in time. For the messages on /tf, see ``tf2_msgs`` beside it.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time


class TransformException(Exception):  # noqa: N818
    pass


class LookupException(TransformException):
    pass


class ConnectivityException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class InvalidArgumentException(TransformException):
    pass


class Buffer:
    def __init__(self, cache_time: Duration | None = None, node: object | None = None) -> None:
        self._edges: dict[str, tuple[str, bool, dict[int, np.ndarray]]] = {}  # child: (parent, is_static, by stamp)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self._insert(transform, False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        self._insert(transform, True)

    def clear(self) -> None:
        for _, is_static, samples in self._edges.values():
            if not is_static:
                samples.clear()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        for frame in (target_frame, source_frame):
            if not frame or frame.startswith("/"):
                raise InvalidArgumentException(f'Invalid argument "{frame}" passed to lookupTransform')
            if frame not in self._edges and frame not in {parent for parent, _, _ in self._edges.values()}:
                raise LookupException(f'"{frame}" passed to lookupTransform does not exist.')
        chains = [self._chain(target_frame), self._chain(source_frame)]
        if chains[0][-1] != chains[1][-1]:
            raise ConnectivityException(f"'{target_frame}' and '{source_frame}' are not part of the same tree.")
        shared = set(chains[0]) & set(chains[1])
        moving = [
            self._edges[frame][2]
            for chain in chains
            for frame in chain
            if frame not in shared and not self._edges[frame][1]
        ]
        stamp = time.nanoseconds or min((max(samples, default=0) for samples in moving), default=0)
        if not all(moving):
            raise ConnectivityException(f"Could not find a connection between '{target_frame}' and '{source_frame}'")
        for samples in moving:
            if not min(samples) <= stamp <= max(samples):
                raise ExtrapolationException("Lookup would require extrapolation")
        target, source = (self._to_root(chain, stamp) for chain in chains)
        return _message(np.linalg.inv(target) @ source, stamp, target_frame, source_frame)

    def _insert(self, message: TransformStamped, is_static: bool) -> None:
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        _, _, samples = self._edges.setdefault(message.child_frame_id, (message.header.frame_id, is_static, {}))
        samples[stamp] = _matrix(message)

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._edges[chain[-1]][0])
        return chain

    def _to_root(self, chain: list[str], stamp: int) -> np.ndarray:
        """(4, 4) transform from the first frame of the chain to the last."""
        total = np.eye(4)
        for frame in chain[:-1]:
            _, is_static, samples = self._edges[frame]
            if samples:
                total = samples[max(samples) if is_static else min(samples, key=lambda s: abs(s - stamp))] @ total
        return total


def _matrix(message: TransformStamped) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    q, p = message.transform.rotation, message.transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = p.x, p.y, p.z
    return matrix


def _message(matrix: np.ndarray, stamp: int, target: str, source: str) -> TransformStamped:
    from scipy.spatial.transform import Rotation

    message = TransformStamped(child_frame_id=source)
    message.header.frame_id = target
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    q, p = message.transform.rotation, message.transform.translation
    q.x, q.y, q.z, q.w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    p.x, p.y, p.z = matrix[:3, 3].tolist()
    return message

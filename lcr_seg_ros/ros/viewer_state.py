"""What the viewer shows besides images: the node's /diagnostics as curves and text, and the camera's pose from TF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy

from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.compat.tf2 import TransformBuffer, TransformError
from lcr_seg_ros.ros.diagnostics import camera_of
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

TF_TOLERANCE_S = 1.0
_TIME_SUFFIX, _RATE_SUFFIX = "_ms_p50", "_hz"
_LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "**warning**", DiagnosticStatus.ERROR: "**error**"}


@dataclass(frozen=True)
class CameraReport:
    """The diagnostics of one camera.

    Args:
        stamp_ns: of the message.
        camera: its name; empty for a node's only camera.
        milliseconds: medians, by name: of the latency, each stage and the other times.
        hertz: rates of pairs and masks, by name.
        markdown: the complete status as text.
    """

    stamp_ns: int
    camera: str
    milliseconds: dict[str, float]
    hertz: dict[str, float]
    markdown: str


class NodeState:
    """Subscribes to /diagnostics.

    Args:
        node: creates the subscription.
        node_name: name of the node whose diagnostics to take, in the namespace of ``node``.
    """

    def __init__(self, node: Node, node_name: str) -> None:
        self._node_name = f"{node.get_namespace().rstrip('/')}/{node_name}"
        self._messages = PolledSubscription(
            node, DiagnosticArray, "/diagnostics", QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        )

    def take(self, cameras: Sequence[str]) -> list[CameraReport]:
        """The reports on these cameras that have come since the last call."""
        return [
            report
            for message in self._messages.take()
            for status in message.status
            if (report := read_status(status, stamp_ns(message), self._node_name, cameras)) is not None
        ]


class WorldPose:
    """The pose of the optical frame in the world, from TF; never known without tf2_ros.

    Args:
        node: creates the subscriptions.
        fixed_frames: candidates for the world frame, tried in this order; the first that works is kept.
    """

    def __init__(self, node: Node, fixed_frames: Sequence[str]) -> None:
        self._fixed_frames = list(fixed_frames)
        try:
            self._transforms: TransformBuffer | None = TransformBuffer(node)
        except TransformError:
            self._transforms = None

    def pose(self, optical_frame: str, stamp: int) -> npt.NDArray[np.float64] | None:
        """(4, 4) float64 from the optical frame to the world at ``stamp`` (ns); None if TF does not know it."""
        if self._transforms is None or not optical_frame:
            return None
        self._transforms.update()
        for fixed_frame in self._fixed_frames:
            try:
                found = self._transforms.look_up(fixed_frame, optical_frame, stamp, TF_TOLERANCE_S)
            except TransformError:
                continue
            self._fixed_frames = [fixed_frame]  # from now on, the world frame must not change
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = found.rotation, found.translation
            return pose
        return None


def read_status(status: DiagnosticStatus, stamp: int, node_name: str, cameras: Sequence[str]) -> CameraReport | None:
    """The report that a status gives on one of these cameras; None if it is about something else.

    Args:
        status: named as :func:`~lcr_seg_ros.ros.diagnostics.status_name` does.
        stamp: of the message in ns.
        node_name: full name of the node.
        cameras: names to look for; an empty name stands for a node's only camera.
    """
    camera = camera_of(status.name, node_name)
    if camera is None or camera not in cameras:
        return None
    values = {pair.key: pair.value for pair in status.values}
    rows = "".join(f"\n| {key} | {value} |" for key, value in values.items())
    text = f"{_LEVELS.get(status.level, 'stale')}: {status.message}\n\n| {status.name} | |\n|---|---|{rows}"
    return CameraReport(stamp, camera, _numbers(values, _TIME_SUFFIX), _numbers(values, _RATE_SUFFIX), text)


def _numbers(values: dict[str, str], suffix: str) -> dict[str, float]:
    """The numeric values whose key ends with ``suffix``, by the key without it."""
    numbers = {}
    for key, value in values.items():
        if key.endswith(suffix):
            try:
                numbers[key.removesuffix(suffix)] = float(value)
            except ValueError:
                continue
    return numbers

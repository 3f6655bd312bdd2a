"""What the viewer shows beside images: the node's /diagnostics as curves and text, and the camera's pose from TF."""

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
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node

TF_TOLERANCE_S = 1.0
_TIME_SUFFIX, _RATE_SUFFIX = "_ms_p50", "_hz"
_LEVELS = {DiagnosticStatus.OK: "ok", DiagnosticStatus.WARN: "**warning**", DiagnosticStatus.ERROR: "**error**"}


@dataclass(frozen=True)
class CameraReport:
    """One status of the node.

    Args:
        milliseconds: median of each stage and of the latency.
        hertz: of pairs and masks.
        markdown: all of it, to read.
    """

    stamp_ns: int
    camera: str
    milliseconds: dict[str, float]
    hertz: dict[str, float]
    markdown: str


class NodeState:
    """Listens to /diagnostics.

    Args:
        node: subscribes.
        node_name: whose diagnostics, in the namespace of ``node``.
    """

    def __init__(self, node: Node, node_name: str) -> None:
        self._node_name = f"{node.get_namespace().rstrip('/')}/{node_name}".lstrip("/")
        self._messages = PolledSubscription(
            node, DiagnosticArray, "/diagnostics", QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        )

    def take(self, cameras: Sequence[str]) -> list[CameraReport]:
        """What has come since the last time, of these cameras."""
        return [
            report
            for message in self._messages.take()
            for status in message.status
            if (report := read_status(status, stamp_ns(message), self._node_name, cameras)) is not None
        ]


class PoseSource:
    """Where the optical frame is, after TF.

    Args:
        node: subscribes.
        fixed_frames: names of the world, tried in this order.

    Without tf2_ros no pose is ever known.
    """

    def __init__(self, node: Node, fixed_frames: Sequence[str]) -> None:
        self._fixed_frames = list(fixed_frames)
        try:
            self._transforms: TransformBuffer | None = TransformBuffer(node)
        except TransformError:
            self._transforms = None

    def pose(self, optical_frame: str, stamp: int) -> npt.NDArray[np.float64] | None:
        """(4, 4) from the optical frame to the world; None: TF does not know."""
        if self._transforms is None or not optical_frame:
            return None
        self._transforms.update()
        for fixed_frame in self._fixed_frames:
            try:
                found = self._transforms.look_up(fixed_frame, optical_frame, stamp, TF_TOLERANCE_S)
            except TransformError:
                continue
            self._fixed_frames = [fixed_frame]  # the world must not change its place
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = found.rotation, found.translation
            return pose
        return None


def read_status(status: DiagnosticStatus, stamp: int, node_name: str, cameras: Sequence[str]) -> CameraReport | None:
    """What a status says of one of these cameras.

    Args:
        status: called ``NODE: segmentation``, or ``NODE: segmentation CAMERA`` where there are several.
        stamp: in ns.
        node_name: full name of the node, without the first slash.
        cameras: to look for; an empty name stands for the only one.
    """
    who, separator, what = status.name.partition(": segmentation")
    camera = next((name for name in cameras if name == what.strip()), None)
    if who != node_name or not separator or camera is None:
        return None
    values = {pair.key: pair.value for pair in status.values}
    rows = "".join(f"\n| {key} | {value} |" for key, value in values.items())
    text = f"{_LEVELS.get(status.level, 'stale')}: {status.message}\n\n| {status.name} | |\n|---|---|{rows}"
    return CameraReport(stamp, camera, _numbers(values, _TIME_SUFFIX), _numbers(values, _RATE_SUFFIX), text)


def _numbers(values: dict[str, str], suffix: str) -> dict[str, float]:
    """Values whose key has this ending, by what stands before it; what is no number is left out."""
    numbers = {}
    for key, value in values.items():
        if key.endswith(suffix):
            try:
                numbers[key.removesuffix(suffix)] = float(value)
            except ValueError:
                continue
    return numbers

"""Clouds of labelled points: from ``segmentation/points`` to arrays, and from the voxels of a map to a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, CameraIntrinsics
from lcr_seg_ros.ros.conversions import CLOUD_POINT, cloud_message, packed_colors

if TYPE_CHECKING:
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import Header

    from lcr_seg_ros.labels import LabelSet
    from lcr_seg_ros.mapping import Voxels

MAX_POINTS = 32_000_000
MAX_POINT_BYTES = 4096

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""NumPy type by PointField.datatype."""


class LabelledCloud(NamedTuple):
    """Points of one frame.

    Args:
        points: (H, W, 3) float32 metres in the frame of the message; NaN where there is none.
        labels: (H, W) uint8 mask ids; 255 for values outside of 0..255.
        confidence: (H, W) float32, 0..1; None if the message has none.
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32] | None


def read_labelled_cloud(message: PointCloud2) -> LabelledCloud:
    """Read a cloud with the fields x, y, z, label and, optionally, confidence.

    Raises:
        FrameError: a field is missing or lies outside of a point, or the sizes are too large or contradict each other.
    """
    height, width, step, row = message.height, message.width, message.point_step, message.row_step
    if not (0 < height <= MAX_SIDE_PX and width > 0 and height * width <= MAX_POINTS):
        raise FrameError(f"a cloud must have 1..{MAX_POINTS} points in 1..{MAX_SIDE_PX} rows, got {width}x{height}")
    if not 0 < step <= MAX_POINT_BYTES or row < width * step or len(message.data) < (height - 1) * row + width * step:
        raise FrameError(
            f"cloud of {width}x{height} points of {step} bytes in rows of {row} has {len(message.data)} bytes of data"
        )
    order = ">" if message.is_bigendian else "<"
    fields: dict[str, tuple[str, int]] = {}
    for field in message.fields:
        if field.name in ("x", "y", "z", "label", "confidence") and field.datatype in _TYPES:
            kind = order + _TYPES[field.datatype]
            if field.offset + np.dtype(kind).itemsize > step:
                raise FrameError(f"field {field.name!r} at {field.offset} lies outside of a point of {step} bytes")
            fields[field.name] = (kind, field.offset)
    if missing := {"x", "y", "z", "label"} - fields.keys():
        raise FrameError(
            f"the cloud has no field {', '.join(sorted(missing))}; it has "
            f"{', '.join(f.name for f in message.fields) or 'none'}: is it segmentation/points?"
        )
    layout = np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": step,
        }
    )
    view = np.ndarray((height, width), layout, memoryview(message.data), strides=(row, step))
    points = np.empty((height, width, 3), np.float32)
    for k, axis in enumerate("xyz"):
        points[..., k] = view[axis]
    labels = view["label"]
    if labels.dtype.kind == "f":
        labels = np.nan_to_num(labels, nan=255, posinf=255, neginf=255)
    labels = np.where((labels >= 0) & (labels <= 255), labels, 255).astype(np.uint8)
    confidence = view["confidence"].astype(np.float32) if "confidence" in fields else None
    return LabelledCloud(points, labels, confidence)


def intrinsics_of(points: npt.NDArray[np.float32]) -> CameraIntrinsics:
    """The intrinsics of the camera that made an organised cloud, by a line fit: x / z = (u - cx) / fx for column u.

    Args:
        points: (H, W, 3) float32 metres in the optical frame, NaN where there is none.

    Raises:
        FrameError: there are fewer than 100 points, they span fewer than 10 rows or columns, or the cloud is not that
            of a pinhole camera (the fit is off by over a pixel).
    """
    height, width = points.shape[:2]
    z = points[..., 2]
    rows, columns = np.nonzero(z > 0)  # False for NaN
    if len(rows) < 100 or np.ptp(rows) < 10 or np.ptp(columns) < 10:
        raise FrameError(f"the cloud of {width}x{height} has too few points in rows and columns to tell its camera")
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), 2000)).astype(np.int64)
    rows, columns = rows[chosen], columns[chosen]
    x, y, z = points[rows, columns].T.astype(np.float64)
    values = []
    for place, ratio in ((columns, x / z), (rows, y / z)):
        slope, start = np.polyfit(place, ratio, 1)
        if not slope > 0 or np.abs(slope * place + start - ratio).max() > slope:
            raise FrameError("the cloud is not organised as the image of a pinhole camera: depth cannot be read of it")
        values.append((1 / slope, -start / slope))
    (fx, cx), (fy, cy) = values
    return CameraIntrinsics(fx, fy, cx, cy, width, height)


def voxels_to_cloud(voxels: Voxels, labels: LabelSet, header: Header) -> PointCloud2:
    """A cloud with a point for each voxel: x, y, z (m), rgb (class colour, packed as in PCL), label and confidence."""
    points = np.empty(len(voxels), CLOUD_POINT)
    for k, axis in enumerate("xyz"):
        points[axis] = voxels.centers[:, k]
    points["rgb"], points["label"] = packed_colors(labels.palette)[voxels.labels], voxels.labels
    points["confidence"] = voxels.confidence
    as_floats = points.view("<f4").reshape(1, len(points), 6)  # all six fields take four bytes
    return cloud_message(as_floats, header, is_dense=True)

"""Conversion of arrays to ROS messages, without rclpy; the inverse is in :mod:`lcr_seg_ros.image_encodings`."""

from __future__ import annotations

import array
import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.image_encodings import ENCODINGS

if TYPE_CHECKING:
    from sensor_msgs.msg import Image, PointCloud2
    from std_msgs.msg import Header


def array_to_image(pixels: npt.NDArray[np.generic], encoding: str, header: Header | None = None) -> Image:
    """An image message with a copy of an array, without row padding, in this machine's byte order.

    Args:
        pixels: (H, W) or (H, W, C), with the dtype and channel count of the encoding.
        encoding: key of :data:`lcr_seg_ros.image_encodings.ENCODINGS`.
        header: used as it is, so that outputs carry the stamp of their input.

    Raises:
        FrameError: the encoding is unknown, or the array does not fit it.
    """
    from sensor_msgs.msg import Image

    if encoding not in ENCODINGS:
        raise FrameError(f"encoding {encoding!r} is not supported; use {', '.join(ENCODINGS)}")
    dtype, channels = ENCODINGS[encoding]
    shape = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    if len(shape) != 3 or shape[2] != channels or pixels.dtype != dtype:
        raise FrameError(f"{encoding} holds (H, W, {channels}) {np.dtype(dtype)}, got {pixels.shape} {pixels.dtype}")
    message = Image(
        height=shape[0],
        width=shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=shape[1] * channels * pixels.dtype.itemsize,
    )
    if header is not None:
        message.header = header
    message.data = _byte_array(pixels)
    return message


CLOUD_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("label", "<u4"), ("confidence", "<f4")]
)
"""A labelled point: x, y, z in metres; class colour as 0x00RRGGBB; mask id; confidence 0..1.

All fields take four bytes."""


def segmentation_to_cloud(
    depth_m: npt.NDArray[np.float32],
    intrinsics: CameraIntrinsics,
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.float32],
    palette: npt.NDArray[np.uint8],
    header: Header,
) -> PointCloud2:
    """An organised cloud with a labelled point for each pixel.

    Args:
        depth_m: (H, W) float32 metres; holes become NaN points, so that rows and columns match those of the image.
        intrinsics: of that image; ``x = (u - cx) z / fx``, ``y = (v - cy) z / fy``.
        labels: (H, W) uint8 mask ids.
        confidence: (H, W) float32, 0..1.
        palette: (256, 3) uint8 RGB by mask id.
        header: of the colour image.

    Returns:
        PointCloud2 of W x H points with the fields x, y, z (float32), rgb (float32 as PCL packs it), label
        (uint32) and confidence (float32).

    Raises:
        FrameError: the sizes differ.
    """
    height, width = depth_m.shape
    sizes = {depth_m.shape, labels.shape, confidence.shape, (intrinsics.height, intrinsics.width)}
    if len(sizes) != 1:
        raise FrameError(f"depth, labels, confidence and intrinsics must have one size (H, W), got {sorted(sizes)}")
    z = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(np.nan))
    right = (np.arange(width, dtype=np.float32) - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx)
    down = (np.arange(height, dtype=np.float32) - np.float32(intrinsics.cy)) / np.float32(intrinsics.fy)
    points = np.empty((height, width, 6), "<f4")  # the six fields of CLOUD_POINT, which all take four bytes
    integers = points.view("<u4")
    np.multiply(z, right, out=points[..., 0])
    np.multiply(z, down[:, None], out=points[..., 1])
    points[..., 2] = z
    integers[..., 3] = packed_colors(palette)[labels]
    integers[..., 4] = labels
    points[..., 5] = confidence
    return cloud_message(points, header, is_dense=False)


def packed_colors(palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """(256,) uint32 0x00RRGGBB, as PCL packs colours, of a (256, 3) uint8 RGB palette."""
    return palette.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)  # type: ignore[no-any-return]


def cloud_message(points: npt.NDArray[np.float32], header: Header, is_dense: bool) -> PointCloud2:
    """A message with a copy of labelled points.

    Args:
        points: (H, W, 6) float32, the bytes of the fields of :data:`CLOUD_POINT`.
        header: used as it is.
        is_dense: whether no point is NaN.
    """
    from sensor_msgs.msg import PointCloud2, PointField

    height, width = points.shape[:2]
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        is_bigendian=False,
        point_step=CLOUD_POINT.itemsize,
        row_step=CLOUD_POINT.itemsize * width,
        is_dense=is_dense,
    )
    message.fields = [
        # rgb is declared float32, as PCL and RViz expect for packed colours.
        PointField(
            name=name, offset=4 * i, datatype=PointField.UINT32 if name == "label" else PointField.FLOAT32, count=1
        )
        for i, name in enumerate(CLOUD_POINT.names or ())
    ]
    message.data = _byte_array(points)
    return message


def _byte_array(values: npt.NDArray[np.generic]) -> array.array[int]:
    # rclpy takes an array.array as it is, but checks lists and bytes value by value.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
    return data

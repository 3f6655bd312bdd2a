"""ROS messages to arrays and back. Knows message fields, not rclpy.

Encodings are those of ``sensor_msgs/image_encodings.h``; depth is read by REP-118: ``16UC1`` in millimetres with
0 as hole, ``32FC1`` in metres with NaN and Inf as holes.
"""

from __future__ import annotations

import array
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, CameraIntrinsics, depth_to_metres

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2
    from std_msgs.msg import Header


class _Encoding(NamedTuple):
    dtype: type[np.generic]
    channels: int


COLOR_ENCODINGS = {
    "rgb8": _Encoding(np.uint8, 3),
    "bgr8": _Encoding(np.uint8, 3),
    "rgba8": _Encoding(np.uint8, 4),
    "bgra8": _Encoding(np.uint8, 4),
    "mono8": _Encoding(np.uint8, 1),
}
DEPTH_ENCODINGS = {
    "16UC1": _Encoding(np.uint16, 1),
    "mono16": _Encoding(np.uint16, 1),
    "32FC1": _Encoding(np.float32, 1),
}
LABEL_ENCODINGS = {
    "mono8": _Encoding(np.uint8, 1),
    "16UC1": _Encoding(np.uint16, 1),
    "16SC1": _Encoding(np.int16, 1),
    "32SC1": _Encoding(np.int32, 1),
}
_ENCODINGS = COLOR_ENCODINGS | DEPTH_ENCODINGS | LABEL_ENCODINGS

_RED_GREEN_BLUE = {"rgba8": (0, 1, 2), "bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}


def color_to_array(message: Image) -> npt.NDArray[np.uint8]:
    """A colour or grey image as :class:`~lcr_seg_ros.frame.RgbdFrame` wants it.

    Args:
        message: rgb8, bgr8, rgba8, bgra8 or mono8; rows may be padded (``step``).

    Returns:
        (H, W, 3) uint8, red first, contiguous; grey is repeated, alpha dropped. For rgb8 without padding it
        looks into the message's own memory.

    Raises:
        FrameError: another encoding, no or absurd size, rows too short, data cut.
    """
    check_color(message)
    pixels = _pixels(message)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel, source in enumerate(_RED_GREEN_BLUE[message.encoding]):
        rgb[..., channel] = pixels[..., source]
    return rgb


def depth_to_array(message: Image) -> npt.NDArray[np.float32]:
    """A depth image in metres.

    Args:
        message: 16UC1 or mono16 (millimetres), or 32FC1 (metres); rows may be padded, either byte order.

    Returns:
        (H, W) float32 metres, contiguous; holes stay 0, NaN or Inf.

    Raises:
        FrameError: another encoding, no or absurd size, rows too short, data cut.
    """
    check_depth(message)
    pixels = _pixels(message)[..., 0]
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(depth_to_metres(native))


def check_color(message: Image) -> None:
    """All that :func:`color_to_array` asks of a message, without touching its pixels.

    Raises:
        FrameError: as :func:`color_to_array`.
    """
    _check(message, COLOR_ENCODINGS, "colour")


def check_depth(message: Image) -> None:
    """All that :func:`depth_to_array` asks of a message, without touching its pixels.

    Raises:
        FrameError: as :func:`depth_to_array`.
    """
    _check(message, DEPTH_ENCODINGS, "depth")


def image_to_array(message: Image) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """:func:`color_to_array` or :func:`depth_to_array`, as the encoding says.

    Raises:
        FrameError: as those two do.
    """
    return depth_to_array(message) if message.encoding in DEPTH_ENCODINGS else color_to_array(message)


def array_to_image(pixels: npt.NDArray[np.generic], encoding: str, header: Header | None = None) -> Image:
    """An image message that holds a copy of an array, without padding, in this machine's byte order.

    Args:
        pixels: (H, W) or (H, W, C), of the encoding's type and channel count.
        encoding: any of those read here.
        header: kept as it is, so that outputs carry the stamp of their input.

    Raises:
        FrameError: unknown encoding, or an array that does not fit it.
    """
    from sensor_msgs.msg import Image

    if encoding not in _ENCODINGS:
        raise FrameError(f"encoding {encoding!r} is not supported; use {', '.join(_ENCODINGS)}")
    dtype, channels = _ENCODINGS[encoding]
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


def camera_info_to_intrinsics(message: CameraInfo) -> CameraIntrinsics:
    """The pinhole model of the image that the camera_info belongs to.

    Reads K; for images that a rectification has given another model (``image_rect``), P holds it and is preferred
    when set. Binning and region of interest are applied, so the result fits the image as published.

    Raises:
        FrameError: K is all zero (an uncalibrated camera), a value is not finite, or no size.
    """
    k, p = message.k, message.p
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if p[0] > 0 and p[5] > 0 else (k[0], k[4], k[2], k[5])
    if not (fx > 0 and fy > 0):
        raise FrameError(
            f"camera_info has fx={fx}, fy={fy}: the camera is not calibrated (K is all zero); "
            "calibrate it, or let its driver publish the factory calibration"
        )
    width, height = message.width, message.height
    roi = message.roi
    if roi.width and roi.height:
        cx, cy, width, height = cx - roi.x_offset, cy - roi.y_offset, roi.width, roi.height
    full = CameraIntrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=width, height=height)
    return full.scaled_to(width // max(message.binning_x, 1), height // max(message.binning_y, 1))


CLOUD_POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("label", "<u4"), ("confidence", "<f4")]
)
"""One point of the cloud: metres in the optical frame, 0x00RRGGBB of the class colour, mask id, 0..1.

All fields take four bytes."""


def segmentation_to_cloud(
    depth_m: npt.NDArray[np.float32],
    intrinsics: CameraIntrinsics,
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.float32],
    palette: npt.NDArray[np.uint8],
    header: Header,
) -> PointCloud2:
    """Every pixel as a labelled point, organised as the mask is.

    Args:
        depth_m: (H, W) float32 metres; holes become NaN points, so that row and column stay those of the image.
        intrinsics: of that image; ``x = (u - cx) z / fx``, ``y = (v - cy) z / fy``.
        labels: (H, W) uint8 mask ids.
        confidence: (H, W) float32, 0..1.
        palette: (256, 3) uint8 RGB by mask id.
        header: of the colour image.

    Returns:
        PointCloud2 of W x H points with the fields x, y, z (float32), rgb (float32 as PCL packs it), label
        (uint32) and confidence (float32).

    Raises:
        FrameError: sizes that differ.
    """
    from sensor_msgs.msg import PointCloud2, PointField

    height, width = depth_m.shape
    sizes = {depth_m.shape, labels.shape, confidence.shape, (intrinsics.height, intrinsics.width)}
    if len(sizes) != 1:
        raise FrameError(f"depth, labels, confidence and intrinsics must have one size (H, W), got {sorted(sizes)}")
    z = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(np.nan))
    right = (np.arange(width, dtype=np.float32) - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx)
    down = (np.arange(height, dtype=np.float32) - np.float32(intrinsics.cy)) / np.float32(intrinsics.fy)
    packed = palette.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    points = np.empty((height, width, 6), "<f4")  # the six fields of CLOUD_POINT, which all take four bytes
    integers = points.view("<u4")
    np.multiply(z, right, out=points[..., 0])
    np.multiply(z, down[:, None], out=points[..., 1])
    points[..., 2] = z
    integers[..., 3] = packed[labels]
    integers[..., 4] = labels
    points[..., 5] = confidence
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        is_bigendian=False,
        point_step=CLOUD_POINT.itemsize,
        row_step=CLOUD_POINT.itemsize * width,
        is_dense=False,
    )
    message.fields = [
        # rgb is declared float32, as PCL and RViz expect their packed colours.
        PointField(
            name=name, offset=4 * i, datatype=PointField.UINT32 if name == "label" else PointField.FLOAT32, count=1
        )
        for i, name in enumerate(CLOUD_POINT.names or ())
    ]
    message.data = _byte_array(points)
    return message


def _check(message: Image, encodings: dict[str, _Encoding], kind: str) -> None:
    encoding = encodings.get(message.encoding)
    if encoding is None:
        raise FrameError(
            f"{kind} image has encoding {message.encoding!r}, which is not supported; use {', '.join(encodings)}"
        )
    height, width, step = message.height, message.width, message.step
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise FrameError(f"{kind} image must be 1..{MAX_SIDE_PX} px a side, got {width}x{height}")
    row = width * encoding.channels * np.dtype(encoding.dtype).itemsize
    if step < row:
        raise FrameError(
            f"{kind} image has step {step}, but a row of {width} {message.encoding} pixels takes {row} bytes"
        )
    # Padding after the last row may be missing: some drivers leave it out.
    needed = step * (height - 1) + row
    if len(message.data) < needed:
        raise FrameError(
            f"{kind} image is cut: {width}x{height} {message.encoding} with step {step} takes {needed} bytes, "
            f"got {len(message.data)}"
        )


def _pixels(message: Image) -> npt.NDArray[np.generic]:
    """(H, W, C) view into the data of a checked message, in the message's byte order."""
    encoding = _ENCODINGS[message.encoding]
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    strides = (message.step, encoding.channels * dtype.itemsize, dtype.itemsize)
    shape = (message.height, message.width, encoding.channels)
    return np.ndarray(shape, dtype, np.frombuffer(message.data, np.uint8), strides=strides)


def _byte_array(values: npt.NDArray[np.generic]) -> array.array[int]:
    # rclpy takes an array.array of bytes as it is; lists and bytes it checks value by value.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
    return data

"""Interpret the fields of ROS image and camera_info messages, whether they come from DDS or from a bag file.

Encodings are those of ``sensor_msgs/image_encodings.h``. Depth follows REP-118: ``16UC1`` in millimetres with 0 for a
hole, ``32FC1`` in metres with NaN and Inf for holes. Messages are accessed by their fields, so no ROS package is
imported.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, CameraIntrinsics, depth_to_metres


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are read here."""

    encoding: str
    height: int
    width: int
    step: int
    is_bigendian: int
    data: Any


class Encoding(NamedTuple):
    dtype: type[np.generic]
    channels: int


COLOR_ENCODINGS = {
    "rgb8": Encoding(np.uint8, 3),
    "bgr8": Encoding(np.uint8, 3),
    "rgba8": Encoding(np.uint8, 4),
    "bgra8": Encoding(np.uint8, 4),
    "mono8": Encoding(np.uint8, 1),
}
DEPTH_ENCODINGS = {
    "16UC1": Encoding(np.uint16, 1),
    "mono16": Encoding(np.uint16, 1),
    "32FC1": Encoding(np.float32, 1),
}
LABEL_ENCODINGS = {
    "mono8": Encoding(np.uint8, 1),
    "16UC1": Encoding(np.uint16, 1),
    "16SC1": Encoding(np.int16, 1),
    "32SC1": Encoding(np.int32, 1),
}
ENCODINGS = COLOR_ENCODINGS | DEPTH_ENCODINGS | LABEL_ENCODINGS

NEGLIGIBLE_SHARE = 2 / 640
"""A lens that displaces no pixel by more than this share of the width is as good as one without distortion."""

BORDER_POINTS = 17
"""Pixels looked at on each side of the image."""

_RED_GREEN_BLUE = {"rgba8": (0, 1, 2), "bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}


def color_to_array(message: ImageMessage) -> npt.NDArray[np.uint8]:
    """Convert a colour or grey image for :class:`~lcr_seg_ros.frame.RgbdFrame`.

    Args:
        message: rgb8, bgr8, rgba8, bgra8 or mono8; rows may be padded (``step``).

    Returns:
        (H, W, 3) uint8, red first, contiguous; grey is repeated, alpha is dropped. For rgb8 without padding, it is a
        view of the message's own memory.

    Raises:
        FrameError: unsupported encoding, size out of range, rows too short, or data truncated.
    """
    check_color(message)
    pixels = _pixels(message)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel, source in enumerate(_RED_GREEN_BLUE[message.encoding]):
        rgb[..., channel] = pixels[..., source]
    return rgb


def depth_to_array(message: ImageMessage) -> npt.NDArray[np.float32]:
    """Convert a depth image to metres.

    Args:
        message: 16UC1 or mono16 (millimetres), or 32FC1 (metres); rows may be padded, either byte order.

    Returns:
        (H, W) float32 metres, contiguous; holes stay 0, NaN or Inf.

    Raises:
        FrameError: unsupported encoding, size out of range, rows too short, or data truncated.
    """
    check_depth(message)
    pixels = _pixels(message)[..., 0]
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(depth_to_metres(native))


def check_color(message: ImageMessage) -> None:
    """Check a message as :func:`color_to_array` does, without reading its pixels.

    Raises:
        FrameError: as :func:`color_to_array`.
    """
    _check(message, COLOR_ENCODINGS, "colour")


def check_depth(message: ImageMessage) -> None:
    """Check a message as :func:`depth_to_array` does, without reading its pixels.

    Raises:
        FrameError: as :func:`depth_to_array`.
    """
    _check(message, DEPTH_ENCODINGS, "depth")


def camera_info_to_intrinsics(message: Any, image_topic: str | None = None) -> CameraIntrinsics:
    """The pinhole model of the image that the camera_info belongs to.

    K is read unless P is set: P holds the model of rectified images (``image_rect``). Images that are distorted (see
    :func:`unrectified_px`) have K. Binning and region of interest are applied, so that the result fits the published
    image.

    Args:
        message: the camera_info.
        image_topic: name of the image's topic; None: the images are rectified.

    Raises:
        FrameError: K is all zero (an uncalibrated camera), a value is not finite, or a value is out of range.
    """
    k, p, _ = _calibration(message)
    has_p = p[0] > 0 and p[5] > 0
    if has_p and image_topic is not None and unrectified_px(message, image_topic):
        has_p = False
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if has_p else (k[0], k[4], k[2], k[5])
    if not (fx > 0 and fy > 0):
        raise FrameError(
            f"camera_info has fx={fx}, fy={fy}: the camera is not calibrated (K is all zero); "
            "calibrate it, or let its driver publish the factory calibration"
        )
    width, height = message.width, message.height
    roi = message.roi
    if roi.width and roi.height:
        cx, cy, width, height = cx - roi.x_offset, cy - roi.y_offset, roi.width, roi.height
    full = CameraIntrinsics(fx=float(fx), fy=float(fy), cx=float(cx), cy=float(cy), width=width, height=height)
    return full.scaled_to(width // max(message.binning_x, 1), height // max(message.binning_y, 1))


def unrectified_px(message: Any, image_topic: str) -> float:
    """How far the lens displaces pixels at the border of images that are not rectified.

    Args:
        message: the camera_info.
        image_topic: name of the image's topic. By the convention of image_proc, the last part of the name of a
            rectified image has ``rect`` in it; the suffix of a compressed transport does not count.

    Returns:
        Pixels of the published image; 0 if the images are rectified, if the displacement is negligible
        (:data:`NEGLIGIBLE_SHARE` of the width), or if the camera_info does not tell.
    """
    name = image_topic.removesuffix("/compressed").removesuffix("/compressedDepth").rpartition("/")[2]
    if "rect" in name.lower():
        return 0.0
    k, _, d = _calibration(message)
    moved = _distortion_px(
        tuple(map(float, k)), tuple(map(float, d)), str(message.distortion_model), message.width, message.height
    )
    return moved / max(message.binning_x, 1) if moved > NEGLIGIBLE_SHARE * message.width else 0.0


@lru_cache(maxsize=64)  # a camera sends the same camera_info with each image
def _distortion_px(k: tuple[float, ...], d: tuple[float, ...], model: str, width: int, height: int) -> float:
    """The largest displacement of a pixel on the border of a calibrated image in px; 0 if it cannot be told.

    It is that of the distortion model itself (``sensor_msgs/distortion_models.h``): from where a pinhole camera would
    see a point to where this camera sees it.
    """
    fx, cx, fy, cy = k[0], k[2], k[4], k[5]
    is_known = model in ("", "plumb_bob", "rational_polynomial", "equidistant") and len(d) in (4, 5, 8, 12, 14)
    if not (is_known and any(d) and np.isfinite([*k, *d]).all() and fx > 0 and fy > 0 and width > 0 and height > 0):
        return 0.0
    import cv2

    # Corners, edges and centres of the sides: between them, the displacement is largest at one or the other.
    u, v = np.meshgrid(np.linspace(0, width - 1, BORDER_POINTS), np.linspace(0, height - 1, BORDER_POINTS))
    is_border = np.ones(u.shape, bool)
    is_border[1:-1, 1:-1] = False
    seen = np.column_stack([u[is_border], v[is_border]])
    rays = np.column_stack([(seen - (cx, cy)) / (fx, fy), np.ones(len(seen))])[:, None]
    matrix, still = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.zeros(3)
    if model == "equidistant":
        displaced, _ = cv2.fisheye.projectPoints(rays, still, still, matrix, np.array(d[:4]))
    else:
        displaced, _ = cv2.projectPoints(rays, still, still, matrix, np.array(d))
    moved = np.linalg.norm(displaced.reshape(-1, 2) - seen, axis=1)
    return float(moved.max()) if np.isfinite(moved).all() else 0.0


def _calibration(message: Any) -> tuple[Any, Any, Any]:
    """K, P and D of a camera_info; in ROS 1, their names are capitals."""
    return (message.K, message.P, message.D) if hasattr(message, "K") else (message.k, message.p, message.d)


def _check(message: ImageMessage, encodings: dict[str, Encoding], kind: str) -> None:
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


def _pixels(message: ImageMessage) -> npt.NDArray[np.generic]:
    """(H, W, C) view into the data of a checked message, in the message's byte order."""
    encoding = ENCODINGS[message.encoding]
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    strides = (message.step, encoding.channels * dtype.itemsize, dtype.itemsize)
    shape = (message.height, message.width, encoding.channels)
    return np.ndarray(shape, dtype, np.frombuffer(message.data, np.uint8), strides=strides)

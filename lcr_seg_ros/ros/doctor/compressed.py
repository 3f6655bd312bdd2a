"""Compressed images, decoded as the node does it and put into the messages that the other checks read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lcr_seg_ros.compressed_images import COMPRESSED_DEPTH, compressed_color_to_array, compressed_depth_to_array
from lcr_seg_ros.ros.conversions import array_to_image

if TYPE_CHECKING:
    from sensor_msgs.msg import Image


def as_image(message: Any, transport: str, topic: str) -> Image:
    """A sensor_msgs/CompressedImage as sensor_msgs/Image: rgb8, 16UC1 (mm) or 32FC1 (m), with its header.

    Args:
        message: what came.
        transport: ``compressed`` or ``compressedDepth``.
        topic: name of the image; decides what ``compressed`` holds where the format does not tell.

    Raises:
        FrameError: it cannot be decoded.
    """
    encoding = message.format.partition(";")[0].strip()
    if transport == COMPRESSED_DEPTH or encoding in ("16UC1", "mono16", "32FC1"):
        metres = compressed_depth_to_array(message)
        if encoding == "32FC1":
            image = array_to_image(metres, "32FC1")
        else:
            image = array_to_image(np.rint(np.nan_to_num(metres) * 1000).astype(np.uint16), "16UC1")
    elif encoding == "png" and "depth" in topic.lower():  # a driver that makes its own files names no encoding
        image = array_to_image(np.rint(compressed_depth_to_array(message) * 1000).astype(np.uint16), "16UC1")
    else:
        image = array_to_image(compressed_color_to_array(message), "rgb8")
    image.header = message.header
    return image

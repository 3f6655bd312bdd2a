"""Images as arrays: ``cv_bridge`` where it is installed and works, else :mod:`lcr_seg_ros.image_encodings`.

``cv_bridge`` has a compiled part that breaks beside NumPy 2, sometimes with a crash of the process
(https://github.com/ros-perception/vision_opencv/issues/535). It is therefore tried out in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lcr_seg_ros import image_encodings
from lcr_seg_ros.frame import depth_to_metres
from lcr_seg_ros.ros.compat import Choice

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

PROBE_TIMEOUT_S = 15.0


class ImageReaders(NamedTuple):
    """As :func:`~lcr_seg_ros.image_encodings.color_to_array` and ``depth_to_array``, same results and errors."""

    color: Callable[[Image], npt.NDArray[np.uint8]]
    depth: Callable[[Image], npt.NDArray[np.float32]]


OWN_READERS = ImageReaders(image_encodings.color_to_array, image_encodings.depth_to_array)


def choose_image_readers() -> tuple[ImageReaders, Choice]:
    """The readers to use here; takes no time where ``cv_bridge`` is not installed, else about a second."""
    if find_spec("cv_bridge") is None:
        return OWN_READERS, Choice("cv_bridge", False, "not installed")
    reason = _why_broken()
    if reason:
        return OWN_READERS, Choice("cv_bridge", False, f"broken: {reason}")
    return _cv_bridge_readers(), Choice("cv_bridge", True)


def probe() -> None:
    """Read images of each kind with both readers.

    Raises:
        AssertionError: they differ. Or whatever a broken cv_bridge raises, if it does not crash.
    """
    from lcr_seg_ros.ros.conversions import array_to_image

    rng = np.random.default_rng(0)
    readers = _cv_bridge_readers()
    for encoding, (dtype, channels) in image_encodings.COLOR_ENCODINGS.items():
        pixels = rng.integers(0, 256, (4, 6, channels)).astype(dtype)
        message = array_to_image(pixels, encoding)
        np.testing.assert_array_equal(readers.color(message), OWN_READERS.color(message), encoding)
    for encoding, (dtype, _) in image_encodings.DEPTH_ENCODINGS.items():
        message = array_to_image(rng.integers(0, 9, (4, 6)).astype(dtype), encoding)
        np.testing.assert_array_equal(readers.depth(message), OWN_READERS.depth(message), encoding)


def _cv_bridge_readers() -> ImageReaders:
    from cv_bridge import CvBridge

    bridge = CvBridge()

    def color(message: Image) -> npt.NDArray[np.uint8]:
        image_encodings.check_color(message)
        if not _is_plain(message):
            return OWN_READERS.color(message)
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, "rgb8"))

    def depth(message: Image) -> npt.NDArray[np.float32]:
        image_encodings.check_depth(message)
        if not _is_plain(message):
            return OWN_READERS.depth(message)
        return depth_to_metres(np.ascontiguousarray(bridge.imgmsg_to_cv2(message)))

    return ImageReaders(color, depth)


def _is_plain(message: Image) -> bool:
    """No padding, and the byte order of this machine: what every release of cv_bridge reads correctly."""
    dtype, channels = (
        image_encodings.COLOR_ENCODINGS.get(message.encoding) or image_encodings.DEPTH_ENCODINGS[message.encoding]
    )
    one_byte = np.dtype(dtype).itemsize == 1
    native = one_byte or bool(message.is_bigendian) == (sys.byteorder == "big")
    return native and message.step == message.width * channels * np.dtype(dtype).itemsize


def _why_broken() -> str:
    """One line, or nothing if it works."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import probe; probe()"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode == 0:
        return ""
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"its process ended with code {run.returncode}"

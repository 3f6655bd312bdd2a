"""Starts ROS in this process with arguments of the command line, and explains what it does not accept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lcr_seg_ros.errors import LcrSegError

PARAMETER_FILE_FORM = "/**:\n  ros__parameters:\n    model: nyu40"


def start_ros(arguments: Sequence[str]) -> None:
    """Call ``rclpy.init``, leaving signals to the caller.

    Args:
        arguments: ``--ros-args ...`` as given on the command line, possibly after a name.

    Raises:
        LcrSegError: a parameter file is missing or cannot be read, or ROS does not start for another reason.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    check_parameter_files(arguments)
    try:
        rclpy.init(args=list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # unknown arguments, missing middleware, ...: rclpy's errors have no common base class
        raise LcrSegError(f"ROS does not take these arguments: {explain_ros_error(str(error))}") from error


def check_parameter_files(arguments: Sequence[str]) -> None:
    """Check that each ``--params-file`` exists: our error is clearer than that of ROS.

    Raises:
        LcrSegError: one does not.
    """
    for word, file in pairwise(arguments):
        if word == "--params-file" and not Path(file).is_file():
            raise LcrSegError(f"no parameter file at {file}")


def explain_ros_error(text: str) -> str:
    """An error of rcl without the locations in its C sources; for a parameter file, with the form that it must have."""
    text = re.sub(r",? at [^\s,]+\.(c|cpp|h|hpp):\d+", "", " ".join(text.split()))
    if "params file" in text:
        text += f"; a parameter file has this form:\n{PARAMETER_FILE_FORM}"
    return text

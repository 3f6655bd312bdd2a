"""``segment``: runs the segmentation node in this process.

python -m lcr_seg_ros segment
python -m lcr_seg_ros segment --ros-args -r rgb/image_rect_color:=/camera/color/image_raw -p confidence_threshold:=0.3
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.ros_start import check_parameter_files, explain_ros_error, start_ros

PATIENCE_S = 1.5
"""Time from a signal until the process is ended by force."""

LAST_FRAME_S = 0.5
"""At the end, how long to wait for the frame being labelled, and for a model being loaded."""


@click.command(
    "segment",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the segmentation node.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros segment --ros-args -r __ns:=/camera -p model:=runs/mine/model.lcrseg
  python -m lcr_seg_ros segment --ros-args --params-file my_segment.yaml --log-level debug
  python -m lcr_seg_ros segment --ros-args -p "cameras:=[front, rear]"
  ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera""",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Run the lifecycle node `segment`: RGB-D topics in, label images out.

    Everything after --ros-args goes to ROS: remappings (`-r rgb/camera_info:=/camera/color/camera_info`), parameters
    (`-p model:=PATH`, `--params-file FILE`), `--log-level debug`. Parameters and their defaults are in
    config/segment.yaml. Ends with exit code 0 on Ctrl-C or SIGTERM, 1 if the node cannot start.
    """
    sys.exit(run(context.args))


def run(ros_arguments: list[str]) -> int:
    """Run the node until Ctrl-C or SIGTERM; returns the exit code.

    Args:
        ros_arguments: ``--ros-args ...`` as given on the command line, or empty.

    Raises:
        LcrSegError: rclpy is missing, or an argument or a parameter cannot be used.
    """
    os.environ.update(tuned_dds_environment())
    prepare_ros_environment()
    with _stop_on_signals() as stop:
        return _serve(ros_arguments, stop)


def _serve(ros_arguments: list[str], stop: _Stop) -> int:
    import rclpy

    _initialize(ros_arguments)
    node, has_ended = None, True
    try:
        from lcr_seg_ros.ros.segment_node import SegmentNode
        from lcr_seg_ros.ros.spin import serve

        if stop.requested:
            return 0
        node = SegmentNode()
        if not node.start(is_cancelled=lambda: stop.requested):
            return 1
        serve(node, lambda: stop.requested)
        return 0
    finally:
        if node is not None:
            has_ended = node.release(LAST_FRAME_S)
            node.destroy_node()
        rclpy.try_shutdown()
        if stop.requested and not has_ended:
            os._exit(0)  # a thread that returned from the network into a finalized interpreter would abort


class _Stop:
    """Handles Ctrl-C and SIGTERM by setting ``requested``, and ends the process by force :data:`PATIENCE_S` later.

    It raises nothing: an exception from a signal handler would be lost in callbacks of compiled code, of which start-up
    is full. The forced end is for a network that is being compiled or does not return.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, stack: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            force = threading.Timer(PATIENCE_S, os._exit, [0])
            force.daemon = True
            force.start()


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    # rclpy's own handlers would invalidate its context while code that uses it is running.
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # Terminal and `ros2 launch` both pass Ctrl-C on: the second signal must not disturb the shutdown.
            signal.signal(number, signal.SIG_IGN if stop.requested else handler)


def _refuse_bare_parameters(ros_arguments: list[str]) -> None:
    """Refuse parameters given as ``NAME:=VALUE`` or ``--NAME`` without ``-p``.

    A launch file takes ``model:=nyu40``; here, ROS would read it as the remapping of a topic ``model``.

    Raises:
        click.UsageError: says how to give a parameter.
    """
    from lcr_seg_ros.ros.parameters import read_defaults

    end = ros_arguments.index("--ros-args") if "--ros-args" in ros_arguments else len(ros_arguments)
    known = read_defaults()
    for word in ros_arguments[:end]:
        name = word.lstrip("-").replace(":=", "=").partition("=")[0].replace("-", "_")
        if name in known and (":=" in word or word.startswith("--")):
            raise click.UsageError(f"{word}: {name} is a parameter of the node: --ros-args -p {name}:=VALUE")


def _initialize(ros_arguments: list[str]) -> None:
    from rclpy.utilities import remove_ros_args

    _refuse_bare_parameters(ros_arguments)
    check_parameter_files(ros_arguments)
    try:
        strangers = remove_ros_args(["segment", *ros_arguments])[1:]
    except Exception as error:  # rclpy's errors have no common base class
        raise LcrSegError(f"ROS does not take these arguments: {explain_ros_error(str(error))}") from error
    if strangers:
        raise click.UsageError(f"no such option or argument: {strangers[0]} (ROS arguments follow --ros-args)")
    start_ros(["segment", *ros_arguments])

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
"""From a signal to the end by force."""

LAST_FRAME_S = 0.5
"""At the end, for a frame in hand, and for a model that is being loaded."""


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
    """Serve the node until Ctrl-C or SIGTERM; returns the exit code.

    Args:
        ros_arguments: ``--ros-args ...`` as given on the command line, or nothing.

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
            os._exit(0)  # a thread that comes back from a network to an interpreter that is no more would abort


class _Stop:
    """Handles Ctrl-C and SIGTERM by asking to stop.

    Nothing is raised: an exception out of nowhere is lost in callbacks of compiled code, which start-up is full of.
    What does not end in time, a network that is being compiled or that does not return, is left behind.
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
    # rclpy's own handlers would invalidate its context under the hands of whatever runs at the moment.
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # Terminal and `ros2 launch` both pass Ctrl-C on: the second one must not disturb the ending.
            signal.signal(number, signal.SIG_IGN if stop.requested else handler)


def _refuse_bare_parameters(ros_arguments: list[str]) -> None:
    """``model:=nyu4``, which a launch file takes, would rename a topic ``model`` here; ``--model`` is no better.

    Raises:
        click.UsageError: says how a parameter is given.
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
    except Exception as error:  # rclpy has no common base
        raise LcrSegError(f"ROS does not take these arguments: {explain_ros_error(str(error))}") from error
    if strangers:
        raise click.UsageError(f"no such option or argument: {strangers[0]} (ROS arguments follow --ros-args)")
    start_ros(["segment", *ros_arguments])

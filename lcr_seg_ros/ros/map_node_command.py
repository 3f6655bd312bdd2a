"""``map-node``: runs the node ``map`` in this process.

python -m lcr_seg_ros map-node --ros-args -p pose_source:=depth
python -m lcr_seg_ros map-node --ros-args -p map_frame:=odom -p voxel_size:=0.1 -p file:=/tmp/map.ply
"""

from __future__ import annotations

import os
import sys
import threading

import click

from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.play_command import stop_on_signals
from lcr_seg_ros.ros.ros_start import start_ros


@click.command(
    "map-node",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Run the mapping node.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros map-node --ros-args -p map_frame:=odom                by TF
  python -m lcr_seg_ros map-node --ros-args -p pose_source:=depth             a camera in the hand, moved slowly
  python -m lcr_seg_ros map-node --ros-args -p pose_source:=odometry -r odometry:=/odom -p file:=~/map.ply
  ros2 service call /map/save std_srvs/srv/Trigger                            also done at the end""",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Run the node `map`: brings `segmentation/points` of the node `segment` together in one voxel map, publishes it on
    `segmentation/map` and writes it as PLY on the service ~/save and at the end.

    Everything after --ros-args goes to ROS: remappings, parameters (`-p voxel_size:=0.1`, `--params-file FILE`).
    Parameters and their defaults are in config/map.yaml. Ends with exit code 0 on Ctrl-C or SIGTERM.
    """
    with stop_on_signals() as stop:
        sys.exit(run(context.args, stop))


def run(ros_arguments: list[str], stop: threading.Event) -> int:
    """Run the node until ``stop`` is set, then write its map; returns the exit code, 1 if that failed.

    Args:
        ros_arguments: ``--ros-args ...`` as given on the command line, or empty.
        stop: asks the node to end.

    Raises:
        LcrSegError: rclpy is missing, or an argument or a parameter cannot be used.
    """
    if ros_arguments and ros_arguments[0] != "--ros-args":
        raise click.UsageError(f"no such option or argument: {ros_arguments[0]} (ROS arguments follow --ros-args)")
    os.environ.update(tuned_dds_environment())
    prepare_ros_environment()
    import rclpy

    start_ros(["map", *ros_arguments])
    try:
        from lcr_seg_ros.ros.map_node import MapNode
        from lcr_seg_ros.ros.spin import serve

        node = MapNode()
        serve(node, stop.is_set)
        return 0 if node.finish() else 1
    finally:
        rclpy.try_shutdown()

"""``doctor``: examines the machine and the running ROS graph, and says what to launch or what to fix.

python -m lcr_seg_ros doctor
python -m lcr_seg_ros doctor --rgb /my/image --depth /my/depth --json -
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.progress import share_bar
from lcr_seg_ros.ros.camera_topics import CameraTopics, camera_info_beside, find_cameras, without_transport
from lcr_seg_ros.ros.doctor.report import AREAS, Check, Report
from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.play_command import stop_on_signals
from lcr_seg_ros.ros.ros_start import start_ros

if TYPE_CHECKING:
    from lcr_seg_ros.ros.doctor.graph import GraphView


@click.command(
    "doctor",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Say what keeps a camera and the node from working together.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros doctor
  python -m lcr_seg_ros doctor --rgb /front/color/image_raw --seconds 10
  python -m lcr_seg_ros doctor --json - | python -m json.tool
  python -m lcr_seg_ros play room --loop & python -m lcr_seg_ros doctor        no camera at hand""",
)
@click.option(
    "--seconds", type=click.FloatRange(1, 300), default=4.0, show_default=True, help="How long to listen to the graph."
)
@click.option("--rgb", default="", metavar="TOPIC", help="Colour topic to look at (else the likeliest camera).")
@click.option("--depth", default="", metavar="TOPIC", help="Depth topic that belongs to it.")
@click.option("--camera-info", default="", metavar="TOPIC", help="Its camera_info.")
@json_option("the findings")
@click.pass_context
def command(
    context: click.Context, seconds: float, rgb: str, depth: str, camera_info: str, json_output: JsonOutput | None
) -> None:
    """Look at topics, QoS, rates, encodings, registration, stamps, intrinsics, depth, gravity, and at what is
    installed; print OK, WARN or FAIL with what to do, and the line that starts the node on the camera that was found,
    or the line that shows a node which already runs on it.

    Start the camera's driver first. Nothing is changed, nothing is published. Exit code 0 without a FAIL, else 1.
    """
    ros_arguments = list(context.args)
    if ros_arguments and ros_arguments[0] != "--ros-args":
        raise click.UsageError(f"no such option or argument: {ros_arguments[0]} (ROS arguments follow --ros-args)")
    if (depth or camera_info) and not rgb:
        raise click.UsageError("--depth and --camera-info belong to a colour topic: give --rgb too")
    asked = CameraTopics(without_transport(rgb), without_transport(depth), camera_info) if rgb else None
    report = _examine(asked, seconds, ros_arguments)
    click.echo(report.text())
    if json_output is not None:
        json_output.write(report.to_dict())
    sys.exit(1 if report.verdict == "fail" else 0)


def _examine(asked: CameraTopics | None, seconds: float, ros_arguments: list[str]) -> Report:
    from lcr_seg_ros.ros.doctor.installation import RuntimeProbes, check_python, check_ros
    from lcr_seg_ros.ros.doctor.machine import check_environment, check_machine

    report = Report([*check_machine(), *check_python()])
    probes = RuntimeProbes()
    try:
        view = None
        if _has_ros(report):
            import rclpy

            report.checks += check_environment(rclpy.get_rmw_implementation_identifier())
            os.environ.update(tuned_dds_environment())
            report.checks += check_ros()
            view = _listen(asked, seconds, ros_arguments)
        report.checks += probes.checks()
    finally:
        probes.end()
    if view is not None:
        _judge(report, view, asked)
    report.checks.sort(key=lambda check: AREAS.index(check.area))
    return report


def _has_ros(report: Report) -> bool:
    try:
        prepare_ros_environment()
        return True
    except LcrSegError as error:
        report.checks.append(Check("installation", "ROS", "fail", "no rclpy", str(error)))
        return False


def _judge(report: Report, view: GraphView, asked: CameraTopics | None) -> None:
    from lcr_seg_ros.ros.doctor.camera import check_camera, check_no_camera
    from lcr_seg_ros.ros.doctor.graph import CAMERA_INFO, IMU
    from lcr_seg_ros.ros.doctor.segment_node import check_segment_nodes, nodes_on, view_line
    from lcr_seg_ros.ros.parameters import read_defaults

    found = [
        camera.with_transports(view.transports)
        for camera in find_cameras(
            view.image_topics, view.of_type(CAMERA_INFO), view.encodings, view.of_type(IMU), view.frame_ids
        )
    ]
    camera = _completed(asked, found, view.of_type(CAMERA_INFO)) if asked else next(iter(found), None)
    camera = camera and camera.with_transports(view.transports)
    if camera is None:
        report.checks += check_no_camera(view)
    else:
        findings = check_camera(camera, view, read_defaults())
        report.checks += findings.checks
        report.camera, report.arguments = camera, findings.arguments
        report.absent = [topic for topic in (camera.rgb, camera.depth) if topic and not view.publishers.get(topic)]
        report.running = {node: view_line(node, view) for node in nodes_on(camera, view)}
        report.others = [other for other in found if other.rgb != camera.rgb]
    report.checks += check_segment_nodes(view, camera)


def _completed(asked: CameraTopics, found: list[CameraTopics], camera_infos: list[str]) -> CameraTopics:
    """The camera that the user asked for, with the topics left out filled in from what was found."""
    same = next((camera for camera in found if camera.rgb == asked.rgb), None)
    if same and asked.depth in ("", same.depth) and asked.camera_info in ("", same.camera_info):
        return same
    info = asked.camera_info or (same.camera_info if same else camera_info_beside(asked.rgb, camera_infos))
    return replace(asked, depth=asked.depth or (same.depth if same else ""), camera_info=info)


def _listen(asked: CameraTopics | None, seconds: float, ros_arguments: list[str]) -> GraphView:
    import rclpy

    from lcr_seg_ros.ros.doctor.graph import GraphListener
    from lcr_seg_ros.ros.spin import spinning

    start_ros(ros_arguments)
    try:
        wanted = (asked.rgb, asked.depth) if asked else ()
        listener = GraphListener(wanted)
        with stop_on_signals() as stop:
            _say(f"listening for {seconds:g} s ...")
            with spinning(listener), share_bar("listening") as show:

                def show_and_wait(pause_s: float) -> bool:
                    show(listener.share_done)
                    return stop.wait(pause_s)

                view = listener.listen(seconds, show_and_wait)
            if stop.is_set():
                raise click.Abort
        return view
    finally:
        rclpy.try_shutdown()


def _say(line: str) -> None:
    click.echo(line, err=True)

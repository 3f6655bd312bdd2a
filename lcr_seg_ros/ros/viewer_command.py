"""``view``: shows the node's input and output live in a browser, from a separate process.

python -m lcr_seg_ros view
python -m lcr_seg_ros view --rate 2 --width 320 --host 0.0.0.0 --save run.rrd
"""

from __future__ import annotations

import os
import threading
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcr_seg_ros.completion import complete_labels
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.play_command import stop_on_signals
from lcr_seg_ros.ros.ros_start import start_ros

if TYPE_CHECKING:
    from lcr_seg_ros.viewer import RecordingFile, SegmentationView

SERVING = "viewer at"
"""First words of the line with the address; the demo shows this line."""

COMPLAIN_AFTER_S = 5.0
REPEAT_S = 30.0
FRAMES = ("map", "odom", "world", "base_footprint", "base_link")
"""World frames looked up in TF, in this order, unless --fixed-frame names one."""

_REMEDY = (
    "give the view the namespace, remappings and transports that the node has, and the camera's process the shipped "
    "DDS profile"
)


@click.command(
    "view",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Show live in a browser what the node sees and says.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros view                                   then open http://127.0.0.1:9090/
  python -m lcr_seg_ros view --host 0.0.0.0 --rate 2 --width 320   from another computer, over Wi-Fi
  python -m lcr_seg_ros view --save run.rrd                    record as well
  python -m lcr_seg_ros view --ros-args -r __ns:=/camera       of a node in a namespace

\b
A recording is shown by rerun. It listens on this machine only with --bind, and reports its use until told not to:
  rerun analytics disable
  rerun --bind 127.0.0.1 run.rrd""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="IPv4 address to listen on; 0.0.0.0: every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True, help="Of the page; 0: any.")
@click.option(
    "--data-port", type=click.IntRange(0, 65535), default=9876, show_default=True, help="Of the data; 0: any."
)
@click.option("--rate", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Frames a second.")
@click.option("--width", type=click.IntRange(16, 4096), default=640, show_default=True, help="Pixels, at most.")
@click.option("--memory", type=click.IntRange(16), default=256, show_default=True, help="MB kept for late browsers.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Record into FILE.rrd as well.")
@click.option("--save-limit", type=click.IntRange(1), default=4096, show_default=True, help="MB; recording ends there.")
@click.option("--node", "node_name", default="segment", show_default=True, help="Name of the node.")
@click.option("--camera", "cameras", multiple=True, help="A camera of a node with several; repeat for each.")
@click.option(
    "--labels",
    shell_complete=complete_labels,
    default="nyu40",
    show_default=True,
    help="Until the node tells its own: set, YAML or model.",
)
@click.option("--fixed-frame", help=f"World of the camera's pose in TF  [default: the first of {', '.join(FRAMES)}]")
@click.option(
    "--rgb-transport",
    type=click.Choice(["raw", "compressed"]),
    default="raw",
    show_default=True,
    help="How to receive colour; raw: as the node does.",
)
@click.option(
    "--depth-transport",
    type=click.Choice(["raw", "compressed", "compressedDepth"]),
    default="raw",
    show_default=True,
    help="The same for depth.",
)
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in this machine's browser.")
@click.pass_context
def command(context: click.Context, **options: Any) -> None:
    """Show live in a browser what the segmentation node sees and says: colour, HHA, depth, labels with class names,
    overlay, confidence, labelled points in 3D (with the camera's pose where TF knows it) and the time of each stage.

    Only this machine can look unless --host says otherwise, and nothing is sent anywhere else. Whoever can open the
    page sees the camera's images: there is no password. Ctrl-C ends it. Everything after --ros-args goes to ROS.
    """
    ros_arguments = list(context.args)
    if ros_arguments and ros_arguments[0] != "--ros-args":
        raise click.UsageError(f"no such option or argument: {ros_arguments[0]} (ROS arguments follow --ros-args)")
    from lcr_seg_ros.viewer import RecordingFile, SegmentationView, ViewerServer

    labels = _labels(options["labels"])
    os.environ.update(tuned_dds_environment())
    prepare_ros_environment()
    with stop_on_signals() as stop, ExitStack() as ending:
        server = ending.enter_context(
            ViewerServer(options["host"], options["port"], options["data_port"], options["memory"])
        )
        sinks = [server.sink]
        recording = None
        if options["save"] is not None:
            recording = ending.enter_context(RecordingFile(options["save"], options["save_limit"] << 20))
            sinks.append(recording.sink())
        cameras = options["cameras"] or ("",)
        view = SegmentationView(labels, sinks, cameras, max_width=options["width"])
        ending.callback(view.close)
        _say(f"{SERVING} {server.url}")
        if options["open_browser"]:
            webbrowser.open(server.url)
        _Show(view, recording, options).run(ros_arguments, cameras, stop)
    if recording is not None and recording.path.is_file():
        _say(f"recording: {recording.path}")


class _Show:
    """Passes what comes from ROS on to the view, until it is stopped."""

    def __init__(self, view: SegmentationView, recording: RecordingFile | None, options: dict[str, Any]) -> None:
        self._view = view
        self._recording = recording
        self._options = options
        self._frames_shown = 0
        self._warned: dict[str, float] = {}

    def run(self, ros_arguments: list[str], cameras: tuple[str, ...], stop: threading.Event) -> None:
        import rclpy
        from rclpy.node import Node

        from lcr_seg_ros.ros.viewer_state import NodeState, WorldPose
        from lcr_seg_ros.ros.viewer_topics import ViewedCamera

        transports = self._options["rgb_transport"], self._options["depth_transport"]
        fixed_frames = (self._options["fixed_frame"],) if self._options["fixed_frame"] else FRAMES
        start_ros(ros_arguments)
        try:
            node = Node("segment_viewer", start_parameter_services=False)
            self._watched = [ViewedCamera(node, camera, *transports, warn=self._warn) for camera in cameras]
            self._state = NodeState(node, self._options["node_name"])
            self._poses = WorldPose(node, fixed_frames)
            self._began = time.monotonic()
            # The node is not spun: messages wait in the middleware until they are polled.
            while not stop.wait(1.0 / self._options["rate"]):
                try:
                    self._step()
                except (LcrSegError, OSError):  # from the view itself, or the file that it writes
                    raise
                except Exception as error:  # messages from the network must not end the viewer
                    self._warn(f"left out: {type(error).__name__}: {error}")
        finally:
            rclpy.try_shutdown()

    def _step(self) -> None:
        for camera in self._watched:
            labels = camera.labels()
            if labels is not None:
                self._view.show_labels(labels)
            sight = camera.sight()
            if sight is None:
                continue
            pose = self._poses.pose(sight.frame_id, sight.stamp_ns)
            self._view.show_frame(
                sight.stamp_ns, sight.frame, sight.segmentation, camera.name, pose, with_points=sight.is_registered
            )
            if self._frames_shown == 0:
                _say("frames arrive")
            self._frames_shown += 1
        for report in self._state.take([camera.name for camera in self._watched]):
            self._view.show_times(report.stamp_ns, report.milliseconds, report.camera)
            self._view.show_rates(report.stamp_ns, report.hertz, report.camera)
            self._view.show_status(report.stamp_ns, report.markdown, report.camera)
        if self._recording is not None and self._recording.is_full:
            self._view.drop_sink(1)
            self._warn(
                f"{self._recording.finish()} has reached --save-limit {self._options['save_limit']}: no more in it"
            )
            self._recording = None
        if time.monotonic() - self._began > COMPLAIN_AFTER_S:
            if self._frames_shown == 0:
                self._tell_what_is_missing()
            self._tell_what_points_lack()

    def _tell_what_is_missing(self) -> None:
        for camera in self._watched:
            if "mask" in camera.missing:
                self._warn(
                    f"nothing on {camera.topic('mask')}: is the node running, active and getting images, in this ROS "
                    "domain, and has the view its namespace (--ros-args -r __ns:=/NAME)?"
                )
            elif "rgb" in camera.missing:
                self._warn(f"masks come, but nothing on {camera.topic('rgb')}: {_REMEDY}")
            else:
                self._warn(f"no mask on {camera.topic('mask')} has the stamp of an image on {camera.topic('rgb')}")

    def _tell_what_points_lack(self) -> None:
        for camera in self._watched:
            lacking = [camera.topic(kind) for kind in camera.missing]
            if lacking and "rgb" not in camera.missing and "mask" not in camera.missing:
                self._warn(
                    f"the model sees depth, but nothing comes on {', '.join(lacking)}: no points are shown; {_REMEDY}"
                )

    def _warn(self, line: str) -> None:
        now = time.monotonic()
        if now - self._warned.get(line, -REPEAT_S) >= REPEAT_S:
            self._warned = {text: at for text, at in self._warned.items() if now - at < REPEAT_S} | {line: now}
            _say(f"warning: {line}")


def _labels(name: str) -> LabelSet:
    if not name.endswith(".lcrseg"):
        return LabelSet.load(name)
    from lcr_seg_ros.bundle import ModelBundle

    return ModelBundle.load(name).labels


def _say(line: str) -> None:
    print(line, flush=True)

"""``record``: writes frames of live topics, or of a bag, to a dataset folder for annotation and training.

python -m lcr_seg_ros record --out mine --count 200 --interval 1
python -m lcr_seg_ros record recording.mcap --out mine --every 15
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcr_seg_ros.errors import FrameError, LcrSegError, SourceError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.ros.camera_topics import (
    CameraTopics,
    camera_info_beside,
    color_topics,
    find_cameras,
    without_transport,
)
from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.play_command import is_bag, stop_on_signals
from lcr_seg_ros.ros.ros_start import start_ros
from lcr_seg_ros.sources.recording import RecordingFolder

if TYPE_CHECKING:
    from lcr_seg_ros.frame import CameraIntrinsics, UnsizedIntrinsics
    from lcr_seg_ros.ros.pair_listener import PairListener

HELD_PAIRS = 8
"""Most pairs that wait to be written: 20 MB at 640x480."""
LOOK_S = 1.0


class RecordError(LcrSegError, RuntimeError):
    """There is nothing to record."""


@click.command(
    "record",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Record live topics or a bag into a dataset folder.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros record --out mine --count 200 --interval 1           the camera that is running
  python -m lcr_seg_ros record --out mine --rgb /my/image --depth /my/depth --camera-info /my/camera_info
  python -m lcr_seg_ros record recording.mcap --out mine --every 15          a rosbag2 or rosbag1
  python -m lcr_seg_ros record --out mine --count 50                         50 more""",
)
@click.argument("source", required=False, metavar="[BAG]", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Dataset folder.")
@click.option("--count", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Stop after N new ones.")
@click.option("--interval", type=click.FloatRange(0), metavar="S", help="At most one frame in S seconds.  [default: 1]")
@click.option("--every", type=click.IntRange(1), metavar="N", help="Every N-th frame, instead of --interval.")
@click.option(
    "--rgb", "--rgb-topic", "rgb", default="", metavar="TOPIC", help="Colour topic (else found by type and name)."
)
@click.option(
    "--depth", "--depth-topic", "depth", default="", metavar="TOPIC", help="Of depth registered to colour (else found)."
)
@click.option(
    "--camera-info",
    "--info-topic",
    "camera_info",
    default="",
    metavar="TOPIC",
    help="Of the colour camera (else found).",
)
@click.option(
    "--intrinsics",
    metavar="FX,FY,CX,CY[,W,H]",
    help="Used instead of the camera_info; of the first image's size unless W,H are given.",
)
@click.option("--no-depth", is_flag=True, help="Record colour alone.")
@click.option(
    "--slop", type=click.FloatRange(0, min_open=True), default=0.016, show_default=True, help="Live: pairing, in s."
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=20.0, show_default=True, help="Live: give up after S without frames."
)
@click.pass_context
def command(context: click.Context, source: Path | None, out: Path, count: int, **options: Any) -> None:
    """Write OUT/rgb, OUT/depth and OUT/intrinsics.yaml from live topics, or from BAG.

    Run it again to add frames: numbers go on, and frames of a bag that are there already are passed over. Ctrl-C ends
    it in order. Then label OUT/rgb with any tool, and bring the labels in with `prepare annotations`.
    """
    ros_arguments = list(context.args)
    if source is not None and str(source).startswith("-"):
        ros_arguments, source = [str(source), *ros_arguments], None
    if ros_arguments and ros_arguments[0] != "--ros-args":
        raise click.UsageError(f"no such option or argument: {ros_arguments[0]} (ROS arguments follow --ros-args)")
    if options["every"] is not None and options["interval"] is not None:
        raise click.UsageError("--every and --interval are two ways to say the same: give one")
    folder = RecordingFolder(out)
    pace = Pace(options["every"], 1.0 if options["interval"] is None else options["interval"])
    before = folder.count
    with stop_on_signals() as stop:
        if source is not None:
            passed_over = _record_bag(source, folder, pace, count, options, stop)
        else:
            passed_over = _record_live(ros_arguments, folder, pace, count, options, stop)
    click.echo(f"{folder.count - before} new frames, {folder.count} in {out}{passed_over}")
    if folder.count:
        then = f"python -m lcr_seg_ros prepare annotations --data {shlex.quote(str(out))} --from FILE"
        click.echo(f"next: label {out / 'rgb'}, then {then}")


class Pace:
    """Decides which frames to keep: every N-th, or at most one per interval of their stamps.

    Args:
        every: N; None: go by time.
        interval_s: in s; 0 keeps all.
    """

    def __init__(self, every: int | None, interval_s: float) -> None:
        self._every, self._interval_ns = every, round(interval_s * 1e9)
        self._seen = 0
        self._last_ns: int | None = None

    def keeps(self, stamp_ns: int) -> bool:
        """Whether to keep a frame; call it once for each, in order. By time, one whose stamp jumps back is kept."""
        self._seen += 1
        if self._every is not None:
            return (self._seen - 1) % self._every == 0
        if self._last_ns is not None and 0 <= stamp_ns - self._last_ns < self._interval_ns:
            return False
        self._last_ns = stamp_ns
        return True


def _record_bag(
    path: Path, folder: RecordingFolder, pace: Pace, count: int, options: dict[str, Any], stop: threading.Event
) -> str:
    from lcr_seg_ros.sources.bag import BagSource

    if not path.exists():
        raise SourceError(f"no bag at {path}; leave it out to record live topics")
    if not is_bag(str(path)):
        raise SourceError(f"{path} is no bag (a rosbag2 folder, .mcap, .db3 or .bag file)")
    topics = {"rgb_topic": options["rgb"], "depth_topic": options["depth"], "info_topic": options["camera_info"]}
    bag = BagSource(
        path,
        **{k: v or None for k, v in topics.items()},
        intrinsics=_given_intrinsics(options),
        with_depth=not options["no_depth"],
    )
    there = written = 0
    with _progress(count) as bar:
        for item in bag:
            if stop.is_set() or written == count:
                break
            if not pace.keeps(item.stamp_ns):
                continue
            if folder.has(item.stamp_ns):
                there += 1
                continue
            if written == 0:
                _warn_of_unregistered_depth(item.frame_id, item.depth_frame_id)
            folder.add(item.frame, item.stamp_ns, item.frame_id)
            written += 1
            bar.update()
    return f"; {there} of this bag were there already" if there else ""


def _record_live(
    ros_arguments: list[str],
    folder: RecordingFolder,
    pace: Pace,
    count: int,
    options: dict[str, Any],
    stop: threading.Event,
) -> str:
    os.environ.update(tuned_dds_environment())
    prepare_ros_environment()
    import rclpy

    from lcr_seg_ros.ros.pair_listener import PairListener
    from lcr_seg_ros.ros.spin import spinning

    start_ros(ros_arguments)
    try:
        camera = _camera(options, stop)
        if camera is None:
            return ""
        click.echo(f"recording {camera.rgb} and {camera.depth or 'no depth'}", err=True)
        listener = PairListener(camera, options["slop"], pace.keeps, HELD_PAIRS, _given_intrinsics(options))
        with spinning(listener):
            bad = _write_frames(listener, folder, camera, count, options["timeout"], stop)
        lost = f"; {listener.dropped} came while the disk was busy" if listener.dropped else ""
        return lost + (f"; {bad} could not be used" if bad else "")
    finally:
        rclpy.try_shutdown()


def _write_frames(
    listener: PairListener,
    folder: RecordingFolder,
    camera: CameraTopics,
    count: int,
    timeout_s: float,
    stop: threading.Event,
) -> int:
    """Write frames until there are ``count``; returns the number of pairs that could not be used.

    Raises:
        RecordError: no frame to record came for ``timeout_s`` seconds.
    """
    written = bad = pairs = 0
    problem = ""
    last = time.monotonic()
    with _progress(count) as bar:
        while written < count and not stop.is_set():
            try:
                taken: tuple[RgbdFrame, Any] | None = listener.take(0.2)
            except FrameError as error:
                bad, problem, taken = bad + 1, str(error), None
            if taken is not None:
                frame, pair = taken
                if written == 0:
                    _warn_of_unregistered_depth(
                        pair.color.header.frame_id, pair.depth.header.frame_id if pair.depth is not None else ""
                    )
                folder.add(frame, pair.stamp_ns, pair.color.header.frame_id)
                written, problem, last = written + 1, "", time.monotonic()
                bar.update()
            elif not problem and listener.is_ready and listener.pairs > pairs:
                last = time.monotonic()  # pairs come, even if none is wanted: --interval may exceed --timeout
            if time.monotonic() - last > timeout_s:
                raise RecordError(_why_nothing(listener, camera, timeout_s, problem))
            pairs = listener.pairs
    return bad


def _warn_of_unregistered_depth(color: str, depth: str) -> None:
    """Warn if the frame_ids of colour and depth differ.

    Args:
        color: frame_id.
        depth: frame_id; "" without depth.
    """
    if depth not in ("", color):
        click.echo(
            f"warning: colour is in frame {color!r}, depth in {depth!r}: is depth registered to colour? "
            "`python -m lcr_seg_ros doctor` says how to get it",
            err=True,
        )


def _why_nothing(listener: PairListener, camera: CameraTopics, timeout_s: float, problem: str) -> str:
    counts = ", ".join(f"{topic}: {number} images" for topic, number in listener.received.items())
    if problem:
        cause = problem
    elif listener.intrinsics_problem:
        cause = f"{camera.camera_info}: {listener.intrinsics_problem}"
    elif all(listener.received.values()) and not listener.is_ready:
        cause = f"nothing came on {camera.camera_info or 'any camera_info'}: name it, or give --intrinsics"
    elif all(listener.received.values()):
        cause = "colour and depth stamps make no pairs: raise --slop"
    else:
        cause = "`python -m lcr_seg_ros doctor` says why"
    return f"no frame to record for {timeout_s:g} s ({counts}): {cause}"


def _camera(options: dict[str, Any], stop: threading.Event) -> CameraTopics | None:
    """The camera to record: as the user named it, else as found within ``--timeout``; None if interrupted.

    Raises:
        RecordError: no camera was found.
    """
    from lcr_seg_ros.ros.doctor.graph import CAMERA_INFO, GraphListener
    from lcr_seg_ros.ros.spin import spinning

    rgb, depth = without_transport(options["rgb"]), without_transport(options["depth"])
    info, no_depth = options["camera_info"], options["no_depth"]
    # A topic given as NAME/compressed means the image NAME with that transport.
    named = {base: full.removeprefix(f"{base}/") for base, full in ((rgb, options["rgb"]), (depth, options["depth"]))}
    transports = {base: form for base, form in named.items() if base and form != base}
    if rgb and (depth or no_depth) and info:
        return CameraTopics(rgb, "" if no_depth else depth, info).with_transports(transports)
    deadline = time.monotonic() + options["timeout"]
    known: set[str] = set()
    graph_listener = GraphListener((rgb, depth))
    try:
        with spinning(graph_listener):
            while not stop.is_set():
                view = graph_listener.listen(LOOK_S, stop.wait)
                infos = view.of_type(CAMERA_INFO)
                found = find_cameras(view.image_topics, infos, view.encodings)
                camera = next((c for c in found if rgb in ("", c.rgb)), None)
                if rgb and (camera is None or depth):
                    camera = CameraTopics(rgb, depth, camera_info_beside(rgb, infos))
                # Nodes are found one after the other: the only camera_info may be another camera's, until all are.
                is_settled = known == {*view.image_topics, *infos} and rgb in ("", *view.image_topics)
                known = {*view.image_topics, *infos}
                is_late = time.monotonic() > deadline
                if (
                    camera is not None
                    and (camera.depth or no_depth)
                    and (info or _is_beside(camera) or is_settled or is_late)
                ):
                    camera = replace(
                        camera, depth="" if no_depth else depth or camera.depth, camera_info=info or camera.camera_info
                    )
                    return camera.with_transports(view.transports | transports)
                if is_late:
                    color = rgb or (camera.rgb if camera else "")
                    lack = explain_lack(color, view.image_topics, view.encodings)
                    raise RecordError(
                        f"{lack} (looked for {options['timeout']:g} s): "
                        "start the camera, or name them (--rgb, --depth, --no-depth); `python -m lcr_seg_ros doctor` "
                        "tells what is there"
                    )
        return None
    finally:
        graph_listener.destroy_node()


def _is_beside(camera: CameraTopics) -> bool:
    return camera.camera_info.rpartition("/")[0] == camera.rgb.rpartition("/")[0]


def explain_lack(rgb: str, images: Collection[str], encodings: Mapping[str, str]) -> str:
    """Which topic is missing if there is no camera to record.

    Args:
        rgb: colour topic that the user named or that was found, or "".
        images: names of the published image topics.
        encodings: by topic, where a message has come.
    """
    if rgb and rgb not in images:
        here = ", ".join(color_topics(images, encodings)) or "none"
        return f"nobody publishes {rgb}; colour topics here: {here}"
    return f"no depth topic beside {rgb}" if rgb else "no colour and depth topics"


def _given_intrinsics(options: dict[str, Any]) -> CameraIntrinsics | UnsizedIntrinsics | None:
    from lcr_seg_ros.sources.folder import parse_intrinsics

    return parse_intrinsics(options["intrinsics"]) if options["intrinsics"] else None


def _progress(count: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=count, desc="recording", unit="frame", leave=False, disable=None)

"""``play``: publishes a dataset folder, a bag or the rendered room as a camera driver would.

python -m lcr_seg_ros play room --loop
python -m lcr_seg_ros play DATASET --split val --rate 10 --camera realsense
python -m lcr_seg_ros play recording.mcap --stamps original --ros-args -r __ns:=/camera
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from lcr_seg_ros.completion import complete_sources, complete_splits
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.ros.camera_presets import CAMERAS
from lcr_seg_ros.ros.environment import prepare_ros_environment, tuned_dds_environment
from lcr_seg_ros.ros.ros_start import start_ros

if TYPE_CHECKING:
    from lcr_seg_ros.ros.player import PlayMode
    from lcr_seg_ros.sources.source import FrameSource

BAG_SUFFIXES = (".bag", ".mcap", ".db3")
CAMERA_NAMES = ("generic", "kinect", *(name for name in CAMERAS if name != "none"))
"""``generic``: the node's own topic names; ``kinect``: those of drivers after openni_launch, in the root namespace."""

PUBLISHING = "publishing"
"""First word of the line printed when publishing starts; ``demo`` and ``benchmark node`` wait for it."""


@click.command(
    "play",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    short_help="Publish a dataset folder, a bag or the rendered room as an RGB-D camera.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros play room --loop
  python -m lcr_seg_ros play nyudv2 --split val --rate 10 --camera realsense
  python -m lcr_seg_ros play recording.mcap --stamps original --ros-args -r __ns:=/camera""",
)
@click.argument("source", shell_complete=complete_sources)
@click.option("--rate", type=click.FloatRange(0.01, 1000), default=30.0, show_default=True, help="Frames a second.")
@click.option("--loop/--once", default=False, help="Start again at the end, or stop there (the default).")
@click.option("--ping-pong", is_flag=True, help="Play to and fro without end: no jump where a loop would have one.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many publications.")
@click.option("--limit", type=click.IntRange(1), help="Use only the first N frames of the source.")
@click.option("--split", shell_complete=complete_splits, help="Dataset folder: only the frames named in SPLIT.txt.")
@click.option("--frames", type=click.IntRange(1), default=90, show_default=True, help="Room: frames to render.")
@click.option("--seed", type=int, default=0, show_default=True, help="Room: which room.")
@click.option("--size", nargs=2, type=click.IntRange(16, 4096), default=(640, 480), show_default=True, help="Room: px.")
@click.option("--rgb-topic", help="Bag: colour topic (else found by encoding and name).")
@click.option("--depth-topic", help="Bag: topic of the depth registered to colour (else found likewise).")
@click.option("--info-topic", help="Bag: camera_info of the colour camera (else the one beside the colour topic).")
@click.option(
    "--intrinsics",
    metavar="FX,FY,CX,CY[,W,H]",
    help="Folder or bag: used instead of the recorded ones; of the first image's size unless W,H are given.",
)
@click.option("--no-depth", is_flag=True, default=None, help="Bag: play colour alone, of every image.")
@click.option("--camera", type=click.Choice(CAMERA_NAMES), default="generic", show_default=True, help="Topic names.")
@click.option("--depth-encoding", type=click.Choice(["16UC1", "32FC1"]), default="16UC1", show_default=True)
@click.option("--frame-id", help="Coordinate frame in every header (default: the driver's optical frame).")
@click.option(
    "--stamps",
    type=click.Choice(["now", "original"]),
    default="now",
    show_default=True,
    help="The node's clock at publication, or what the bag recorded.",
)
@click.option("--wait-for-subscriber", is_flag=True, help="Begin when somebody subscribes to the colour topic.")
@click.option("--wait-timeout", type=click.FloatRange(0), default=60.0, show_default=True, help="... but give up (s).")
@click.option("--start-delay", type=click.FloatRange(0), default=0.0, show_default=True, help="Wait this long (s).")
@click.option("--memory", type=click.IntRange(1), default=1024, show_default=True, help="MiB for frames held ready.")
@click.option("--index", type=click.Path(dir_okay=False, path_type=Path), help="Write stamps and frame names (JSON).")
@click.pass_context
def command(context: click.Context, source: str, **options: Any) -> None:
    """Publish SOURCE as an RGB-D camera: a dataset folder, a rosbag2 or rosbag1, or `room` (rendered here).

    Colour, depth and camera_info go out best effort, as cameras do it, and `ground_truth/labels` (mono8) where the
    source has labels. Everything after --ros-args goes to ROS: `--ros-args -r __ns:=/camera`.
    """
    ros_arguments = list(context.args)
    if ros_arguments and ros_arguments[0] != "--ros-args":
        raise click.UsageError(f"no such option or argument: {ros_arguments[0]} (ROS arguments follow --ros-args)")
    frames = open_source(source, options)
    if options["stamps"] == "original" and not is_bag(source):
        raise SourceError(f"--stamps original needs a bag, {source} has no stamps")
    os.environ.update(tuned_dds_environment())
    prepare_ros_environment()
    with stop_on_signals() as stop:
        _play(frames, source, ros_arguments, options, stop)


def open_source(source: str, options: dict[str, Any]) -> FrameSource:
    """The frames of the argument SOURCE.

    Args:
        source: ``room``, or path of a dataset folder or bag.
        options: of the command, by name; ``no_depth`` may be left out, and ``frames``, ``seed`` and ``size`` unless
            the source is ``room``.

    Raises:
        SourceError: there is nothing that can be read, or an option does not apply to it.
    """
    path = Path(source)
    if source != "room" and not path.exists():
        raise SourceError(f"no dataset folder or bag at {source}; `room` stands for the rendered room")
    kind = "room" if source == "room" else "bag" if is_bag(source) else "dataset folder"
    applies = {
        "split": ("dataset folder",),
        "rgb_topic": ("bag",),
        "depth_topic": ("bag",),
        "info_topic": ("bag",),
        "no_depth": ("bag",),
        "intrinsics": ("dataset folder", "bag"),
    }
    for option, kinds in applies.items():
        if options.get(option) is not None and kind not in kinds:
            name = option.replace("_", "-")
            raise SourceError(f"--{name} is for a {' or a '.join(kinds)}, and {source} is a {kind}")
    if kind == "room":
        from lcr_seg_ros.sources.rooms import RenderedRoom

        width, height = options["size"]
        frames = min(options["frames"], options["limit"] or options["frames"])
        return RenderedRoom(frames=frames, seed=options["seed"], width=width, height=height)
    from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics

    intrinsics = None if options["intrinsics"] is None else parse_intrinsics(options["intrinsics"])
    if kind == "bag":
        from lcr_seg_ros.sources.bag import BagSource

        topics = {name: options[name] for name in ("rgb_topic", "depth_topic", "info_topic")}
        with_depth = not options.get("no_depth")
        return BagSource(path, **topics, intrinsics=intrinsics, limit=options["limit"], with_depth=with_depth)
    return DatasetFolder(path, split=options["split"], intrinsics=intrinsics, limit=options["limit"])


def is_bag(source: str) -> bool:
    """Whether a path is a bag: a .mcap, .db3 or .bag file, or a rosbag2 folder."""
    path = Path(source)
    return path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").is_file()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that loops end cleanly and keep what they have.

    A thread sets it, not the handler, which may interrupt the main thread where that holds the event's lock: in
    ``wait``, or in the handler of the signal before, since terminal and `ros2 launch` both pass Ctrl-C on.
    """
    stop = threading.Event()
    signals: SimpleQueue[int] = SimpleQueue()

    def set_at_the_first() -> None:
        if signals.get():
            stop.set()

    setter = threading.Thread(target=set_at_the_first, name="stop-on-signals", daemon=True)
    setter.start()
    before = {
        number: signal.signal(number, lambda which, _: signals.put(which)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        signals.put(0)  # no signal: ends the thread
        setter.join()
        for number, handler in before.items():
            # A second signal must not disturb the shutdown.
            signal.signal(number, signal.SIG_IGN if stop.is_set() else handler)


def _play(
    source: FrameSource, name: str, ros_arguments: list[str], options: dict[str, Any], stop: threading.Event
) -> None:
    import itertools

    import rclpy

    from lcr_seg_ros.ros.player import CameraPlayer, Reel, write_index
    from lcr_seg_ros.ros.spin import spinning

    start_ros(ros_arguments)
    try:
        player = CameraPlayer(
            camera=options["camera"],
            depth_encoding=options["depth_encoding"],
            frame_id=options["frame_id"],
        )
        with spinning(player):
            verb = "rendered" if name == "room" else "read"
            reel = Reel(source, player.encode, options["memory"] << 20, stop, _progress(verb, len(source)))
            if stop.is_set():  # before anything was published
                raise click.Abort
            if not reel.in_memory:
                _say(f"{len(source)} frames do not fit into {options['memory']} MiB: reading while playing")
            player.announce()
            if options["wait_for_subscriber"]:
                _say("waiting for a subscriber")
                player.wait_for_subscriber(options["wait_timeout"], stop)
            if stop.wait(options["start_delay"]):
                return
            mode: PlayMode = "ping-pong" if options["ping_pong"] else "loop" if options["loop"] else "once"
            frames = itertools.islice(reel.frames(mode), options["count"])
            _say(f"{PUBLISHING} {name} ({len(source)} frames, {mode}) at {options['rate']:g} Hz on:")
            for topic in player.topics:
                _say(f"  {topic}")
            record = player.play(frames, options["rate"], stop, options["stamps"] == "original")
            if options["index"]:
                write_index(options["index"], record, player)
            _say(f"sent {len(record.frames)} frames in {record.seconds:.1f} s, {record.rate:.1f} Hz")
            if not stop.is_set():
                stop.wait(0.5)  # let the last images leave before the participant goes
    finally:
        rclpy.try_shutdown()


def _progress(verb: str, total: int) -> Callable[[int], None]:
    step = max(1, total // 4)

    def report(count: int) -> None:
        if count % step == 0 or count == total:
            _say(f"{verb} {count}/{total} frames")

    return report


def _say(line: str) -> None:
    print(line, file=sys.stdout, flush=True)

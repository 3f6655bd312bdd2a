"""``demo``: runs camera, segmentation node and observer as processes over real DDS, and reports what came through.

python -m lcr_seg_ros demo
python -m lcr_seg_ros demo --source DATASET --split val --seconds 20 --json report.json
python -m lcr_seg_ros demo --viewer rerun
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcr_seg_ros.backends import BACKENDS, DEVICES, model_to_run
from lcr_seg_ros.bundle import ModelBundle, find_model
from lcr_seg_ros.completion import complete_models, complete_sources, complete_splits
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.ros.demo_report import Outcome, make_report, report_lines, truth_left_out, write_pictures
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.play_command import PUBLISHING, open_source, stop_on_signals
from lcr_seg_ros.ros.processes import ChildProcess, ProcessWatch, isolated_ros_environment
from lcr_seg_ros.ros.viewer_command import SERVING

if TYPE_CHECKING:
    from lcr_seg_ros.ros.observer import Observations, PictureSet, SegmentationObserver

ROOM_FRAMES = 90
MAX_FRAMES = 300
"""Frames of a folder or bag to play in a loop: enough for 10 s at 30 Hz, few enough to fit into memory."""
START_TIMEOUT_S = 120.0
FIRST_MASK_TIMEOUT_S = 15.0
SETTLE_S = 1.0
PICTURE_S = 2.5
INTERRUPTED = 130


class DemoError(LcrSegError):
    """The chain from camera to mask is broken; the message says where."""


@dataclass(frozen=True)
class Settings:
    """The options of the command line."""

    source: str
    split: str | None
    intrinsics: str | None
    no_depth: bool | None
    seed: int
    rate: float
    seconds: float
    model: str
    backend: str
    device: str
    viewer: str
    out: Path


@click.command(
    "demo",
    short_help="Run camera, node and observer over DDS and report what came through.",
    epilog="""\b
Examples:
  python -m lcr_seg_ros demo
  python -m lcr_seg_ros demo --seconds 30 --json report.json
  python -m lcr_seg_ros demo --source kitchen --intrinsics 585,585,320,240 --model runs/mine/model.lcrseg""",
)
@click.option(
    "--source",
    shell_complete=complete_sources,
    default="room",
    show_default=True,
    help="Dataset folder, bag, or `room` (rendered here).",
)
@click.option("--split", shell_complete=complete_splits, help="Dataset folder: only the frames named in SPLIT.txt.")
@click.option("--intrinsics", metavar="FX,FY,CX,CY[,W,H]", help="Folder or bag: used instead of the recorded ones.")
@click.option("--no-depth", is_flag=True, default=None, help="Bag: play colour alone, as for nyu40-rgb.")
@click.option("--seed", type=int, default=0, show_default=True, help="Room: which room.")
@click.option("--rate", type=click.FloatRange(1, 120), default=30.0, show_default=True, help="Camera rate in Hz.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True, help="Time measured.")
@click.option(
    "--model",
    shell_complete=complete_models,
    default="auto",
    show_default=True,
    help="Shipped model, or path of a .lcrseg file; auto: nyu40, in int8 on a CPU.",
)
@click.option("--backend", type=click.Choice(("auto", *BACKENDS)), default="auto", show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option(
    "--viewer",
    type=click.Choice(["none", "rerun"]),
    default="none",
    show_default=True,
    help="Live view in a browser; in a terminal it stays, after the measurement, until Ctrl-C.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo_output"),
    show_default=True,
    help="Folder for the pictures.",
)
@json_option("the report")
def command(json_output: JsonOutput | None, **options: Any) -> None:
    """Publish RGB-D at camera rate, segment it, and check and report what arrives: three processes over real DDS.

    Ends by itself: exit code 0 if masks arrived and each carries the header and size of its image.
    """
    options["model"] = model_to_run(options["model"], options["backend"], options["device"])
    settings = Settings(**options)
    _check_source(settings)
    bundle = ModelBundle.load(settings.model)
    try:
        with stop_on_signals() as stop:
            outcome = _run(settings, bundle, stop)
    except click.Abort:
        _say("interrupted: camera and node are ended")
        sys.exit(INTERRUPTED)
    report = make_report(settings.source, bundle, outcome)
    report["pictures"] = write_pictures(settings.out, outcome.pictures, bundle.labels)
    _say("")
    for line in report_lines(report):
        _say(f"  {line}")
    if json_output is not None:
        json_output.write(report)
    if report["header_faults"]:
        first = report["header_faults"][0]
        raise DemoError(f"{len(report['header_faults'])} of {report['masks_received']} masks are wrong; first: {first}")


def _check_source(settings: Settings) -> None:
    """Refuse what `play` would refuse, before any process is started.

    Raises:
        DemoError: there is nothing at --source.
        LcrSegError: --split, --intrinsics or --no-depth cannot be used.
    """
    if settings.source != "room" and not Path(settings.source).exists():
        raise DemoError(f"no dataset folder or bag at {settings.source}; leave --source out for the rendered room")
    if settings.split is not None or settings.intrinsics is not None or settings.no_depth:
        options: dict[str, Any] = dict.fromkeys(("rgb_topic", "depth_topic", "info_topic"))
        options |= {"split": settings.split, "intrinsics": settings.intrinsics, "no_depth": settings.no_depth}
        options["limit"] = MAX_FRAMES
        open_source(settings.source, options)


def _run(settings: Settings, bundle: ModelBundle, stop: threading.Event) -> Outcome:
    """Start the processes, gather what they publish, and end them in every case."""
    environment = isolated_ros_environment()
    os.environ.update(environment)
    prepare_ros_environment()

    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from lcr_seg_ros.ros.observer import SegmentationObserver
    from lcr_seg_ros.ros.player import read_index
    from lcr_seg_ros.ros.spin import spinning

    _say(f"starting camera and node in ROS domain {environment['ROS_DOMAIN_ID']}, this machine only")
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with tempfile.TemporaryDirectory(prefix="lcr_seg_demo_") as scratch:
            index = Path(scratch) / "index.json"
            observer = SegmentationObserver(
                bundle.labels, with_truth=truth_left_out(settings.source, bundle.labels) is None
            )
            with (
                spinning(observer),
                _child("node", _node_command(settings), environment, _is_trouble) as node,
                _child("camera", _camera_command(settings, index), environment) as camera,
                _viewer(settings, environment) as viewer,
            ):
                watch = ProcessWatch(stop, node, camera, *([viewer] if viewer else []))
                seen, pictures = _observe(settings, bundle, observer, camera, watch)
                if viewer is not None and sys.stdin.isatty():
                    _say("measured; the view stays until you press Ctrl-C, then comes the report")
                    with suppress(click.Abort):
                        watch.wait(math.inf)
                camera.end()
                if not index.is_file():
                    raise DemoError(f"the camera left no list of its frames; it said:\n{camera.last_lines()}")
            frame_id, published = read_index(index)
            return Outcome(seen, published, frame_id, pictures)
    finally:
        rclpy.try_shutdown()


def _node_command(settings: Settings) -> list[str]:
    model = str(find_model(settings.model).resolve())
    parameters = {"model": model, "backend": settings.backend, "device": settings.device}
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return [sys.executable, "-m", "lcr_seg_ros", "segment", "--ros-args", *pairs]


def _camera_command(settings: Settings, index: Path) -> list[str]:
    command = [sys.executable, "-m", "lcr_seg_ros", "play", settings.source, "--rate", str(settings.rate)]
    if settings.source == "room":
        command += ["--frames", str(ROOM_FRAMES), "--seed", str(settings.seed), "--ping-pong"]
    else:
        command += ["--limit", str(MAX_FRAMES), "--loop"]
    if settings.split is not None:
        command += ["--split", settings.split]
    if settings.intrinsics is not None:
        command += ["--intrinsics", settings.intrinsics]
    if settings.no_depth:
        command.append("--no-depth")
    return [*command, "--wait-for-subscriber", "--wait-timeout", str(START_TIMEOUT_S), "--index", str(index)]


def _viewer(settings: Settings, environment: dict[str, str]) -> AbstractContextManager[ChildProcess | None]:
    if settings.viewer == "none":
        return nullcontext()
    command = [sys.executable, "-m", "lcr_seg_ros", "view", "--port", "0", "--data-port", "0"]
    command += ["--labels", str(find_model(settings.model).resolve())]
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return _child("viewer", [*command, *(["--open"] if has_display else [])], environment, _is_address)


def _child(
    name: str, command: list[str], environment: dict[str, str], is_shown: Callable[[str], bool] = lambda line: True
) -> ChildProcess:
    return ChildProcess(name, command, environment, _echo(name, is_shown), ends_with_parent=True)


def _observe(
    settings: Settings, bundle: ModelBundle, observer: SegmentationObserver, camera: ChildProcess, watch: ProcessWatch
) -> tuple[Observations, list[PictureSet]]:
    """Wait until masks arrive, measure, then gather a few frames for the pictures."""
    from lcr_seg_ros.ros.player import CAMERAS

    if not watch.until(lambda: _is_publishing(camera), START_TIMEOUT_S):
        raise DemoError(f"the camera did not start within {START_TIMEOUT_S:g} s:\n{watch.last_lines()}")
    if not watch.until(lambda: observer.mask_count > 0, FIRST_MASK_TIMEOUT_S):
        raise DemoError(
            f"the camera publishes but no mask came within {FIRST_MASK_TIMEOUT_S:g} s "
            f"(node says: {observer.start_over().diagnostics_message or 'nothing'}):\n{watch.last_lines()}"
        )
    watch.wait(SETTLE_S)
    _say(f"masks arrive; measuring for {settings.seconds:g} s")
    observer.start_over()
    watch.wait(settings.seconds)
    seen = observer.start_over()
    if len(seen.masks) < 2:
        raise DemoError(f"masks stopped: {len(seen.masks)} in {settings.seconds:g} s:\n{watch.last_lines()}")
    observer.watch_pictures(CAMERAS["generic"].rgb, with_hha=bundle.input.uses_depth)
    watch.wait(PICTURE_S)
    watch.until(lambda: bool(observer.pictures()), FIRST_MASK_TIMEOUT_S)
    return seen, observer.pictures()


def _echo(name: str, wanted: Callable[[str], bool]) -> Callable[[str], None]:
    return lambda line: _say(f"{name:>6} | {line}") if wanted(line) else None


def _is_trouble(line: str) -> bool:
    return any(level in line for level in ("[ERROR]", "[FATAL]", "Traceback"))


def _is_address(line: str) -> bool:
    return line.startswith(SERVING) or _is_trouble(line)


def _is_publishing(camera: ChildProcess) -> bool:
    return any(line.startswith(PUBLISHING) for line in list(camera.lines))


def _say(line: str) -> None:
    print(line, flush=True)

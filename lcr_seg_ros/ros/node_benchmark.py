"""``benchmark node``: the node's rate, latency and losses over real DDS, also under load and with a stalled subscriber.

Camera, node and observer are processes in one ROS domain on this machine; the observer subscribes to mask, overlay and
confidence. The latency of each mask is exact: from the stamp of its colour image, which the camera sets as it
publishes, to the moment at which the node handed the mask to the middleware (the message's source timestamp).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lcr_seg_ros.bundle import ModelBundle, find_model
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.progress import share_bar, waiting
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.frame_statistics import STAGES, WINDOW_S
from lcr_seg_ros.ros.output_topics import CONFIDENCE, MASK, OVERLAY
from lcr_seg_ros.ros.play_command import PUBLISHING, stop_on_signals
from lcr_seg_ros.ros.process_status import megabytes, read_process_status
from lcr_seg_ros.ros.processes import ChildProcess, ProcessWatch, isolated_ros_environment
from lcr_seg_ros.ros.stalled_subscriber import SUBSCRIBED

if TYPE_CHECKING:
    from rclpy.node import Node

    from lcr_seg_ros.ros.player import PublishedFrame

START_TIMEOUT_S = 180.0
SETTLE_S = WINDOW_S
"""Wait before the measurement, until no frame from the start, or from before a subscriber stalled, is left in the
node's percentiles."""

SAMPLE_S = 1.0


class Scenario(NamedTuple):
    """One run of the benchmark.

    Args:
        rate: of the camera, in Hz.
        size: (width, height) of its images, in pixels.
        is_stalled: whether a second subscriber connects and never reads, because its process is stopped.
        share: how long to measure, as a share of the time that the user gave.
    """

    rate: float = 30.0
    size: tuple[int, int] = (640, 480)
    is_stalled: bool = False
    share: float = 0.25


SCENARIOS = {
    "standard": Scenario(share=1.0),
    "60hz": Scenario(rate=60.0),
    "720p": Scenario(size=(1280, 720)),
    "stalled": Scenario(is_stalled=True),
}


def benchmark_node(seconds: float, model: str, only: str | None = None) -> dict[str, Any]:
    """Run the scenarios one after the other and print the figures of each.

    Args:
        seconds: how long to measure the first scenario; each of the others takes a quarter of that.
        model: name of a shipped model, or a path.
        only: run only this one of :data:`SCENARIOS`, for all of ``seconds``.

    Returns:
        ``{"model": NAME, "scenarios": {name: figures}}``; the keys of figures are those of :func:`_figures`.

    Raises:
        LcrSegError: a process ended, or no mask came.
    """
    bundle = ModelBundle.load(model)
    path = str(find_model(model).resolve())
    figures: dict[str, dict[str, Any]] = {}
    with stop_on_signals() as stop:
        with _running(Scenario(), path, stop, room_frames=2):
            click.echo("caches are warm")
        for name in [only] if only else SCENARIOS:
            figures[name] = _measure(name, path, stop, seconds if only else seconds * SCENARIOS[name].share)
            _print(name, figures[name])
    return {"model": bundle.name, "scenarios": figures}


def stage_rows(figures: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], str]:
    """Rows and title for a chart of the stage times."""
    rows = {name: one["stage_ms"] for name, one in figures["scenarios"].items()}
    return rows, f"{figures['model']} in the node: median of each stage"


class _Mask(NamedTuple):
    stamp_ns: int
    sent_ns: int


@dataclass
class _Seen:
    masks: list[_Mask] = field(default_factory=list)
    others: int = 0
    diagnostics: list[dict[str, str]] = field(default_factory=list)


class _Sample(NamedTuple):
    """The node's process at one moment.

    Args:
        resident_mb: resident memory in MB of 10^6 bytes.
        private_mb: its anonymous part, which is not shared with other processes.
        threads: number of threads.
        cpu_s: CPU time used so far, in s.
    """

    resident_mb: float
    private_mb: float
    threads: int
    cpu_s: float


@dataclass
class _Chain:
    """Camera, node and observer while they run.

    Args:
        camera, node: their processes.
        index: file that the camera writes at its end.
        watch: waits beside camera and node.
        seen: what the observer has received.
        first_mask_s: from the start of the node's process to its first mask.
    """

    camera: ChildProcess
    node: ChildProcess
    index: Path
    watch: ProcessWatch
    seen: _Seen
    first_mask_s: float = 0.0

    def end_camera(self) -> list[PublishedFrame]:
        """End the camera; returns what it has published."""
        from lcr_seg_ros.ros.player import read_index

        self.camera.end()
        if not self.index.is_file():
            raise LcrSegError(f"the camera left no list of its frames; it said:\n{self.camera.last_lines()}")
        return read_index(self.index)[1]


def _measure(name: str, model: str, stop: threading.Event, seconds: float) -> dict[str, Any]:
    scenario = SCENARIOS[name]
    with _running(
        scenario, model, stop, room_frames=max(2, int(90 * 307200 / (scenario.size[0] * scenario.size[1])))
    ) as chain:
        chain.watch.wait(SETTLE_S)
        began_ns, end = time.time_ns(), time.monotonic() + seconds
        chain.seen.diagnostics.clear()
        samples = [_sample(chain.node.pid)]
        with share_bar(f"measuring {name}") as show:
            while (left := end - time.monotonic()) > 0:
                show(1 - left / seconds)
                chain.watch.wait(min(SAMPLE_S, left))
                samples.append(_sample(chain.node.pid))
        end_ns = time.time_ns()
        chain.watch.until(lambda: bool(chain.seen.diagnostics), 5.0)  # a run may be shorter than diagnostics_period
        published = [f for f in chain.end_camera() if began_ns <= f.stamp_ns < end_ns]
        masks = [m for m in list(chain.seen.masks) if began_ns <= m.stamp_ns < end_ns]
        if len(masks) < 2 or not chain.seen.diagnostics:
            raise LcrSegError(
                f"masks stopped: {len(masks)} in {seconds:g} s; the node said:\n{chain.node.last_lines()}"
            )
        return _figures(scenario, chain, masks, published, samples, (end_ns - began_ns) * 1e-9)


@contextmanager
def _running(scenario: Scenario, model: str, stop: threading.Event, room_frames: int) -> Iterator[_Chain]:
    """The processes of a run, from the first mask on; they are ended in every case.

    Args:
        room_frames: how many frames the camera renders, and then plays to and fro.
    """
    environment = isolated_ros_environment()
    os.environ.update(environment)
    prepare_ros_environment()

    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from lcr_seg_ros.ros.spin import spinning

    python = [sys.executable, "-m", "lcr_seg_ros"]
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        with tempfile.TemporaryDirectory(prefix="lcr_seg_benchmark_") as scratch:
            index, seen = Path(scratch) / "index.json", _Seen()
            play = [*python, "play", "room", "--ping-pong", "--frames", str(room_frames), "--index", str(index)]
            play += ["--rate", str(scenario.rate), "--size", *map(str, scenario.size)]
            with (
                spinning(_observer(seen)),
                ChildProcess("camera", play, environment, ends_with_parent=True) as camera,
            ):
                # The camera starts first, so that first_mask_s times the start of the node alone.
                with _starting("the camera", lambda: camera.wait_for_line(PUBLISHING, 0.0)) as publishes:
                    is_there = ProcessWatch(stop, camera).until(publishes, START_TIMEOUT_S)
                if not is_there:
                    raise LcrSegError(f"the camera did not start within {START_TIMEOUT_S:g} s:\n{camera.last_lines()}")
                began_ns = time.time_ns()
                segment = [*python, "segment", "--ros-args", "-p", f"model:={model}"]
                with ChildProcess("node", segment, environment, ends_with_parent=True) as node:
                    chain = _Chain(camera, node, index, ProcessWatch(stop, camera, node), seen)
                    with _starting("the node", lambda: bool(seen.masks)) as answers:
                        is_there = chain.watch.until(answers, START_TIMEOUT_S)
                    if not is_there:
                        raise LcrSegError(f"no mask came within {START_TIMEOUT_S:g} s:\n{node.last_lines()}")
                    chain.first_mask_s = (seen.masks[0].sent_ns - began_ns) * 1e-9
                    if scenario.is_stalled:
                        with _stalled_subscriber(environment, chain):
                            yield chain
                    else:
                        yield chain
    finally:
        rclpy.try_shutdown()


@contextmanager
def _starting(what: str, happened: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """The condition ``happened``, which then also updates a display of the time waited at each call."""
    with waiting(f"{what} starts") as show:

        def shown() -> bool:
            show()
            return happened()

        yield shown


@contextmanager
def _stalled_subscriber(environment: dict[str, str], chain: _Chain) -> Iterator[None]:
    import signal

    from lcr_seg_ros.ros import stalled_subscriber

    command = [sys.executable, "-m", stalled_subscriber.__name__]
    with ChildProcess("stalled", command, environment, ends_with_parent=True) as process:
        if not chain.watch.until(lambda: process.wait_for_line(SUBSCRIBED, 0.0), START_TIMEOUT_S):
            raise LcrSegError(f"the subscriber that is to stall did not start:\n{process.last_lines()}")
        chain.watch.wait(1.0)  # until the node's publishers have found it
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGCONT)


def _observer(seen: _Seen) -> Node:
    """A node that subscribes to the three outputs and to /diagnostics, as the programs of a robot would."""
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    from lcr_seg_ros.ros.compat.message_filters import stamp_ns

    def take_mask(message: Image, info: Mapping[str, int]) -> None:
        seen.masks.append(_Mask(stamp_ns(message), info["source_timestamp"]))

    def take_other(message: Image) -> None:
        seen.others += 1

    def take_diagnostics(message: DiagnosticArray) -> None:
        seen.diagnostics.append({pair.key: pair.value for pair in message.status[0].values})

    node, reliable = Node("observer"), QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    node.create_subscription(Image, MASK, take_mask, reliable)
    for topic in (OVERLAY, CONFIDENCE):
        node.create_subscription(Image, topic, take_other, reliable)
    node.create_subscription(DiagnosticArray, "/diagnostics", take_diagnostics, reliable)
    return node


def _sample(pid: int) -> _Sample:
    status = read_process_status(Path(f"/proc/{pid}/status"))
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    cpu_s = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return _Sample(megabytes(status["VmRSS"]), megabytes(status["RssAnon"]), int(status["Threads"]), cpu_s)


def _figures(
    scenario: Scenario,
    chain: _Chain,
    masks: list[_Mask],
    published: list[PublishedFrame],
    samples: list[_Sample],
    seconds: float,
) -> dict[str, Any]:
    """The figures of a run.

    ``from_stamp_ms`` is the time from the stamp of the colour image until the mask has left the node.
    ``from_arrival_ms`` is the same from the arrival of the colour image, as the node reports it: medians over the run
    of the percentiles in its diagnostics. ``outside_ms`` is the work on a frame without the network: all other stages
    from conversion on. ``processing_ms`` adds the network. The stage ``wait``, in which a frame waits for the one
    before it, is part of the latencies but of neither of these two.
    """
    reports = list(chain.seen.diagnostics)
    stage_ms = {stage: _median(reports, f"{stage}_ms_p50") for stage in STAGES if f"{stage}_ms_p50" in reports[-1]}
    latencies = [(mask.sent_ns - mask.stamp_ns) * 1e-6 for mask in masks]
    network = "network" if "network" in stage_ms else "device"  # the device stage includes the network
    outside_ms = sum(ms for stage, ms in stage_ms.items() if stage not in (network, "wait"))
    from_stamp_ms = _percentiles(latencies)
    # Masks of the last frames may have come after the end of the measurement: these frames do not count as lost.
    answered = {mask.stamp_ns for mask in masks}
    due = [frame for frame in published if frame.stamp_ns <= max(answered)]
    processing_ms = outside_ms + stage_ms[network]
    edge = max(1, len(samples) // 10)
    return {
        "camera_hz": len(published) / seconds,
        "image_size": list(scenario.size),
        "seconds": seconds,
        "masks_received": len(masks),
        "mask_hz": len(masks) / seconds,
        "dropped_share": 1 - len(answered) / len(due),
        "dropped": {k.removeprefix("dropped_"): int(v) for k, v in reports[-1].items() if k.startswith("dropped_")},
        "from_stamp_ms": from_stamp_ms,
        "from_arrival_ms": {name: _median(reports, f"response_ms_{name}") for name in from_stamp_ms},
        "pair_age_ms": _median(reports, "age_ms_p50"),
        "stage_ms": stage_ms,
        "outside_ms": outside_ms,
        "outside_over_network": outside_ms / stage_ms[network],
        "processing_ms": processing_ms,
        "age_over_processing": from_stamp_ms["p95"] / processing_ms,
        "start_to_first_mask_s": chain.first_mask_s,
        "memory_mb": samples[-1].resident_mb,
        "memory_growth_mb": _growth([s.resident_mb for s in samples], edge),
        "private_growth_mb": _growth([s.private_mb for s in samples], edge),
        "threads": [samples[0].threads, samples[-1].threads],
        "cpu_cores": (samples[-1].cpu_s - samples[0].cpu_s) / seconds,
        "backend": f"{reports[-1]['backend']} on {reports[-1]['device']}",
    }


def _median(reports: list[dict[str, str]], key: str) -> float:
    return statistics.median(float(values[key]) for values in reports if key in values)


def _percentiles(values: list[float]) -> dict[str, float]:
    import numpy as np

    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _growth(values: list[float], edge: int) -> float:
    """Median of the last ``edge`` values minus median of the first ``edge``."""
    return statistics.median(values[-edge:]) - statistics.median(values[:edge])


def _print(name: str, figures: dict[str, Any]) -> None:
    width, height = figures["image_size"]
    stamp, arrival = figures["from_stamp_ms"], figures["from_arrival_ms"]
    lines = {
        "camera": f"{width}x{height} at {figures['camera_hz']:.1f} Hz for {figures['seconds']:.0f} s",
        "rate": f"{figures['mask_hz']:.2f} masks a second, {100 * figures['dropped_share']:.2f} % of frames dropped",
        "latency": f"p50 {arrival['p50']:.1f} ms, p95 {arrival['p95']:.1f} ms from arrival to the mask sent; "
        f"p50 {stamp['p50']:.1f} ms, p95 {stamp['p95']:.1f} ms from the stamp",
        "newest mask": f"p95 of its age is {figures['age_over_processing']:.2f} processing times of "
        f"{figures['processing_ms']:.1f} ms",
        "stages": ", ".join(f"{stage} {ms:.1f}" for stage, ms in figures["stage_ms"].items()) + " ms (median)",
        "network": f"{figures['outside_ms']:.1f} ms outside, {figures['outside_over_network']:.2f} times its own, "
        f"{figures['backend']}",
        "first mask": f"{figures['start_to_first_mask_s']:.2f} s after the start, with warm caches",
        "memory": f"{figures['memory_mb']:.0f} MB resident, grew by {figures['memory_growth_mb']:.1f} MB, "
        f"by {figures['private_growth_mb']:.1f} MB without what is shared",
        "process": f"{figures['threads'][0]} threads, then {figures['threads'][1]}; {figures['cpu_cores']:.2f} cores",
    }
    click.echo(name)
    for what, line in lines.items():
        click.echo(f"  {what:<12}{line}")

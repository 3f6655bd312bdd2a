"""``benchmark``: the time that each stage takes, as the median of interleaved runs in one process."""

from __future__ import annotations

import itertools
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING, Any

import click

from lcr_seg_ros.completion import complete_models
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.extras import require
from lcr_seg_ros.files import refuse_folder, replace_file
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.progress import each, share_bar, tell_of_few_runs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lcr_seg_ros.frame import CameraIntrinsics

Case = Callable[[], object]

BACKEND_NAMES = ("auto", "openvino", "onnxruntime", "torch")
NODE_SCENARIOS = ("standard", "60hz", "720p", "stalled")
TRAINED_NETWORKS = ("segnet", "fcn32s", "fcn_lite")


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros benchmark hha
  python -m lcr_seg_ros benchmark hha --data kitchen --seconds 30
  python -m lcr_seg_ros benchmark network --model nyu40 --seconds 20 --json network.json
  python -m lcr_seg_ros benchmark frame --plot stages.png
  python -m lcr_seg_ros benchmark frame --backend torch --device cuda
  python -m lcr_seg_ros benchmark training --network segnet --seconds 120
  python -m lcr_seg_ros benchmark node --scenario standard --seconds 600"""
)
@click.argument("what", type=click.Choice(["hha", "constraint", "training", "network", "frame", "node"]))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="time spent measuring")
@click.option(
    "--model",
    shell_complete=complete_models,
    help="for network, frame and node  [default: nyu40; for node, what it takes by itself]",
)
@click.option(
    "--backend", default="auto", type=click.Choice(BACKEND_NAMES), help="for network and frame: only this one"
)
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]), help="for network and frame")
@click.option("--data", type=click.Path(path_type=Path), help="for hha: a dataset folder, its first 10 frames")
@click.option("--network", type=click.Choice(TRAINED_NETWORKS), help="for training: only this one; all when left out")
@json_option("the figures")
@click.option("--scenario", type=click.Choice(NODE_SCENARIOS), help="for node: only this one; all when left out")
@click.option("--plot", type=click.Path(path_type=Path), help="also draw them here, as PNG; needs matplotlib")
def command(
    what: str,
    seconds: float,
    model: str | None,
    backend: str,
    device: str,
    data: Path | None,
    network: str | None,
    json_output: JsonOutput | None,
    scenario: str | None,
    plot: Path | None,
) -> None:
    """Time one part of the chain.

    hha: depth to HHA, each execution on one thread, with filled holes, on rendered Kinect frames and on those of
    --data; "live" follows gravity from frame to frame, as the node does; torch, and its CUDA graphs, run on the GPU
    if there is one.

    constraint: the training loss, ours and as plain convolutions, forward and backward: time, memory, and how exact
    both are.

    training: a whole step with the constraint and without, at the paper's sizes: time and peak memory; --seconds is for
    each network.

    network: the network alone, on every installed backend.

    frame: one frame from camera image to labels on every installed backend, by stage; with torch, on a GPU or if asked
    for, also with the whole chain on the device.

    node: camera, node and observer as processes over DDS; then at 60 Hz, at 1280x720 and beside a subscriber that never
    reads, a quarter of the time each.

    Cases take turns, so that a machine that slows down slows all of them: a ratio of two medians from one run can be
    trusted where an absolute time cannot.
    """
    if data is not None and what != "hha":
        raise click.UsageError(f"--data goes with hha only, not with {what}")
    if scenario is not None and what != "node":
        raise click.UsageError(f"--scenario goes with node only, not with {what}")
    if network is not None and what != "training":
        raise click.UsageError(f"--network goes with training only, not with {what}")
    if (backend, device) != ("auto", "auto") and what not in ("network", "frame"):
        raise click.UsageError(f"--backend and --device go with network and frame only, not with {what}")
    if plot is not None:  # before the measurement, not after it
        if plot.suffix.lower() != ".png":
            raise click.UsageError(f"--plot draws a PNG image: give a name that ends with .png, not {str(plot)!r}")
        require("`benchmark --plot`", "matplotlib")
        refuse_folder(plot)
    figures: dict[str, Any]
    if what == "node":
        from lcr_seg_ros.backends import model_to_run
        from lcr_seg_ros.ros.node_benchmark import benchmark_node

        figures = benchmark_node(seconds, model or model_to_run("auto"), scenario)
    elif what == "hha":
        figures = _hha(seconds, data)
    elif what == "training":
        figures = _training(seconds, TRAINED_NETWORKS if network is None else (network,))
    elif what == "frame":
        from lcr_seg_ros.frame_benchmark import benchmark_frame

        figures = benchmark_frame(seconds, model or "nyu40", backend, device)
    elif what == "constraint":
        figures = _constraint(seconds)
    else:
        figures = _medians(_network_cases(model or "nyu40", backend, device), seconds)
        _echo(figures)
    if json_output is not None:
        where = {"machine": platform.processor() or platform.machine(), "date": date.today().isoformat()}
        json_output.write({"benchmark": what, **where, "figures": figures})
    if plot is not None:
        replace_file(plot, _picture(what, figures))


def _picture(what: str, figures: dict[str, Any]) -> bytes:
    """A PNG with the stacked times of the stages if there are stages, else with a bar for each case."""
    from lcr_seg_ros.training.plots import stage_times_png

    if what == "node":
        from lcr_seg_ros.ros.node_benchmark import stage_rows

        rows, title = stage_rows(figures)
    elif what == "frame":
        rows, title = figures, "median of each stage, one frame from camera image to labels"
    else:
        clock = "cpu_ms" if what == "hha" else "wall_ms"
        rows = {name: {clock.replace("_ms", " time"): row[clock]} for name, row in figures.items()}
        title = f"{what}: median of interleaved runs"
    return stage_times_png(rows, title)


def _echo(figures: dict[str, dict[str, float]]) -> None:
    for name, row in figures.items():
        click.echo(f"{name:<40} {row['wall_ms']:9.2f} ms wall   {row['cpu_ms']:9.2f} ms CPU   {row['runs']} runs")


def _medians(
    cases: dict[str, Case], seconds: float, cpu_clock: Callable[[], float] = process_time
) -> dict[str, dict[str, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for run in each(cases.values(), "warm-up", "case"):  # compiles, allocates
        run()
    began = perf_counter()
    with share_bar("measuring") as show:
        while (elapsed := perf_counter() - began) < seconds or not all(times.values()):
            show(elapsed / seconds)
            for name, run in cases.items():
                wall, cpu = perf_counter(), cpu_clock()
                run()
                times[name].append((perf_counter() - wall, cpu_clock() - cpu))
    tell_of_few_runs(min(map(len, times.values()), default=0), seconds)
    return {
        name: {
            "wall_ms": 1e3 * statistics.median(t[0] for t in taken),
            "cpu_ms": 1e3 * statistics.median(t[1] for t in taken),
            "runs": len(taken),
        }
        for name, taken in times.items()
    }


def _training(seconds: float, networks: Sequence[str]) -> dict[str, dict[str, float]]:
    import torch

    from lcr_seg_ros.training.step_benchmark import peak_memory_mib, training_steps

    figures: dict[str, dict[str, float]] = {}
    for name in networks:
        steps = training_steps(name)
        rows = _medians({f"{name} with": steps[True], f"{name} without": steps[False]}, seconds)
        del steps
        with_it, without = rows.values()
        for row, constrained in each(((with_it, True), (without, False)), f"memory of {name}", "process"):
            row["peak_memory_mib"] = peak_memory_mib(name, constrained, torch.get_num_threads())
        _echo(rows)
        time_ratio = with_it["wall_ms"] / without["wall_ms"]
        memory_ratio = with_it["peak_memory_mib"] / without["peak_memory_mib"]
        click.echo(
            f"{name}: with the constraint a step takes {time_ratio:.3f} times as long and {memory_ratio:.3f} times the "
            f"memory ({with_it['peak_memory_mib']:.0f} MiB)"
        )
        figures |= rows
    return figures


def _hha(seconds: float, data: Path | None) -> dict[str, dict[str, float]]:
    import cv2

    # Everything runs on the calling thread, the only one that thread_time measures: process_time would include the CPU
    # time that idle threads of libraries spend waiting for work.
    cv2.setNumThreads(1)
    every_mode = ("fast", "exact", *_torch_mode())
    small, large = _rendered(640, 480), _rendered(1280, 720)
    videos = [small, large]
    cases = _hha_cases(small, every_mode) | _hha_cases(large, ("fast",)) | _cuda_graph_cases(small)
    if data is not None:
        videos.append(_of_folder(data))
        cases |= _hha_cases(videos[-1], every_mode)
    figures = _medians(cases, seconds, thread_time)
    _echo(figures)
    for video in videos:
        exact = figures.get(f"exact {video}")
        for name in (f"fast {video}", f"fast live {video}"):
            row = figures[name]
            row["allocated_kib"] = _allocated_kib(cases[name])
            memory = f"{row['allocated_kib']:.0f} KiB allocated at the peak of a frame"
            click.echo(f"{name}: {memory}, besides the result's {video.result_kib:.0f} that were given to it")
            if exact is not None:
                row["times_exact"] = exact["cpu_ms"] / row["cpu_ms"]
                click.echo(f"{name}: {row['times_exact']:.0f} times as fast as exact, in CPU time")
    return figures


def _torch_mode() -> tuple[str, ...]:
    if find_spec("torch") is None:
        return ()
    import torch

    torch.set_num_threads(1)
    return ("torch",)


@dataclass(frozen=True)
class _Video:
    """Consecutive depth images of one camera."""

    place: str
    images_m: list[npt.NDArray[np.float32]]
    intrinsics: CameraIntrinsics

    def __str__(self) -> str:
        return f"{self.intrinsics.width}x{self.intrinsics.height} {self.place}"

    def there_and_back(self) -> Iterator[npt.NDArray[np.float32]]:
        """The images forwards and backwards, endlessly: without jumps, after which gravity tracking would restart."""
        return itertools.cycle(self.images_m + self.images_m[-2:0:-1])

    @property
    def result_kib(self) -> float:
        return self.intrinsics.width * self.intrinsics.height * 3 / 1024


def _rendered(width: int, height: int) -> _Video:
    from lcr_seg_ros.sources.rooms import RenderedRoom

    room = RenderedRoom(frames=300, seed=0, width=width, height=height)
    rendered = each(range(10), f"rendering {width}x{height}", "frame")
    return _Video("rendered", [room.depth_from(room.pose(i), i) for i in rendered], room.intrinsics)


def _of_folder(data: Path) -> _Video:
    from lcr_seg_ros.sources.folder import DatasetFolder

    frames = [item.frame for item in DatasetFolder(data, limit=10)]
    images = [f.depth_m for f in frames if f.depth_m is not None and f.intrinsics == frames[0].intrinsics]
    intrinsics = frames[0].intrinsics
    if intrinsics is None or len(images) < len(frames):
        raise SourceError(f"{data} has no depth/, or its first frames differ in size: HHA is made of depth")
    return _Video(data.resolve().name, images, intrinsics)


def _hha_cases(video: _Video, modes: tuple[str, ...]) -> dict[str, Case]:
    import numpy as np

    from lcr_seg_ros.hha import GravityTracker, HhaEncoder, HhaSettings

    place = np.empty((video.intrinsics.height, video.intrinsics.width, 3), np.uint8)

    def every_frame_alone(mode: str) -> Case:
        encoder, images = HhaEncoder(mode), video.there_and_back()
        return lambda: encoder.encode(next(images), video.intrinsics, out=place)

    def live(mode: str) -> Case:
        encoder = HhaEncoder(mode, HhaSettings(floor="robust", gravity_estimate="refined"))
        images, tracker = video.there_and_back(), GravityTracker()
        return lambda: encoder.encode_frame(next(images), video.intrinsics, tracker=tracker, out=place)

    cases = {f"{mode} {video}": every_frame_alone(mode) for mode in modes}
    return cases | {f"fast live {video}": live("fast")}


def _cuda_graph_cases(video: _Video) -> dict[str, Case]:
    """Cases from depth on the GPU to HHA on the GPU; only the wall clock is meaningful for them."""
    if find_spec("torch") is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    import numpy as np

    from lcr_seg_ros.hha.torch import GraphedHha

    def replayed(batch: int, compiled: bool) -> Case:
        depth_m = torch.from_numpy(np.stack(video.images_m[:batch])).cuda()
        camera = video.intrinsics
        graph = GraphedHha(batch, camera.height, camera.width, camera, compiled=compiled)

        def replay() -> None:
            graph(depth_m)
            torch.cuda.synchronize()

        return replay

    cases = {}
    for compiled, batch in itertools.product((False, True), (1, 8)):
        name = f"{'compiled ' if compiled else ''}CUDA graph, {batch} of {video}"
        try:
            cases[name] = replayed(batch, compiled)
        except RuntimeError as error:  # torch.compile without a C compiler, among others
            click.echo(f"{name}: left out: {error}", err=True)
    return cases


def _allocated_kib(run: Case) -> float:
    """Peak memory in KiB that NumPy and Python allocate for a frame after warm-up, including its result."""
    import tracemalloc

    run()
    tracemalloc.start()
    try:
        run()  # allocates what tracemalloc and the first calls under it need
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - before) / 1024


def _network_cases(model: str, backend: str, device: str) -> dict[str, Case]:
    import numpy as np

    from lcr_seg_ros.backends import create_backend
    from lcr_seg_ros.bundle import ModelBundle
    from lcr_seg_ros.frame_benchmark import installed_backends

    bundle = ModelBundle.load(model)
    spec = bundle.input
    image = np.random.default_rng(0).normal(size=(1, spec.channels, spec.height, spec.width)).astype(np.float32)
    cases: dict[str, Case] = {}
    for name in each(installed_backends(backend), "loading", "backend"):
        runtime = create_backend(bundle, name, device)
        cases[f"{name} {runtime.device} {spec.width}x{spec.height}"] = lambda b=runtime: b.infer(image)  # type: ignore[misc]
    return cases


def _constraint(seconds: float) -> dict[str, dict[str, float]]:
    import torch

    from lcr_seg_ros.training.constraint_benchmark import RESULTS, SIZES, ConstraintSteps, extra_memory_mib

    torch.set_num_threads(1)
    steps = {size: ConstraintSteps(size) for size in SIZES}
    cases = {
        f"constraint, {way} {_times(size)}": case for size, one in steps.items() for way, case in one.cases().items()
    }
    figures = _medians(cases, seconds)
    for size, one in each(steps.items(), "exactness and memory", "size"):
        ours, plain = (figures[f"constraint, {way} {_times(size)}"] for way in ("ours", "plain"))
        errors = one.errors()
        for row, way in ((ours, "ours"), (plain, "plain")):
            row |= {
                "extra_memory_mib": extra_memory_mib(size, way),
                **{f"error_of_{k}": v for k, v in errors[way].items()},
            }
    _echo(figures)
    for size in SIZES:
        ours, plain = (figures[f"constraint, {way} {_times(size)}"] for way in ("ours", "plain"))
        click.echo(
            f"{_times(size)}: ours is {plain['wall_ms'] / ours['wall_ms']:.1f} times as fast as plain convolutions, in "
            f"{ours['extra_memory_mib']:.0f} MiB in place of {plain['extra_memory_mib']:.0f}"
        )
        for name in RESULTS:
            key = f"error_of_{name}"
            click.echo(f"  {name.replace('_', ' ')}: {ours[key]:.1e} from float64; plain {plain[key]:.1e}")
    return figures


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))

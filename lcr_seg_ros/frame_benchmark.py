"""``benchmark frame``: time one frame from camera image to labels, stage by stage, on every backend."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING

import click

from lcr_seg_ros.backends import BACKENDS, Backend, create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError
from lcr_seg_ros.progress import each, share_bar, tell_of_few_runs
from lcr_seg_ros.segmenter import Segmenter

if TYPE_CHECKING:
    from lcr_seg_ros.frame import RgbdFrame


def benchmark_frame(
    seconds: float, model: str, backend: str = "auto", device: str = "auto"
) -> dict[str, dict[str, float]]:
    """Measure, print and return the median time of each stage in ms, on rendered Kinect frames of 640x480.

    With PyTorch on CUDA, or if PyTorch is requested, it has two rows: stage by stage, and the device pipeline.

    Args:
        seconds: time spent measuring.
        model: name of a shipped bundle, or path of a bundle.
        backend: the backend to measure; ``auto``: all that are installed.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        BackendError: no backend can run the model.
    """
    from lcr_seg_ros.sources.rooms import RenderedRoom

    room = RenderedRoom(frames=90)
    frames = [room[i].frame for i in (0, 30, 60)]
    segmenters: dict[str, Segmenter] = {}
    bundle = ModelBundle.load(model)
    for name in each(installed_backends(backend), "loading", "backend"):
        try:
            runtime = create_backend(bundle, name, device)
        except BackendError as error:
            click.echo(f"{name}: left out: {error}", err=True)
            continue
        segmenters[f"{name} {runtime.device}"] = Segmenter(bundle, runtime, device_pipeline=False)
        if name == "torch" and (runtime.device == "cuda" or backend == "torch"):
            _add_pipeline(segmenters, bundle, runtime, frames[0])
    if not segmenters:
        raise BackendError(f"no backend can run {model}: install openvino or onnxruntime")
    times = _stage_times(segmenters, frames, seconds)
    tell_of_few_runs(min(map(len, times.values())), seconds)
    figures = {
        name: {stage: statistics.median(run[stage] for run in taken) for stage in taken[0]}
        for name, taken in times.items()
    }
    width = max(map(len, figures))
    for name, row in figures.items():
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in row.items())
        click.echo(f"{name:<{width}} {sum(row.values()):7.1f} ms: {stages}   {len(times[name])} runs")
    return figures


def installed_backends(backend: str) -> list[str]:
    """For ``auto``, the names of all installed backends, else ``backend`` alone."""
    if backend != "auto":
        return [backend]
    return [name for name, (module, _) in BACKENDS.items() if find_spec(module) is not None]


def _add_pipeline(segmenters: dict[str, Segmenter], bundle: ModelBundle, runtime: Backend, frame: RgbdFrame) -> None:
    segmenter = Segmenter(bundle, runtime, device_pipeline=True)
    segmenter.segment(frame)
    if segmenter.is_on_device:
        segmenters[f"torch {runtime.device}, device pipeline"] = segmenter
    else:
        click.echo(f"device pipeline: left out: {segmenter.device_fallback}", err=True)


def _stage_times(
    segmenters: dict[str, Segmenter], frames: Sequence[RgbdFrame], seconds: float
) -> dict[str, list[dict[str, float]]]:
    """For each segmenter, the stage times in ms of each run; the segmenters take turns."""
    for segmenter in each(segmenters.values(), "warm-up", "case"):
        segmenter.segment(frames[0])  # compiles, allocates
    times: dict[str, list[dict[str, float]]] = {name: [] for name in segmenters}
    began = perf_counter()
    with share_bar("measuring") as show:
        for frame in itertools.cycle(frames):
            elapsed = perf_counter() - began
            if elapsed >= seconds and all(times.values()):
                break
            show(elapsed / seconds)
            for name, segmenter in segmenters.items():
                times[name].append(segmenter.segment(frame).stage_ms)
    return times

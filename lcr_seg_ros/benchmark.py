"""``benchmark``: how long each stage takes, as medians of interleaved runs in one process."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import click

from lcr_seg_ros.files import replace_file

Case = Callable[[], object]


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros benchmark hha
  python -m lcr_seg_ros benchmark network --model nyu40 --seconds 20 --json network.json"""
)
@click.argument("what", type=click.Choice(["hha", "constraint", "network", "node"]))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0.1), help="time spent measuring")
@click.option("--model", default="nyu40", show_default=True, help="for network and node")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="also write the figures here")
def command(what: str, seconds: float, model: str, json_path: Path | None) -> None:
    """Time one part of the chain.

    hha: depth to HHA at 640x480, both executions, on a rendered Kinect frame with holes. constraint: the
    training loss, ours and the plain convolution formulation, forward and backward. network: the network
    alone on every installed backend. node: camera, node and observer as processes over DDS.

    Cases take turns, so that a machine that slows down slows all of them; a ratio of two medians from one
    run can be trusted where an absolute time cannot.
    """
    figures: dict[str, Any]
    if what == "node":
        figures = _node(seconds, model)
    else:
        cases = {"hha": _hha_cases, "constraint": _constraint_cases, "network": lambda: _network_cases(model)}[what]()
        figures = _medians(cases, seconds)
        for name, row in figures.items():
            click.echo(f"{name:<28} {row['wall_ms']:9.2f} ms wall   {row['cpu_ms']:9.2f} ms CPU   {row['runs']} runs")
    if json_path is not None:
        where = {"machine": platform.processor() or platform.machine(), "date": date.today().isoformat()}
        replace_file(
            json_path, (json.dumps({"benchmark": what, **where, "figures": figures}, indent=1) + "\n").encode()
        )


def _medians(cases: dict[str, Case], seconds: float) -> dict[str, dict[str, float]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for run in cases.values():  # compiles, allocates
        run()
    end = perf_counter() + seconds
    while perf_counter() < end or not all(times.values()):
        for name, run in cases.items():
            wall, cpu = perf_counter(), process_time()
            run()
            times[name].append((perf_counter() - wall, process_time() - cpu))
    return {
        name: {
            "wall_ms": 1e3 * statistics.median(t[0] for t in taken),
            "cpu_ms": 1e3 * statistics.median(t[1] for t in taken),
            "runs": len(taken),
        }
        for name, taken in times.items()
    }


def _hha_cases() -> dict[str, Case]:
    from lcr_seg_ros.hha import HhaEncoder
    from lcr_seg_ros.sources.rooms import RenderedRoom

    frame = RenderedRoom(frames=2, seed=0)[0].frame
    depth, intrinsics = frame.depth_m, frame.intrinsics
    assert depth is not None and intrinsics is not None
    encoders = {mode: HhaEncoder(mode) for mode in ("fast", "exact")}
    return {f"hha {mode} 640x480": lambda e=e: e.encode(depth, intrinsics) for mode, e in encoders.items()}  # type: ignore[misc]


def _network_cases(model: str) -> dict[str, Case]:
    from importlib.util import find_spec

    import numpy as np

    from lcr_seg_ros.backends import BACKENDS, create_backend
    from lcr_seg_ros.bundle import ModelBundle

    bundle = ModelBundle.load(model)
    spec = bundle.input
    image = np.random.default_rng(0).normal(size=(1, spec.channels, spec.height, spec.width)).astype(np.float32)
    cases: dict[str, Case] = {}
    for name, (module, _) in BACKENDS.items():
        if find_spec(module) is not None:
            backend = create_backend(bundle, name)
            cases[f"{name} {backend.device} {spec.width}x{spec.height}"] = lambda b=backend: b.infer(image)  # type: ignore[misc]
    return cases


def _constraint_cases() -> dict[str, Case]:
    import torch
    from torch.nn import functional as F

    from lcr_seg_ros.training.lcr import ContextualRegularization

    module = ContextualRegularization()
    scores = torch.randn(4, 40, 60, 80, requires_grad=True)
    guide = torch.rand(4, 3, 60, 80)

    def plain() -> torch.Tensor:
        maps = scores.softmax(1)
        response = F.conv2d(maps.reshape(-1, 1, 60, 80), module.kernels[:, None]).reshape(4, 40, 8, 58, 78)
        return module.weight * (module.contextual_weights(guide)[:, None] * response.abs()).mean()

    def step(value: Callable[[], torch.Tensor]) -> None:
        scores.grad = module.kernels.grad = None
        value().backward()

    return {
        "constraint, ours 4x40x60x80": lambda: step(lambda: module(scores.softmax(1), guide)),
        "constraint, plain 4x40x60x80": lambda: step(plain),
    }


def _node(seconds: float, model: str) -> dict[str, Any]:
    """The demo's report: camera, node and observer as three processes."""
    import tempfile

    from lcr_seg_ros.ros.demo_command import command as demo

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ["--model", model, "--seconds", str(seconds), "--json", str(report)]
        demo.main(arguments, standalone_mode=False)
        figures: dict[str, Any] = json.loads(report.read_text())
    return figures

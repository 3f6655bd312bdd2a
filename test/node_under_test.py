"""Starts the node for tests: in a separate process, or in this one if a test replaces a part of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from shared_data import ROOT

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.ros.processes import ChildProcess
from lcr_seg_ros.ros.segment_node import SegmentNode

START_S = 60.0


def start_node(environment: dict[str, str], *parameters: str) -> ChildProcess:
    """Start the node in a process, by the command that users run; each parameter is ``NAME:=VALUE``."""
    given = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", "lcr_seg_ros", "segment", "--ros-args", *given]
    return ChildProcess("segment", command, environment | {"PYTHONPATH": str(ROOT)})


@contextmanager
def active_node(environment: dict[str, str], *parameters: str) -> Iterator[ChildProcess]:
    """:func:`start_node`, then wait until the node is active."""
    with start_node(environment, *parameters) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        yield process


@contextmanager
def node_here(
    domain_id: int,
    *parameters: str,
    make_backend: Callable[..., Any] = create_backend,
    read_model: Callable[[Path], ModelBundle] = ModelBundle.load,
) -> Iterator[SegmentNode]:
    """An active node in this process, spun by a thread."""
    given = [word for parameter in parameters for word in ("-p", parameter)]
    context = Context()
    rclpy.init(
        args=["segment", "--ros-args", *given],
        context=context,
        domain_id=domain_id,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    node = SegmentNode(make_backend, context, read_model)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: _spin(node, context, stop), name="node", daemon=True)
    try:
        assert node.start()
        thread.start()
        yield node
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(timeout=10.0)
        node.release()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _spin(node: SegmentNode, context: Context, stop: threading.Event) -> None:
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.05)
    executor.remove_node(node)

"""Starts the node for tests: in a separate process, or in this one if a test replaces a part of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from shared_data import ROOT

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.ros.processes import ChildProcess
from lcr_seg_ros.ros.segment_node import SegmentNode
from lcr_seg_ros.ros.spin import spinning

START_S = 60.0

TF2_IS_REAL = importlib.util.find_spec("tf2_ros") is not None
TF2_DOUBLE = Path(__file__).parent / "tf2_double"


def start_node(environment: dict[str, str], *parameters: str, tf2: bool = False) -> ChildProcess:
    """Start the node in a process, by the command that users run.

    Args:
        environment: of the process.
        parameters: each is ``NAME:=VALUE``.
        tf2: whether the node finds tf2_ros, or its test double.
    """
    given = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", "lcr_seg_ros", "segment", "--ros-args", *given]
    return ChildProcess("segment", command, environment | {"PYTHONPATH": python_path(environment, tf2)})


def python_path(environment: dict[str, str], tf2: bool) -> str:
    """This checkout in front of the caller's PYTHONPATH; with ``tf2``, the test double too, unless tf2_ros is there."""
    folders = [str(ROOT), *([str(TF2_DOUBLE)] if tf2 and not TF2_IS_REAL else []), environment.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, folders))


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
    try:
        assert node.start()
        with spinning(node):
            yield node
    finally:
        node.release()
        node.destroy_node()
        rclpy.try_shutdown(context=context)

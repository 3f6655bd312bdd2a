"""Runs the callbacks of a node: in this thread until told to stop, or in a thread beside the caller's work."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

WAIT_S = 0.2
"""Longest wait in s while nothing comes: Python handles signals only between waits."""

PAUSE_S = 0.1
"""Pause in s after an error, so that one that repeats does not take up a whole core."""


def serve(node: Node, is_stopped: Callable[[], bool]) -> None:
    """Run the node's callbacks until ``is_stopped`` or ROS is shut down.

    An exception of a callback is logged, and the node goes on. Not all callbacks are ours: rclpy's own parameter
    service raises at a request for a parameter type that does not exist.
    """
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    _serve(executor, node, is_stopped)


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Run the node's callbacks in a thread, as :func:`serve` does, until the block is left; none runs after that."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(
        target=_serve, args=(executor, node, stop.is_set), name=f"spin-{node.get_name()}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        # In this order: a callback still running at the executor's shutdown would find its handles destroyed.
        stop.set()
        thread.join(timeout=5.0)
        executor.shutdown(timeout_sec=5.0)


def _serve(executor: SingleThreadedExecutor, node: Node, is_stopped: Callable[[], bool]) -> None:
    while not is_stopped():
        try:
            executor.spin_once(timeout_sec=WAIT_S)
        except ExternalShutdownException:
            return
        except Exception:
            node.get_logger().error(f"internal error, going on:\n{traceback.format_exc()}")
            time.sleep(PAUSE_S)

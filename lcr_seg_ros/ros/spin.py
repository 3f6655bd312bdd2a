"""Serving a node: in this thread until it is told to stop, or in one of its own beside the caller's work."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

WAIT_S = 0.2
"""How soon a signal is noticed while nothing comes in: Python handles it between two waits."""

PAUSE_S = 0.1
"""After an error, lest one that repeats itself takes the whole machine."""


def serve(node: Node, is_stopped: Callable[[], bool]) -> None:
    """Run the node's callbacks until ``is_stopped``, or ROS is shut down.

    A callback that raises is logged, and the others go on: not all of them are ours. rclpy's own service for
    parameters raises at a request that names a type which does not exist.
    """
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    _serve(executor, node, is_stopped)


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Run the node's callbacks in a thread until the block is left, as :func:`serve`; they have ended by then."""
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
        # In this order: a callback that ends after the executor's shutdown finds the executor's handles destroyed.
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

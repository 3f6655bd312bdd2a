"""A node that is served by a thread while the main thread does its work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


@contextmanager
def spinning(node: Node) -> Iterator[None]:
    """Run the node's callbacks in a thread until the block is left; they have ended by then."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    stop = threading.Event()

    def spin() -> None:
        with suppress(ExternalShutdownException):
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.2)

    thread = threading.Thread(target=spin, name=f"spin-{node.get_name()}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # In this order: a callback that ends after the executor's shutdown finds the executor's handles destroyed.
        stop.set()
        thread.join(timeout=5.0)
        executor.shutdown(timeout_sec=5.0)

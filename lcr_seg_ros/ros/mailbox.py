"""A mailbox for one item, and the worker who empties it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the newest item only: a consumer that is too slow misses frames, and never sees an old one late."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> T | None:
        """Leave an item; returns the older one that it replaced, or None."""
        with self._changed:
            replaced, self._item = self._item, item
            self._changed.notify()
        return replaced

    def take(self) -> T | None:
        """Wait for an item and take it out; None once the mailbox is closed."""
        with self._changed:
            while self._item is None and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Throw the waiting item away."""
        with self._changed:
            self._item = None

    def close(self) -> None:
        """Throw the waiting item away, and let every :meth:`take` return None from now on."""
        with self._changed:
            self._item = None
            self._closed = True
            self._changed.notify_all()


class Worker(Generic[T]):
    """One thread that handles what comes into its mailbox, one item at a time.

    Args:
        handle: called with each item; it must not raise.
        name: of the thread.
    """

    def __init__(self, handle: Callable[[T], None], name: str) -> None:
        self.mailbox: Mailbox[T] = Mailbox()
        self._handle = handle
        # A daemon, so that a network that never returns cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Close the mailbox and wait for the item in hand; False if it took longer than ``timeout_s``."""
        self.mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self.mailbox.take()) is not None:
            self._handle(item)

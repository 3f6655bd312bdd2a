"""Mailboxes that hold one item each, and a worker thread that empties them in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Letter(Generic[T]):
    """An item, and the index of the mailbox that it was in."""

    mailbox: int
    item: T


class Mailbox(Generic[T]):
    """Holds the newest item only: a slow consumer misses items, but never gets an outdated one."""

    def __init__(self, changed: threading.Condition) -> None:
        self._item: T | None = None
        self._changed = changed

    def put(self, item: T) -> T | None:
        """Put an item in; returns the older one that it replaced, or None."""
        with self._changed:
            replaced, self._item = self._item, item
            self._changed.notify()
        return replaced

    def clear(self) -> None:
        """Discard the waiting item."""
        with self._changed:
            self._item = None

    def _take(self) -> T | None:
        item, self._item = self._item, None
        return item


class Mailroom(Generic[T]):
    """A row of mailboxes emptied in turn: however busy one is, another waits at most once for each of the rest.

    Args:
        count: number of mailboxes.
    """

    def __init__(self, count: int = 1) -> None:
        self._changed = threading.Condition()
        self.mailboxes: list[Mailbox[T]] = [Mailbox(self._changed) for _ in range(count)]
        self._next = 0
        self._is_closed = False

    def take(self, at_most: Callable[[], int] = lambda: 1) -> list[Letter[T]]:
        """Wait for an item, then take it and the items that already wait in the mailboxes that follow.

        Args:
            at_most: how many to take, >= 1; called for each item that is found.

        Returns:
            One letter or more, each from another mailbox; none once the room is closed.
        """
        with self._changed:
            while not self._is_closed:
                if letters := self._collect(at_most):
                    self._next = (letters[-1].mailbox + 1) % len(self.mailboxes)
                    return letters
                self._changed.wait()
            return []

    def close(self) -> None:
        """Discard the waiting items, and let every :meth:`take` return nothing from now on."""
        with self._changed:
            self._is_closed = True
            for mailbox in self.mailboxes:
                mailbox._item = None
            self._changed.notify_all()

    def _collect(self, at_most: Callable[[], int]) -> list[Letter[T]]:
        letters: list[Letter[T]] = []
        count = len(self.mailboxes)
        for number in ((self._next + k) % count for k in range(count)):
            item = self.mailboxes[number]._take()
            if item is not None:
                letters.append(Letter(number, item))
                if len(letters) >= at_most():
                    break
        return letters


class Worker(Generic[T]):
    """A thread that handles what is put into its mailboxes.

    Args:
        handle: called with the letters of each :meth:`Mailroom.take`; it must not raise.
        name: of the thread.
        mailboxes: how many.
        at_most: see :meth:`Mailroom.take`.
    """

    def __init__(
        self,
        handle: Callable[[list[Letter[T]]], None],
        name: str,
        mailboxes: int = 1,
        at_most: Callable[[], int] = lambda: 1,
    ) -> None:
        self.mailroom: Mailroom[T] = Mailroom(mailboxes)
        self._handle = handle
        self._at_most = at_most
        # A daemon thread: a network that never returns must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; it does until :meth:`stop`, and longer while ``handle`` does not return."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Close the mailboxes and wait for ``handle``; returns False if it took longer than ``timeout_s``."""
        self.mailroom.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while letters := self.mailroom.take(self._at_most):
            self._handle(letters)

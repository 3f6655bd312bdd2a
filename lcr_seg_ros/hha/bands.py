"""Rows of an image shared out among threads. Compiled loops let go of the interpreter, so they run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

BANDS_A_THREAD = 2
"""Rows do not all take as long, so that a thread that is through with a band takes another."""

LEAST_ROWS = 80
"""A band of fewer costs more to hand over than it saves."""

MOST_THREADS = 4
"""More than these wait for memory rather than for each other."""


def usable_threads() -> int:
    """As many as this process has processors, up to :data:`MOST_THREADS`."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


class Bands:
    """Shares out bands of rows, from the first to the last, among helpers and the caller's own thread.

    Args:
        threads: the caller's among them, >= 1.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._helpers: ThreadPoolExecutor | None = None  # started when first needed

    def each(self, rows: int, work: Callable[[int, int, int], object]) -> None:
        """Call ``work(thread, first, last)`` for the rows ``first`` to ``last``, not included, of every band, and wait.

        ``thread`` counts from 0; no two calls at a time have the same.

        Raises:
            Exception: what ``work`` raised; no other call is under way by then.
        """
        number = 1 if self.threads == 1 else max(1, min(self.threads * BANDS_A_THREAD, rows // LEAST_ROWS))
        bands = iter([(rows * k // number, rows * (k + 1) // number) for k in range(number)])

        def take_bands(thread: int) -> None:
            for first, last in bands:
                work(thread, first, last)

        helpers = min(self.threads, number) - 1
        if helpers and self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="bands")
        called = [self._helpers.submit(take_bands, k + 1) for k in range(helpers)] if self._helpers else []
        try:
            take_bands(0)
        finally:
            errors = [one.exception() for one in called]
        for error in errors:
            if error is not None:
                raise error

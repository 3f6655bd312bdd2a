"""The rows of an image divided among threads. Compiled loops release the GIL, so they run in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

BANDS_A_THREAD = 2
"""Bands per thread. Some rows take longer than others, so a thread that has finished a band takes another."""

LEAST_ROWS = 80
"""Handing over a band of fewer rows costs more than it saves."""

MOST_THREADS = 4
"""Further threads would only wait for memory."""


def usable_threads() -> int:
    """The number of processors that this process may use, at most :data:`MOST_THREADS`."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


class Bands:
    """Distributes bands of rows, from the first to the last, among helper threads and the calling thread.

    Args:
        threads: number of threads, including the caller's, >= 1.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._helpers: ThreadPoolExecutor | None = None  # started when first needed

    def each(self, rows: int, work: Callable[[int, int, int], object]) -> None:
        """Call ``work(thread, first, last)`` for every band, which is rows ``first`` to ``last - 1``, and wait.

        ``thread`` counts from 0; calls that run at the same time have different ones.

        Raises:
            Exception: what ``work`` raised, once all calls have ended.
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

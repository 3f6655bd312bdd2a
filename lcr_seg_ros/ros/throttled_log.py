"""A log that throttles lines which repeat with every frame.

rclpy's own throttling is per line of code; this one is per kind of message, so that one problem does not hide another.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

PERIOD_S = 10.0

MAX_KINDS = 200
"""Limit of kinds; further ones are throttled as one, since kinds made of network data may be endless."""

MAX_TEXT = 4000
"""Longest text in characters; the rest is cut off."""


class ThrottledLog:
    """Logs the first message of a kind at once, then at most one every :data:`PERIOD_S` s, with the number left out.

    May be used from any thread.

    Args:
        logger: of the node.
        about: name of the camera, put in front of each line; empty if there is only one.
    """

    def __init__(self, logger: RcutilsLogger, about: str = "") -> None:
        self._logger = logger
        self._prefix = f"{about}: " if about else ""
        self._shown: dict[str, float] = {}
        self._left_out: dict[str, int] = {}
        self._lock = threading.Lock()

    def info(self, kind: str, text: str) -> None:
        if (suffix := self._turn(kind)) is not None:
            self._logger.info(self._prefix + text[:MAX_TEXT] + suffix)

    def warning(self, kind: str, text: str) -> None:
        if (suffix := self._turn(kind)) is not None:
            self._logger.warning(self._prefix + text[:MAX_TEXT] + suffix)

    def error(self, kind: str, text: str) -> None:
        if (suffix := self._turn(kind)) is not None:
            self._logger.error(self._prefix + text[:MAX_TEXT] + suffix)

    def warning_once(self, kind: str, text: str) -> None:
        with self._lock:
            if kind in self._shown:
                return
            self._shown[kind] = float("inf")
        self._logger.warning(self._prefix + text[:MAX_TEXT])

    def guarded(
        self, callback: Callable[..., None], on_error: Callable[[], None] = lambda: None
    ) -> Callable[..., None]:
        """Wrap a callback so that an exception is logged, and does not end the executor and with it the node.

        Args:
            callback: what to wrap.
            on_error: called before an exception is logged.
        """

        @functools.wraps(callback)
        def wrapper(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception:
                on_error()
                self.error(callback.__name__, f"internal error in {callback.__name__}:\n{traceback.format_exc()}")

        return wrapper

    def forget(self) -> None:
        """Log the next message of every kind at once again, as after a new activation."""
        with self._lock:
            self._shown.clear()
            self._left_out.clear()

    def _turn(self, kind: str) -> str | None:
        """None if a message of this kind must not be logged now; else what to append to it."""
        now = time.monotonic()
        with self._lock:
            if kind not in self._shown and len(self._shown) >= MAX_KINDS:
                kind = "others"
            if kind in self._shown and now - self._shown[kind] < PERIOD_S:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            self._shown[kind] = now
            count = self._left_out.pop(kind, 0)
        return f" ({count} more since the last message)" if count else ""

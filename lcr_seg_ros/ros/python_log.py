"""Forwards what the package's ROS-free modules log with Python's ``logging`` to the log of a node."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

PACKAGE = "lcr_seg_ros"


class PythonLogForwarder(logging.Handler):
    """Forwards this package's records of level INFO and above, which then go nowhere else, until :meth:`close`."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        source = logging.getLogger(PACKAGE)
        self._before = source.level, source.propagate
        source.addHandler(self)
        source.setLevel(logging.INFO)
        source.propagate = False

    def close(self) -> None:
        source = logging.getLogger(PACKAGE)
        if self in source.handlers:
            source.removeHandler(self)
            level, source.propagate = self._before
            source.setLevel(level)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            # A separate call for each level: rclpy ties a severity to the line of the call.
            if record.levelno >= logging.ERROR:
                self._logger.error(text)
            elif record.levelno >= logging.WARNING:
                self._logger.warning(text)
            else:
                self._logger.info(text)
        except Exception:
            self.handleError(record)

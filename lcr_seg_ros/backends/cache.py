"""Where runtimes keep what they compiled: in the user's cache, private, and bounded."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

MAX_CACHE_BYTES = 256 << 20
"""Older files go when a runtime's folder holds more."""

log = logging.getLogger(__name__)


def cache_folder(runtime: str) -> Path | None:
    """A folder to keep compiled networks in: ``$XDG_CACHE_HOME/lcr_seg_ros/RUNTIME``, or below ``~/.cache``.

    Args:
        runtime: name of the backend.

    Returns:
        The folder, made for this user alone; None, with a line in the log, where none can be written.
    """
    try:
        # The XDG specification: a relative path is to be ignored.
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "lcr_seg_ros" / runtime
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        log.info("compiled networks are not kept, so each start compiles again: %s", error)
        return None
    return folder


def prune(folder: Path, limit_bytes: int = MAX_CACHE_BYTES) -> None:
    """Delete the oldest files of a cache folder until the rest holds at most ``limit_bytes``."""
    try:
        files = [(file, file.stat()) for file in folder.iterdir() if file.is_file()]
        kept = 0
        for file, status in sorted(files, key=lambda item: item[1].st_mtime, reverse=True):
            kept += status.st_size
            if kept > limit_bytes:
                file.unlink(missing_ok=True)
    except OSError as error:  # another process may be at it
        log.info("the cache %s was not tidied: %s", folder, error)

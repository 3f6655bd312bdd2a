"""The cache of compiled networks: in the user's cache folder, private, and of limited size."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

MAX_CACHE_BYTES = 256 << 20
"""If a runtime's folder holds more, the oldest files are deleted."""

log = logging.getLogger(__name__)


def cache_folder(runtime: str) -> Path | None:
    """The folder for compiled networks: ``$XDG_CACHE_HOME/lcr_seg_ros/RUNTIME``, or the same below ``~/.cache``.

    Args:
        runtime: name of the backend.

    Returns:
        The folder, created if necessary, accessible to this user only; None, with a line in the log, if it cannot be
        written.
    """
    try:
        # By the XDG specification, a relative path is to be ignored.
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "lcr_seg_ros" / runtime
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        log.info("compiled networks are not kept, so each start compiles again: %s", error)
        return None
    return folder


def prune(folder: Path, limit_bytes: int = MAX_CACHE_BYTES) -> None:
    """Delete the oldest files of a cache folder until the remaining ones take at most ``limit_bytes``."""
    try:
        files = [(file, file.stat()) for file in folder.iterdir() if file.is_file()]
        kept = 0
        for file, status in sorted(files, key=lambda item: item[1].st_mtime, reverse=True):
            kept += status.st_size
            if kept > limit_bytes:
                file.unlink(missing_ok=True)
    except OSError as error:  # another process may be doing the same
        log.info("the cache %s was not tidied: %s", folder, error)

"""A network as a file in memory, for runtimes that read files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OPEN_FILES = Path("/proc/self/fd")
"""On Linux, the files that this process has open, by number."""
WRITTEN_AT_ONCE = 64 << 20
"""Bytes per call; Linux writes at most 2 GiB in one call."""


@contextmanager
def network_file(network: bytes) -> Iterator[str | bytes]:
    """A path from which this process can read the network inside the block; the file is in memory.

    OpenVINO and ONNX Runtime hold the GIL while they parse bytes, which stops every thread of a node (for 0.6 s with
    250 MB, on two busy cores). They do not hold it while they read a file.

    Args:
        network: content of the file.

    Yields:
        The path, or ``network`` itself if the system has no such files: the runtimes accept both.
    """
    file = _in_memory(network)
    if file is None:
        yield network
        return
    with file:
        yield str(OPEN_FILES / str(file.fileno()))


def _in_memory(content: bytes) -> IO[bytes] | None:
    """A file with this content, or None if the system has no files in memory, or does not allow one of this size."""
    if not (hasattr(os, "memfd_create") and OPEN_FILES.is_dir()):
        return None
    file = os.fdopen(os.memfd_create("network.onnx"), "wb", buffering=0)
    try:
        for start in range(0, len(content), WRITTEN_AT_ONCE):
            part = memoryview(content)[start : start + WRITTEN_AT_ONCE]
            if file.write(part) != len(part):  # the size limit has been reached
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError:
        file.close()
        return None
    return file

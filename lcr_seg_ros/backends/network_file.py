"""A network as a file for runtimes that read it, without a disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OPEN_FILES = Path("/proc/self/fd")
"""Of Linux: the files that this process has open, by number."""
WRITTEN_AT_ONCE = 64 << 20
"""Bytes. Linux writes 2 GiB at most in one call."""


@contextmanager
def network_file(network: bytes) -> Iterator[str | bytes]:
    """A path under which this process can read the network until the block is left; it lies in memory.

    OpenVINO and ONNX Runtime parse bytes while they hold Python's lock, which stops every thread of a node for as long
    (0.6 s for 250 MB, on two busy cores); a file they read without it.

    Args:
        network: content of the file.

    Yields:
        The path, or ``network`` itself where the system gives no such file: the runtimes take both.
    """
    file = _in_memory(network)
    if file is None:
        yield network
        return
    with file:
        yield str(OPEN_FILES / str(file.fileno()))


def _in_memory(content: bytes) -> IO[bytes] | None:
    """A file of it, or None: there are none on this system, or none of this size are allowed to the process."""
    if not (hasattr(os, "memfd_create") and OPEN_FILES.is_dir()):
        return None
    file = os.fdopen(os.memfd_create("network.onnx"), "wb", buffering=0)
    try:
        for start in range(0, len(content), WRITTEN_AT_ONCE):
            part = memoryview(content)[start : start + WRITTEN_AT_ONCE]
            if file.write(part) != len(part):  # the limit lies within
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError:
        file.close()
        return None
    return file

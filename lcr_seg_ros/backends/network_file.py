"""A network as a file for runtimes that read it, without a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPEN_FILES = Path("/proc/self/fd")
"""Of Linux: the files that this process has open, by number."""


@contextmanager
def network_file(network: bytes) -> Iterator[str | bytes]:
    """A path under which this process can read the network until the block is left; it lies in memory.

    OpenVINO and ONNX Runtime parse bytes while they hold Python's lock, which stops every thread of a node for as long
    (0.6 s for 250 MB, on two busy cores); a file they read without it.

    Args:
        network: content of the file.

    Yields:
        The path, or ``network`` itself where the system has no such files: the runtimes take both.
    """
    if not (hasattr(os, "memfd_create") and OPEN_FILES.is_dir()):
        yield network
        return
    with os.fdopen(os.memfd_create("network.onnx"), "wb") as file:
        file.write(network)
        file.flush()
        yield str(OPEN_FILES / str(file.fileno()))

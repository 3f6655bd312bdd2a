"""Files appear whole or not at all: write beside, then rename."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lcr_seg_ros.errors import LcrSegError


def make_folder(path: Path) -> Path:
    """Create a folder to write into, and those above it.

    Raises:
        LcrSegError: it cannot be; says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if path.is_file() else error.strerror
        raise LcrSegError(f"{path} cannot be made a folder to write to ({reason}): give another") from error
    return path


def refuse_folder(path: Path) -> None:
    """See that a file can be put at ``path``, before the work that leads to it.

    Raises:
        LcrSegError: there is a folder.
    """
    if path.is_dir():
        raise LcrSegError(f"{path} is a folder: give the name of a file to write")


@contextmanager
def exclusive(folder: Path, name: str = ".lock") -> Iterator[IO[str]]:
    """Keep a folder to ourselves; the system lets go of it when all who hold it have ended, however.

    Args:
        folder: which there is.
        name: of the file in it that is locked.

    Raises:
        LcrSegError: another process holds it.
    """
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LcrSegError(f"another process works in {folder}: start this again when it has ended") from None
        yield file


def replace_file(path: str | Path, data: bytes) -> Path:
    """Put ``data`` at ``path``, creating folders; whoever reads sees the old file or the new one.

    Raises:
        OSError: it cannot be written, a full disk for example; it names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException as error:
        Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # of write() it names no file, of the others the draft
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return path

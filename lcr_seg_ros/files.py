"""Reading and writing files. Files are written under a temporary name and then renamed, so they appear whole or not at
all; text that people wrote is read as UTF-8."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lcr_seg_ros.errors import LcrSegError


def read_text(path: Path, error: type[LcrSegError]) -> str:
    """Read text that people wrote, without the byte order mark that Windows adds.

    Raises:
        error: it is not UTF-8. UTF-16, as PowerShell writes it, is refused too, even where it is valid UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"{path} is not UTF-8 text: save it as UTF-8") from fault
    if "\0" in text:
        raise error(f"{path} is not UTF-8 text: save it as UTF-8")
    return text


def make_folder(path: Path) -> Path:
    """Create a folder to write into, with its parents.

    Raises:
        LcrSegError: it cannot be created; says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if path.is_file() else error.strerror
        raise LcrSegError(f"{path} cannot be made a folder to write to ({reason}): give another") from error
    return path


def refuse_folder(path: Path) -> None:
    """Check that ``path``, where a file is to be written later, is not a folder.

    Raises:
        LcrSegError: it is a folder.
    """
    if path.is_dir():
        raise LcrSegError(f"{path} is a folder: give the name of a file to write")


@contextmanager
def exclusive(folder: Path, name: str = ".lock") -> Iterator[IO[str]]:
    """Lock a folder for this process. However the process ends, the system then releases the lock.

    If the process has forked, the lock is held until all processes that share it have ended.

    Args:
        folder: an existing folder.
        name: of the file in it that is locked.

    Yields:
        The locked file.

    Raises:
        LcrSegError: another process holds it.
    """
    with (folder / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LcrSegError(
                f"another process works in {folder} (perhaps a training whose command was killed): start this again "
                "when it has ended"
            ) from None
        yield file


def refuse_no_folder(path: Path) -> None:
    """Check that ``path`` is a folder or could become one, without creating it.

    Raises:
        LcrSegError: a file is in the way.
    """
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise LcrSegError(f"{path} cannot be made a folder to write to ({nearest} is a file): give another")


def replace_file(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path``, creating folders. Readers see either the old file or the new one.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; the error names ``path``.
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
        if isinstance(error, OSError) and error.errno:  # errors of write() name no file, the others the draft
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return path

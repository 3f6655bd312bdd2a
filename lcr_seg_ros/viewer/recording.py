"""Recordings that get their final name once they are complete."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lcr_seg_ros.viewer.view import ViewerError, import_rerun

ROOM_BYTES = 64 << 10
"""Free space that is tested beforehand: rerun hangs if not even the header of a recording can be written."""


class RecordingFile:
    """An unfinished ``.rrd`` file, written as ``.NAME.PID.part`` in the same folder, which :meth:`finish` renames.

    As a context manager, it finishes the file when the block ends, or discards it if the block ends with an error.

    Args:
        path: the file; an existing one is replaced at the end.
        limit_bytes: see :attr:`is_full`.

    Raises:
        ViewerError: the name does not end with .rrd, or the file cannot be written, for example on a full disk.
    """

    def __init__(self, path: str | os.PathLike[str], limit_bytes: int = 4 << 30) -> None:
        self.path = Path(path)
        if self.path.suffix != ".rrd":
            raise ViewerError(f"a recording's name must end with .rrd, got {self.path}")
        self._limit_bytes = limit_bytes
        self._draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._draft.write_bytes(bytes(ROOM_BYTES))
        except OSError as error:
            with suppress(OSError):
                self.discard()
            raise ViewerError(f"cannot write the recording {self.path}: {error}") from error

    def sink(self) -> Any:
        """The rerun sink that writes the file."""
        return import_rerun().FileSink(str(self._draft))

    @property
    def is_full(self) -> bool:
        """Whether ``limit_bytes`` is reached, so that the recording should be finished."""
        return self._draft.stat().st_size >= self._limit_bytes

    def finish(self) -> Path:
        """Give the file its final name, and return it. The sink must have ended."""
        if self._draft.exists():
            self._draft.replace(self.path)
        return self.path

    def discard(self) -> None:
        """Delete the unfinished file."""
        self._draft.unlink(missing_ok=True)

    def __enter__(self) -> RecordingFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.discard()

"""A recording that gets its name when it is whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lcr_seg_ros.viewer.view import ViewerError, import_rerun

ROOM_BYTES = 64 << 10
"""Tried out beforehand: rerun waits for ever where not even the head of a recording can be written."""


class RecordingFile:
    """An ``.rrd`` file in the making: ``.NAME.PID.part`` beside it, which :meth:`finish` renames.

    As a context manager it finishes on the way out, or discards the file where an error is on its way.

    Args:
        path: the file; one that is there is replaced at the end.
        limit_bytes: see :attr:`is_full`.

    Raises:
        ViewerError: the name does not end with .rrd, or nothing can be written there, as on a full disk.
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
        """The rerun sink that writes it."""
        return import_rerun().FileSink(str(self._draft))

    @property
    def is_full(self) -> bool:
        """The limit is reached: time to finish."""
        return self._draft.stat().st_size >= self._limit_bytes

    def finish(self) -> Path:
        """Give it its name, when its sink has ended; returns that."""
        if self._draft.exists():
            self._draft.replace(self.path)
        return self.path

    def discard(self) -> None:
        """Leave nothing behind."""
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

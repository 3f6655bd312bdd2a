"""Writing videos with OpenCV."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError

Image = npt.NDArray[np.uint8]

CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
"""Codecs by file extension, all of them in OpenCV's wheels: MPEG-4 for players, VP8 for browsers too, and motion
JPEG."""

_PAPER = 255


class VideoFile:
    """A video file, used as a context manager; it appears whole when the block ends, or not at all.

    Args:
        path: ends with .mp4, .webm or .avi; an existing file is replaced.
        fps: pictures per second, > 0.
        height: of the video in pixels; other pictures are cut off or padded with white at the bottom. Default: that of
            the first picture.

    Raises:
        SourceError: the extension names no format. On leaving the block: not all pictures could be written.
    """

    def __init__(self, path: str | Path, fps: float = 30.0, height: int | None = None) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise SourceError(f"cannot write a video {path}: use a name that ends with {', '.join(CODECS)}")
        self._fps, self._height = fps, height
        self._draft: Path | None = None
        self._writer: Any = None
        self._size = (0, 0)
        self._count = 0

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if self._draft is None:
            return
        try:
            if kind is None:
                self._refuse_cut(self._draft)
                self._draft.chmod(0o644)
                self._draft.replace(self.path)
        finally:
            self._draft.unlink(missing_ok=True)

    def add(self, rgb: Image) -> None:
        """Append a picture: (h, w, 3) uint8 RGB, as wide as the first one.

        Raises:
            SourceError: it has another width, or this OpenCV cannot write the format.
        """
        if self._writer is None:
            self._open(rgb.shape[1], self._height or rgb.shape[0])
        width, height = self._size
        if abs(rgb.shape[1] - width) > 1:
            raise SourceError(f"{self.path}: pictures of {rgb.shape[1]} and {width} px in width make no video")
        page = np.full((height, width, 3), _PAPER, np.uint8)
        h, w = min(height, rgb.shape[0]), min(width, rgb.shape[1])
        page[:h, :w] = rgb[:h, :w]
        self._writer.write(cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
        self._count += 1

    def _refuse_cut(self, draft: Path) -> None:
        """Count the pictures by reading them back: OpenCV's writer does not report a full disk."""
        capture = cv2.VideoCapture(str(draft))
        readable = 0
        while capture.grab():
            readable += 1
        capture.release()
        if readable < self._count:
            raise SourceError(
                f"{self.path} could not be written, {readable} of its {self._count} pictures can be read: is the disk "
                "full? What was there before is left as it was"
            )

    def _open(self, width: int, height: int) -> None:
        self._size = (width + width % 2, height + height % 2)  # most codecs need even sizes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        suffix = self.path.suffix.lower()
        descriptor, draft = tempfile.mkstemp(
            prefix=f".{self.path.stem}.", suffix=f".part{suffix}", dir=self.path.parent
        )
        os.close(descriptor)
        self._draft = Path(draft)
        self._writer = cv2.VideoWriter(draft, cv2.VideoWriter_fourcc(*CODECS[suffix]), self._fps, self._size)  # type: ignore[attr-defined]
        if not self._writer.isOpened():
            raise SourceError(f"this OpenCV cannot write {suffix} videos: use another of {', '.join(CODECS)}")

"""Record dataset folders frame by frame; a later recording can continue a folder.

In addition to the files described in :mod:`lcr_seg_ros.sources.folder`, there is ``frames.csv`` with the name, stamp in
ns and frame_id of each frame. A frame's line is written before its colour image, and a line without that image is
ignored, so that a recording that is killed at any moment leaves a consistent folder. A number is not used again while
any file of its frame is left, as a new image must not get the labels of an old one.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    INTRINSICS_FILE,
    LABEL_FOLDER,
    RGB_FOLDER,
    DatasetFolder,
    depth_to_millimetres,
    write_intrinsics,
    write_png,
)

FRAMES_FILE = "frames.csv"
COLUMNS = ("name", "stamp_ns", "frame_id")
MAX_FRAMES = 999_999
LEAST_FREE_BYTES = 500 << 20


class RecordingFolder:
    """Adds frames of one camera to a dataset folder, continuing the numbers of those that are there.

    Args:
        path: the folder; created with the first frame.

    Attributes:
        count: number of frames in the folder.

    Raises:
        SourceError: the folder holds images that were not recorded, or ``frames.csv`` is not what this class writes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        listed = _read_rows(self.path)
        rows = [row for row in listed if (self.path / RGB_FOLDER / f"{row[0]}.png").is_file()]
        self._stamps = {stamp for _, stamp, _ in rows}
        self._last = max([*(int(name) for name, _, _ in listed), *_numbers_in_use(self.path)], default=0)
        self.count = len(rows)
        if not rows and any((self.path / RGB_FOLDER).glob("[!.]*")):  # unfinished files have hidden names
            raise SourceError(
                f"{self.path / RGB_FOLDER} holds images that `record` did not write: choose another --out"
            )
        self._has_depth = (self.path / DEPTH_FOLDER).is_dir() if rows else None
        self._intrinsics: CameraIntrinsics | None = None
        if rows and (self.path / INTRINSICS_FILE).is_file():
            self._intrinsics = DatasetFolder(self.path, limit=1).frame(0).intrinsics
        if (self.path / FRAMES_FILE).is_file():
            _write_rows(self.path, rows)  # without lines whose image is missing

    def has(self, stamp_ns: int) -> bool:
        """Whether a colour image with this stamp is there already."""
        return stamp_ns in self._stamps

    def add(self, frame: RgbdFrame, stamp_ns: int, frame_id: str = "") -> str:
        """Write a frame, losslessly except that depth is rounded to millimetres.

        Args:
            frame: with intrinsics; either all frames of the folder have depth, or none has.
            stamp_ns: of the colour image.
            frame_id: of the colour image.

        Returns:
            The frame's name: a running number of six digits.

        Raises:
            SourceError: the camera is not the same as before, the disk is nearly full, or all names are used.
        """
        self._check(frame)
        name = f"{self._last + 1:06d}"
        if self._intrinsics is None and frame.intrinsics is not None:
            write_intrinsics(self.path, frame.intrinsics)
        if frame.depth_m is not None:
            write_png(self.path / DEPTH_FOLDER / f"{name}.png", depth_to_millimetres(frame.depth_m))
        _append_row(self.path, name, stamp_ns, frame_id)
        write_png(self.path / RGB_FOLDER / f"{name}.png", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
        self._intrinsics, self._has_depth = frame.intrinsics, frame.depth_m is not None
        self._stamps.add(stamp_ns)
        self._last += 1
        self.count += 1
        return name

    def _check(self, frame: RgbdFrame) -> None:
        if self._last >= MAX_FRAMES:
            raise SourceError(f"{self.path} holds {MAX_FRAMES} frames, and names have six digits: choose another --out")
        if self._has_depth is not None and self._has_depth != (frame.depth_m is not None):
            has, comes = ("has", "has none") if self._has_depth else ("has no", "has it")
            raise SourceError(f"{self.path} {has} depth, and the camera now {comes}: choose another --out")
        if self._intrinsics is not None and frame.intrinsics != self._intrinsics:
            raise SourceError(
                f"{self.path} holds frames of {_shown(self._intrinsics)}, now come frames of "
                f"{_shown(frame.intrinsics)}: a folder has one camera, choose another --out"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path).free
        if free < LEAST_FREE_BYTES:
            raise SourceError(f"{free >> 20} MiB are free on the disk of {self.path}: make room, then record on")


def _read_rows(folder: Path) -> list[tuple[str, int, str]]:
    """(name, stamp in ns, frame_id) of the listed frames; some may have no image."""
    path = folder / FRAMES_FILE
    if not path.is_file():
        return []
    try:
        # A last line without a line break is incomplete, because the process that wrote it was killed.
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        rows = list(csv.DictReader(io.StringIO(whole)))
        frames = [(row["name"], int(row["stamp_ns"]), row["frame_id"]) for row in rows]
        if any(not (name.isdecimal() and len(name) <= 6) for name, _, _ in frames):
            raise ValueError("a name that is no number")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} is not a list that `record` wrote ({type(error).__name__}: {error}): choose another --out"
        ) from error
    unique = {frame[0]: frame for frame in frames}  # if a number was tried twice, its last line counts
    return list(unique.values())


def _numbers_in_use(folder: Path) -> Iterator[int]:
    for kind in (RGB_FOLDER, DEPTH_FOLDER, LABEL_FOLDER):
        yield from (int(p.stem) for p in (folder / kind).glob("*.*") if p.stem.isdecimal() and len(p.stem) <= 6)


def _write_rows(folder: Path, rows: list[tuple[str, int, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    replace_file(folder / FRAMES_FILE, text.getvalue().encode())


def _append_row(folder: Path, *row: object) -> None:
    if not (folder / FRAMES_FILE).is_file():
        _write_rows(folder, [])
    with (folder / FRAMES_FILE).open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(row)


def _shown(k: CameraIntrinsics | None) -> str:
    return f"fx {k.fx:.1f} at {k.width}x{k.height}" if k else "a camera without intrinsics"

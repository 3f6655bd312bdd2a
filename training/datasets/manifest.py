"""Dataset folders that are written frame by frame, so that a stopped run can go on. Each file's SHA-256 is recorded.

``manifest.json`` in the folder::

    {"made_by": "prepare nyudv2", "inputs": {NAME: SHA256}, "settings": {...},
     "frames": {FRAME: {"sources": SHA256 or "", "files": {"rgb/FRAME.png": SHA256, ...}}}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file

MANIFEST_FILE = "manifest.json"

_SAVE_EVERY = 20
"""Frames after which the manifest is saved: at most so many have to be made again if a run is killed."""

_BLOCK_BYTES = 1 << 22


class PreparedFolder:
    """Writes a dataset folder. Use it in a ``with`` block: the manifest is saved however the block ends.

    A frame counts as done only if the manifest lists its files and each of them still has the recorded SHA-256. Files
    are replaced as a whole, and the manifest is written after them.

    Args:
        path: the folder; created.
        made_by: the command, for the manifest.
        inputs: SHA-256 of the files that all frames are made from, by name.
        settings: choices that affect the content of files.
        start_over: ignore an existing manifest instead of going on from it.

    Raises:
        SourceError: the folder was made by another command, from other inputs or with other settings.
    """

    def __init__(
        self,
        path: Path,
        made_by: str,
        inputs: Mapping[str, str],
        settings: Mapping[str, Any],
        start_over: bool = False,
    ) -> None:
        self.path = path
        self._head = {"made_by": made_by, "inputs": dict(inputs), "settings": dict(settings)}
        before = {} if start_over else read_manifest(path)
        for part in self._head if before else ():
            if before.get(part) != self._head[part]:
                raise SourceError(
                    f"{path} holds frames with other {part} ({before.get(part)!r}, now {self._head[part]!r}): "
                    "choose another --out, or replace them with --start-over"
                )
        self._frames: dict[str, dict[str, Any]] = dict(before.get("frames", {}))
        self._unsaved = 0
        path.mkdir(parents=True, exist_ok=True)
        for draft in path.glob("*/.*.part"):  # left by a run that was killed while writing
            draft.unlink()

    def __enter__(self) -> PreparedFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._save()

    def has(self, frame: str, files: set[str], sources: str = "") -> bool:
        """Whether a frame is done: ``files`` (paths in the folder) exist unchanged, made from the same ``sources``."""
        entry = self._frames.get(frame)
        if entry is None or entry["sources"] != sources or not files <= set(entry["files"]):
            return False
        return all(self._unchanged(name, entry["files"][name]) for name in files)

    def write(self, frame: str, files: Mapping[str, bytes], sources: str = "") -> None:
        """Write the files of one frame and record them.

        Args:
            frame: its name.
            files: content by path in the folder.
            sources: digest of the files that they are made from.
        """
        for name, data in files.items():
            replace_file(self.path / name, data)
        # Other files that an earlier call wrote for this frame from the same sources stay listed.
        entry = self._frames.get(frame, {"sources": sources, "files": {}})
        kept = entry["files"] if entry["sources"] == sources else {}
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self._frames[frame] = {"sources": sources, "files": {**kept, **digests}}
        self._unsaved += 1
        if self._unsaved >= _SAVE_EVERY:
            self._save()

    def _unchanged(self, name: str, digest: str) -> bool:
        path = self.path / name
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def _save(self) -> None:
        content = {**self._head, "frames": dict(sorted(self._frames.items()))}
        replace_file(self.path / MANIFEST_FILE, (json.dumps(content, indent=1) + "\n").encode())
        self._unsaved = 0


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder; empty if it has none.

    Raises:
        SourceError: the file was not written by this module.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(e["files"], dict) and isinstance(e["sources"], str) for e in content["frames"].values()):
            return dict(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise SourceError(f"{path} is not a manifest of this program: remove it, or use --start-over")


def sha256_of(path: Path, what: str = "") -> str:
    """SHA-256 of a file in hexadecimal, read in blocks; ``what`` is the text of a progress bar, "" for none."""
    digest = hashlib.sha256()
    total = path.stat().st_size
    with (
        path.open("rb") as file,
        tqdm(desc=what, total=total, unit="B", unit_scale=True, leave=False, disable=None if what else True) as bar,
    ):
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()

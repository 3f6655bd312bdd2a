"""Reads the files of a dataset folder, frame by frame, and counts what their checks need."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DEPTH_FOLDER, HHA_FOLDER, LABEL_FOLDER, rgb_flags, turns_photos
from lcr_seg_ros.training.datasets.image_files import is_palette_png, is_whole

_DEPTH_LEVELS = 1 << 16

_LEVELS_FOR_A_STEP = 32
"""A frame with fewer different depth values may have a common divisor by chance."""


class FolderContents:
    """What is in the files that were read.

    Args:
        path: the folder.
        labels: label set of its label images.
        digests: SHA-256 that files should have, by path in the folder.

    Attributes:
        faulty: frames with a fault, by its code.
        of_rgb: frames by SHA-256 of the colour file.
        sizes: frames by (height, width) of the colour image.
        id_pixels: (256,) int64, pixels with each mask id.
        id_frames: (256,) int64, frames that contain each mask id.
        label_types: what label images are that are not 8-bit with one channel.
        depth_pixels: (65536,) int64, pixels with each depth value as stored.
        depth_median: median of each frame's valid depth, as stored.
        depth_step: greatest common divisor of each frame's depth values, as stored, without 0 and 65535; only of frames
            with at least 32 different ones.
        depth_types: what depth images are that are not 16-bit with one channel.
        hha_types: what HHA images are that are not 8-bit with three channels.
    """

    def __init__(self, path: Path, labels: LabelSet, digests: Mapping[str, str]) -> None:
        self.labels = labels
        self.faulty: dict[str, list[str]] = defaultdict(list)
        self.of_rgb: dict[str, list[str]] = defaultdict(list)
        self.sizes: dict[tuple[int, int], list[str]] = defaultdict(list)
        self.id_pixels, self.id_frames = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self.label_types: set[str] = set()
        self.depth_pixels = np.zeros(_DEPTH_LEVELS, np.int64)
        self.depth_median: dict[str, float] = {}
        self.depth_step: dict[str, int] = {}
        self.depth_types: set[str] = set()
        self.hha_types: set[str] = set()
        self._path, self._digests = path, digests
        self._rgb_flags = rgb_flags(turns_photos(path))
        self._seen_in: dict[str, npt.NDArray[np.bool_]] = {}
        """(256,) bool by frame: ids that occur in it."""

    def read(self, name: str, rgb_path: Path) -> None:
        """Read and count the files of one frame."""
        content = self._bytes(name, rgb_path)
        rgb = self._decoded(name, content, self._rgb_flags, "unreadable_rgb")
        if content:
            self.of_rgb[hashlib.sha256(content).hexdigest()].append(name)
        size = None if rgb is None else rgb.shape[:2]
        if size is not None:
            self.sizes[size[0], size[1]].append(name)
        for folder, take in (
            (LABEL_FOLDER, self._take_labels),
            (DEPTH_FOLDER, self._take_depth),
            (HHA_FOLDER, self._take_hha),
        ):
            file = self._path / folder / f"{name}.png"
            if not file.is_file():
                continue
            content = self._bytes(name, file)
            image = self._decoded(name, content, cv2.IMREAD_UNCHANGED, f"unreadable_{folder}")
            if image is None:
                continue
            if size is not None and image.shape[:2] != size:
                self.faulty[f"size_{folder}"].append(name)
            take(name, image, content)

    def ids_in(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(256,) bool: the mask ids that occur in these frames."""
        seen = np.zeros(256, np.bool_)
        for name in names:
            seen |= self._seen_in.get(name, False)
        return seen

    def frames_with(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The frames in which one of these mask ids occurs."""
        return tuple(name for name, seen in self._seen_in.items() if seen[list(ids)].any())

    def _bytes(self, name: str, file: Path) -> bytes:
        try:
            content = file.read_bytes()
        except OSError:
            return b""
        noted = self._digests.get(file.relative_to(self._path).as_posix())
        if noted is not None and hashlib.sha256(content).hexdigest() != noted:
            self.faulty["changed"].append(name)
        return content

    def _decoded(self, name: str, content: bytes, how: int, code: str) -> npt.NDArray[np.generic] | None:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), how) if is_whole(content) else None
        if image is None:
            self.faulty[code].append(name)
        return image  # type: ignore[return-value]

    def _take_labels(self, name: str, image: npt.NDArray[np.generic], content: bytes) -> None:
        if is_palette_png(content):
            self.faulty["palette_labels"].append(name)
            return
        if image.ndim != 2 or image.dtype != np.uint8:
            self.label_types.add(f"{image.dtype} {image.shape}")
            self.faulty["label_type"].append(name)
            return
        count = np.bincount(image.ravel(), minlength=256)
        self.id_pixels += count
        self.id_frames += count > 0
        self._seen_in[name] = count > 0
        if count[self.labels.void] == image.size:
            self.faulty["all_void"].append(name)

    def _take_hha(self, name: str, image: npt.NDArray[np.generic], _: bytes) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            self.hha_types.add(f"{image.dtype} {image.shape}")
            self.faulty["hha_type"].append(name)

    def _take_depth(self, name: str, image: npt.NDArray[np.generic], _: bytes) -> None:
        if image.ndim != 2 or image.dtype != np.uint16:
            self.depth_types.add(f"{image.dtype} {image.shape}")
            self.faulty["depth_type"].append(name)
            return
        depth = image.astype(np.uint16, copy=False)
        count = np.bincount(depth.ravel(), minlength=_DEPTH_LEVELS)
        self.depth_pixels += count
        levels = np.flatnonzero(count[1:-1]) + 1  # without 0 and 65535, which mark holes
        if len(levels) >= _LEVELS_FOR_A_STEP:
            self.depth_step[name] = int(np.gcd.reduce(levels))
        valid = depth[depth > 0]
        if not valid.size:
            self.faulty["no_depth"].append(name)
        else:
            self.depth_median[name] = float(np.median(valid))

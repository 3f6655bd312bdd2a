"""Generates small files in exactly the official layout of NYU Depth V2 (lcr_seg_ros/training/datasets/nyudv2.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from lcr_seg_ros.labels import LabelSet

RAW_CLASSES = 894
CLASS_OF_RAW = (np.arange(RAW_CLASSES) * 7 % 40 + 1).astype(np.uint8)
"""Class (1..40) of each raw class 1, 2, ...: any mapping onto all forty will do."""

_SPELLINGS = {"refrigerator": "refridgerator", "floor mat": "floor-mat", "night stand": "night-stand"}
"""Class names that the official file spells differently."""


@dataclass(frozen=True)
class OfficialFiles:
    """Paths of the files and contents of the frames: rgb (N, H, W, 3) uint8, depth_m (N, H, W) float32 metres, label40
    (N, H, W) uint8 of 0..40."""

    mat: Path
    splits: Path
    mapping: Path
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    label40: npt.NDArray[np.uint8]

    @property
    def options(self) -> list[str]:
        return ["--mat", str(self.mat), "--splits", str(self.splits), "--mapping", str(self.mapping)]


def write_official_files(
    folder: Path, frames: int = 6, width: int = 64, height: int = 48, seed: int = 0
) -> OfficialFiles:
    """Write the three files with random frames; even official indices are test frames."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (frames, height, width, 3), np.uint8)
    slope = np.linspace(3.5, 1.2, height, dtype=np.float32)[:, None] * np.ones(width, np.float32)
    depth_m = slope + random.uniform(0, 0.4, (frames, height, width)).astype(np.float32)
    # Blocks of one class each, as in annotated images, with every class of 0..40 in each frame.
    blocks = random.integers(0, 41, (frames, height // 8, width // 8))
    blocks.reshape(frames, -1)[:, :41] = np.arange(41)
    label40 = blocks.repeat(8, 1).repeat(8, 2).astype(np.uint8)
    return write_files(folder, rgb, depth_m, label40)


def write_files(
    folder: Path, rgb: npt.NDArray[np.uint8], depth_m: npt.NDArray[np.float32], label40: npt.NDArray[np.uint8]
) -> OfficialFiles:
    folder.mkdir(parents=True, exist_ok=True)
    files = OfficialFiles(
        folder / "nyu_depth_v2_labeled.mat", folder / "splits.mat", folder / "classMapping40.mat", rgb, depth_m, label40
    )
    _write_labeled(files)
    indices = np.arange(1, len(rgb) + 1, dtype=np.uint16)[:, None]
    scipy.io.savemat(files.splits, {"trainNdxs": indices[::2], "testNdxs": indices[1::2]})
    names = [_SPELLINGS.get(n, n) for n in LabelSet.load("nyu40").names]
    scipy.io.savemat(
        files.mapping,
        {
            "mapClass": CLASS_OF_RAW[None],
            "className": _cells(names),
            "allClassName": _cells([raw_name(i) for i in range(1, RAW_CLASSES + 1)]),
        },
    )
    return files


def raw_name(raw: int) -> str:
    return f"thing {raw}"


def raw_of_class() -> npt.NDArray[np.uint16]:
    """(41,) uint16 with a raw class for each class of 0..40."""
    return np.array([0, *(int(np.flatnonzero(c == CLASS_OF_RAW)[-1]) + 1 for c in range(1, 41))], np.uint16)


def _write_labeled(files: OfficialFiles) -> None:
    raw_depth = files.depth_m.copy()
    raw_depth[:, :4, :4] = 0  # a hole
    matlab = {  # as in MATLAB; in HDF5 the axes are reversed
        "images": files.rgb.transpose(1, 2, 3, 0),
        "depths": files.depth_m.transpose(1, 2, 0),
        "rawDepths": raw_depth.transpose(1, 2, 0),
        "labels": raw_of_class()[files.label40].transpose(1, 2, 0),
    }
    with h5py.File(files.mat, "w", userblock_size=512) as file:
        for name, array in matlab.items():
            stored = array.T
            dataset = file.create_dataset(name, data=stored, chunks=(1, *stored.shape[1:]), compression="gzip")
            dataset.attrs["MATLAB_class"] = np.bytes_(array.dtype.name.replace("float32", "single"))
        references = file.create_dataset("names", (1, RAW_CLASSES), h5py.ref_dtype)
        references.attrs["MATLAB_class"] = np.bytes_("cell")
        for raw in range(1, RAW_CLASSES + 1):
            characters = np.array([ord(c) for c in raw_name(raw)], np.uint16)[:, None]
            references[0, raw - 1] = file.create_dataset(f"#refs#/{raw}", data=characters).ref
    with files.mat.open("r+b") as binary:
        binary.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _cells(strings: list[str]) -> npt.NDArray[np.object_]:
    cells = np.empty((1, len(strings)), object)
    cells[0] = strings
    return cells

"""Cache of computed HHA: filled by ``prepare nyudv2 --hha`` before training, or by ``train`` at its start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.hha.definition import REVISION
from lcr_seg_ros.sources.folder import DatasetFolder, write_png

HHA_MODE = "exact"


def cached_hha(encoder: HhaEncoder, frame: RgbdFrame, cache: Path) -> npt.NDArray[np.uint8]:
    """HHA of a frame, (H, W, 3) uint8: read from ``cache``, or computed and written there as PNG.

    The file name is a hash of depth, intrinsics, mode, settings and the revision of HHA's definition, so that a file is
    never used where HHA would be computed differently.

    Raises:
        SourceError: the frame has no depth or no intrinsics.
    """
    if frame.depth_m is None or frame.intrinsics is None:
        raise SourceError(
            "HHA needs depth images and intrinsics: add depth/, or train on colour alone: with input.modality=rgb, or "
            "with --finetune nyu40-rgb to go on from a model; or on the images of hha/, with input.hha_source=folder"
        )
    file = _cache_file(encoder, frame, cache)
    stored = cv2.imread(str(file), cv2.IMREAD_COLOR) if file.is_file() else None
    if stored is not None and stored.shape == frame.rgb.shape:
        return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
    hha = encoder.encode(frame.depth_m, frame.intrinsics)
    write_png(file, cv2.cvtColor(hha, cv2.COLOR_RGB2BGR))
    return hha


def fill_hha_cache(folder: DatasetFolder, cache: Path, settings: HhaSettings) -> None:
    """Compute the HHA of all frames of a folder that are not in ``cache`` yet.

    Raises:
        SourceError: a frame has no depth or no intrinsics.
    """
    encoder = HhaEncoder(HHA_MODE, settings)
    for item in tqdm(folder, desc="hha", unit="frame", leave=False, disable=None):
        cached_hha(encoder, item.frame, cache)


def _cache_file(encoder: HhaEncoder, frame: RgbdFrame, cache: Path) -> Path:
    assert frame.depth_m is not None
    what = frame.depth_m.tobytes() + repr((REVISION, encoder.mode, encoder.settings, frame.intrinsics)).encode()
    return cache / f"{hashlib.sha256(what).hexdigest()[:24]}.png"

"""The progress of a map, stored in one file, so that an interrupted run can be resumed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.mapping.odometry import OdometryState
from lcr_seg_ros.mapping.settings import MapError, MapSettings
from lcr_seg_ros.mapping.voxels import VoxelMap

FloatArray = npt.NDArray[np.float64]

_OTHER_BYTES = 256 << 20
"""Bytes allowed for everything but the voxels: names and poses of a million frames."""


@dataclass
class MapProgress:
    """A map that is not finished.

    Args:
        map: the votes so far.
        next_index: index of the next frame.
        lost: number of frames whose pose was not found.
        trajectory: (4, 4) poses by frame name, in order.
        odometry: state from which the odometry continues, if it is used.
    """

    map: VoxelMap
    next_index: int = 0
    lost: int = 0
    trajectory: dict[str, FloatArray] = field(default_factory=dict)
    odometry: OdometryState | None = None


def save_progress(path: Path, progress: MapProgress, identity: str) -> None:
    """Write a map's progress, whole or not at all; ``identity`` describes the map's data, model and settings."""
    arrays: dict[str, npt.NDArray[Any]] = {f"map_{k}": v for k, v in progress.map.state().items()}
    arrays["identity"] = np.array(identity)
    arrays["counters"] = np.array([progress.next_index, progress.lost], np.int64)
    arrays["names"] = np.array(list(progress.trajectory), np.str_)
    arrays["poses"] = np.array(list(progress.trajectory.values()), np.float64).reshape(-1, 4, 4)
    if progress.odometry is not None:
        o = progress.odometry
        arrays["odometry_indices"] = np.array([o.key_index, o.last_index], np.int64)
        arrays["odometry_poses"] = np.stack([o.key_pose, o.last_pose])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    replace_file(path, buffer.getvalue())


def load_progress(
    path: Path, identity_of_first: Callable[[int], str], labels: LabelSet, settings: MapSettings
) -> MapProgress | None:
    """Read a map's progress; None if there is no such file.

    Args:
        path: of the file.
        identity_of_first: returns the identity that a map of the first n frames must have.
        labels: the model's label set.
        settings: of the map.

    Raises:
        MapError: the file is damaged, too large, or belongs to a map with other data, settings or another model.
    """
    if not path.is_file():
        return None
    remedy = "choose another --out, or start over there with --no-resume"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > settings.max_voxels * (4 * len(labels) + 48) + _OTHER_BYTES:
            raise MapError(f"{path} is too large for a map of {settings.max_voxels} voxels: {remedy}")
        with np.load(path) as arrays:
            next_index, lost = (int(v) for v in arrays["counters"])
            if str(arrays["identity"]) != identity_of_first(next_index):
                raise MapError(
                    f"{path} belongs to a map of other data, settings or another model, or of files or intrinsics "
                    f"that have changed since: {remedy}"
                )
            progress = MapProgress(VoxelMap(labels, settings))
            progress.map.restore({name[4:]: arrays[name] for name in arrays.files if name.startswith("map_")})
            progress.next_index, progress.lost = next_index, lost
            names, poses = arrays["names"].tolist(), arrays["poses"].reshape(-1, 4, 4)
            progress.trajectory = dict(zip(names, poses, strict=True))
            if "odometry_indices" in arrays.files:
                key, last = (int(v) for v in arrays["odometry_indices"])
                key_pose, last_pose = arrays["odometry_poses"].reshape(2, 4, 4)
                progress.odometry = OdometryState(key, key_pose, last, last_pose)
            return progress
    except MapError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise MapError(f"{path} cannot be read ({type(error).__name__}: {error}): {remedy}") from error

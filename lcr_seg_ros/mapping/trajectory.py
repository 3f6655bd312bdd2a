"""Poses of named frames: from text files, from gravity, and from positions and quaternions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file

FloatArray = npt.NDArray[np.float64]

MAX_BYTES = 256 << 20
STAMP_TOLERANCE_S = 0.02
"""Names that are stamps, such as those of frames from a bag, may differ by this much from those in a file."""


def pose_of(position: npt.ArrayLike, quaternion: npt.ArrayLike) -> FloatArray:
    """(4, 4) pose with a position in metres and a quaternion (x, y, z, w) of any length > 0.

    Raises:
        ValueError: the quaternion is 0, or a value is not finite.
    """
    p, q = np.asarray(position, np.float64), np.asarray(quaternion, np.float64)
    length = float(np.linalg.norm(q))
    if not (np.isfinite(p).all() and np.isfinite(length) and length > 0):
        raise ValueError(f"a pose needs finite numbers and a quaternion that is not 0, got {p.tolist()}, {q.tolist()}")
    v, w = q[:3] / length, q[3] / length
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    pose = np.eye(4)
    pose[:3, :3] += 2 * (w * cross + cross @ cross)
    pose[:3, 3] = p
    return pose


def quaternion_of(rotation: FloatArray) -> FloatArray:
    """(4,) unit quaternion (x, y, z, w), w >= 0, of a (3, 3) rotation.

    It is the dominant eigenvector of a symmetric 4x4 matrix (Bar-Itzhack 2000), which has no singular case.
    """
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    q = np.linalg.eigh(k)[1][:, -1]
    return q if q[3] >= 0 else -q


def read_poses(path: str | Path) -> dict[str, FloatArray]:
    """Read poses by frame name: camera-to-world of the optical frame, in metres.

    Lines of the file are ``NAME tx ty tz qx qy qz qw``, as in the TUM RGB-D benchmark, where names are stamps. Lines
    that begin with # are ignored.

    Raises:
        SourceError: the file does not exist, is too large, or has no pose or a malformed line.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"no file of poses at {path}: give a text file with lines NAME tx ty tz qx qy qz qw")
    if path.stat().st_size > MAX_BYTES:
        raise SourceError(f"{path} has {path.stat().st_size >> 20} MiB, which no file of poses has")
    poses: dict[str, FloatArray] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            values = [float(word) for word in words[1:]]
            if len(values) != 7:
                raise ValueError(f"{len(words)} words")
            poses[words[0]] = pose_of(values[:3], values[3:])
        except ValueError as error:
            raise SourceError(f"{path}, line {number} is not NAME tx ty tz qx qy qz qw: {error}") from error
    if not poses:
        raise SourceError(f"{path} holds no pose")
    return poses


def write_poses(path: str | Path, poses: Mapping[str, FloatArray]) -> Path:
    """Write poses by frame name to a file that :func:`read_poses` reads."""
    lines = ["# name tx ty tz qx qy qz qw, camera to world, metres"]
    for name, pose in poses.items():
        numbers = [*pose[:3, 3], *quaternion_of(pose[:3, :3])]
        lines.append(" ".join([name, *(f"{value:.9g}" for value in numbers)]))
    return replace_file(path, ("\n".join(lines) + "\n").encode())


class PoseTable:
    """Looks up poses by the name of a frame or, if names are stamps in seconds, by the nearest stamp within 20 ms.

    Args:
        poses: (4, 4) camera-to-world by name.
    """

    def __init__(self, poses: Mapping[str, FloatArray]) -> None:
        self._poses = poses
        by_stamp = sorted((stamp, name) for name in poses if (stamp := _as_stamp(name)) is not None)
        self._stamps = np.array([stamp for stamp, _ in by_stamp])
        self._names = [name for _, name in by_stamp]

    def find(self, name: str) -> FloatArray | None:
        """(4, 4) camera-to-world, or None if there is no such pose."""
        if name in self._poses:
            return self._poses[name]
        stamp = _as_stamp(name)
        if stamp is None or not self._names:
            return None
        nearest = int(np.abs(self._stamps - stamp).argmin())
        return self._poses[self._names[nearest]] if abs(self._stamps[nearest] - stamp) <= STAMP_TOLERANCE_S else None


def _as_stamp(name: str) -> float | None:
    """The name as a stamp in seconds, if it has a decimal point: 000012 is the number of a frame, not a time."""
    try:
        return float(name) if "." in name else None
    except ValueError:
        return None

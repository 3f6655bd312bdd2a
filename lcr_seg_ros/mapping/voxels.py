"""A sparse voxel grid, of limited size, that counts votes on the class of each voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.mapping.settings import MapError, MapSettings, class_channels

FloatArray = npt.NDArray[np.floating[Any]]

_BITS = 21
_HALF = 1 << (_BITS - 1)
"""A voxel's index along an axis is in -_HALF .. _HALF - 1: at 5 cm, 52 km in either direction. Three indices make one
63-bit key."""
_MASK = (1 << _BITS) - 1
_FIRST_CAPACITY = 4096
_HITS_KEPT = 1 << 16
"""Number of points after which a voxel's sums are halved, so that float32 is precise enough and new points count."""
_EMPTY = -1
_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Knuth's multiplicative hashing


@dataclass(frozen=True)
class Voxels:
    """The voxels that a map shows, in no particular order.

    Args:
        centers: (N, 3) float32 metres.
        labels: (N,) uint8 mask ids of the classes with the most votes.
        confidence: (N,) float32, that class's share of the votes, 0..1.
        rgb: (N, 3) uint8, mean colour of the points; None if they had no colour.
        views: (N,) int32, number of frames that voted.
        size: edge length in metres.
    """

    centers: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8] | None
    views: npt.NDArray[np.int32]
    size: float

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Voxels:
        """The voxels for which ``chosen`` (N,) is True."""
        rgb = None if self.rgb is None else self.rgb[chosen]
        return Voxels(
            self.centers[chosen], self.labels[chosen], self.confidence[chosen], rgb, self.views[chosen], self.size
        )


class VoxelMap:
    """Votes of labelled points on the class of the voxels that they fall into.

    Each point adds its confidence to the votes for its class. Voxels lie on a grid through the origin: voxel (i, j, k)
    spans [i, i + 1) x [j, j + 1) x [k, k + 1) times the voxel size.

    Args:
        labels: the classes.
        settings: default: those of :class:`MapSettings`.

    A voxel takes 4 bytes per class and about 48 in addition; see :attr:`nbytes`.
    """

    def __init__(self, labels: LabelSet, settings: MapSettings | None = None) -> None:
        settings = settings or MapSettings()
        self.labels, self.settings = labels, settings
        self.frames = 0
        """Number of frames that voted."""
        self.forgotten = 0
        """Number of voxels that were dropped because ``max_voxels`` was reached."""
        self._channel = labels.channel_of_id().astype(np.int16)
        self._count = 0
        self._has_color = False
        self._allocate(min(_FIRST_CAPACITY, settings.max_voxels))

    def __len__(self) -> int:
        """Number of voxels kept, whether shown or not."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes taken by all arrays."""
        return sum(array.nbytes for array in self._arrays()) + self._table.nbytes

    def integrate_frame(
        self,
        depth_m: npt.NDArray[np.float32],
        intrinsics: CameraIntrinsics,
        labels: npt.NDArray[np.uint8],
        pose: FloatArray,
        confidence: npt.NDArray[np.float32] | None = None,
        rgb: npt.NDArray[np.uint8] | None = None,
    ) -> int:
        """Let the pixels of a frame vote.

        Args:
            depth_m: (H, W) float32 metres; pixels that are not finite or out of range do not vote.
            intrinsics: of that image.
            labels: (H, W) uint8 mask ids; ids that name no class do not vote.
            pose: (4, 4) camera-to-world.
            confidence: (H, W) float32, 0..1. Default: 1.
            rgb: (H, W, 3) uint8.

        Returns:
            The number of pixels that voted.

        Raises:
            FrameError: sizes differ, or the pose is not a finite (4, 4) matrix.
        """
        height, width = depth_m.shape
        if (intrinsics.height, intrinsics.width) != (height, width):
            raise FrameError(
                f"depth is {width}x{height}, the intrinsics are for {intrinsics.width}x{intrinsics.height}"
            )
        rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
        points = np.empty((height, width, 3), np.float32)
        np.multiply(depth_m, (columns - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx), out=points[..., 0])
        np.multiply(
            depth_m, ((rows - np.float32(intrinsics.cy)) / np.float32(intrinsics.fy))[:, None], out=points[..., 1]
        )
        points[..., 2] = depth_m
        return self.integrate_points(points, labels, pose, confidence, rgb)

    def integrate_points(
        self,
        points: npt.NDArray[np.float32],
        labels: npt.NDArray[np.uint8],
        pose: FloatArray,
        confidence: npt.NDArray[np.float32] | None = None,
        rgb: npt.NDArray[np.uint8] | None = None,
    ) -> int:
        """Let the points of a frame vote.

        Args:
            points: (..., 3) float32 metres in the optical frame.
            labels, confidence, rgb: as in :meth:`integrate_frame`, of shape (...), (...) and (..., 3).
            pose: (4, 4) camera-to-world.

        Returns:
            The number of points that voted.

        Raises:
            FrameError: sizes differ, or the pose is not a finite (4, 4) matrix.
        """
        shape = points.shape[:-1]
        if points.shape[-1:] != (3,) or labels.shape != shape:
            raise FrameError(f"points must be (..., 3) with labels (...), got {points.shape} and {labels.shape}")
        if confidence is not None and confidence.shape != shape:
            raise FrameError(f"labels are {labels.shape}, confidence is {confidence.shape}")
        if rgb is not None and rgb.shape != points.shape:
            raise FrameError(f"points are {points.shape}, rgb is {rgb.shape}")
        pose = np.asarray(pose, np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise FrameError(f"a pose must be a finite (4, 4) matrix, got {pose.tolist()}")
        self.frames += 1
        self._has_color |= rgb is not None
        s = self.settings
        flat = np.ascontiguousarray(points, np.float32).reshape(-1, 3)
        none_f, none_u = np.empty(0, np.float32), np.empty((0, 3), np.uint8)
        start = voted = 0
        while start < len(flat):
            start, self._count, taken = _vote(
                flat,
                np.ascontiguousarray(labels, np.uint8).reshape(-1),
                none_f if confidence is None else np.ascontiguousarray(confidence, np.float32).reshape(-1),
                none_u if rgb is None else np.ascontiguousarray(rgb, np.uint8).reshape(-1, 3),
                start,
                pose,
                np.float64(s.voxel_size),
                s.min_range,
                s.max_range,
                s.min_confidence,
                self._channel,
                self.frames,
                self._table,
                self._keys,
                self._votes,
                self._color,
                self._points,
                self._views,
                self._seen,
                self._count,
            )
            voted += taken
            if start < len(flat):
                self._make_room()
        return voted

    def voxels(self, classes: Sequence[str] = (), min_views: int | None = None) -> Voxels:
        """The voxels that the map shows now.

        Args:
            classes: names or ids of the classes to show; if empty, all. A voxel won by another class is not shown.
            min_views: default: that of the settings.

        Raises:
            MapError: the label set does not have a class.
        """
        passes = class_channels(self.labels, classes)
        n = self._count
        winner = self._votes[:n].argmax(1) if n else np.zeros(0, np.int64)
        least = self.settings.min_views if min_views is None else min_views
        shown = np.flatnonzero((self._views[:n] >= least) & passes[winner])
        votes = self._votes[shown]
        total = np.maximum(votes.sum(1), np.float32(1e-12))
        places = unpack_keys(self._keys[shown])
        rgb = None
        if self._has_color:
            rgb = np.rint(self._color[shown] / np.maximum(self._points[shown], 1)[:, None]).astype(np.uint8)
        return Voxels(
            ((places + 0.5) * self.settings.voxel_size).astype(np.float32),
            self.labels.ids[winner[shown]],
            votes.max(1, initial=0) / total,
            rgb,
            self._views[shown].copy(),
            self.settings.voxel_size,
        )

    def clear(self) -> None:
        """Remove all voxels and reset the counters."""
        self._count = self.frames = self.forgotten = 0
        self._has_color = False
        self._allocate(min(_FIRST_CAPACITY, self.settings.max_voxels))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that :meth:`restore` needs, as arrays by name."""
        names = ("keys", "votes", "color", "points", "views", "seen")
        arrays = {name: a[: self._count].copy() for name, a in zip(names, self._arrays(), strict=True)}
        return arrays | {"counters": np.array([self.frames, self.forgotten, self._has_color], np.int64)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Continue from the :meth:`state` of a map with the same labels and settings.

        Raises:
            MapError: the state does not fit; the map is then empty.
        """
        try:
            count = len(state["keys"])
            self._allocate(max(min(_FIRST_CAPACITY, self.settings.max_voxels), count))
            for name, mine in zip(("keys", "votes", "color", "points", "views", "seen"), self._arrays(), strict=True):
                theirs = state[name]
                if theirs.dtype != mine.dtype or theirs.shape != (count, *mine.shape[1:]):
                    raise ValueError(f"{name} is {theirs.dtype} {theirs.shape}")
                mine[:count] = theirs
            if count > self.settings.max_voxels or len(np.unique(state["keys"])) != count:
                raise ValueError(f"{count} voxels")
            self.frames, self.forgotten, has_color = (int(v) for v in state["counters"])
        except (KeyError, ValueError) as error:
            self.clear()
            raise MapError(f"this is no state of such a map ({error}): start over") from error
        self._has_color, self._count = bool(has_color), count
        _fill_table(self._table, self._keys, count)

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self._keys, self._votes, self._color, self._points, self._views, self._seen

    def _allocate(self, capacity: int) -> None:
        self._keys = np.empty(capacity, np.int64)
        self._votes = np.empty((capacity, len(self.labels)), np.float32)
        self._color = np.empty((capacity, 3), np.float32)
        self._points = np.empty(capacity, np.int32)
        self._views = np.empty(capacity, np.int32)
        self._seen = np.empty(capacity, np.int32)
        # At most half full, so that searches are short.
        self._table = np.full(1 << (2 * capacity - 1).bit_length(), _EMPTY, np.int32)

    def _make_room(self) -> None:
        """Double the capacity, up to ``max_voxels``; if that is reached, drop a quarter of the voxels."""
        old, n, capacity = self._arrays(), self._count, len(self._keys)
        if capacity < self.settings.max_voxels:
            self._allocate(min(2 * capacity, self.settings.max_voxels))
            for mine, before in zip(self._arrays(), old, strict=True):
                mine[:n] = before[:n]
        else:
            leaving = max(1, n // 4)
            staying = np.sort(np.argpartition(self._seen[:n], leaving - 1)[leaving:])
            for array in old:
                array[: len(staying)] = array[staying]
            self._count = len(staying)
            self.forgotten += leaving
            self._table.fill(_EMPTY)
        _fill_table(self._table, self._keys, self._count)


def unpack_keys(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) int64 keys of voxels -> (N, 3) int64 indices on the grid."""
    return np.stack([(keys >> (_BITS * axis) & _MASK) - _HALF for axis in range(3)], axis=1)


@compiled()
def _slot(table, keys, key):  # type: ignore[no-untyped-def]
    """The table's slot that holds a key, or the empty slot where it belongs."""
    mask = np.uint64(len(table) - 1)
    h = np.uint64(key) * _HASH
    at = (h ^ (h >> np.uint64(29))) & mask
    while table[at] != _EMPTY and keys[table[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@compiled()
def _fill_table(table, keys, count):  # type: ignore[no-untyped-def]
    for i in range(count):
        table[_slot(table, keys, keys[i])] = i


@compiled()
def _vote(  # type: ignore[no-untyped-def]
    points, labels, confidence, rgb, start, pose, size, min_range, max_range, min_confidence, channel, frame,
    table, keys, votes, color, hits, views, seen, count,
):  # fmt: skip
    """Count the votes of the points from ``start`` on. Stops before a point that needs a new voxel if none is free.

    Returns:
        Index of the point at which it stopped, number of voxels in use, number of points that voted.
    """
    voted = 0
    for n in range(start, len(points)):
        z = points[n, 2]
        c = channel[labels[n]]
        weight = confidence[n] if len(confidence) else np.float32(1)
        # The comparisons are written so that NaN fails them.
        if c < 0 or not (min_range <= z <= max_range) or not (weight >= min_confidence) or not (weight > 0):
            continue
        key = np.int64(0)
        inside = True
        for axis in range(3):
            place = np.floor(
                (pose[axis, 0] * points[n, 0] + pose[axis, 1] * points[n, 1] + pose[axis, 2] * z + pose[axis, 3]) / size
            )
            if not (-_HALF <= place < _HALF):
                inside = False
                break
            key |= (np.int64(place) + _HALF) << (_BITS * axis)
        if not inside:
            continue
        at = _slot(table, keys, key)
        i = table[at]
        if i == _EMPTY:
            if count == len(keys):
                return n, count, voted
            i = count
            count += 1
            table[at] = i
            keys[i] = key
            votes[i, :] = 0
            color[i, :] = 0
            hits[i] = 0
            views[i] = 0
            seen[i] = 0
        if hits[i] >= _HITS_KEPT:
            hits[i] //= 2
            votes[i, :] *= np.float32(0.5)
            color[i, :] *= np.float32(0.5)
        votes[i, c] += weight
        hits[i] += 1
        if len(rgb):
            for k in range(3):
                color[i, k] += rgb[n, k]
        if seen[i] != frame:
            seen[i] = frame
            views[i] += 1
        voted += 1
    return len(points), count, voted

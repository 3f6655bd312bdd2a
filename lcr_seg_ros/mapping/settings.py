"""Settings of a semantic map."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.labels import LabelSet

RANGES: dict[str, tuple[float, float]] = {
    "voxel_size": (0.005, 2.0),
    "min_range": (0.0, 1000.0),
    "max_range": (0.01, 1000.0),
    "min_confidence": (0.0, 1.0),
    "min_views": (1, 100_000),
    "max_voxels": (1, 20_000_000),
}
"""Range of each setting. 20 million voxels of 40 classes take 4.5 GB."""


class MapError(LcrSegError, ValueError):
    """A map that cannot be made, stored or resumed as requested."""


@dataclass(frozen=True)
class MapSettings:
    """How points become voxels.

    Args:
        voxel_size: edge of a voxel in metres.
        min_range, max_range: points nearer or farther along the optical axis are left out, in metres. A Kinect's
            depth error grows with the square of the distance: 4 cm at 4 m.
        min_confidence: points whose label has a lower confidence are left out, 0..1.
        min_views: a voxel is shown once this many frames have voted on it, as flying pixels occur in a single frame.
        max_voxels: largest number of voxels kept. When it is reached, the quarter that was seen longest ago is dropped.

    Raises:
        MapError: a value is out of range, or ``min_range`` is not below ``max_range``.
    """

    voxel_size: float = 0.05
    min_range: float = 0.3
    max_range: float = 4.0
    min_confidence: float = 0.3
    min_views: int = 3
    max_voxels: int = 500_000

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise MapError(f"{name} must be {low:g}..{high:g}, got {value!r}")
        if self.min_range >= self.max_range:
            raise MapError(f"min_range must be below max_range, got {self.min_range:g} and {self.max_range:g} m")


def class_channels(labels: LabelSet, classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which classes pass a filter.

    Args:
        labels: the label set.
        classes: names or ids; if empty, every class passes.

    Returns:
        (N,) bool, one for each of the label set's channels.

    Raises:
        MapError: the label set does not have a class.
    """
    if not classes:
        return np.ones(len(labels), np.bool_)
    wanted = np.zeros(len(labels), np.bool_)
    places = {c.name: k for k, c in enumerate(labels.classes)} | {str(c.id): k for k, c in enumerate(labels.classes)}
    for name in classes:
        if name not in places:
            near = difflib.get_close_matches(name, labels.names, 3) or labels.names
            raise MapError(f"label set {labels.name} has no class {name!r}; did you mean {', '.join(near)}?")
        wanted[places[name]] = True
    return wanted

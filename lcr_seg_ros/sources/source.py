"""The interface of all sources of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.frame import RgbdFrame


@dataclass(frozen=True)
class SourceFrame:
    """A frame with its name and, where known, its annotation.

    Args:
        name: file stem or running number, unique in its source.
        frame: colour, depth and intrinsics.
        labels: (H, W) uint8 mask ids, including the label set's void; None if there is no annotation.
    """

    name: str
    frame: RgbdFrame
    labels: npt.NDArray[np.uint8] | None = None


class FrameSource(Protocol):
    """A finite, ordered, re-iterable collection of frames."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[SourceFrame]: ...

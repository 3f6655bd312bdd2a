"""Which labels are shown, and how: shared by the code that draws on the CPU and the code that draws on a GPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.labels import UNLABELLED


@dataclass(frozen=True)
class Drawing:
    """Which labels are shown, and how strongly.

    Args:
        confidence_threshold: pixels whose label has a lower probability become unlabelled, 0..1.
        kept_ids: the mask ids that are shown; all others become unlabelled. None: all are shown.
        opacity: of the class colours in the overlay, 0..1.
    """

    confidence_threshold: float = 0.0
    kept_ids: frozenset[int] | None = None
    opacity: float = 0.5

    def shown(self, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The labels to show, the others set to unlabelled.

        Args:
            labels: (H, W) uint8 mask ids.
            confidence: (H, W) float32 probability of each.

        Returns:
            (H, W) uint8; ``labels`` itself if neither threshold nor ``kept_ids`` is set.
        """
        if self.confidence_threshold > 0:
            labels = np.where(confidence < self.confidence_threshold, np.uint8(UNLABELLED), labels)
        if self.kept_ids is not None:
            labels = cv2.LUT(labels, self.table)  # type: ignore[assignment]
        return labels

    @property
    def table(self) -> npt.NDArray[np.uint8]:
        """(256,) uint8: the id to show for each mask id, by ``kept_ids`` alone. Shared: do not write to it."""
        return _table(self.kept_ids)


@dataclass(frozen=True)
class Pictures:
    """A frame's labels as pictures.

    Args:
        drawing: how they were drawn.
        overlay: (H, W, 3) uint8 RGB, see :func:`lcr_seg_ros.render.overlay`.
        color: (H, W, 3) uint8 RGB, see :func:`lcr_seg_ros.render.colorize`.
    """

    drawing: Drawing
    overlay: npt.NDArray[np.uint8]
    color: npt.NDArray[np.uint8]


@functools.lru_cache(maxsize=4)
def _table(kept_ids: frozenset[int] | None) -> npt.NDArray[np.uint8]:
    everything = np.arange(256, dtype=np.uint8)
    if kept_ids is None:
        return everything
    return np.where(np.isin(everything, list(kept_ids)), everything, np.uint8(UNLABELLED))

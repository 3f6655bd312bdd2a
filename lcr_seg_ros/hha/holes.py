"""Filling holes in depth by a push-pull pyramid: smooth, linear in the number of pixels, no parameters.

Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4: averages of the known pixels are pushed to ever coarser
levels until no hole is left, then pulled back by interpolation, into the holes only.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def push_pull(values: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Fill the unknown pixels from the known ones.

    Args:
        values: (H, W) float64; ignored where not known.
        known: (H, W) bool, at least one True.

    Returns:
        (H, W) float64, equal to ``values`` where known.
    """
    if known.all():
        return values
    height, width = known.shape
    even = ((0, height % 2), (0, width % 2))
    weight = np.pad(known.astype(np.float64), even)
    weighted = np.pad(np.where(known, values, 0.0), even)
    total = _sum_2x2(weight)
    coarse = push_pull(_sum_2x2(weighted) / np.maximum(total, 1.0), total > 0)
    # With a factor of exactly two, the weights are 9/16, 3/16, 3/16 and 1/16; edges are repeated.
    interpolated = cv2.resize(coarse, (coarse.shape[1] * 2, coarse.shape[0] * 2), interpolation=cv2.INTER_LINEAR)
    return np.where(known, values, interpolated[:height, :width])


def _sum_2x2(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]

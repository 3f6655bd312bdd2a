"""The floor's height, from which heights count, if the camera's own height is not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.definition import ASSUMED_FLOOR_CM, FLOOR_SHARE, FLOOR_STRIDE, LOWEST_FLOOR_CM, SURE_FLOOR_CM


def floor_by_reference(lowest_cm: float) -> float:
    """The reference's rule: the lowest point, or an assumed floor if that point is too high to be on the floor.

    Args:
        lowest_cm: smallest height of all pixels in centimetres, relative to the camera.

    Returns:
        Height of the floor in centimetres relative to the camera.
    """
    return ASSUMED_FLOOR_CM if lowest_cm > LOWEST_FLOOR_CM else lowest_cm


def floor_by_percentile(low_cm: float) -> float:
    """As :func:`floor_by_reference`, but for a low percentile and without the jump of 40 cm.

    Args:
        low_cm: height in centimetres relative to the camera, see :func:`low_percentile`.

    Returns:
        Height of the floor in centimetres relative to the camera, continuous in ``low_cm``.
    """
    assumed = (low_cm - SURE_FLOOR_CM) / (LOWEST_FLOOR_CM - SURE_FLOOR_CM)
    assumed = min(max(assumed, 0.0), 1.0)
    return low_cm + assumed * (ASSUMED_FLOOR_CM - low_cm)


def sampled(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pixels of an (H, W) image from which the percentile is computed."""
    first_row, first_column = first_sample(image.shape)
    return image[first_row::FLOOR_STRIDE, first_column::FLOOR_STRIDE]


def first_sample(shape: tuple[int, ...]) -> tuple[int, int]:
    """(row, column) of the first sampled pixel of an image of this shape."""
    return min(FLOOR_STRIDE // 2, (shape[0] - 1) // 2), min(FLOOR_STRIDE // 2, (shape[1] - 1) // 2)


def sampled_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the sampled pixels of an image of this shape."""
    first_row, first_column = first_sample(shape)
    return -(-(shape[0] - first_row) // FLOOR_STRIDE), -(-(shape[1] - first_column) // FLOOR_STRIDE)


def low_percentile(heights_cm: npt.NDArray[np.floating]) -> float:
    """The height below which :data:`FLOOR_SHARE` of the given heights lie, in centimetres."""
    rank = math.floor(FLOOR_SHARE * heights_cm.size)
    return float(np.partition(heights_cm, rank, axis=None)[rank])

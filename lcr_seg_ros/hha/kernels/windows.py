"""Windows along a row: which of them go together, as none lacks a pixel."""

from __future__ import annotations

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import GRAVITY_RADIUS
from lcr_seg_ros.hha.kernels.planes import GRANULE, Counts

CELL_RADIUS = GRAVITY_RADIUS // 2
"""Gravity's windows are summed over cells of 2x2 pixels."""
CELL_PAD = CELL_RADIUS

_BLOCK = 208
"""Pixels along a row that take the short way together if none of their windows lacks a pixel."""

_STEP = 16
"""They are told apart in so many pixels, or cells, at a time."""

WINDOW_COLUMNS = _BLOCK + 2 * CELL_PAD
"""Sums down the columns that a block's windows need."""


@compiled()
def run_of_windows(
    missing_below: Counts, start: int, width: int, scale: int, before: int, after: int
) -> tuple[int, bool]:
    """How many windows from ``start`` go together, and whether none of them lacks a pixel.

    The windows of items ``start`` to ``end`` (not included) lie in columns ``scale * start + before`` to
    ``scale * end + after`` of the padded image.
    """
    size = min(_STEP, width - start)
    is_full = _is_full(missing_below, scale * start + before, scale * (start + size) + after)
    while size < _BLOCK and start + size < width:
        begin, step = start + size, min(_STEP, width - start - size)
        if _is_full(missing_below, scale * begin + before, scale * (begin + step) + after) != is_full:
            break
        size += step
    return size, is_full


@compiled()
def _is_full(missing_below: Counts, first: int, last: int) -> bool:
    absent = 0
    for g in range(max(first, 0) // GRANULE, min(last // GRANULE, missing_below.shape[0] - 1) + 1):
        absent += missing_below[g]
    return absent == 0

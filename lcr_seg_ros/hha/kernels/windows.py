"""Runs of neighbouring windows in a row: either none has missing pixels, or all are treated as if they might."""

from __future__ import annotations

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.hha.definition import GRAVITY_RADIUS
from lcr_seg_ros.hha.kernels.planes import GRANULE, Counts

CELL_RADIUS = GRAVITY_RADIUS // 2
"""Radius of the windows for gravity, in cells of 2x2 pixels."""
CELL_PAD = CELL_RADIUS

_BLOCK = 208
"""Largest number of windows in a run."""

_STEP = 16
"""Runs grow by this many windows at a time."""

WINDOW_COLUMNS = _BLOCK + 2 * CELL_PAD
"""Number of columns that the windows of a run cover, at most."""


@compiled()
def run_of_windows(
    missing_below: Counts, start: int, width: int, scale: int, before: int, after: int
) -> tuple[int, bool]:
    """Find the run of windows from ``start`` that can be processed together.

    The windows of items (pixels or cells) ``start`` to ``end - 1`` lie in columns ``scale * start + before`` to
    ``scale * end + after`` of the padded image.

    Args:
        missing_below: (granules,) int32, missing pixels in the rows of the windows.
        start: first item.
        width: number of items in the row.
        scale, before, after: see above.

    Returns:
        The number of windows, and True if all their pixels are measured, False if some may be missing.
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

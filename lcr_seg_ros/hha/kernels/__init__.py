"""The loops of :mod:`lcr_seg_ros.hha.fast`, compiled by numba on first use (cached on disk where allowed).

They are written to be vectorised: rows as slices, no branches inside a row, and scalars of one type (a plain literal
would promote float32 to float64). All windows are summed afresh in float32, where running sums would drift.

Loops that take most of the time process rows ``first`` to ``last - 1`` of the image, so that threads can share them
(:mod:`lcr_seg_ros.hha.bands`). The result for a row does not depend on the band it is in.

Images for windows are padded by ``PAD`` zeros on every side. A window that is cut by the border is thus a window with
missing pixels, and no loop has to test for borders.
"""

from lcr_seg_ros.hha.kernels.depth import disparity_and_inverse, ingest, pull, push
from lcr_seg_ros.hha.kernels.gravity import count_normals, estimate_gravity, scatter_of_counted
from lcr_seg_ros.hha.kernels.height import height_channel, lowest_cm, sampled_heights_cm
from lcr_seg_ros.hha.kernels.planes import GRANULE, PAD
from lcr_seg_ros.hha.kernels.smoothing import NOWHERE_M, count_steps, smooth
from lcr_seg_ros.hha.kernels.windows import CELL_PAD, WINDOW_COLUMNS, angle_channel, gravity_normals, pool_2x2

__all__ = [
    "CELL_PAD",
    "GRANULE",
    "NOWHERE_M",
    "PAD",
    "WINDOW_COLUMNS",
    "angle_channel",
    "count_normals",
    "count_steps",
    "disparity_and_inverse",
    "estimate_gravity",
    "gravity_normals",
    "height_channel",
    "ingest",
    "lowest_cm",
    "pool_2x2",
    "pull",
    "push",
    "sampled_heights_cm",
    "scatter_of_counted",
    "smooth",
]

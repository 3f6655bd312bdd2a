"""The loops of :mod:`lcr_seg_ros.hha.fast`, compiled by numba on first use (cached on disk where allowed).

All are written for the vectoriser: rows as slices, no branches inside a row, numbers of one type (a plain
literal would widen float32 to float64). The small windows of the angle channel are summed afresh at every
row in float32, where running sums would drift; the large ones of gravity run on in float64.

Loops that take most of the time work on the rows ``first`` to ``last``, not included, of the image: threads share them
out (:mod:`lcr_seg_ros.hha.bands`), and a row comes out the same whatever band it is in.

Images for windows are padded by ``PAD`` zeros on every side, so that a window cut by the border is a
window with pixels missing, and nothing tests for borders.
"""

from lcr_seg_ros.hha.kernels.channels import angle_channel, height_channel, lowest_cm, sampled_heights_cm
from lcr_seg_ros.hha.kernels.depth import disparity_and_inverse, ingest, pull, push
from lcr_seg_ros.hha.kernels.gravity import count_normals, estimate_gravity, scatter_of_counted
from lcr_seg_ros.hha.kernels.normals import gravity_normals, pool_2x2
from lcr_seg_ros.hha.kernels.planes import GRANULE, PAD
from lcr_seg_ros.hha.kernels.smoothing import NOWHERE_M, count_steps, smooth
from lcr_seg_ros.hha.kernels.windows import CELL_PAD, WINDOW_COLUMNS

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

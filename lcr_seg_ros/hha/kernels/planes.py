"""Shared by the kernels: the types of their arrays, and the padding of images for windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PAD = 8
"""Pixels; at least the radius of the angle channel's windows, and 32 bytes of float32 for alignment."""
GRANULE = 16
"""Missing pixels are counted along a row in groups of this size."""

IN_ORDER = {"nnan", "ninf", "nsz"}
"""fastmath flags for loops made of several compiled functions: sums are neither reordered nor fused with products. Full
fastmath lets LLVM decide that anew for each copy of a function, and the process that compiles runs another copy than
processes that load the compiled caller from disk; a few pixels then differed by 1 for the same depth."""

Depth = npt.NDArray[np.floating]
Plane = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Number = Any
"""A scalar, of the precision in which the loop computes."""

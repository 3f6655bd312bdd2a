"""What the kernels share: the types of their arrays, and how images for windows are padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PAD = 8
"""At least the radius of the angle's windows; a granule's worth, for alignment."""
GRANULE = 16
"""Unmeasured pixels are counted along a row in groups of so many."""

IN_ORDER = {"nnan", "ninf", "nsz"}
"""fastmath for loops in parts: sums as they are written, none fused with a product. Full fastmath leaves that to each
copy LLVM makes of a part, and the process that compiles runs another copy than those that read the compiled caller from
disk: the same depth came out 1 apart in a few pixels."""

Depth = npt.NDArray[np.floating]
Plane = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Number = Any
"""A scalar of whatever precision the loop runs in."""

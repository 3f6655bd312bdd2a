"""The decorator for loops that numba compiles, with the options that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """``numba.njit``, caching compiled code on disk if possible, else in memory.

    The function is compiled at its first call. It releases the GIL, and divides as NumPy does: a float divided by 0 is
    Inf or NaN, not an error.

    Args:
        options: further options of ``numba.njit``, such as ``fastmath`` and ``inline``.
    """

    def compile_(function: Function) -> Function:
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to write to: a read-only installation and no home
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return compile_


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only, C-contiguous and aligned view or copy, so that numba compiles for one kind of array only."""
    view = np.require(array, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view

"""Loops that numba compiles: the one decorator for them, with the options that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """``numba.njit`` that keeps its results on disk where it may, and in memory where it may not.

    The function is compiled at its first call. It lets other threads run meanwhile, and divides as NumPy does: a float
    by 0 is Inf or NaN, not an error.

    Args:
        options: further ones of ``numba.njit``, such as ``fastmath`` and ``inline``.
    """

    def compile_(function: Function) -> Function:
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to write to: a read-only install without a home
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return compile_


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read-only, contiguous and aligned: one type for numba, whatever the caller's array is like."""
    view = np.require(array, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view

"""The decorator for loops that numba compiles, with the options that all of them share."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """``numba.njit``, caching compiled code on disk if possible, else in memory.

    The function is compiled at its first call. It releases the GIL, and divides as NumPy does: a float divided by 0 is
    Inf or NaN, not an error. Cached code that cannot be read is compiled anew, and code that cannot be written is kept
    in memory.

    Args:
        options: further options of ``numba.njit``, such as ``fastmath`` and ``inline``.
    """

    def compile_(function: Function) -> Function:
        dispatcher: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
        if dispatcher is not function:  # it is with NUMBA_DISABLE_JIT
            try:
                dispatcher._cache = _Cache(function)  # as its enable_caching does with numba's own class
            except RuntimeError as error:
                log.debug("no folder to write to, a read-only installation and no home: %s", error)
        return cast("Function", dispatcher)

    return compile_


class _Cache(FunctionCache):
    """A function's compiled code on disk. numba's own class lets a broken file, or a full disk, end the program."""

    has_told = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature; None if there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling and linking cut files raises nearly anything
            log.info("compiled code in %s cannot be read (%r): compiling anew", self.cache_path, error)
            self._remove_files()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the code for a signature, if that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not _Cache.has_told:  # once for all functions: each would say the same
                _Cache.has_told = True
                log.warning(
                    "compiled code cannot be written to %s (%s): every start will take as long as this one; free some "
                    "space, or set NUMBA_CACHE_DIR to a folder that can be written to",
                    *(self.cache_path, error),
                )

    def _remove_files(self) -> None:
        """Remove the index, which may be what is broken, with all code that it names."""
        folder, name = Path(self.cache_path), glob.escape(self._impl.filename_base)
        try:
            for path in (*folder.glob(f"{name}.nbi"), *folder.glob(f"{name}.*.nbc")):
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: remove it, compiled code cannot be cached while it is there", error)
            self.disable()


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only, C-contiguous and aligned view or copy, so that numba compiles for one kind of array only."""
    view = np.require(array, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view

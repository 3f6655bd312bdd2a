"""Progress bars on standard error; nothing is drawn unless that is a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

Piece = TypeVar("Piece")

log = logging.getLogger(__name__)

FEW_RUNS = 5
"""Fewer runs of a benchmark's case than this are remarked on."""
REDRAW_S = 0.5
"""Seconds between two redraws, so that a bar does not disturb what is being measured."""


@contextmanager
def share_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar for work whose progress is known as a share; it is removed when the block ends.

    Args:
        what: written before the bar.

    Yields:
        A function to call with the share that is done (clipped to 0..1), as often as one likes.
    """
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(
        total=1.0, desc=what, leave=False, disable=_is_off(), mininterval=REDRAW_S, miniters=0, bar_format=form
    ) as bar:
        yield lambda share: _move(bar, min(max(share, 0.0), 1.0))


@contextmanager
def waiting(what: str) -> Iterator[Callable[[], None]]:
    """A clock for work whose end is not known; yields a function to call now and then, which updates it."""
    from tqdm import tqdm

    form = "{desc}: {elapsed}"
    with tqdm(desc=what, leave=False, disable=_is_off(), mininterval=REDRAW_S, miniters=0, bar_format=form) as bar:
        yield lambda: _move(bar, 0.0)


def each(pieces: Iterable[Piece], what: str, unit: str) -> Iterable[Piece]:
    """Iterate over ``pieces`` with a bar that counts them in ``unit``."""
    from tqdm import tqdm

    bar: Iterable[Piece] = tqdm(pieces, desc=what, unit=unit, leave=False, disable=_is_off(), mininterval=REDRAW_S)
    return bar


@contextmanager
def bars_end_with_errors() -> Iterator[None]:
    """If the block ends with an error or Ctrl-C, end the lines of all bars first, Lightning's among them, so that what
    is said of the error gets a line of its own."""
    try:
        yield
    except BaseException:
        if "tqdm" in sys.modules:  # else there is no bar, and importing it would take time
            from tqdm import tqdm

            for bar in sorted(getattr(tqdm, "_instances", ()), key=lambda bar: -abs(bar.pos)):  # from below
                with suppress(OSError, ValueError):  # the terminal is gone; the error itself is to be told
                    bar.close()
        raise


def tell_of_few_runs(runs: int, seconds: float) -> None:
    """Warn where a benchmark's medians are of fewer than :data:`FEW_RUNS` runs.

    Args:
        runs: of the case that has the fewest.
        seconds: spent on all of them.
    """
    if runs < FEW_RUNS:
        log.warning(
            "a median of %d %s says little: --seconds %.0f should give %d of each case",
            *(runs, "run" if runs == 1 else "runs", seconds * FEW_RUNS / max(runs, 1), FEW_RUNS),
        )


def _move(bar: Any, to: float) -> None:
    bar.update(to - bar.n)


def _is_off() -> bool | None:
    """None leaves the decision to tqdm, which draws on terminals only.

    With ``--json -``, all other output goes to standard error, where a bar would break its lines.
    """
    return True if sys.stdout is sys.stderr else None

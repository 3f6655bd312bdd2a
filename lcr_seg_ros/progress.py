"""Bars that tell how far something has come: on standard error, and nothing unless that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Piece = TypeVar("Piece")

REDRAW_S = 0.5
"""Between two drawings, so that a bar costs nothing beside what is measured."""


@contextmanager
def share_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A bar of something whose end is known by time; it is gone when the block ends.

    Args:
        what: stands before it.

    Yields:
        A function that takes the share which is done, 0..1 (more is taken for 1), as often as one likes.
    """
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(
        total=1.0, desc=what, leave=False, disable=_is_off(), mininterval=REDRAW_S, miniters=0, bar_format=form
    ) as bar:
        yield lambda share: _move(bar, min(max(share, 0.0), 1.0))


@contextmanager
def waiting(what: str) -> Iterator[Callable[[], None]]:
    """A clock for something whose end nobody knows; yields what is called now and then to move it."""
    from tqdm import tqdm

    form = "{desc}: {elapsed}"
    with tqdm(desc=what, leave=False, disable=_is_off(), mininterval=REDRAW_S, miniters=0, bar_format=form) as bar:
        yield lambda: _move(bar, 0.0)


def each(pieces: Iterable[Piece], what: str, unit: str) -> Iterable[Piece]:
    """The pieces one by one, with a bar that counts them in ``unit``."""
    from tqdm import tqdm

    bar: Iterable[Piece] = tqdm(pieces, desc=what, unit=unit, leave=False, disable=_is_off(), mininterval=REDRAW_S)
    return bar


def _move(bar: Any, to: float) -> None:
    bar.update(to - bar.n)


def _is_off() -> bool | None:
    """None leaves it to tqdm, which draws on terminals only. With ``--json -``, what is printed goes to standard error
    as well, and a bar would cut its lines."""
    return True if sys.stdout is sys.stderr else None

"""Pairs of messages with nearby stamps: ``message_filters`` where it is installed and works, else our own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

from lcr_seg_ros.ros.compat import Choice


class StampPairs(Protocol):
    """Two queues of messages; :meth:`add` returns a pair when one is complete."""

    def __init__(self, queue_size: int, slop: float) -> None: ...

    def add(self, side: int, message: Any) -> tuple[Any, Any] | None:
        """Put a message into queue 0 or 1; returns (message of queue 0, message of queue 1) or None."""
        ...


def choose_stamp_pairs() -> tuple[type[StampPairs], Choice]:
    """The implementation to use here, tried out with a real pair."""
    if find_spec("message_filters") is None:
        return NearestStampPairs, Choice("message_filters", False, "not installed")
    try:
        if _pairs_up(MessageFiltersPairs):
            return MessageFiltersPairs, Choice("message_filters", True)
        reason = "it does not pair equal stamps"
    except Exception as error:  # whatever a broken install raises, ours works
        reason = f"broken: {type(error).__name__}: {error}"
    return NearestStampPairs, Choice("message_filters", False, reason)


class MessageFiltersPairs:
    """``message_filters.ApproximateTimeSynchronizer`` fed by hand.

    Its subscribers are not used: the node's own can be unsubscribed and take QoS overrides in every release.
    """

    def __init__(self, queue_size: int, slop: float) -> None:
        from message_filters import ApproximateTimeSynchronizer, SimpleFilter

        self._inputs = (SimpleFilter(), SimpleFilter())
        self._pair: tuple[Any, Any] | None = None
        # Keywords, because a later release put queue_offset where allow_headerless was.
        synchronizer = ApproximateTimeSynchronizer(fs=list(self._inputs), queue_size=queue_size, slop=slop)
        synchronizer.registerCallback(self._store)

    def add(self, side: int, message: Any) -> tuple[Any, Any] | None:
        self._pair = None
        self._inputs[side].signalMessage(message)
        return self._pair

    def _store(self, first: Any, second: Any) -> None:
        # The synchroniser's lock is held here and would stay held if this raised: store, nothing else.
        self._pair = (first, second)


class NearestStampPairs:
    """What ``ApproximateTimeSynchronizer`` does with two inputs.

    A new message is paired with the waiting message of the other side whose stamp is nearest, if they are less than
    ``slop`` seconds apart (strictly: 0 never pairs). Unpaired messages wait; of more than ``queue_size`` those with
    the oldest stamps go.
    """

    def __init__(self, queue_size: int, slop: float) -> None:
        self._queue_size = queue_size
        self._slop_ns = round(slop * 1e9)
        self._queues: tuple[dict[int, Any], dict[int, Any]] = ({}, {})

    def add(self, side: int, message: Any) -> tuple[Any, Any] | None:
        mine, others = self._queues[side], self._queues[1 - side]
        stamp = stamp_ns(message)
        mine[stamp] = message
        while len(mine) > self._queue_size:
            del mine[min(mine)]
        nearest = min(others, key=lambda other: abs(other - stamp), default=None)
        if stamp not in mine or nearest is None or abs(nearest - stamp) >= self._slop_ns:
            return None
        pair = (mine.pop(stamp), others.pop(nearest))
        return pair if side == 0 else (pair[1], pair[0])


def stamp_ns(message: Any) -> int:
    """The header's stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pairs_up(implementation: Callable[[int, float], StampPairs]) -> bool:
    from sensor_msgs.msg import Image

    pairs, first, second = implementation(2, 0.01), Image(), Image()
    first.header.stamp.sec = second.header.stamp.sec = 1
    return pairs.add(0, first) is None and pairs.add(1, second) == (first, second)

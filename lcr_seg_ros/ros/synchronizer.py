"""Pairs colour and depth images by stamp, and copes with stamps that jump back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.ros.compat.message_filters import StampPairs, stamp_ns

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

COLOR, DEPTH = 0, 1


@dataclass(frozen=True)
class ImagePair:
    """A colour image and the depth image taken with it.

    Args:
        color: the colour image.
        depth: the depth image; None for a model that sees colour only.
        arrived_s: when the colour image arrived, in seconds of ``time.monotonic``; None if not known.
        stage_ms: ms spent on the pair, by stage: ``wait`` for the worker, ``conversion`` to arrays and, not included
            in that, ``decompress`` and ``registration``. Each stage adds its own entry.
        completed_s: when the pair was complete, in seconds of ``time.monotonic``.
    """

    color: Image
    depth: Image | None
    arrived_s: float | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    completed_s: float = field(default_factory=time.monotonic, compare=False)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the colour image in ns, which every output carries."""
        return stamp_ns(self.color)

    @property
    def skew_ms(self) -> float | None:
        """Stamp of the depth image minus that of the colour image in ms; None without depth."""
        return None if self.depth is None else (stamp_ns(self.depth) - stamp_ns(self.color)) * 1e-6


class RgbdSynchronizer:
    """Pairs colour and depth images by stamp.

    Args:
        pairs: implementation, see :func:`~lcr_seg_ros.ros.compat.message_filters.choose_stamp_pairs`.
        queue_size: how many images of each kind may wait for their partner.
        slop: stamps less than this many seconds apart belong together.
        with_depth: False: every colour image is a pair by itself.
        on_backward_step: called with (side, seconds) when a stamp is older than the previous one on its topic.
        on_unpaired: called with the side of each image that leaves its queue without a partner, which is when
            ``queue_size`` newer ones of its kind have none either. Images that :meth:`reset` forgets do not count.

    A bag that loops, or a simulation that starts over, sends old stamps again. A synchroniser that still held images
    with later stamps would discard all the new ones as too old, so it is emptied at every backward step.
    """

    def __init__(
        self,
        pairs: type[StampPairs],
        queue_size: int,
        slop: float,
        with_depth: bool = True,
        on_backward_step: Callable[[int, float], None] = lambda side, seconds: None,
        on_unpaired: Callable[[int], None] = lambda side: None,
    ) -> None:
        self._make_pairs = lambda: pairs(queue_size, slop)
        self._with_depth = with_depth
        self._on_backward_step = on_backward_step
        self._on_unpaired = on_unpaired
        self._unpaired: tuple[deque[int], deque[int]] = (deque(maxlen=queue_size), deque(maxlen=queue_size))
        self._newest: list[int | None] = [None, None]
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=queue_size)  # (stamp in ns, arrival in s) of colour
        self.reset()

    def reset(self) -> None:
        """Forget the waiting images and all stamps."""
        self._pairs = self._make_pairs()
        for stamps in self._unpaired:
            stamps.clear()
        self._newest = [None, None]
        self._arrivals.clear()

    def add(self, side: int, image: Image) -> ImagePair | None:
        """Add an image of side ``COLOR`` or ``DEPTH``; returns the pair that it completes, or None.

        Raises:
            FrameError: its stamp is before 1970, which a ROS time cannot represent.
        """
        stamp = stamp_ns(image)
        if stamp < 0:
            raise FrameError(f"the stamp is {stamp * 1e-9:.3f} s, before the beginning of time")
        newest = self._newest[side]
        if newest is not None and stamp < newest:
            self.reset()
            self._on_backward_step(side, (newest - stamp) * 1e-9)
        self._newest[side] = stamp
        if side == COLOR:
            self._arrivals.append((stamp, time.monotonic()))
        if not self._with_depth:
            return ImagePair(image, None, self._arrivals[-1][1])
        waiting = self._unpaired[side]
        is_full = len(waiting) == waiting.maxlen
        waiting.append(stamp)
        if is_full:
            self._on_unpaired(side)
        pair = self._pairs.add(side, image)
        if pair is None:
            return None
        for stamps, paired in zip(self._unpaired, pair, strict=True):
            while stamp_ns(paired) in stamps:  # several images may have had the same stamp
                stamps.remove(stamp_ns(paired))
        return ImagePair(*pair, self._arrival_of(stamp_ns(pair[COLOR])))

    def _arrival_of(self, stamp: int) -> float | None:
        return next((at for known, at in reversed(self._arrivals) if known == stamp), None)

    @property
    def closest_gap_s(self) -> float | None:
        """Smallest distance in s between recent unpaired colour and depth stamps; None if either kind has none."""
        color, depth = self._unpaired
        gaps = [abs(a - b) for a in color for b in depth]
        return min(gaps) * 1e-9 if gaps else None

"""Counts and times of a camera's frames, for /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lcr_seg_ros.ros.synchronizer import COLOR, DEPTH

STAGES = (
    *("wait", "conversion", "decompress", "registration"),
    *("hha", "preprocess", "network", "decode"),
    *("gravity", "device"),
    *("render", "publish"),
)
"""Stages of a frame, in order. In ``wait``, it waits for the worker, which is busy with the frame before. No frame goes
through all of them: ``decompress`` is for compressed images, ``registration`` for depth that the node registers. Then
come either ``hha`` to ``decode``, or ``gravity`` and ``device`` in the device pipeline (see
:class:`lcr_seg_ros.segmenter.Segmentation`)."""

WINDOW_S = 5.0
"""s. Rates, percentiles and shares cover this much of the recent past."""


class GravityUsed(NamedTuple):
    """The gravity used for one frame.

    Args:
        down: unit vector in the optical frame.
        is_confident: whether it can be trusted.
        is_fallback: whether it was estimated because its source had no answer.
        trouble: what is wrong with it or its source; else empty.
    """

    down: tuple[float, float, float]
    is_confident: bool = True
    is_fallback: bool = False
    trouble: str = ""


class GravityReport(NamedTuple):
    """Gravity in the recent frames.

    Args:
        down: of the newest frame; unit vector in the optical frame.
        confident_share, fallback_share, trouble_share: shares of the frames, 0..1.
        trouble: the newest; empty if there was none.
    """

    down: tuple[float, float, float]
    confident_share: float
    fallback_share: float
    trouble_share: float
    trouble: str


@dataclass(frozen=True)
class Report:
    """A summary of recent frames.

    Args:
        pairs_in, masks_out: counts since the node became active or enabled.
        pairs_in_hz, masks_out_hz: rates over the last :data:`WINDOW_S` seconds.
        rgb_in_hz, depth_in_hz: the same of the images that came, paired or not; ``depth_in_hz`` is None without depth.
        dropped: frames dropped since the node became active or enabled, by reason.
        dropped_recently: frames dropped in the last :data:`WINDOW_S` seconds, by reason.
        milliseconds: (p50, p95) over that window of ``latency``, ``response`` (from the arrival of the colour image),
            each stage, and ``age`` and ``skew`` of the pairs; no entry for what did not occur.
        invalid_depth_share: mean share of depth pixels without a value, 0..1; None without depth.
        gravity: None without depth.
    """

    pairs_in: int
    masks_out: int
    pairs_in_hz: float
    masks_out_hz: float
    rgb_in_hz: float
    depth_in_hz: float | None
    dropped: dict[str, int]
    dropped_recently: dict[str, int]
    milliseconds: dict[str, tuple[float, float]]
    invalid_depth_share: float | None
    gravity: GravityReport | None = None


@dataclass(frozen=True)
class _Came:
    at: float
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class _Done:
    at: float
    milliseconds: Mapping[str, float]
    invalid_depth_share: float | None
    gravity: GravityUsed | None


@dataclass
class FrameStatistics:
    """Counts pairs, masks and dropped frames; all methods may be called from any thread.

    Args:
        clock: returns monotonic time in s.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.frame_size: tuple[int, int] | None = None
        self.start_over()

    def start_over(self) -> None:
        """Reset all counts; called when the node becomes active or enabled."""
        with self._lock:
            self.began = self.last_pair = self.clock()
            self._pairs_in = self._masks_out = 0
            self._dropped: Counter[str] = Counter()
            self._images: tuple[deque[float], deque[float]] = (deque(), deque())
            self._came: deque[_Came] = deque()
            self._drops: deque[tuple[float, str]] = deque()
            self._done: deque[_Done] = deque()

    def image_came(self, side: int) -> None:
        """Count an image, of side ``COLOR`` or ``DEPTH``, whether it will be part of a pair or not."""
        with self._lock:
            self._images[side].append(self.clock())

    def pair_came(self, age_ms: float | None = None, skew_ms: float | None = None) -> None:
        """Count a complete pair.

        Args:
            age_ms: time since the stamp of the colour image, in ms of the node's clock; None if it has no stamp.
            skew_ms: from the stamp of the colour image to that of the depth image, in ms; None without depth.
        """
        milliseconds = {} if age_ms is None else {"age": age_ms}
        if skew_ms is not None:
            milliseconds["skew"] = abs(skew_ms)
        with self._lock:
            self.last_pair = self.clock()
            self._pairs_in += 1
            self._came.append(_Came(self.last_pair, milliseconds))

    def frame_dropped(self, reason: str) -> None:
        """Count a pair, or a colour image without a partner, for which there will be no mask."""
        with self._lock:
            self._dropped[reason] += 1
            self._drops.append((self.clock(), reason))

    def frame_done(
        self,
        latency_ms: float | None,
        stage_ms: Mapping[str, float],
        invalid_depth_share: float | None = None,
        gravity: GravityUsed | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        """Count a frame whose outputs have all been sent.

        Args:
            latency_ms: from the stamp of the colour image until the mask was sent, in ms of the node's clock;
                None if it has no stamp.
            stage_ms: ms by stage.
            invalid_depth_share: share of depth pixels without a value, 0..1.
            gravity: None without depth.
            frame_size: (width, height) in pixels.
        """
        with self._lock:
            self.frame_size = frame_size or self.frame_size
            self._masks_out += 1
            milliseconds = dict(stage_ms) if latency_ms is None else {"latency": latency_ms, **stage_ms}
            self._done.append(_Done(self.clock(), milliseconds, invalid_depth_share, gravity))

    def report(self, with_depth: bool = False) -> Report:
        """A summary up to now.

        Args:
            with_depth: whether a colour image needs a depth image.
        """
        with self._lock:
            now = self.clock()
            since = now - WINDOW_S
            for images in self._images:
                _forget(images, since, lambda at: at)
            _forget(self._came, since, lambda pair: pair.at)
            _forget(self._drops, since, lambda drop: drop[0])
            _forget(self._done, since, lambda done: done.at)
            span = max(min(WINDOW_S, now - self.began), 1e-3)
            shares = [d.invalid_depth_share for d in self._done if d.invalid_depth_share is not None]
            return Report(
                pairs_in=self._pairs_in,
                masks_out=self._masks_out,
                pairs_in_hz=len(self._came) / span,
                masks_out_hz=len(self._done) / span,
                rgb_in_hz=len(self._images[COLOR]) / span,
                depth_in_hz=len(self._images[DEPTH]) / span if with_depth else None,
                dropped=dict(self._dropped),
                dropped_recently=dict(Counter(reason for _, reason in self._drops)),
                milliseconds=_percentiles(("latency", "response", *STAGES), [d.milliseconds for d in self._done])
                | _percentiles(("age", "skew"), [pair.milliseconds for pair in self._came]),
                invalid_depth_share=float(np.mean(shares)) if shares else None,
                gravity=_gravity([d.gravity for d in self._done if d.gravity is not None]),
            )


def _percentiles(names: Sequence[str], frames: list[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    percentiles = {}
    for name in names:
        values = [frame[name] for frame in frames if name in frame]
        if values:
            p50, p95 = np.percentile(values, [50, 95])
            percentiles[name] = (float(p50), float(p95))
    return percentiles


def _gravity(frames: list[GravityUsed]) -> GravityReport | None:
    if not frames:
        return None
    return GravityReport(
        down=frames[-1].down,
        confident_share=sum(frame.is_confident for frame in frames) / len(frames),
        fallback_share=sum(frame.is_fallback for frame in frames) / len(frames),
        trouble_share=sum(bool(frame.trouble) for frame in frames) / len(frames),
        trouble=next((frame.trouble for frame in reversed(frames) if frame.trouble), ""),
    )


def _forget(events: deque, since: float, time_of: Callable) -> None:  # type: ignore[type-arg]
    while events and time_of(events[0]) < since:
        events.popleft()

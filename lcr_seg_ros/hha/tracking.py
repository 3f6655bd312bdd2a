"""Gravity tracked from frame to frame: earlier frames tell floors from walls where one frame alone cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.evidence import GravityEvidence
from lcr_seg_ros.hha.gravity import GravityEstimate, angle_deg, unit_direction

MEMORY_S = 0.2
"""Older directions are forgotten: a hand turns by 60 degrees a second, and a warm start searches within 15 degrees."""

FRAME_PERIOD_S = 1 / 30
"""Assumed time between frames without stamps."""

NEAR_DEG = 15.0
"""A frame's own estimate contradicts the last one if it is farther from it than this."""

LARGEST_STEP_DEG = 8.0
"""A warm estimate that moves farther than this has slipped off."""

CONTRADICTIONS = 5
"""Number of confident frames in a row that must contradict the memory to overrule it."""


@dataclass(frozen=True)
class GravityFit:
    """An estimate from one frame, and the evidence for it. ``down``: (3,) float64 unit vector."""

    down: npt.NDArray[np.float64]
    evidence: GravityEvidence


Tilt = Callable[[npt.NDArray[np.float64]], float]
"""Angle in degrees between a direction and that of gravity in an untilted camera."""

Fit = Callable[[npt.NDArray[np.float64] | None], GravityFit]
"""Estimate gravity in this frame: warm, from a start that is near, or (None) cold, without one."""


@dataclass(frozen=True)
class _Memory:
    down: npt.NDArray[np.float64]
    stamp_s: float
    doubt: str


class GravityTracker:
    """Remembers the gravity of one camera.

    A frame's own (cold) estimate is used as it is if it is confident and near the last one; the result is then that of
    the frame alone. Otherwise a (warm) estimate starts from the last direction, so that it can follow a camera that
    pitches beyond 45 degrees, where a cold estimate mistakes walls for floors. If nothing in view holds the estimate,
    as in front of a bare wall, the last direction is kept, marked as doubtful, until it is older than :data:`MEMORY_S`.

    Not to be shared between threads or cameras.

    Args:
        upright: (3,) direction of gravity in the optical frame of this camera when it is not tilted, of any length.
            Default: ``HhaSettings.upright``, which all cameras share.

    Raises:
        FrameError: ``upright`` is not a direction.
    """

    def __init__(self, upright: npt.ArrayLike | None = None) -> None:
        self.upright = None if upright is None else unit_direction(upright)
        self.reset()

    def reset(self) -> None:
        """Forget all earlier frames."""
        self._memory: _Memory | None = None
        self._contradictions = 0
        self._now_s = 0.0

    def follow(
        self, fit: Fit, tilt_deg: Tilt, stamp_s: float | None = None, camera_height_m: float | None = None
    ) -> GravityEstimate:
        """The gravity of the next frame.

        Args:
            fit: estimates gravity in that frame.
            tilt_deg: gives the tilt of an estimate in degrees.
            stamp_s: capture time of the frame in seconds. Default: one frame period after the last.
            camera_height_m: height above the floor in metres, if known.
        """
        self._now_s = self._now_s + FRAME_PERIOD_S if stamp_s is None else stamp_s
        memory = self._recall()
        cold = fit(None)
        doubt = cold.evidence.doubt(tilt_deg(cold.down), camera_height_m)
        if memory is None:
            return self._keep(cold.down, doubt)
        jump = angle_deg(cold.down, memory.down)
        if not doubt and jump <= NEAR_DEG:
            return self._keep(cold.down)
        warm = fit(memory.down)
        if warm.evidence.holds_warm_estimate and angle_deg(warm.down, memory.down) <= LARGEST_STEP_DEG:
            if doubt:
                return self._keep(warm.down, memory.doubt)
            return self._contradicted(cold, warm, memory, jump)
        if not doubt:
            return self._keep(cold.down, "" if memory.doubt else f"gravity jumped by {jump:.0f} degrees")
        return GravityEstimate(memory.down, doubt)  # the memory is not refreshed, so that it expires

    def _contradicted(self, cold: GravityFit, warm: GravityFit, memory: _Memory, jump: float) -> GravityEstimate:
        self._contradictions += 1
        if memory.doubt or self._contradictions >= CONTRADICTIONS:
            return self._keep(cold.down, "" if memory.doubt else f"gravity jumped by {jump:.0f} degrees")
        self._memory = _Memory(warm.down, self._now_s, memory.doubt)
        return GravityEstimate(warm.down, f"this frame by itself says {jump:.0f} degrees off")

    def _recall(self) -> _Memory | None:
        if self._memory is not None and not 0.0 <= self._now_s - self._memory.stamp_s <= MEMORY_S:
            self._memory = None
        return self._memory

    def _keep(self, down: npt.NDArray[np.float64], doubt: str = "") -> GravityEstimate:
        remembered = "" if doubt.startswith("gravity jumped") else doubt
        self._memory = _Memory(down, self._now_s, remembered)
        self._contradictions = 0
        return GravityEstimate(down, doubt)


@contextmanager
def restored_on_error(trackers: Iterable[GravityTracker | None]) -> Iterator[None]:
    """If the block raises, its trackers are then as they were before: its frames can be given to them again."""
    before = [(tracker, vars(tracker).copy()) for tracker in trackers if tracker is not None]
    try:
        yield
    except BaseException:
        for tracker, attributes in before:
            vars(tracker).update(attributes)
        raise
